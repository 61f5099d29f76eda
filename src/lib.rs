//! Caffe's files and tools on a CPU.

pub mod files;
pub mod proto;
