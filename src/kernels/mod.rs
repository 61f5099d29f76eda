//! The arithmetic: plain loops and matrix products over slices, without layers, shapes or errors.
//!
//! Every kernel gives the same bits with and without `parallel`, and for any number of threads: work is
//! cut where the sizes alone say, and no sum crosses a cut. Callers have checked the sizes; kernels
//! assert them. Beside LMDB's mapping this is the only place with `unsafe`.

pub mod broadcast;
pub mod channels_last;
pub mod convolution;
mod direct;
pub mod elementwise;
pub mod gemm;
pub mod im2col;
pub mod layout;
pub mod lrn;
pub mod pooling;
pub mod pooling_last;
mod scratch;
pub mod simd;
pub mod stochastic;
mod tile;
mod winograd;

use rayon::prelude::*;

/// Elements of a slice that one task works on: large enough to pay for the task.
pub const CHUNK: usize = 1 << 14;

/// Calls `f(start, part)` for each part of `chunk` elements of `out` (the last may be shorter), on
/// several threads if `parallel`.
pub fn each_chunk<T: Send>(
    parallel: bool,
    chunk: usize,
    out: &mut [T],
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunk = chunk.max(1);
    if parallel && out.len() > chunk {
        out.par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(i, part)| f(i * chunk, part));
    } else {
        out.chunks_mut(chunk)
            .enumerate()
            .for_each(|(i, part)| f(i * chunk, part));
    }
}

/// Numbers for tests: uniform in [-1, 1), a function of seed and index.
#[cfg(test)]
pub(crate) fn noise(seed: u64, n: usize) -> Vec<f32> {
    let random = crate::random::Random::new(seed, crate::random::Purpose::Layer, 0);
    (0..n as u64).map(|i| 2.0 * random.unit(i) - 1.0).collect()
}
