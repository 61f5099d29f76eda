//! The arithmetic: plain loops and matrix products over slices, without layers, shapes or errors.
//!
//! Every kernel gives the same bits for any crew, of any number of threads: work is
//! cut where the sizes alone say, and no sum crosses a cut. Callers have checked the sizes; kernels
//! assert them. Beside LMDB's mapping this is the only place with `unsafe`.

pub mod aligned;
pub mod amx;
pub mod bf16;
pub mod broadcast;
pub mod convolution;
pub mod crew;
pub mod elementwise;
mod isa;
pub mod layout;
pub mod lrn;
pub mod peak;
pub mod pooling;
pub mod processor;
pub mod product;
mod scratch;
pub mod simd;
pub mod stochastic;
mod turn;

use crew::Crew;

/// Elements of a slice that one task works on: large enough to pay for the task.
pub const CHUNK: usize = 1 << 14;

/// Calls `f(start, part)` for each part of `chunk` elements of `out` (the last may be shorter), on
/// the threads of `crew`.
pub fn each_chunk<T: Send>(
    crew: &Crew,
    chunk: usize,
    out: &mut [T],
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let mut nothing = vec![(); out.len()];
    each_pair_of_chunks(crew, chunk, out, &mut nothing, |start, out, _| {
        f(start, out)
    });
}

/// [`each_chunk`] of two slices of equal length.
pub fn each_pair_of_chunks<T: Send, U: Send>(
    crew: &Crew,
    chunk: usize,
    one: &mut [T],
    two: &mut [U],
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    assert_eq!(one.len(), two.len());
    let (chunk, n) = (chunk.max(1), one.len());
    let (one, two) = (Start(one.as_mut_ptr()), Start(two.as_mut_ptr()));
    crew.for_each(n.div_ceil(chunk), |i| {
        let start = i * chunk;
        let len = chunk.min(n - start);
        // SAFETY: piece i has the elements from i·chunk up to the next piece for itself, of slices that
        // are borrowed until all pieces are done; their elements may go to other threads (`Send`).
        #[allow(unsafe_code)]
        let (one, two) = unsafe {
            (
                std::slice::from_raw_parts_mut(one.get().add(start), len),
                std::slice::from_raw_parts_mut(two.get().add(start), len),
            )
        };
        f(start, one, two);
    });
}

/// The start of a slice that pieces of work share.
struct Start<T>(*mut T);

// SAFETY: only `each_pair_of_chunks` uses the pointer, each thread for elements of its own.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Numbers for tests: uniform in [-1, 1), a function of seed and index.
#[cfg(test)]
pub(crate) fn noise(seed: u64, n: usize) -> Vec<f32> {
    let random = crate::random::Random::new(seed, crate::random::Purpose::Layer, 0);
    (0..n as u64).map(|i| 2.0 * random.unit(i) - 1.0).collect()
}
