//! Data sources: where the numbers of a net's data layers come from.
//!
//! A source is a function from a batch's number to its arrays: nothing streams, so a run can be
//! resumed, and read ahead, at any batch.

use crate::tensor::{Shape, Tensor};
use anyhow::Result;

/// Something that makes batches.
pub trait Source: Send {
    /// The shapes of the arrays of a batch, in the order of the layer's tops.
    fn shapes(&self) -> Vec<Shape>;

    /// Batch number `index` of the run (it wraps at the end of the data, as Caffe's does).
    /// `out` holds arrays of [`Source::shapes`], to be overwritten.
    fn read(&mut self, index: u64, out: &mut [Tensor]) -> Result<()>;

    /// The number of different samples, where there is one.
    fn samples(&self) -> Option<u64> {
        None
    }
}
