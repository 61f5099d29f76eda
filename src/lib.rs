//! Caffe's files and tools on a CPU, with Dense-Sparse-Dense training.
//!
//! The way of the data in `dsd train`: arguments → [`proto::text`] reads solver and net →
//! [`net::graph`] filters layers by phase and resolves names → the net's plan decides groups and
//! buffers → [`net::Net`] with weights → for each phase: masks and rates, then the one loop of
//! [`solver`]: batch, forward, backward, normalise, regularise, update, mask; tests and snapshots in
//! between. `dsd test` is the front of the same road: net, weights, then forward batch by batch.

pub mod cgroup;
pub mod classify;
pub mod cli;
pub mod commands;
pub mod compress;
pub mod data;
pub mod draw;
pub mod files;
pub mod filler;
pub mod flow;
pub mod hdf5;
pub mod kernels;
pub mod layers;
pub mod memory;
pub mod models;
pub mod net;
pub mod npz;
pub mod phase;
pub mod proto;
pub mod random;
pub mod report;
pub mod sensitivity;
pub mod session;
pub mod solver;
pub mod squeezenet;
pub mod tensor;
pub mod threads;
pub mod weights_file;
