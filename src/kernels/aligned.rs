//! Floats that start on a line of the cache, for what kernels read and write in whole registers: a register of 64
//! bytes that lies across two lines takes two accesses.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Floats of a line.
const LINE: usize = 16;

/// Some floats, of which the first lies at a multiple of 64 bytes.
#[derive(Default)]
pub struct Aligned {
    data: Vec<f32>,
    /// Where in `data` the first line starts.
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        // Fresh pages are zeros already: this takes no time before they are used.
        let data = vec![0.0; len + LINE - 1];
        let start = data.as_ptr().align_offset(4 * LINE).min(LINE - 1);
        Self { data, start, len }
    }

    /// `len` zeros, if there is memory for them; `what` they are for and the `advice` are for the error.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn try_zeros(len: usize, what: impl Fn() -> String, advice: &str) -> anyhow::Result<Self> {
        if len == 0 {
            return Ok(Self::default());
        }
        let data = crate::memory::zeros(len.saturating_add(LINE - 1), what, advice)?;
        let start = data.as_ptr().align_offset(4 * LINE).min(LINE - 1);
        Ok(Self { data, start, len })
    }

    /// Makes it `len` numbers, whatever they are; memory that fits is used again.
    ///
    /// # Errors
    /// There is no memory for them; see [`Aligned::try_zeros`].
    pub fn try_resize(
        &mut self,
        len: usize,
        what: impl Fn() -> String,
        advice: &str,
    ) -> anyhow::Result<()> {
        if len <= self.data.len() - self.start {
            self.len = len;
        } else {
            *self = Self::try_zeros(len, what, advice)?;
        }
        Ok(())
    }

    /// Keeps the first `len` numbers; those that are new are 0.
    pub fn resize(&mut self, len: usize) {
        if len > self.data.len() - self.start {
            let mut more = Self::zeros(len);
            more[..self.len].copy_from_slice(self);
            *self = more;
            return;
        }
        let before = std::mem::replace(&mut self.len, len);
        if let Some(new) = self.get_mut(before..) {
            new.fill(0.0);
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}

impl From<&[f32]> for Aligned {
    fn from(values: &[f32]) -> Self {
        let mut aligned = Self::zeros(values.len());
        aligned.copy_from_slice(values);
        aligned
    }
}

impl Clone for Aligned {
    /// A copy has its numbers elsewhere, and so another start.
    fn clone(&self) -> Self {
        Self::from(&self[..])
    }
}

impl fmt::Debug for Aligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &Aligned) {
        assert!(a.is_empty() || a.as_ptr().addr().is_multiple_of(64));
    }

    #[test]
    fn every_size_starts_on_a_line() {
        for n in (0..70).chain([1000, 12_345, 1 << 20]) {
            let mut a = Aligned::zeros(n);
            assert_eq!(a.len(), n);
            assert!(a.iter().all(|v| *v == 0.0));
            check(&a);
            a.fill(1.0);
            let copy = a.clone();
            check(&copy);
            assert_eq!(*copy, *a);
            a.resize(n + 33);
            check(&a);
            assert!(a[..n].iter().all(|v| *v == 1.0) && a[n..].iter().all(|v| *v == 0.0));
            a.fill(2.0);
            a.resize(n / 2);
            a.resize(n);
            check(&a);
            assert!(a[..n / 2].iter().all(|v| *v == 2.0) && a[n / 2..].iter().all(|v| *v == 0.0));
        }
    }
}
