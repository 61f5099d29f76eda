//! The values of a net's parameters, with a stamp that tells whether they have changed.

use crate::tensor::Tensor;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

/// The values of a net's parameters, in the order of [`super::Net::params`].
///
/// Whoever gets at them to write gives them a new stamp, so that what a net has made of them before (packed
/// weights) is made anew when, and only when, they may differ.
#[derive(Clone, Debug)]
pub struct Weights {
    tensors: Vec<Tensor>,
    stamp: u64,
}

/// A stamp that no weights have had.
fn new_stamp() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Weights {
    /// Equal stamps: equal values.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }
}

impl From<Vec<Tensor>> for Weights {
    fn from(tensors: Vec<Tensor>) -> Self {
        Self {
            tensors,
            stamp: new_stamp(),
        }
    }
}

impl FromIterator<Tensor> for Weights {
    fn from_iter<I: IntoIterator<Item = Tensor>>(tensors: I) -> Self {
        Self::from(tensors.into_iter().collect::<Vec<_>>())
    }
}

impl<'a> IntoIterator for &'a Weights {
    type Item = &'a Tensor;
    type IntoIter = std::slice::Iter<'a, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.iter()
    }
}

impl<'a> IntoIterator for &'a mut Weights {
    type Item = &'a mut Tensor;
    type IntoIter = std::slice::IterMut<'a, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl Deref for Weights {
    type Target = Vec<Tensor>;

    fn deref(&self) -> &Vec<Tensor> {
        &self.tensors
    }
}

impl DerefMut for Weights {
    fn deref_mut(&mut self) -> &mut Vec<Tensor> {
        self.stamp = new_stamp();
        &mut self.tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_changes_the_stamp_and_reading_does_not() {
        let mut w = Weights::from(vec![Tensor::default()]);
        let stamp = w.stamp();
        assert_eq!(w.len(), 1);
        assert_eq!(w.clone().stamp(), stamp);
        w[0].data.push(1.0);
        assert_ne!(w.stamp(), stamp);
    }
}
