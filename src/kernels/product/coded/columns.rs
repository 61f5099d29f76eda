//! Weights column by column: those of inputs that are 0 are not read.

#![allow(unsafe_code)]

use super::quads::Quads;
use super::sums::{Cut, GROUP, active};
use super::{Book, Matrix};
use crate::kernels::crew::Crew;
use crate::kernels::simd::Isa;
use std::ops::Range;

#[derive(Clone, Debug)]
pub struct Columns {
    cut: Cut,
    blocks: Vec<Block>,
}

/// The weights of a block of outputs.
#[derive(Clone, Debug)]
enum Block {
    /// Few values, sorted by them.
    Few(Quads),
    /// By codes of 8 bits.
    Many(Box<[f32; 256]>, Plain<u8>),
    /// As they are.
    All(Plain<f32>),
}

/// What the columns of a block have: positions, ascending, and what is there.
#[derive(Clone, Debug)]
struct Plain<T> {
    /// Positions in a column.
    length: usize,
    /// Per column, the first entry; and the end.
    starts: Vec<u32>,
    /// Below `length`.
    at: Vec<u16>,
    what: Vec<T>,
}

impl<T: Copy + Default> Plain<T> {
    /// The entries of some rows, of each `what` says.
    fn of(matrix: Matrix, rows: Range<usize>, what: impl Fn(f32) -> T) -> Self {
        let mut starts = vec![0u32; matrix.depth + 1];
        for e in matrix.entries(rows.clone()) {
            starts[e.column + 1] += 1;
        }
        for j in 0..matrix.depth {
            starts[j + 1] += starts[j];
        }
        let n = starts[matrix.depth] as usize;
        let mut next = starts.clone();
        let mut this = Self {
            length: rows.len(),
            starts,
            at: vec![0; n],
            what: vec![T::default(); n],
        };
        for e in matrix.entries(rows.clone()) {
            let i = next[e.column] as usize;
            next[e.column] += 1;
            this.at[i] = (e.row - rows.start) as u16;
            this.what[i] = what(e.value);
        }
        this
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.starts[..]) + size_of_val(&self.at[..]) + size_of_val(&self.what[..])
    }

    /// Position and content of all entries of a column.
    #[inline(always)]
    fn column(&self, j: usize) -> impl Iterator<Item = (u16, T)> {
        let range = self.starts[j] as usize..self.starts[j + 1] as usize;
        let at = self.at[range.clone()].iter().copied();
        at.zip(self.what[range].iter().copied())
    }

    /// sums\[p\] += x\[j\] · value(what) for the entries of the columns `first` + j for the j in `found`.
    fn scatter(
        &self,
        first: usize,
        x: &[f32],
        found: &[u16],
        sums: &mut [f32],
        value: impl Fn(T) -> f32,
    ) {
        assert!(sums.len() >= self.length);
        for j in found.iter().map(|j| usize::from(*j)) {
            let x = x[j];
            for (at, what) in self.column(first + j) {
                // SAFETY: positions are below `length`.
                unsafe { *sums.get_unchecked_mut(usize::from(at)) += value(what) * x };
            }
        }
    }
}

impl Columns {
    /// Packs `nonzeros` weights: as they are where they share no values.
    pub fn pack(matrix: Matrix, nonzeros: usize, book: Option<&Book>) -> Self {
        let cut = Cut::new(matrix.outputs, matrix.depth, nonzeros / 2, 1);
        let block = |block| {
            let rows = cut.rows(block);
            let Some(book) = book else {
                return Block::All(Plain::of(matrix, rows, |v| v));
            };
            let length = rows.len();
            let codes = Plain::of(matrix, rows, |v| book.code(v));
            if !book.is_small() {
                return Block::Many(Box::new(book.values()), codes);
            }
            let mut quads = Quads::new(book, length);
            (0..matrix.depth).for_each(|j| quads.push(codes.column(j)));
            Block::Few(quads)
        };
        Self {
            cut,
            blocks: (0..cut.blocks()).map(block).collect(),
        }
    }

    pub fn bytes(&self) -> usize {
        let each = self.blocks.iter().map(|block| match block {
            Block::Few(quads) => quads.bytes(),
            Block::Many(values, plain) => size_of_val(&**values) + plain.bytes(),
            Block::All(plain) => plain.bytes(),
        });
        each.sum()
    }

    pub fn forward(&self, isa: Isa, crew: &Crew, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), self.cut.depth);
        self.cut.sum(crew, y, |block, inputs, sums| {
            let mut found = [0; GROUP];
            for first in inputs.clone().step_by(GROUP) {
                let x = &x[first..(first + GROUP).min(inputs.end)];
                let found = active(x, &mut found);
                match &self.blocks[block] {
                    Block::Few(quads) => quads.scatter(isa, first, x, found, sums),
                    Block::Many(values, plain) => {
                        plain.scatter(first, x, found, sums, |c| values[usize::from(c)])
                    }
                    Block::All(plain) => plain.scatter(first, x, found, sums, |v| v),
                }
            }
        });
    }
}
