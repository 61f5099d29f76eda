//! Inner products of pruned weights that share few values, run from a compressed form: the software twin
//! of EIE (Han et al. 2016, <https://arxiv.org/abs/1602.01528>).
//!
//! y = b + Σⱼ w\[:, j\] · xⱼ for [outputs, depth] weights: one batch-1 sample reads each weight once, so the
//! dense kernel ([`matvec`](super::matvec)) is as fast as 4 bytes a weight come from memory. Here weights that
//! are 0 are not stored, the others take 2¼ bytes and more, and the columns of inputs that are 0 are not read. So
//! little comes from the caches that the processor's instructions for each weight decide, and the forms are
//! chosen for few of them. (EIE's own form, a byte with the distance to the weight before and a code, has two
//! thirds of the bytes and takes twice the time.)
//!
//! Three forms, of which [`Coded::pack`] takes the fastest:
//! - **columns**, for inputs that are often 0: each input's positions, four of one code at a time, so that xⱼ
//!   times a shared value is computed once for four additions;
//! - **rows**, for inputs that are not: each output's positions in the same way, yᵢ = Σ_c v_c · Σⱼ xⱼ;
//! - **nibbles**: if more than a sixth or so are not 0, it is faster to look all weights of a column up, 32 at a time.
//!
//! Weights that take more than 15 values beside 0 have columns with codes of 8 bits or, from 256 on, the values.
//!
//! Sums are cut where sizes and weights alone say, as everywhere in the kernels: the bits do not depend on
//! threads or instruction set.

mod columns;
mod costs;
mod nibbles;
mod quads;
mod rows;
mod sums;
#[cfg(test)]
mod tests;

use crate::kernels::crew::Crew;
use crate::kernels::simd::Isa;
use columns::Columns;
use costs::{Few, Layer};
use nibbles::Nibbles;
use rows::Rows;
use std::ops::Range;

/// What is known of a layer's inputs when its weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Some of them are exactly 0, as behind a ReLU.
    Sparse,
    /// Few or none are 0, as embeddings and an LSTM's states.
    Dense,
}

/// Pruned [outputs, depth] weights in a compressed form.
#[derive(Clone, Debug)]
pub struct Coded {
    outputs: usize,
    depth: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Columns(Columns),
    Rows(Rows),
    Nibbles(Nibbles),
}

/// A weight that is not 0.
#[derive(Clone, Copy)]
struct Entry {
    row: usize,
    column: usize,
    value: f32,
}

/// Row-major weights.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    weights: &'a [f32],
    outputs: usize,
    depth: usize,
}

impl<'a> Matrix<'a> {
    /// The weights of some rows that are not 0, in row-major order.
    fn entries(self, rows: Range<usize>) -> impl Iterator<Item = Entry> + 'a {
        rows.flat_map(move |row| {
            let weights = self.weights[row * self.depth..][..self.depth].iter();
            let entries = weights.enumerate().filter(|(_, w)| **w != 0.0);
            entries.map(move |(column, value)| Entry {
                row,
                column,
                value: *value,
            })
        })
    }
}

/// The values that weights share, ascending by bits; never 0. Code c is entry c − 1, and code 0 is 0.
#[derive(Clone, Debug)]
struct Book(Vec<f32>);

impl Book {
    /// The values of `w` that are not 0; `None` if they are more than `most`.
    fn of(w: &[f32], most: usize) -> Option<Self> {
        let mut bits: Vec<u32> = Vec::new();
        let mut last = 0.0f32;
        for w in w {
            if *w == 0.0 || w.to_bits() == last.to_bits() {
                continue;
            }
            last = *w;
            if let Err(at) = bits.binary_search(&w.to_bits()) {
                if bits.len() == most {
                    return None;
                }
                bits.insert(at, w.to_bits());
            }
        }
        Some(Self(bits.into_iter().map(f32::from_bits).collect()))
    }

    /// Whether the codes have 4 bits.
    fn is_small(&self) -> bool {
        self.0.len() <= Coded::FEW
    }

    /// The code of one of the values.
    fn code(&self, value: f32) -> u8 {
        let at = self
            .0
            .binary_search_by_key(&value.to_bits(), |v| v.to_bits());
        at.expect("a value of the book") as u8 + 1
    }

    /// The value of each code.
    fn values<const N: usize>(&self) -> [f32; N] {
        std::array::from_fn(|c| match c {
            0 => 0.0,
            c => self.0.get(c - 1).copied().unwrap_or(0.0),
        })
    }
}

