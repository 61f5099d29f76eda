//! The pictures of a batch as they wait for the net: decoded, and not yet cropped, mirrored, or made floats. A byte
//! takes a quarter of a float's memory, and the last step is left to the threads that need the numbers.

use super::datum::{Picture, Pixels};
use super::transform::Transform;
use crate::tensor::Shape;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A decoded picture (CHW; colours are blue, green, red).
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Channels, height, width.
    pub dims: [usize; 3],
    /// Its numbers, if they are bytes.
    pub bytes: Vec<u8>,
    /// Its numbers, if they are floats; else empty.
    pub floats: Vec<f32>,
}

impl Stored {
    /// The picture.
    pub fn picture(&self) -> Picture<'_> {
        Picture {
            dims: self.dims,
            pixels: match self.floats.is_empty() {
                true => Pixels::Bytes(&self.bytes),
                false => Pixels::Floats(&self.floats),
            },
        }
    }
}

/// The pictures of a batch, and what is still to be done to them.
#[derive(Clone)]
pub struct Pictures {
    transform: Arc<Transform>,
    /// The number in the run of the first.
    first: u64,
    /// Pictures, channels, height, width as the net sees them.
    shape: Shape,
    stored: Vec<Stored>,
}

impl Pictures {
    /// None yet, to be transformed so.
    pub fn new(transform: &Arc<Transform>) -> Self {
        Self {
            transform: transform.clone(),
            first: 0,
            shape: Shape::new([0, 0, 0, 0]),
            stored: Vec::new(),
        }
    }

    /// Places for `count` pictures, from number `first` of the run on, with whatever was in them before; when they
    /// have been filled, [`Pictures::finish`] says how they come out.
    pub fn begin(&mut self, first: u64, count: usize) -> &mut [Stored] {
        self.first = first;
        self.stored.resize_with(count, Stored::default);
        &mut self.stored
    }

    /// All pictures are filled, have gone through [`Transform::prepare`] and come out with these channels, height
    /// and width.
    pub fn finish(&mut self, [c, h, w]: [usize; 3]) {
        self.shape = Shape::new([self.stored.len(), c, h, w]);
    }

    /// Pictures, channels, height and width as the net sees them.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Writes the transformed numbers of some of the pictures.
    pub fn write(&self, rows: Range<usize>, out: &mut [f32]) {
        let dims = [1, 2, 3].map(|axis| self.shape.dim(axis));
        let each = self.shape.count_from(1).max(1);
        let stored = self.stored[rows.clone()].iter();
        for ((i, stored), out) in rows.zip(stored).zip(out.chunks_exact_mut(each)) {
            let number = self.first.wrapping_add(i as u64);
            self.transform.write(&stored.picture(), dims, number, out);
        }
    }

    /// Bytes of memory that the pictures' numbers take.
    pub fn bytes(&self) -> usize {
        let of = |s: &Stored| s.bytes.capacity() + 4 * s.floats.capacity();
        self.stored.iter().map(of).sum()
    }
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pictures of {:?} from {}", self.shape, self.first)
    }
}
