//! Compressed weights: Deep Compression's files.

pub mod codebook;
pub mod net_file;
