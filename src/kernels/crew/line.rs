//! Counters that many threads write, each on cache lines of its own.

use std::ops::Deref;

/// A value that shares no cache line with another; two lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Line<T>(pub T);

impl<T> Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
