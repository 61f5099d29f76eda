//! Weights row by row, for inputs that are not sparse: yᵢ = Σ_c v_c · (Σⱼ xⱼ over the j of code c).

use super::quads::{LONGEST, Quads};
use super::{Book, Matrix};
use crate::kernels::crew::Crew;
use crate::kernels::simd::Isa;
use crate::kernels::{each_chunk, scratch};

/// Outputs of a task have about this many quads.
const TASK: usize = 1 << 13;

#[derive(Clone, Debug)]
pub struct Rows {
    depth: usize,
    weights: Quads,
}

impl Rows {
    /// Inputs at most.
    pub const DEEPEST: usize = LONGEST;

    pub fn pack(matrix: Matrix, book: &Book) -> Self {
        let mut weights = Quads::new(book, matrix.depth);
        for row in 0..matrix.outputs {
            let entries = matrix.entries(row..row + 1);
            weights.push(entries.map(|e| (e.column as u16, book.code(e.value))));
        }
        Self {
            depth: matrix.depth,
            weights,
        }
    }

    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    pub fn forward(&self, isa: Isa, crew: &Crew, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), self.depth);
        let each = (TASK * y.len() / self.weights.len().max(1)).max(1);
        scratch::with(x.len() + 1, |padded| {
            padded[..x.len()].copy_from_slice(x);
            padded[x.len()] = 0.0;
            let padded = &*padded;
            each_chunk(crew, each, y, |start, part| {
                self.weights.gather(isa, start, padded, part);
            });
        });
    }
}
