//! One batch of a net's data as it waits for the net, whose rows any thread can write where they are wanted.

use super::pictures::Pictures;
use super::transform::Transform;
use crate::feed::Feed;
use crate::tensor::{Shape, Tensor};
use anyhow::Result;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Numbers that are worth a thread of their own.
const SPAN: usize = 1 << 15;

/// One array of a batch: a row is a sample.
#[derive(Clone, Debug)]
pub enum Rows {
    /// As the net sees it.
    Floats(Tensor),
    /// Pictures that are made floats when they are taken.
    Pictures(Pictures),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Floats(Tensor::default())
    }
}

impl Rows {
    /// The shape that the net sees.
    pub fn shape(&self) -> &Shape {
        match self {
            Self::Floats(tensor) => &tensor.shape,
            Self::Pictures(pictures) => pictures.shape(),
        }
    }

    /// Makes this an array of floats, whose numbers are to be overwritten; memory that fits is used again.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn floats(&mut self, shape: &Shape) -> Result<&mut Tensor> {
        if let Self::Pictures(_) = self {
            *self = Self::default();
        }
        match self {
            Self::Floats(tensor) => tensor.reshape(shape.clone()).map(|()| tensor),
            Self::Pictures(_) => unreachable!("it was made floats above"),
        }
    }

    /// Makes this an array of pictures, which are to be overwritten; the memory of pictures is used again.
    pub fn pictures(&mut self, transform: &Arc<Transform>) -> &mut Pictures {
        if let Self::Floats(_) = self {
            *self = Self::Pictures(Pictures::new(transform));
        }
        match self {
            Self::Pictures(pictures) => pictures,
            Self::Floats(_) => unreachable!("it was made pictures above"),
        }
    }

    /// Writes some of the rows, in C order.
    ///
    /// # Panics
    /// There are no such rows, or `out` has another size than they.
    pub fn write(&self, rows: Range<usize>, out: &mut [f32]) {
        let each = self.shape().count_from(1);
        assert_eq!(out.len(), rows.len() * each, "room for {rows:?}");
        match self {
            Self::Floats(tensor) => {
                out.copy_from_slice(&tensor.data[rows.start * each..rows.end * each]);
            }
            Self::Pictures(pictures) => pictures.write(rows, out),
        }
    }

    /// Writes all rows, shared out over the threads of the rayon pool at hand.
    fn write_all(&self, out: &mut [f32]) {
        let each = self.shape().count_from(1).max(1);
        let rows = SPAN.div_ceil(each);
        let parts = out.par_chunks_mut(rows * each).enumerate();
        parts.for_each(|(i, out)| self.write(i * rows..i * rows + out.len() / each, out));
    }

    /// Bytes of memory that the numbers take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Floats(tensor) => 4 * tensor.data.capacity(),
            Self::Pictures(pictures) => pictures.bytes(),
        }
    }
}

/// The arrays of a batch, in the order of the tops of the layers that read it.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    arrays: Vec<Rows>,
}

impl Batch {
    /// Of these arrays.
    pub fn new(arrays: Vec<Rows>) -> Self {
        Self { arrays }
    }

    /// The arrays.
    pub fn arrays(&self) -> &[Rows] {
        &self.arrays
    }

    /// The arrays, to be filled.
    pub fn arrays_mut(&mut self) -> &mut Vec<Rows> {
        &mut self.arrays
    }

    /// The shapes of the arrays, as the net sees them.
    pub fn shapes(&self) -> Vec<Shape> {
        self.arrays.iter().map(|a| a.shape().clone()).collect()
    }

    /// Array `k` whole, if it waits as floats: labels, and all that is no picture.
    pub fn floats(&self, k: usize) -> Option<&Tensor> {
        match self.arrays.get(k) {
            Some(Rows::Floats(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The whole batch as arrays of floats, whose memory is used again: what waits as floats changes places with
    /// them, pictures are transformed by all threads of the rayon pool at hand.
    ///
    /// # Errors
    /// There is no memory for the arrays.
    pub fn take(&mut self, out: &mut Vec<Tensor>) -> Result<()> {
        out.resize_with(self.arrays.len(), Tensor::default);
        for (array, out) in self.arrays.iter_mut().zip(out) {
            match array {
                Rows::Floats(tensor) => std::mem::swap(tensor, out),
                pictures => {
                    out.reshape(pictures.shape().clone())?;
                    pictures.write_all(&mut out.data);
                }
            }
        }
        Ok(())
    }

    /// Bytes of memory that the numbers take.
    pub fn bytes(&self) -> usize {
        self.arrays.iter().map(Rows::bytes).sum()
    }
}

/// Pictures are transformed as their rows are wanted: what can fail has been checked when the batch was read.
impl Feed for Batch {
    fn count(&self) -> usize {
        self.arrays.len()
    }

    fn shape(&self, k: usize) -> &Shape {
        self.arrays[k].shape()
    }

    fn ready(&self, k: usize) -> Option<&Tensor> {
        self.floats(k)
    }

    fn rows(&self, k: usize, rows: Range<usize>, out: &mut [f32]) {
        self.arrays[k].write(rows, out);
    }
}
