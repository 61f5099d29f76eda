//! Convolution of one sample in planes, by matrix products over columns ([`im2col`](super::im2col)).
//!
//! For each group, with O outputs, K = channels · kernel elements and P output positions:
//! Y = W·col(X) + b, dW += dY·col(X)ᵀ, dX = col2im(Wᵀ·dY), where W is [O, K], X [channels, inputs…],
//! Y [O, P]. The columns are made for a few output rows at a time, so that they are still in the cache
//! when the product reads them. A kernel of one element at stride 1 without padding needs no columns.

use super::Convolution;
use super::im2col::{Axis, col2im, col2im_nd, im2col, im2col_nd, picture};
use crate::kernels::crew::Crew;
use crate::kernels::elementwise::add_row_sums;
use crate::kernels::product::gemm::{Mat, MatMut, gemm, pieces};
use crate::kernels::{CHUNK, each_chunk};
use std::ops::Range;

/// Columns of a strip: this many bytes of them, and not fewer than this many.
const STRIP: (usize, usize) = (512 << 10, 256);

impl Convolution {
    /// Floats of scratch that the functions below need for the same `crew`.
    pub fn scratch(&self, crew: &Crew) -> usize {
        if self.is_identity() {
            return 0;
        }
        let widest = self
            .strips()
            .iter()
            .map(|s| s.len() * self.row())
            .max()
            .unwrap_or(0);
        self.depth()
            * if crew.is_shared() {
                self.positions()
            } else {
                widest
            }
    }

    /// Whether the columns are the input itself.
    fn is_identity(&self) -> bool {
        self.axes.iter().all(Axis::is_identity)
    }

    /// The two axes of a picture, if there are not more.
    fn picture(&self) -> Option<[Axis; 2]> {
        picture(&self.axes)
    }

    /// Positions of one output row (all, where there are more than two axes).
    fn row(&self) -> usize {
        self.picture().map_or(self.positions(), |[_, w]| w.output)
    }

    /// The output rows cut into strips.
    fn strips(&self) -> Vec<Range<usize>> {
        let rows = self.picture().map_or(1, |[h, _]| h.output);
        let columns = (STRIP.0 / 4 / self.depth().max(1)).max(STRIP.1);
        let count = (rows * self.row()).div_ceil(columns).clamp(1, rows.max(1));
        (0..count)
            .map(|i| rows * i / count..rows * (i + 1) / count)
            .collect()
    }

    /// The columns of `x` (some channels of it) for some output rows.
    fn columns(&self, x: &[f32], rows: Range<usize>, col: &mut [f32]) {
        match self.picture() {
            Some(axes) => im2col(x, axes, rows, col),
            None => im2col_nd(x, &self.axes, col),
        }
    }

    /// The reverse of `columns`.
    fn add_columns(&self, col: &[f32], rows: Range<usize>, x: &mut [f32]) {
        match self.picture() {
            Some(axes) => col2im(col, axes, rows, x),
            None => col2im_nd(col, &self.axes, x),
        }
    }

    /// A group's channels cut into parts of at least 128 rows of the column matrix, at most 8.
    fn parts(&self, crew: &Crew) -> Vec<Range<usize>> {
        let channels = self.inputs / self.groups;
        let count = if crew.is_shared() {
            (self.depth() / 128).clamp(1, 8).min(channels.max(1))
        } else {
            1
        };
        let cuts = (1..count).map(|i| channels * i / count).collect::<Vec<_>>();
        pieces(channels, &cuts).collect()
    }

    /// Y = W·col(X) + b for one sample.
    pub fn forward(
        &self,
        crew: &Crew,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (o, k, p) = (self.outputs / self.groups, self.depth(), self.positions());
        let sample = self.inputs / self.groups * self.plane();
        for g in 0..self.groups {
            let w = Mat::new(&w[g * o * k..][..o * k], o, k);
            let x = &x[g * sample..][..sample];
            let bias = bias.map(|b| &b[g * o..][..o]);
            let mut y = MatMut::new(&mut y[g * o * p..][..o * p], o, p);
            if self.is_identity() {
                let alpha = fill(&mut y, bias);
                gemm(crew, alpha, y, 1.0, w, Mat::new(x, k, p));
                continue;
            }
            let strips = self.strips();
            if let [rows] = strips.as_slice() {
                let col = &mut scratch[..k * p];
                let block = self.kernel() * p;
                each_chunk(
                    crew,
                    (CHUNK / block.max(1)).max(1) * block,
                    col,
                    |start, part| {
                        self.columns(
                            &x[start / block.max(1) * self.plane()..],
                            rows.clone(),
                            part,
                        );
                    },
                );
                let alpha = fill(&mut y, bias);
                gemm(crew, alpha, y, 1.0, w, Mat::new(col, k, p));
                continue;
            }
            let cuts = strips[1..]
                .iter()
                .map(|s| s.start * self.row())
                .collect::<Vec<_>>();
            let work = y.split_columns(&cuts).into_iter().zip(strips);
            let strip = |mut y: MatMut, rows: Range<usize>, col: &mut [f32]| {
                let n = rows.len() * self.row();
                let col = &mut col[..k * n];
                self.columns(x, rows, col);
                let alpha = fill(&mut y, bias);
                gemm(&Crew::alone(), alpha, y, 1.0, w, Mat::new(col, k, n));
            };
            if crew.is_shared() {
                let mut rest = &mut *scratch;
                let mut tasks = Vec::new();
                for (y, rows) in work {
                    let (col, after) = rest.split_at_mut(k * rows.len() * self.row());
                    rest = after;
                    tasks.push((y, rows, col));
                }
                crew.each(tasks, |(y, rows, col)| strip(y, rows, col));
            } else {
                work.for_each(|(y, rows)| strip(y, rows, scratch));
            }
        }
    }

