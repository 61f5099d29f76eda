//! Maxima and averages over windows of pictures whose channels lie last (NHWC).
//!
//! A window is the same for all channels of a pixel, so they are worked on side by side. Forward goes
//! over each output's window; backward gathers, for each input pixel, from the windows that cover it.
//! So each element is written by one task and its terms come in C order, wherever the work is cut.
//! The rules for maxima and divisors are those of [`pooling`](crate::kernels::pooling).

#![allow(unsafe_code)]
// The bodies are plain loops: the instruction set is that of the function they are inlined into.
#![allow(clippy::extra_unused_type_parameters)]

use crate::kernels::convolution::im2col::Axis;
use crate::kernels::crew::Crew;
use crate::kernels::pooling::{NONE, span};
use crate::kernels::simd::{Isa, Lanes, dispatch};
use crate::kernels::{each_chunk, each_pair_of_chunks};
use windows::{Segment, Windows, block, blocks, covering};

/// The maximum of each window: `x` is [N, h.input, w.input, `channels`], `y` [N, h.output, w.output,
/// `channels`]. `indices` get the place of each maximum within its channel's plane, y · w.input + x, or
/// [`NONE`].
pub fn max(
    crew: &Crew,
    x: &[f32],
    channels: usize,
    axes: [Axis; 2],
    y: &mut [f32],
    indices: Option<&mut [u32]>,
) {
    let g = Windows::new(Isa::current(), channels, axes, x.len(), y.len());
    g.max(crew, x, y, indices);
}

/// [`max`] of numbers that lie in bfloat16, two in a float, where channels are even.
pub fn max_halves(crew: &Crew, x: &[f32], channels: usize, axes: [Axis; 2], y: &mut [f32]) {
    let g = Windows::new(Isa::current(), channels / 2, axes, x.len(), y.len());
    // SAFETY: the body is safe code.
    each_chunk(crew, g.chunk(true) / 2, y, |start, y| unsafe {
        maxima_of_halves(g.isa, &g, start, x, y)
    });
}

/// [`average`] of numbers that lie in bfloat16; the averages are float32.
pub fn average_halves(crew: &Crew, x: &[f32], channels: usize, axes: [Axis; 2], y: &mut [f32]) {
    let g = Windows::new(Isa::current(), channels / 2, axes, 2 * x.len(), y.len());
    // SAFETY: the body is safe code.
    each_chunk(crew, g.chunk(true), y, |start, y| unsafe {
        averages_of_halves(g.isa, &g, start, x, y)
    });
}

/// Gives each maximum's gradient to its place: `dx` ← 0, then `dx`\[index\] += `dy`.
pub fn max_backward(
    crew: &Crew,
    dy: &[f32],
    indices: &[u32],
    channels: usize,
    axes: [Axis; 2],
    dx: &mut [f32],
) {
    let g = Windows::new(Isa::current(), channels, axes, dx.len(), dy.len());
    g.max_backward(crew, dy, indices, dx);
}

/// The average of each window. The divisor counts padding inside the padded input, as in Caffe.
pub fn average(crew: &Crew, x: &[f32], channels: usize, axes: [Axis; 2], y: &mut [f32]) {
    Windows::new(Isa::current(), channels, axes, x.len(), y.len()).average(crew, x, y);
}

/// Spreads each average's gradient over its window.
pub fn average_backward(crew: &Crew, dy: &[f32], channels: usize, axes: [Axis; 2], dx: &mut [f32]) {
    let g = Windows::new(Isa::current(), channels, axes, dx.len(), dy.len());
    g.average_backward(crew, dy, dx);
}

impl Windows {
    fn max(&self, crew: &Crew, x: &[f32], y: &mut [f32], indices: Option<&mut [u32]>) {
        let chunk = self.chunk(true);
        let Some(indices) = indices else {
            // SAFETY: the body is safe code.
            return each_chunk(crew, chunk, y, |start, y| unsafe {
                maxima(self.isa, self, start, x, y)
            });
        };
        assert_eq!(y.len(), indices.len());
        // SAFETY: the body is safe code.
        each_pair_of_chunks(crew, chunk, y, indices, |start, y, at| unsafe {
            maxima_indices(self.isa, self, start, x, y, at)
        });
    }

    fn max_backward(&self, crew: &Crew, dy: &[f32], indices: &[u32], dx: &mut [f32]) {
        assert_eq!(dy.len(), indices.len());
        // SAFETY: the body is safe code.
        each_chunk(crew, self.chunk(false), dx, |start, dx| unsafe {
            give(self.isa, self, start, dy, indices, dx)
        });
    }

