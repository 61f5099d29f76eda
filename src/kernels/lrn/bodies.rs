//! The loops of LRN, once per instruction set.

#![allow(unsafe_code)]
// They are plain Rust: the instruction set is that of the function they are inlined into.
#![allow(clippy::extra_unused_type_parameters)]

use super::Across;
use crate::kernels::simd::{Lanes, dispatch};
use std::ops::Range;

/// Positions of a plane that are worked on at a time: some channels of them stay in the cache.
pub(super) const BLOCK: usize = 256;

impl Across {
    /// s of the sums of squares.
    #[inline(always)]
    fn scale(&self, sums: &mut [f32]) {
        let share = self.alpha / self.size as f32;
        sums.iter_mut().for_each(|s| *s = self.k + share * *s);
    }

    /// s^−β of each s.
    #[inline(always)]
    fn powers(&self, s: &mut [f32]) {
        // Square roots are vector instructions; the usual exponents need no more.
        if self.beta == 0.75 {
            s.iter_mut().for_each(|s| {
                let root = s.sqrt();
                *s = 1.0 / (root * root.sqrt());
            });
        } else if self.beta == 0.5 {
            s.iter_mut().for_each(|s| *s = 1.0 / s.sqrt());
        } else if self.beta == 1.0 {
            s.iter_mut().for_each(|s| *s = 1.0 / *s);
        } else {
            s.iter_mut().for_each(|s| *s = s.powf(-self.beta));
        }
    }

    /// The factor of Σ r in dx, but for x.
    #[inline(always)]
    fn factor(&self) -> f32 {
        2.0 * self.alpha * self.beta / self.size as f32
    }
}

/// Sums of as many neighbours as `padded` is longer than `sums`, and one.
#[inline(always)]
fn sums(padded: &[f32], sums: &mut [f32]) {
    let n = sums.len();
    if padded.len() == n + 4 {
        for (s, v) in sums.iter_mut().zip(padded.windows(5)) {
            *s = v[0] + v[1] + v[2] + v[3] + v[4];
        }
        return;
    }
    sums.copy_from_slice(&padded[..n]);
    for shift in 1..=padded.len() - n {
        sums.iter_mut()
            .zip(&padded[shift..])
            .for_each(|(s, v)| *s += v);
    }
}

#[inline(always)]
unsafe fn forward_last_body<L: Lanes, const M: usize>(
    a: &Across,
    x: &[f32],
    channels: usize,
    y: &mut [f32],
    squares: &mut [f32],
) {
    let half = a.half(channels);
    squares.fill(0.0);
    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        let own = squares[half..].iter_mut();
        own.zip(x).for_each(|(q, x)| *q = x * x);
        sums(squares, y);
        a.scale(y);
        a.powers(y);
        y.iter_mut().zip(x).for_each(|(y, x)| *y *= x);
    }
}

#[inline(always)]
unsafe fn backward_last_body<L: Lanes, const M: usize>(
    a: &Across,
    x: &[f32],
    dy: &[f32],
    channels: usize,
    dx: &mut [f32],
    buffer: &mut [f32],
) {
    let half = a.half(channels);
    buffer.fill(0.0);
    let (s, buffer) = buffer.split_at_mut(channels);
    let (squares, ratios) = buffer.split_at_mut(channels + 2 * half);
    let sources = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
    for (dx, (x, dy)) in dx.chunks_exact_mut(channels).zip(sources) {
        let own = squares[half..].iter_mut();
        own.zip(x).for_each(|(q, x)| *q = x * x);
        sums(squares, s);
        a.scale(s);
        dx.copy_from_slice(s);
        a.powers(dx);
        gradients(x, dy, s, dx, &mut ratios[half..][..channels]);
        sums(ratios, s);
        let factor = a.factor();
        let sums = x.iter().zip(&*s);
        dx.iter_mut()
            .zip(sums)
            .for_each(|(dx, (x, sum))| *dx -= factor * x * sum);
    }
}

/// `dx` ← dy·p and `r` ← dy·x·p/s for p = s^−β, in `dx`.
#[inline(always)]
fn gradients(x: &[f32], dy: &[f32], s: &[f32], dx: &mut [f32], r: &mut [f32]) {
    for (((dx, r), s), (x, dy)) in dx.iter_mut().zip(r).zip(s).zip(x.iter().zip(dy)) {
        *r = dy * x * *dx / s;
        *dx *= dy;
    }
}

