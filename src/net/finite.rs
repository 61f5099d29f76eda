//! Numbers that are none: weights that are NaN or infinite, said where they come in and where they arise.

use super::{Net, Weights};
use crate::kernels::{CHUNK, crew};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many of some values are NaN or infinite.
pub fn count_bad(values: &[f32]) -> usize {
    // Exponent bits all set. No early end: a whole pass of this is as fast as memory.
    const EXPONENT: u32 = 0x7f80_0000;
    let bad = |v: &f32| usize::from(v.to_bits() & EXPONENT == EXPONENT);
    values.iter().map(bad).sum()
}

/// An array with numbers that are none.
#[derive(Clone, Debug, PartialEq)]
pub struct Bad {
    /// The layer.
    pub layer: String,
    /// Which of its blobs.
    pub blob: usize,
    /// How many values are NaN or infinite.
    pub bad: usize,
    /// How many there are.
    pub all: usize,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of the {} values of layer '{}', blob {}, are NaN or infinite",
            self.bad, self.all, self.layer, self.blob
        )
    }
}

impl Net {
    /// The first parameter of `weights` with NaN or infinity.
    pub fn first_bad(&self, weights: &Weights) -> Option<Bad> {
        let counts: Vec<AtomicUsize> = weights.iter().map(|_| AtomicUsize::new(0)).collect();
        let parts: Vec<_> = weights
            .iter()
            .zip(&counts)
            .flat_map(|(w, count)| w.data.chunks(CHUNK).map(move |part| (part, count)))
            .collect();
        crew::lead(|crew| {
            crew.each(parts, |(part, count)| {
                count.fetch_add(count_bad(part), Ordering::Relaxed);
            });
        });
        let mut all = self.params.iter().zip(weights.iter()).zip(counts);
        all.find_map(|((p, w), count)| {
            let bad = count.into_inner();
            (bad > 0).then(|| Bad {
                layer: p.layer.clone(),
                blob: p.index,
                bad,
                all: w.data.len(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_counted() {
        let values = [
            1.0,
            f32::NAN,
            f32::MAX,
            f32::INFINITY,
            -f32::INFINITY,
            1e-45,
        ];
        assert_eq!(count_bad(&values), 3);
        assert_eq!(count_bad(&[]), 0);
    }
}