    /// dW += dY·col(X)ᵀ for one sample.
    pub fn backward_weights(
        &self,
        crew: &Crew,
        x: &[f32],
        dy: &[f32],
        dw: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (o, k, p) = (self.outputs / self.groups, self.depth(), self.positions());
        let sample = self.inputs / self.groups * self.plane();
        for g in 0..self.groups {
            let x = &x[g * sample..][..sample];
            let dy = Mat::new(&dy[g * o * p..][..o * p], o, p);
            let dw = MatMut::new(&mut dw[g * o * k..][..o * k], o, k);
            if self.is_identity() {
                gemm(crew, 1.0, dw, 1.0, dy, Mat::new(x, k, p).t());
                continue;
            }
            let parts = self.parts(crew);
            let cuts = parts[1..]
                .iter()
                .map(|c| c.start * self.kernel())
                .collect::<Vec<_>>();
            let part = |crew: &Crew, mut dw: MatMut, channels: Range<usize>, col: &mut [f32]| {
                let k = channels.len() * self.kernel();
                let x = &x[channels.start * self.plane()..channels.end * self.plane()];
                for rows in self.strips() {
                    let (from, n) = (rows.start * self.row(), rows.len() * self.row());
                    let col = &mut col[..k * n];
                    self.columns(x, rows, col);
                    gemm(
                        crew,
                        1.0,
                        dw.reborrow(),
                        1.0,
                        dy.columns(from..from + n),
                        Mat::new(col, k, n).t(),
                    );
                }
            };
            let work = dw.split_columns(&cuts).into_iter().zip(parts);
            self.run(
                crew,
                work,
                scratch,
                |(_, channels)| channels.len(),
                |crew, (dw, channels), col| part(crew, dw, channels, col),
            );
        }
    }

    /// X ← X + b, one bias for each input channel: what [`Convolution::backward_data`] of a transposed
    /// convolution leaves out.
    pub fn add_input_bias(&self, bias: &[f32], x: &mut [f32]) {
        for (x, b) in x.chunks_exact_mut(self.plane()).zip(bias) {
            x.iter_mut().for_each(|x| *x += b);
        }
    }

    /// db += row sums of dY for one sample.
    pub fn backward_bias(&self, dy: &[f32], db: &mut [f32]) {
        add_row_sums(dy, db);
    }

    /// dX = col2im(Wᵀ·dY) for one sample.
    pub fn backward_data(
        &self,
        crew: &Crew,
        w: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (o, k, p) = (self.outputs / self.groups, self.depth(), self.positions());
        let sample = self.inputs / self.groups * self.plane();
        for g in 0..self.groups {
            let w = Mat::new(&w[g * o * k..][..o * k], o, k);
            let dy = Mat::new(&dy[g * o * p..][..o * p], o, p);
            let dx = &mut dx[g * sample..][..sample];
            if self.is_identity() {
                gemm(crew, 0.0, MatMut::new(dx, k, p), 1.0, w.t(), dy);
                continue;
            }
            let parts = self.parts(crew);
            let mut rest = dx;
            let mut work = Vec::new();
            for channels in parts {
                let (dx, after) = rest.split_at_mut(channels.len() * self.plane());
                rest = after;
                work.push((dx, channels));
            }
            let part = |crew: &Crew, dx: &mut [f32], channels: Range<usize>, col: &mut [f32]| {
                dx.fill(0.0);
                let range = channels.start * self.kernel()..channels.end * self.kernel();
                let k = range.len();
                let w = w.columns(range).t();
                for rows in self.strips() {
                    let (from, n) = (rows.start * self.row(), rows.len() * self.row());
                    let col = &mut col[..k * n];
                    gemm(
                        crew,
                        0.0,
                        MatMut::new(col, k, n),
                        1.0,
                        w,
                        dy.columns(from..from + n),
                    );
                    self.add_columns(col, rows, dx);
                }
            };
            self.run(
                crew,
                work,
                scratch,
                |(_, channels)| channels.len(),
                |crew, (dx, channels), col| part(crew, dx, channels, col),
            );
        }
    }

    /// Runs `f` on each part of the channels with its own share of the scratch; several parts at once,
    /// if there are several; one has the crew to itself.
    fn run<T: Send>(
        &self,
        crew: &Crew,
        work: impl IntoIterator<Item = T>,
        scratch: &mut [f32],
        channels: impl Fn(&T) -> usize,
        f: impl Fn(&Crew, T, &mut [f32]) + Sync,
    ) {
        let widest = self
            .strips()
            .iter()
            .map(|s| s.len() * self.row())
            .max()
            .unwrap_or(0);
        let mut rest = scratch;
        let mut tasks = Vec::new();
        for item in work {
            let (col, after) = rest.split_at_mut(channels(&item) * self.kernel() * widest);
            rest = after;
            tasks.push((item, col));
        }
        if tasks.len() == 1 {
            tasks.into_iter().for_each(|(item, col)| f(crew, item, col));
        } else {
            crew.each(tasks, |(item, col)| f(&Crew::alone(), item, col));
        }
    }
}

/// Puts the biases into Y; the factor by which the product that follows takes Y's content.
fn fill(y: &mut MatMut, bias: Option<&[f32]>) -> f32 {
    let Some(bias) = bias else { return 0.0 };
    bias.iter().enumerate().for_each(|(i, b)| y.row(i).fill(*b));
    1.0
}

#[cfg(test)]
mod tests;
