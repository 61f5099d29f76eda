//! Maxima and averages over windows of planes.
//!
//! A window of a row of outputs is taken in two steps: down the columns first (whole rows at a time),
//! then along the row. Which of several equal maxima counts is the one with the smallest index, as if
//! the window had been searched in C order. As in Caffe, NaN and −∞ are never a maximum: a window
//! without any other number gives −`f32::MAX` and no index.

use super::{CHUNK, each_chunk, each_pair_of_chunks};
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::crew::Crew;
use std::ops::Range;

pub mod channels_last;

/// The index of a window that has no maximum.
pub const NONE: u32 = i32::MAX as u32;

/// The input rows that window `o` covers.
pub(super) fn span(a: &Axis, o: usize) -> Range<usize> {
    let start = o * a.stride;
    let end = (start + a.kernel).saturating_sub(a.pad).min(a.input);
    start.saturating_sub(a.pad).min(end)..end
}

/// The length of window `o` with the padding it covers, but not what lies beyond: Caffe divides by it.
fn padded(a: &Axis, o: usize) -> f32 {
    let start = o * a.stride;
    let end = (start + a.kernel).min(a.input + 2 * a.pad);
    end.saturating_sub(start) as f32
}

/// The columns of the kernel that see the input in some window: of a kernel that is larger than the padded input's, few.
fn taps(axis: &Axis) -> Range<usize> {
    let last = axis.output.saturating_sub(1).saturating_mul(axis.stride);
    axis.pad.saturating_sub(last)..axis.kernel.min(axis.input.saturating_add(axis.pad))
}

/// The windows whose element `k` lies inside the input, and the input index of the first of them.
fn inside(a: &Axis, k: usize) -> (Range<usize>, usize) {
    a.inside(k, &(0..a.output))
}

/// Planes of one task.
pub(super) fn planes(size: usize) -> usize {
    (CHUNK / size.max(1)).max(1)
}

/// `row` as its elements 0, s, 2s …, then 1, s + 1 … for `stride` s, each part of ⌈row.len() / s⌉
/// elements: what windows take at their element k is then without gaps.
struct Phases<T> {
    stride: usize,
    length: usize,
    data: Vec<T>,
}

impl<T: Copy + Default> Phases<T> {
    fn new(a: &Axis) -> Self {
        let length = a.input.div_ceil(a.stride);
        Self {
            stride: a.stride,
            length,
            data: vec![T::default(); length * a.stride.min(a.input)],
        }
    }

    fn fill(&mut self, row: &[T]) {
        if self.stride == 2 && self.data.len() > self.length {
            let (even, odd) = self.data.split_at_mut(self.length);
            for ((e, o), pair) in even.iter_mut().zip(odd).zip(row.chunks_exact(2)) {
                *e = pair[0];
                *o = pair[1];
            }
            if let ([last], Some(e)) = (row.chunks_exact(2).remainder(), even.last_mut()) {
                *e = *last;
            }
            return;
        }
        for (phase, part) in self.data.chunks_exact_mut(self.length).enumerate() {
            let from = row[phase..].iter().step_by(self.stride);
            part.iter_mut().zip(from).for_each(|(p, v)| *p = *v);
        }
    }

    /// The elements x, x + s, x + 2s …
    fn from(&self, x: usize) -> &[T] {
        &self.data[x % self.stride * self.length + x / self.stride..]
    }
}

/// The maximum of each window: `x` is planes of [h.input, w.input], `y` of [h.output, w.output].
pub fn max(crew: &Crew, x: &[f32], [h, w]: [Axis; 2], y: &mut [f32]) {
    let (input, output) = (h.input * w.input, h.output * w.output);
    each_chunk(crew, planes(input) * output, y, |start, part| {
        let mut column = vec![0.0; w.input];
        let mut phases = Phases::new(&w);
        for (y, x) in part
            .chunks_exact_mut(output)
            .zip(x[start / output * input..].chunks_exact(input))
        {
            for (oy, out) in y.chunks_exact_mut(w.output).enumerate() {
                column.fill(-f32::MAX);
                for row in span(&h, oy).map(|i| &x[i * w.input..][..w.input]) {
                    column
                        .iter_mut()
                        .zip(row)
                        .for_each(|(c, v)| *c = if *v > *c { *v } else { *c });
                }
                phases.fill(&column);
                out.fill(-f32::MAX);
                for kx in taps(&w) {
                    let (xs, x0) = inside(&w, kx);
                    let from = phases.from(x0);
                    out[xs]
                        .iter_mut()
                        .zip(from)
                        .for_each(|(o, v)| *o = if *v > *o { *v } else { *o });
                }
            }
        }
    });
}

