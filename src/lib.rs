//! Caffe's files and tools on a CPU, with Dense-Sparse-Dense training.
//!
//! The way of the data in `dsd train`: arguments → [`proto::text`] reads solver and net →
//! [`net::graph`] filters layers by phase and resolves names → [`net::Net`] with weights → for each phase of a
//! [`flow`]: masks and rates, then the one loop of [`solver`]: batch, forward, backward, normalise, regularise,
//! update, mask; tests and snapshots in between. `dsd test` is the front of the same road: a [`session`] opens net,
//! weights and data, then forward batch by batch. docs/ARCHITECTURE.md has the rooms and how to add to them.
//!
//! A net in a program of one's own; arrays are [`ndarray`]'s:
//!
//! ```
//! use dsd::layers::Mode;
//! use dsd::ndarray::{Array2, Axis, array};
//! use dsd::net::graph::{Graph, State};
//! use dsd::net::{Net, Options, Pass};
//! use dsd::proto::{NetParameter, text};
//! use dsd::tensor::{Shape, Tensor};
//!
//! let text = r#"
//!   layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
//!   layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
//!     inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
//!   layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
//! "#;
//! let parsed = text::parse::<NetParameter>(text, "three.prototxt")?;
//! let graph = Graph::new(&parsed, &State::new(Mode::Test))?;
//! let net = Net::new(graph, &[Shape::new([2, 3])], &Options::default())?;
//!
//! // Weights come from fillers, or from a file by `weights_file::read` and `Net::load`, or from arrays.
//! let mut weights = net.fill(1)?;
//! net.set_array(&mut weights, "ip:0", Array2::eye(3).view())?;
//!
//! let pictures = array![[1.0f32, 0.0, 0.0], [0.0, 0.0, 2.0]];
//! let outputs = net.forward(&Pass::new(1, 0), &weights, &[Tensor::from(pictures)])?;
//! let prob = net.output(&outputs, "prob").expect("an output of the net");
//! assert_eq!(prob.shape(), [2, 3]);
//! assert!((prob.sum_axis(Axis(1)) - 1.0).iter().all(|rest| rest.abs() < 1e-6));
//! assert!(prob[[0, 0]] > prob[[0, 1]] && prob[[1, 2]] > prob[[0, 0]]);
//! # anyhow::Ok(())
//! ```

pub use ndarray;

pub mod arrays;
pub mod cgroup;
pub mod classify;
pub mod cli;
pub mod commands;
pub mod compress;
pub mod data;
pub mod draw;
pub mod experiment;
pub mod feed;
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
pub mod page;
pub mod phase;
pub mod proto;
pub mod random;
pub mod report;
pub mod sensitivity;
pub mod session;
pub mod solver;
pub mod squeezenet;
pub mod starter;
pub mod statistics;
pub mod tensor;
pub mod threads;
pub mod weights_file;