    fn average(&self, crew: &Crew, x: &[f32], y: &mut [f32]) {
        // SAFETY: the body is safe code.
        each_chunk(crew, self.chunk(true), y, |start, y| unsafe {
            averages(self.isa, self, start, x, y)
        });
    }

    fn average_backward(&self, crew: &Crew, dy: &[f32], dx: &mut [f32]) {
        // SAFETY: the body is safe code.
        each_chunk(crew, self.chunk(false), dx, |start, dx| unsafe {
            spread(self.isa, self, start, dy, dx)
        });
    }
}

// Maxima are taken in blocks of channels, in registers: a choice that goes to memory becomes a masked
// store or a branch. For the same reason indices and gradients are chosen by masks of bits.
#[inline(always)]
fn maximum<const B: usize>(g: &Windows, s: &Segment, x: &[f32], y: &mut [f32], c: usize) {
    let mut best = [-f32::MAX; B];
    for i in s.rows.clone() {
        for j in s.columns.clone() {
            let x = block::<_, B>(x, s.at(g, g.input(), i, j) + c);
            for l in 0..B {
                best[l] = if x[l] > best[l] { x[l] } else { best[l] };
            }
        }
    }
    y[c..c + B].copy_from_slice(&best);
}

#[inline(always)]
unsafe fn maxima_body<L: Lanes, const M: usize>(
    g: &Windows,
    start: usize,
    x: &[f32],
    y: &mut [f32],
) {
    for s in g.segments(start, y.len(), g.output(), span) {
        let y = &mut y[s.part.clone()];
        blocks!(y.len(), maximum(g, &s, x, y));
    }
}

#[inline(always)]
fn maximum_index<const B: usize>(
    g: &Windows,
    s: &Segment,
    x: &[f32],
    y: &mut [f32],
    at: &mut [u32],
    c: usize,
) {
    let (mut best, mut from) = ([-f32::MAX; B], [NONE; B]);
    for i in s.rows.clone() {
        for j in s.columns.clone() {
            let x = block::<_, B>(x, s.at(g, g.input(), i, j) + c);
            let index = (i * g.w.input + j) as u32;
            for l in 0..B {
                let more = u32::from(x[l] > best[l]).wrapping_neg();
                from[l] = (index & more) | (from[l] & !more);
            }
            for l in 0..B {
                best[l] = if x[l] > best[l] { x[l] } else { best[l] };
            }
        }
    }
    y[c..c + B].copy_from_slice(&best);
    at[c..c + B].copy_from_slice(&from);
}

#[inline(always)]
unsafe fn maxima_indices_body<L: Lanes, const M: usize>(
    g: &Windows,
    start: usize,
    x: &[f32],
    y: &mut [f32],
    at: &mut [u32],
) {
    for s in g.segments(start, y.len(), g.output(), span) {
        let (y, at) = (&mut y[s.part.clone()], &mut at[s.part.clone()]);
        blocks!(y.len(), maximum_index(g, &s, x, y, at));
    }
}

#[inline(always)]
fn given<const B: usize>(
    g: &Windows,
    s: &Segment,
    dy: &[f32],
    at: &[u32],
    dx: &mut [f32],
    c: usize,
) {
    let index = (s.row * g.w.input + s.column) as u32;
    let mut sum = [0.0; B];
    for i in s.rows.clone() {
        for j in s.columns.clone() {
            let dy = block::<_, B>(dy, s.at(g, g.output(), i, j) + c);
            let at = block::<_, B>(at, s.at(g, g.output(), i, j) + c);
            for l in 0..B {
                let mine = u32::from(at[l] == index).wrapping_neg();
                sum[l] += f32::from_bits(dy[l].to_bits() & mine);
            }
        }
    }
    dx[c..c + B].copy_from_slice(&sum);
}

#[inline(always)]
unsafe fn give_body<L: Lanes, const M: usize>(
    g: &Windows,
    start: usize,
    dy: &[f32],
    at: &[u32],
    dx: &mut [f32],
) {
    for s in g.segments(start, dx.len(), g.input(), covering) {
        let dx = &mut dx[s.part.clone()];
        blocks!(dx.len(), given(g, &s, dy, at, dx));
    }
}