/// [`max`], and the index of each maximum within its plane ([`NONE`] if there is none).
pub fn max_indices(crew: &Crew, x: &[f32], [h, w]: [Axis; 2], y: &mut [f32], indices: &mut [u32]) {
    let (input, output) = (h.input * w.input, h.output * w.output);
    let chunk = planes(input) * output;
    if crew.is_shared() && y.len() > chunk {
        let one = Crew::alone;
        return each_pair_of_chunks(crew, chunk, y, indices, |start, y, at| {
            max_indices(&one(), &x[start / output * input..], [h, w], y, at);
        });
    }
    let mut column = vec![0.0; w.input];
    let mut column_at = vec![NONE; w.input];
    let mut phases = Phases::new(&w);
    let mut phases_at = Phases::new(&w);
    let pairs = y
        .chunks_exact_mut(output)
        .zip(indices.chunks_exact_mut(output));
    for ((y, at), x) in pairs.zip(x.chunks_exact(input)) {
        let rows = y
            .chunks_exact_mut(w.output)
            .zip(at.chunks_exact_mut(w.output));
        for (oy, (y, at)) in rows.enumerate() {
            column.fill(-f32::MAX);
            column_at.fill(NONE);
            for i in span(&h, oy) {
                let row = &x[i * w.input..][..w.input];
                for ((c, a), v) in column.iter_mut().zip(&mut column_at).zip(row) {
                    let more = *v > *c;
                    *c = if more { *v } else { *c };
                    *a = if more { i as u32 } else { *a };
                }
            }
            for (j, a) in column_at.iter_mut().enumerate() {
                *a = if *a == NONE {
                    NONE
                } else {
                    *a * w.input as u32 + j as u32
                };
            }
            phases.fill(&column);
            phases_at.fill(&column_at);
            y.fill(-f32::MAX);
            at.fill(NONE);
            for kx in taps(&w) {
                let (xs, x0) = inside(&w, kx);
                let from = phases.from(x0).iter().zip(phases_at.from(x0));
                for ((y, at), (v, i)) in y[xs.clone()].iter_mut().zip(&mut at[xs]).zip(from) {
                    // Indices stay below 2³¹, and signed numbers compare faster.
                    let better = (*v > *y) | ((*v == *y) & ((*i as i32) < (*at as i32)));
                    *y = if better { *v } else { *y };
                    *at = if better { *i } else { *at };
                }
            }
        }
    }
}

/// Gives each maximum's gradient to its place: `dx` ← 0, then `dx`\[index\] += `dy`.
/// `input`, `output`: sizes of a plane.
pub fn max_backward(
    crew: &Crew,
    dy: &[f32],
    indices: &[u32],
    [input, output]: [usize; 2],
    dx: &mut [f32],
) {
    assert_eq!(dy.len(), indices.len());
    each_chunk(crew, planes(input) * input, dx, |start, part| {
        part.fill(0.0);
        let from = start / input * output;
        let sources = dy[from..]
            .chunks_exact(output)
            .zip(indices[from..].chunks_exact(output));
        for (dx, (dy, at)) in part.chunks_exact_mut(input).zip(sources) {
            for (d, i) in dy.iter().zip(at) {
                if let Some(x) = dx.get_mut(*i as usize) {
                    *x += d;
                }
            }
        }
    });
}

/// The average of each window. The divisor counts padding inside the padded input, as in Caffe.
pub fn average(crew: &Crew, x: &[f32], [h, w]: [Axis; 2], y: &mut [f32]) {
    let (input, output) = (h.input * w.input, h.output * w.output);
    each_chunk(crew, planes(input) * output, y, |start, part| {
        let mut column = vec![0.0; w.input];
        let mut phases = Phases::new(&w);
        for (y, x) in part
            .chunks_exact_mut(output)
            .zip(x[start / output * input..].chunks_exact(input))
        {
            for (oy, out) in y.chunks_exact_mut(w.output).enumerate() {
                column.fill(0.0);
                for row in span(&h, oy).map(|i| &x[i * w.input..][..w.input]) {
                    column.iter_mut().zip(row).for_each(|(c, v)| *c += v);
                }
                phases.fill(&column);
                out.fill(0.0);
                for kx in taps(&w) {
                    let (xs, x0) = inside(&w, kx);
                    out[xs]
                        .iter_mut()
                        .zip(phases.from(x0))
                        .for_each(|(o, v)| *o += v);
                }
                for (ox, o) in out.iter_mut().enumerate() {
                    *o /= (padded(&h, oy) * padded(&w, ox)).max(1.0);
                }
            }
        }
    });
}

/// Spreads each average's gradient over its window.
pub fn average_backward(crew: &Crew, dy: &[f32], [h, w]: [Axis; 2], dx: &mut [f32]) {
    let (input, output) = (h.input * w.input, h.output * w.output);
    each_chunk(crew, planes(input) * input, dx, |start, part| {
        part.fill(0.0);
        let mut column = vec![0.0; w.input];
        let mut shares = vec![0.0; w.output];
        let sources = dy[start / input * output..].chunks_exact(output);
        for (dx, dy) in part.chunks_exact_mut(input).zip(sources) {
            for (oy, row) in dy.chunks_exact(w.output).enumerate() {
                for (ox, (share, d)) in shares.iter_mut().zip(row).enumerate() {
                    *share = d / (padded(&h, oy) * padded(&w, ox)).max(1.0);
                }
                column.fill(0.0);
                for kx in taps(&w) {
                    let (xs, x0) = inside(&w, kx);
                    let to = column[x0..].iter_mut().step_by(w.stride);
                    to.zip(&shares[xs]).for_each(|(c, s)| *c += s);
                }
                for i in span(&h, oy) {
                    dx[i * w.input..][..w.input]
                        .iter_mut()
                        .zip(&column)
                        .for_each(|(d, c)| *d += c);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests;
