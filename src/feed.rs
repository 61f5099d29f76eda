//! What a net is fed: the arrays of its inputs, ready or still to be made where they are wanted.

use crate::tensor::{Shape, Tensor};
use std::ops::Range;

/// A batch, an array for each input of a net; a row is a sample.
pub trait Feed: Sync {
    /// The number of arrays.
    fn count(&self) -> usize;

    /// The shape of array `k`.
    ///
    /// # Panics
    /// There is no such array.
    fn shape(&self, k: usize) -> &Shape;

    /// Array `k`, if it lies ready; else its rows are made by [`Feed::rows`].
    fn ready(&self, k: usize) -> Option<&Tensor>;

    /// Writes rows of array `k`, in C order. Any number of threads may do so at once; it cannot fail.
    ///
    /// # Panics
    /// There is no such array or no such row, or `out` has another size than the rows.
    fn rows(&self, k: usize, rows: Range<usize>, out: &mut [f32]);
}

impl dyn Feed + '_ {
    /// Whether the arrays have these shapes.
    pub fn fits<'a>(&self, shapes: impl ExactSizeIterator<Item = &'a Shape>) -> bool {
        shapes.len() == self.count() && shapes.enumerate().all(|(k, s)| self.shape(k) == s)
    }
}

impl<T: AsRef<[Tensor]> + Sync> Feed for T {
    fn count(&self) -> usize {
        self.as_ref().len()
    }

    fn shape(&self, k: usize) -> &Shape {
        &self.as_ref()[k].shape
    }

    fn ready(&self, k: usize) -> Option<&Tensor> {
        self.as_ref().get(k)
    }

    fn rows(&self, k: usize, rows: Range<usize>, out: &mut [f32]) {
        let array = &self.as_ref()[k];
        let each = array.shape.count_from(1);
        out.copy_from_slice(&array.data[rows.start * each..rows.end * each]);
    }
}
