//! Caffe's files and tools on a CPU, with Dense-Sparse-Dense training.

pub mod data;
pub mod files;
pub mod layers;
pub mod proto;
pub mod random;
pub mod tensor;