// Sums are taken pixel after pixel in memory: the compiler tears blocks of them apart.
#[inline(always)]
unsafe fn averages_body<L: Lanes, const M: usize>(
    g: &Windows,
    start: usize,
    x: &[f32],
    y: &mut [f32],
) {
    for s in g.segments(start, y.len(), g.output(), span) {
        let y = &mut y[s.part.clone()];
        y.fill(0.0);
        for i in s.rows.clone() {
            for j in s.columns.clone() {
                let x = &x[s.at(g, g.input(), i, j)..][..y.len()];
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
        }
        let n = g.divisor(s.row, s.column);
        y.iter_mut().for_each(|y| *y /= n);
    }
}

#[inline(always)]
unsafe fn spread_body<L: Lanes, const M: usize>(
    g: &Windows,
    start: usize,
    dy: &[f32],
    dx: &mut [f32],
) {
    for s in g.segments(start, dx.len(), g.input(), covering) {
        let dx = &mut dx[s.part.clone()];
        dx.fill(0.0);
        for i in s.rows.clone() {
            for j in s.columns.clone() {
                let dy = &dy[s.at(g, g.output(), i, j)..][..dx.len()];
                let share = 1.0 / g.divisor(i, j);
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += share * dy);
            }
        }
    }
}

dispatch! {
    /// The part of the maxima that starts at element `start`.
    unsafe fn maxima(g: &Windows, start: usize, x: &[f32], y: &mut [f32]) = maxima_body
}
dispatch! {
    /// [`maxima`], and their places.
    unsafe fn maxima_indices(g: &Windows, start: usize, x: &[f32], y: &mut [f32], at: &mut [u32])
        = maxima_indices_body
}
dispatch! {
    /// The part of the maxima's gradient that starts at element `start`.
    unsafe fn give(g: &Windows, start: usize, dy: &[f32], at: &[u32], dx: &mut [f32]) = give_body
}
/// The two numbers of a float.
#[inline(always)]
fn two(x: f32) -> [f32; 2] {
    let bits = x.to_bits();
    [bits << 16, bits & 0xffff_0000].map(f32::from_bits)
}

#[inline(always)]
fn maximum_of_halves<const B: usize>(g: &Windows, s: &Segment, x: &[f32], y: &mut [f32], c: usize) {
    let mut best = [[-f32::MAX; B]; 2];
    for i in s.rows.clone() {
        for j in s.columns.clone() {
            let x = block::<_, B>(x, s.at(g, g.input(), i, j) + c);
            for l in 0..B {
                let x = two(x[l]);
                best[0][l] = if x[0] > best[0][l] { x[0] } else { best[0][l] };
                best[1][l] = if x[1] > best[1][l] { x[1] } else { best[1][l] };
            }
        }
    }
    for l in 0..B {
        let [even, odd] = [best[0][l], best[1][l]].map(f32::to_bits);
        y[c + l] = f32::from_bits(even >> 16 | odd & 0xffff_0000);
    }
}

#[inline(always)]
unsafe fn maxima_of_halves_body<L: Lanes, const M: usize>(
    g: &Windows,
    start: usize,
    x: &[f32],
    y: &mut [f32],
) {
    for s in g.segments(start, y.len(), g.output(), span) {
        let y = &mut y[s.part.clone()];
        blocks!(y.len(), maximum_of_halves(g, &s, x, y));
    }
}

/// `g` counts pairs of channels, as `x` has them, `start` and `y` single ones.
#[inline(always)]
unsafe fn averages_of_halves_body<L: Lanes, const M: usize>(
    g: &Windows,
    start: usize,
    x: &[f32],
    y: &mut [f32],
) {
    for s in g.segments(start / 2, y.len() / 2, g.output(), span) {
        let y = &mut y[2 * s.part.start..2 * s.part.end];
        y.fill(0.0);
        for i in s.rows.clone() {
            for j in s.columns.clone() {
                let x = &x[s.at(g, g.input(), i, j)..][..y.len() / 2];
                for (y, x) in y.chunks_exact_mut(2).zip(x) {
                    let x = two(*x);
                    y[0] += x[0];
                    y[1] += x[1];
                }
            }
        }
        let n = g.divisor(s.row, s.column);
        y.iter_mut().for_each(|y| *y /= n);
    }
}

dispatch! {
    /// The part of the maxima of halves that starts at float `start`.
    unsafe fn maxima_of_halves(g: &Windows, start: usize, x: &[f32], y: &mut [f32]) = maxima_of_halves_body
}
dispatch! {
    /// The part of the averages of halves that starts at element `start`.
    unsafe fn averages_of_halves(g: &Windows, start: usize, x: &[f32], y: &mut [f32]) = averages_of_halves_body
}
dispatch! {
    /// The part of the averages that starts at element `start`.
    unsafe fn averages(g: &Windows, start: usize, x: &[f32], y: &mut [f32]) = averages_body
}
dispatch! {
    /// The part of the averages' gradient that starts at element `start`.
    unsafe fn spread(g: &Windows, start: usize, dy: &[f32], dx: &mut [f32]) = spread_body
}

#[cfg(test)]
mod tests;
mod windows;
