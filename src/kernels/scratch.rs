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
pub(super) struct Shared<T = f32>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: the pointer alone does nothing; whoever writes through it says why the parts are disjoint.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The start of `data`.
    pub fn new(data: &mut [T]) -> Self {
        Self(data.as_mut_ptr())
    }

    /// Of a pointer.
    pub fn of(start: *mut T) -> Self {
        Self(start)
    }

    /// The pointer.
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// [`with`] for halves of a float, of which the first starts a line of the cache.
pub(super) fn with_halves<T>(n: usize, f: impl FnOnce(&mut [u16]) -> T) -> T {
    with(n.div_ceil(2), |floats| f(&mut halves_mut(floats)[..n]))
}

/// The halves of some floats.
#[allow(unsafe_code)]
pub(super) fn halves(floats: &[f32]) -> &[u16] {
    // SAFETY: two halves fit into a float, and any bits are some.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), 2 * floats.len()) }
}

/// The same, to be written.
#[allow(unsafe_code)]
pub(super) fn halves_mut(floats: &mut [f32]) -> &mut [u16] {
    // SAFETY: two halves fit into a float, and any bits of two are one.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), 2 * floats.len()) }
}
