//! Memory for the time of one task, kept by its thread: no allocation once the largest has been seen,
//! and still in the cache from one layer to the next.

use super::aligned::Aligned;
use std::cell::RefCell;

thread_local! {
    static SPARE: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `n` floats of any content, of which the first starts a line of the cache.
pub(super) fn with<T>(n: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < n {
        buffer.resize(n);
    }
    let result = f(&mut buffer[..n]);
    SPARE.with_borrow_mut(|spare| spare.push(buffer));
    result
}

/// A pointer that several tasks share, each for its own part of what is behind it.
#[derive(Clone, Copy)]
pub(super) struct Shared(*mut f32);

// SAFETY: the pointer alone does nothing; whoever writes through it says why the parts are disjoint.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

impl Shared {
    /// The start of `data`.
    pub fn new(data: &mut [f32]) -> Self {
        Self(data.as_mut_ptr())
    }

    /// The pointer.
    pub fn get(self) -> *mut f32 {
        self.0
    }
}

/// [`with`] for halves of a float, of which the first starts a line of the cache.
#[allow(unsafe_code)]
pub(super) fn halves<T>(n: usize, f: impl FnOnce(&mut [u16]) -> T) -> T {
    with(n.div_ceil(2), |floats| {
        // SAFETY: two halves fit into a float, and any bits are some.
        f(unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), n) })
    })
}
