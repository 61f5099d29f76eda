//! Compressed weights: Deep Compression's `.net` and our own `.dsdz` (docs/compressed_format.md).

pub mod bits;
pub mod codebook;
pub mod container;
pub mod huffman;
mod k_means;
pub mod net_file;
pub mod symbols;
