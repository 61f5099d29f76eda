//! Compressed weights: Deep Compression's files.

pub mod net_file;
