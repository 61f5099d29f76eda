//! Caffe's files and tools on a CPU, with Dense-Sparse-Dense training.

pub mod data;
pub mod layers;
pub mod random;
pub mod tensor;
