//! Caffe's files and tools on a CPU, with Dense-Sparse-Dense training.

pub mod cli;
pub mod commands;
pub mod compress;
pub mod data;
pub mod files;
pub mod layers;
pub mod npz;
pub mod proto;
pub mod random;
pub mod report;
pub mod tensor;
