//! Matrix products C ← α·C + β·A·B over row-major float32, by the `gemm-f32` crate on one thread.
//!
//! With a crew, C is cut into blocks of rows or columns whose number follows from the sizes alone,
//! and each block is one single-threaded product. An element's sum runs over k in the order and in the
//! blocks of k that the crate chooses; blocks of C are kept so large that it chooses alike for the block
//! and for the whole (it has other code for products of at most 64 × 64 and 256 elements, for vectors
//! and for k ≤ 2), so cut and uncut products agree in every bit. A test holds it to that.

use crate::kernels::crew::Crew;
use std::marker::PhantomData;
use std::ops::Range;

/// A matrix to read: element (i, j) is `data[i · row + j · col]`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row: usize,
    col: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix without gaps.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows start `stride` elements apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        let mat = Self {
            data,
            rows,
            cols,
            row: stride,
            col: 1,
        };
        assert!(
            mat.extent() <= data.len(),
            "a {rows} x {cols} matrix of stride {stride} needs {}, has {}",
            mat.extent(),
            data.len()
        );
        mat
    }

    /// The transpose; no number moves.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row: self.col,
            col: self.row,
            ..self
        }
    }

    /// Some of the rows.
    pub fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows);
        let start = (range.start * self.row).min(self.data.len());
        Self {
            data: &self.data[start..],
            rows: range.len(),
            ..self
        }
    }

    /// Some of the columns.
    pub fn columns(self, range: Range<usize>) -> Self {
        self.t().rows(range).t()
    }

    /// One past the offset of the last element.
    fn extent(&self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            0
        } else {
            (self.rows - 1) * self.row + (self.cols - 1) * self.col + 1
        }
    }
}

/// A row-major matrix to write. Parts of one may be given to different threads.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MatMut` is the only way to its elements while it lives (it comes from `&mut [f32]`, and
// splitting gives disjoint parts), so it may move to another thread as `&mut [f32]` may.
#[allow(unsafe_code)]
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// A row-major matrix without gaps.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows start `stride` ≥ `cols` elements apart.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        let extent = if rows == 0 || cols == 0 {
            0
        } else {
            (rows - 1) * stride + cols
        };
        assert!(
            cols <= stride && extent <= data.len(),
            "a {rows} x {cols} matrix of stride {stride} needs {extent}, has {}",
            data.len()
        );
        Self {
            data: data.as_mut_ptr(),
            rows,
            cols,
            stride,
            life: PhantomData,
        }
    }

    /// Cuts into blocks of rows at the given increasing positions.
    pub fn split_rows(self, cuts: &[usize]) -> Vec<MatMut<'a>> {
        pieces(self.rows, cuts)
            // `wrapping_add` because an empty matrix may have any pointer.
            .map(|r| MatMut {
                data: self.data.wrapping_add(r.start * self.stride),
                rows: r.len(),
                ..self
            })
            .collect()
    }

    /// Cuts into blocks of columns at the given increasing positions.
    pub fn split_columns(self, cuts: &[usize]) -> Vec<MatMut<'a>> {
        pieces(self.cols, cuts)
            .map(|r| MatMut {
                data: self.data.wrapping_add(r.start),
                cols: r.len(),
                ..self
            })
            .collect()
    }

    /// The same matrix for a shorter time.
    pub fn reborrow(&mut self) -> MatMut<'_> {
        MatMut {
            life: PhantomData,
            ..*self
        }
    }

    /// Row `i`.
    pub fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows);
        if self.cols == 0 {
            return &mut [];
        }
        // SAFETY: the constructors and splits keep rows i · stride .. i · stride + cols inside the
        // borrowed slice, and no other `MatMut` reaches them.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(i * self.stride), self.cols)
        }
    }
}

/// The ranges between 0, the cuts and `n`.
pub fn pieces(n: usize, cuts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    assert!(cuts.is_sorted() && cuts.last().is_none_or(|&c| c <= n));
    let starts = std::iter::once(0)
        .chain(cuts.iter().copied())
        .collect::<Vec<_>>();
    let ends = cuts
        .iter()
        .copied()
        .chain(std::iter::once(n))
        .collect::<Vec<_>>();
    starts.into_iter().zip(ends).map(|(a, b)| a..b)
}

/// C ← `alpha`·C + `beta`·A·B. With `alpha` = 0 C's old content does not matter, NaN or not.
pub fn gemm(crew: &Crew, alpha: f32, c: MatMut, beta: f32, a: Mat, b: Mat) {
    assert!(
        a.rows == c.rows && b.cols == c.cols && a.cols == b.rows,
        "{} x {} <- {} x {} * {} x {}",
        c.rows,
        c.cols,
        a.rows,
        a.cols,
        b.rows,
        b.cols
    );
    if crew.is_shared() {
        let by_rows = c.rows >= c.cols;
        let (long, short) = if by_rows {
            (c.rows, c.cols)
        } else {
            (c.cols, c.rows)
        };
        let cuts = cuts(long, short, a.cols);
        if !cuts.is_empty() {
            let ranges = pieces(long, &cuts).collect::<Vec<_>>();
            let parts = if by_rows {
                c.split_rows(&cuts)
            } else {
                c.split_columns(&cuts)
            };
            crew.each(parts.into_iter().zip(ranges), |(c, r)| {
                let (a, b) = if by_rows {
                    (a.rows(r), b)
                } else {
                    (a, b.columns(r))
                };
                product(alpha, c, beta, a, b);
            });
            return;
        }
    }
    product(alpha, c, beta, a, b);
}

/// Where to cut the longer side of C: into at most 16 blocks of at least 72 rows or columns, multiples
/// of 24 (the crate's register tile), and of half a million multiply-accumulates.
fn cuts(long: usize, short: usize, k: usize) -> Vec<usize> {
    let tiles = long / 24;
    let work = long.saturating_mul(short).saturating_mul(k) >> 19;
    let blocks = work.min(16).min(tiles / 3);
    if k <= 2 || short < 4 || blocks < 2 {
        return Vec::new();
    }
    (1..blocks).map(|i| 24 * (tiles * i / blocks)).collect()
}

/// One product on this thread.
fn product(alpha: f32, c: MatMut, beta: f32, a: Mat, b: Mat) {
    debug_assert!(a.extent() <= a.data.len() && b.extent() <= b.data.len());
    // The crate wants the destination's columns without gaps: of rows without gaps it is given Cᵀ ← α·Cᵀ + β·Bᵀ·Aᵀ.
    // A C of one column has both.
    let (rows, cols, columns, gaps, a, b) = match c.stride > 1 {
        true => (c.cols, c.rows, c.stride, 1, b.t(), a.t()),
        false => (c.rows, c.cols, 1, c.stride, a, b),
    };
    let multiply = gemm_f32::gemm::f32::get_gemm_fn();
    // SAFETY: the sizes agree (checked by `gemm`); every element of A and B lies inside its slice and
    // every element of C inside the slice it was made of; C is exclusively ours, so it overlaps neither.
    #[allow(unsafe_code)]
    unsafe {
        multiply(
            rows,
            cols,
            a.cols,
            c.data,
            columns as isize,
            gaps as isize,
            alpha != 0.0,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            alpha,
            beta,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests;