impl Coded {
    /// Values beside 0 that have 4-bit codes.
    pub const FEW: usize = 15;
    /// Values beside 0 that have 8-bit codes.
    pub const MANY: usize = 255;

    /// Whether `nonzeros` weights of [outputs, depth], of `values` different values beside 0, are faster compressed
    /// than dense.
    pub fn pays(
        outputs: usize,
        depth: usize,
        nonzeros: usize,
        values: usize,
        inputs: Inputs,
    ) -> bool {
        let layer = Layer {
            outputs,
            depth,
            nonzeros,
            values,
            inputs,
        };
        layer.pays()
    }

    /// The number of different values beside 0 in `weights`, or more than [`MANY`](Self::MANY) if there are more: for
    /// [`pays`](Self::pays).
    pub fn values(weights: &[f32]) -> usize {
        Book::of(weights, Self::MANY).map_or(Self::MANY + 1, |book| book.0.len())
    }

    /// Compresses `weights`, [outputs, depth] in C order; −0 counts as 0. Up to [`FEW`](Self::FEW) values beside 0 get
    /// codes of 4 bits, up to [`MANY`](Self::MANY) codes of 8, more are kept as they are. `None` where there are too
    /// many weights to count with 32 bits. Whether it is worth it, [`pays`](Self::pays) says.
    pub fn pack(weights: &[f32], outputs: usize, depth: usize, inputs: Inputs) -> Option<Self> {
        Self::pack_as(weights, outputs, depth, inputs, None)
    }

    /// [`pack`](Self::pack) in the form `few`, if any, where there are few values.
    fn pack_as(
        weights: &[f32],
        outputs: usize,
        depth: usize,
        inputs: Inputs,
        few: Option<Few>,
    ) -> Option<Self> {
        assert_eq!(weights.len(), outputs * depth);
        let matrix = Matrix {
            weights,
            outputs,
            depth,
        };
        let nonzeros = weights.iter().filter(|w| **w != 0.0).count();
        if nonzeros > u32::MAX as usize {
            return None;
        }
        let form = match Book::of(weights, Self::MANY) {
            Some(book) if book.is_small() => {
                let layer = Layer {
                    outputs,
                    depth,
                    nonzeros,
                    values: book.0.len(),
                    inputs,
                };
                match few.unwrap_or(layer.few().0) {
                    Few::Columns => Form::Columns(Columns::pack(matrix, nonzeros, Some(&book))),
                    Few::Rows => Form::Rows(Rows::pack(matrix, &book)),
                    Few::Nibbles => Form::Nibbles(Nibbles::pack(matrix, &book)),
                }
            }
            book => Form::Columns(Columns::pack(matrix, nonzeros, book.as_ref())),
        };
        Some(Self {
            outputs,
            depth,
            form,
        })
    }

    /// The kernel's name, for `dsd time`.
    pub fn name(&self) -> &'static str {
        match self.form {
            Form::Columns(_) => "coded columns",
            Form::Rows(_) => "coded rows",
            Form::Nibbles(_) => "coded nibbles",
        }
    }

    /// Bytes of the compressed weights.
    pub fn bytes(&self) -> usize {
        match &self.form {
            Form::Columns(c) => c.bytes(),
            Form::Rows(r) => r.bytes(),
            Form::Nibbles(n) => n.bytes(),
        }
    }

    /// y\[m\]\[n\] = b\[n\] + Σₖ w\[n\]\[k\] · x\[m\]\[k\], for as many rows of x, [rows, depth], as y has,
    /// [rows, outputs]; one after the other. Terms of weights that are 0 are left out, and in columns those of
    /// inputs that are: 0 · ∞ is 0 here.
    pub fn forward(&self, crew: &Crew, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        self.forward_with(Isa::current(), crew, x, bias, y);
    }

    /// [`forward`](Self::forward) with an instruction set of one's own choice.
    fn forward_with(&self, isa: Isa, crew: &Crew, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        if self.outputs == 0 {
            return;
        }
        let rows = y.len() / self.outputs;
        assert_eq!(y.len(), rows * self.outputs);
        assert_eq!(x.len(), rows * self.depth);
        assert!(bias.is_none_or(|b| b.len() == self.outputs));
        for (m, y) in y.chunks_exact_mut(self.outputs).enumerate() {
            let x = &x[m * self.depth..][..self.depth];
            match &self.form {
                Form::Columns(c) => c.forward(isa, crew, x, y),
                Form::Rows(r) => r.forward(isa, crew, x, y),
                Form::Nibbles(n) => n.forward(isa, crew, x, y),
            }
            if let Some(b) = bias {
                y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
            }
        }
    }
}