/// s of `at` in channel `c` of the sample `x`.
#[inline(always)]
fn squares(a: &Across, x: &[f32], plane: usize, c: usize, at: Range<usize>, s: &mut [f32]) {
    let half = a.half(x.len() / plane);
    s.fill(0.0);
    for channel in x
        .chunks_exact(plane)
        .take(c + half + 1)
        .skip(c.saturating_sub(half))
    {
        s.iter_mut()
            .zip(&channel[at.clone()])
            .for_each(|(s, x)| *s += x * x);
    }
    a.scale(s);
}

/// The blocks of a plane.
fn blocks(plane: usize) -> impl Iterator<Item = Range<usize>> {
    (0..plane)
        .step_by(BLOCK)
        .map(move |at| at..(at + BLOCK).min(plane))
}

#[inline(always)]
unsafe fn forward_planes_body<L: Lanes, const M: usize>(
    a: &Across,
    x: &[f32],
    plane: usize,
    first: usize,
    y: &mut [f32],
) {
    for at in blocks(plane) {
        for (i, y) in y.chunks_exact_mut(plane).enumerate() {
            let y = &mut y[at.clone()];
            squares(a, x, plane, first + i, at.clone(), y);
            a.powers(y);
            let x = &x[(first + i) * plane..][at.clone()];
            y.iter_mut().zip(x).for_each(|(y, x)| *y *= x);
        }
    }
}

#[inline(always)]
unsafe fn backward_planes_body<L: Lanes, const M: usize>(
    a: &Across,
    x: &[f32],
    dy: &[f32],
    plane: usize,
    first: usize,
    dx: &mut [f32],
    buffer: &mut [f32],
) {
    let channels = x.len() / plane;
    let half = a.half(channels);
    let own = first..first + dx.len() / plane;
    let around = own.start.saturating_sub(half)..(own.end + half).min(channels);
    let (s, buffer) = buffer.split_at_mut(BLOCK);
    let (p, ratios) = buffer.split_at_mut(BLOCK);
    for at in blocks(plane) {
        let (s, p) = (&mut s[..at.len()], &mut p[..at.len()]);
        for (c, r) in around.clone().zip(ratios.chunks_exact_mut(BLOCK)) {
            squares(a, x, plane, c, at.clone(), s);
            p.copy_from_slice(s);
            a.powers(p);
            let (x, dy) = (&x[c * plane..][at.clone()], &dy[c * plane..][at.clone()]);
            gradients(x, dy, s, p, &mut r[..at.len()]);
            if own.contains(&c) {
                dx[(c - first) * plane..][at.clone()].copy_from_slice(p);
            }
        }
        let factor = a.factor();
        for (c, dx) in own.clone().zip(dx.chunks_exact_mut(plane)) {
            s.fill(0.0);
            let range = c.saturating_sub(half).max(around.start)..(c + half + 1).min(around.end);
            for c in range {
                let r = &ratios[(c - around.start) * BLOCK..];
                s.iter_mut().zip(r).for_each(|(s, r)| *s += r);
            }
            let sums = x[c * plane..][at.clone()].iter().zip(&*s);
            let dx = dx[at.clone()].iter_mut();
            dx.zip(sums)
                .for_each(|(dx, (x, sum))| *dx -= factor * x * sum);
        }
    }
}

dispatch! {
    /// y of some pixels; `squares` is for one, with its neighbours beyond either end.
    pub(super) unsafe fn forward_last(a: &Across, x: &[f32], channels: usize, y: &mut [f32], squares: &mut [f32])
        = forward_last_body
}
dispatch! {
    /// dx of some pixels.
    pub(super) unsafe fn backward_last(
        a: &Across, x: &[f32], dy: &[f32], channels: usize, dx: &mut [f32], buffer: &mut [f32],
    ) = backward_last_body
}
dispatch! {
    /// y of the channels of sample `x` from `first` on.
    pub(super) unsafe fn forward_planes(a: &Across, x: &[f32], plane: usize, first: usize, y: &mut [f32])
        = forward_planes_body
}
dispatch! {
    /// dx of the channels of sample `x` from `first` on.
    pub(super) unsafe fn backward_planes(
        a: &Across, x: &[f32], dy: &[f32], plane: usize, first: usize, dx: &mut [f32],
        buffer: &mut [f32],
    ) = backward_planes_body
}
