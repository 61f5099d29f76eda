//! Local response normalisation across channels: y = x · s^−β with s = k + α/n · Σ x² over the n
//! channels around x's, in either layout. What lies outside counts as 0.
//!
//! Backward, with r = dy·x·s^(−β−1): dx = dy·s^−β − 2·α/n·β·x·Σ r over the n channels around. It
//! computes s and r again where it needs them, so that nothing has to be kept.

#![allow(unsafe_code)]

use super::simd::Isa;
use super::{CHUNK, each_chunk, scratch};
use crate::kernels::crew::Crew;
use bodies::{BLOCK, backward_last, backward_planes, forward_last, forward_planes};
use std::ops::Range;

/// The normalisation's parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Across {
    /// The number of channels n of a sum, odd.
    pub size: usize,
    /// The weight α of the sum.
    pub alpha: f32,
    /// The exponent β.
    pub beta: f32,
    /// What is added to the sum.
    pub k: f32,
}

impl Across {
    /// y of `x`, [.., `channels`].
    pub fn forward_last(&self, crew: &Crew, x: &[f32], channels: usize, y: &mut [f32]) {
        self.forward_last_by(Isa::current(), crew, x, channels, y);
    }

    fn forward_last_by(&self, isa: Isa, crew: &Crew, x: &[f32], channels: usize, y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        let channels = channels.max(1);
        let buffer = channels + 2 * self.half(channels);
        each_chunk(crew, task(channels), y, |start, y| {
            scratch::with(buffer, |buffer| {
                let x = &x[start..][..y.len()];
                // SAFETY: the body is safe code.
                unsafe { forward_last(isa, self, x, channels, y, buffer) }
            });
        });
    }

    /// dx of `x` and `dy`, [.., `channels`].
    pub fn backward_last(
        &self,
        crew: &Crew,
        x: &[f32],
        dy: &[f32],
        channels: usize,
        dx: &mut [f32],
    ) {
        self.backward_last_by(Isa::current(), crew, [x, dy], channels, dx);
    }

    fn backward_last_by(
        &self,
        isa: Isa,
        crew: &Crew,
        [x, dy]: [&[f32]; 2],
        channels: usize,
        dx: &mut [f32],
    ) {
        assert_eq!((x.len(), dy.len()), (dx.len(), dx.len()));
        let channels = channels.max(1);
        let buffer = 3 * channels + 4 * self.half(channels);
        each_chunk(crew, task(channels), dx, |start, dx| {
            scratch::with(buffer, |buffer| {
                let of = |v| -> &[f32] { &<[f32]>::split_at(v, start).1[..dx.len()] };
                // SAFETY: the body is safe code.
                unsafe { backward_last(isa, self, of(x), of(dy), channels, dx, buffer) }
            });
        });
    }

    /// y of `x`, [N, `channels`, `plane`].
    pub fn forward_planes(
        &self,
        crew: &Crew,
        x: &[f32],
        channels: usize,
        plane: usize,
        y: &mut [f32],
    ) {
        self.forward_planes_by(Isa::current(), crew, x, [channels, plane], y);
    }

    fn forward_planes_by(
        &self,
        isa: Isa,
        crew: &Crew,
        x: &[f32],
        shape: [usize; 2],
        y: &mut [f32],
    ) {
        assert_eq!(x.len(), y.len());
        self.each_planes(crew, shape, y, |sample, range, y| {
            let x = &x[sample];
            // SAFETY: the body is safe code.
            unsafe { forward_planes(isa, self, x, shape[1], range.start, y) }
        });
    }

    /// dx of `x` and `dy`, [N, `channels`, `plane`].
    pub fn backward_planes(
        &self,
        crew: &Crew,
        x: &[f32],
        dy: &[f32],
        channels: usize,
        plane: usize,
        dx: &mut [f32],
    ) {
        self.backward_planes_by(Isa::current(), crew, [x, dy], [channels, plane], dx);
    }

    fn backward_planes_by(
        &self,
        isa: Isa,
        crew: &Crew,
        [x, dy]: [&[f32]; 2],
        shape: [usize; 2],
        dx: &mut [f32],
    ) {
        assert_eq!((x.len(), dy.len()), (dx.len(), dx.len()));
        self.each_planes(crew, shape, dx, |sample, range, dx| {
            let rows = range.len() + 2 * self.half(shape[0]) + 2;
            let (x, dy) = (&x[sample.clone()], &dy[sample]);
            // SAFETY: the body is safe code.
            scratch::with(rows * BLOCK, |buffer| unsafe {
                backward_planes(isa, self, x, dy, shape[1], range.start, dx, buffer)
            });
        });
    }

    /// Calls `f(sample, channels, part)` for some channels of each sample: the sample's elements in the
    /// array, the channels, and theirs in `out`.
    fn each_planes(
        &self,
        crew: &Crew,
        [channels, plane]: [usize; 2],
        out: &mut [f32],
        f: impl Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync,
    ) {
        let sample = channels * plane;
        // Backward computes r for the neighbours too: a part must have many more channels of its own.
        let part = match crew.is_shared() {
            true => {
                plane
                    * (CHUNK / plane.max(1))
                        .max(4 * self.size.min(channels))
                        .max(16)
            }
            false => sample,
        };
        let samples = out.chunks_mut(sample.max(1)).enumerate();
        let parts = samples.flat_map(|(n, out)| {
            let parts = out.chunks_mut(part.max(1)).enumerate();
            parts.map(move |(k, out)| (n * sample, k * part, out))
        });
        crew.each(parts, |(start, first, out)| {
            let first = first / plane;
            f(start..start + sample, first..first + out.len() / plane, out);
        });
    }

    /// The channels on either side that a sum takes in.
    fn half(&self, channels: usize) -> usize {
        (self.size / 2).min(channels.saturating_sub(1))
    }
}

/// Elements of one task over pixels of so many channels.
fn task(channels: usize) -> usize {
    channels * (CHUNK / channels).max(1)
}

mod bodies;
#[cfg(test)]
mod tests;
