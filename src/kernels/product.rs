//! Products of matrices and vectors, and of weights that are codes.

pub mod coded;
pub mod gemm;
pub mod matvec;
