//! Lines of weights (an input's column or an output's row) as positions sorted by code, four of one code at a
//! time: what multiplies or is multiplied by a shared value is then found once for four weights.

// The bodies are the same for all instruction sets, but not what the compiler makes of them: AVX adds from memory
// to a third register.
#![allow(unsafe_code, clippy::extra_unused_type_parameters)]

use super::Book;
use crate::kernels::simd::{Isa, Lanes, dispatch};

/// Positions in a line at most: they have 16 bits, and so has the one past the last.
pub const LONGEST: usize = u16::MAX as usize;

#[derive(Clone, Debug)]
pub struct Quads {
    values: [f32; 16],
    /// Positions in a line. A code's positions are rounded up to a multiple of four with this one.
    length: usize,
    /// Per line, the first quad; and the end.
    starts: Vec<u32>,
    /// Four positions, 16 bits each, none above `length`.
    quads: Vec<u64>,
    /// The code of each quad, below 16.
    codes: Vec<u8>,
}

impl Quads {
    /// No lines, of `length` positions.
    pub fn new(book: &Book, length: usize) -> Self {
        assert!(length <= LONGEST);
        Self {
            values: book.values(),
            length,
            starts: vec![0],
            quads: Vec::new(),
            codes: Vec::new(),
        }
    }

    /// Adds a line of positions and codes.
    pub fn push(&mut self, line: impl Iterator<Item = (u16, u8)>) {
        let mut of_code: [Vec<u16>; 16] = Default::default();
        for (position, code) in line {
            assert!(usize::from(position) < self.length);
            of_code[usize::from(code)].push(position);
        }
        for (code, positions) in of_code.iter().enumerate() {
            for four in positions.chunks(4) {
                let at = |i| u64::from(four.get(i).copied().unwrap_or(self.length as u16));
                self.quads
                    .push(at(0) | at(1) << 16 | at(2) << 32 | at(3) << 48);
                self.codes.push(code as u8);
            }
        }
        self.starts.push(self.quads.len() as u32);
    }

    /// Quads of all lines.
    pub fn len(&self) -> usize {
        self.quads.len()
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&self.values)
            + size_of_val(&self.starts[..])
            + size_of_val(&self.quads[..])
            + self.codes.len()
    }

    /// sums\[p\] += x\[j\] · v for each weight v at position p of the lines `first` + j for the j in `found`. Behind the
    /// sums there is one more float at least, of any content.
    pub fn scatter(&self, isa: Isa, first: usize, x: &[f32], found: &[u16], sums: &mut [f32]) {
        assert!(sums.len() > self.length);
        assert!(found.iter().all(|j| usize::from(*j) < x.len()));
        assert!(first + x.len() < self.starts.len());
        // SAFETY: as asserted; the rest is as `push` made it.
        unsafe { scatter(isa, self, first, x.as_ptr(), found, sums.as_mut_ptr()) };
    }

    /// y\[i\] = Σ v · x\[p\] over the weights v at positions p of line `first` + i. The last of `x` is 0.
    pub fn gather(&self, isa: Isa, first: usize, x: &[f32], y: &mut [f32]) {
        assert!(x.len() == self.length + 1);
        assert!(first + y.len() < self.starts.len());
        // SAFETY: as asserted; the rest is as `push` made it.
        unsafe { gather(isa, self, first, x.as_ptr(), y) };
    }

    /// The quads of a line.
    #[inline(always)]
    unsafe fn line(&self, line: usize) -> std::ops::Range<usize> {
        // SAFETY: as the caller says, there is such a line, so there is a start behind its own.
        unsafe {
            *self.starts.get_unchecked(line) as usize..*self.starts.get_unchecked(line + 1) as usize
        }
    }

    /// Positions and value of a quad.
    #[inline(always)]
    unsafe fn quad(&self, k: usize) -> ([usize; 4], f32) {
        // SAFETY: as the caller says, there is such a quad, and its code is below 16.
        unsafe {
            let quad = self.quads.as_ptr().add(k).cast::<[u16; 4]>().read();
            let code = usize::from(*self.codes.get_unchecked(k));
            (quad.map(usize::from), *self.values.get_unchecked(code))
        }
    }
}

#[inline(always)]
unsafe fn scatter_body<L: Lanes, const M: usize>(
    weights: &Quads,
    first: usize,
    x: *const f32,
    found: &[u16],
    sums: *mut f32,
) {
    for j in found {
        // SAFETY: as `Quads::scatter` says.
        unsafe {
            let x = *x.add(usize::from(*j));
            for k in weights.line(first + usize::from(*j)) {
                let (at, value) = weights.quad(k);
                let term = value * x;
                // All loads first: the positions differ (but those past the end), which the processor cannot know.
                let sum = at.map(|p| *sums.add(p) + term);
                for i in 0..4 {
                    *sums.add(at[i]) = sum[i];
                }
            }
        }
    }
}

dispatch! {
    unsafe fn scatter(weights: &Quads, first: usize, x: *const f32, found: &[u16], sums: *mut f32) = scatter_body
}

#[inline(always)]
unsafe fn gather_body<L: Lanes, const M: usize>(
    weights: &Quads,
    first: usize,
    x: *const f32,
    y: &mut [f32],
) {
    for (i, y) in y.iter_mut().enumerate() {
        // SAFETY: as `Quads::gather` says.
        unsafe {
            let term = |k: usize| {
                let (at, value) = weights.quad(k);
                let x = at.map(|p| *x.add(p));
                ((x[0] + x[1]) + (x[2] + x[3])) * value
            };
            let quads = weights.line(first + i);
            let (mut even, mut odd) = (0.0, 0.0);
            let mut k = quads.start;
            while k + 2 <= quads.end {
                even += term(k);
                odd += term(k + 1);
                k += 2;
            }
            if k < quads.end {
                even += term(k);
            }
            *y = even + odd;
        }
    }
}

dispatch! {
    unsafe fn gather(weights: &Quads, first: usize, x: *const f32, y: &mut [f32]) = gather_body
}
