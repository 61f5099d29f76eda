//! Masks: which weights of a parameter are alive.

use crate::tensor::Tensor;

/// Which values of one parameter survive; one bit a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    count: usize,
    bits: Vec<u8>,
}

impl Mask {
    /// A mask that prunes the `k` values of smallest magnitude; among equals, those of smallest index.
    /// (NaN counts as largest.)
    pub fn prune_smallest(values: &[f32], k: usize) -> Self {
        Self::prune_first(values.len(), k, |i| values[i].abs().to_bits())
    }

    /// As [`Self::prune_smallest`], but what this mask has pruned is pruned first: the new mask, if it prunes at
    /// least as many, takes only from those alive.
    pub fn prune_further(&self, values: &[f32], k: usize) -> Self {
        Self::prune_first(values.len(), k, |i| {
            (self.get(i), values[i].abs().to_bits())
        })
    }

    /// A mask that prunes the `k` of `n` values that come first by `key`, then by index.
    pub(super) fn prune_first<K: Ord>(n: usize, k: usize, key: impl Fn(usize) -> K) -> Self {
        let k = k.min(n);
        let mut order: Vec<u32> = (0..n as u32).collect();
        let key = |i: &u32| (key(*i as usize), *i);
        if k > 0 && k < order.len() {
            order.select_nth_unstable_by_key(k - 1, key);
        }
        let mut mask = Self::all(n);
        for &i in &order[..k] {
            mask.bits[i as usize / 8] &= !(1 << (i % 8));
        }
        mask
    }

    /// A mask under which `count` values are alive.
    pub fn all(count: usize) -> Self {
        let mut bits = vec![0xff; count.div_ceil(8)];
        if let (Some(last), rest @ 1..) = (bits.last_mut(), count % 8) {
            *last = (1 << rest) - 1;
        }
        Self { count, bits }
    }

    /// A mask of `count` values, of which those are alive that `alive` names.
    pub fn of(count: usize, alive: impl Fn(usize) -> bool) -> Self {
        let mut bits = vec![0; count.div_ceil(8)];
        for i in (0..count).filter(|i| alive(*i)) {
            bits[i / 8] |= 1 << (i % 8);
        }
        Self { count, bits }
    }

    /// The mask of the values that are not 0.
    pub fn of_nonzero(values: &[f32]) -> Self {
        Self::of(values.len(), |i| values[i] != 0.0)
    }

    /// A mask of `count` values from its bits, lowest first; `None` if their number is wrong.
    pub fn from_bits(count: usize, bits: &[u8]) -> Option<Self> {
        (bits.len() == count.div_ceil(8)).then(|| Self {
            count,
            bits: bits.to_vec(),
        })
    }

    /// The bits, lowest first.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// The number of values.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The number of values alive.
    pub fn alive(&self) -> usize {
        self.bits.iter().map(|b| b.count_ones() as usize).sum()
    }

    /// Whether value `i` is alive.
    pub fn get(&self, i: usize) -> bool {
        self.bits[i / 8] >> (i % 8) & 1 == 1
    }

    /// Sets every pruned value to exactly +0.
    pub fn apply(&self, values: &mut [f32]) {
        self.apply_from(0, values);
    }

    /// As [`Self::apply`], for values from number `start` on, a multiple of 8.
    pub fn apply_from(&self, start: usize, values: &mut [f32]) {
        debug_assert!(start.is_multiple_of(8));
        for (chunk, &bits) in values.chunks_mut(8).zip(&self.bits[start / 8..]) {
            if bits == 0xff {
                continue;
            }
            for (i, v) in chunk.iter_mut().enumerate() {
                if bits >> i & 1 == 0 {
                    *v = 0.0;
                }
            }
        }
    }
}

/// How many of `n` weights a sparsity of `fraction` removes: k = round(S·n).
pub fn pruned_count(fraction: f64, n: usize) -> usize {
    ((fraction * n as f64).round().max(0.0) as usize).min(n)
}

/// The fraction of values that are not 0, over arrays.
pub fn density<'a>(arrays: impl IntoIterator<Item = &'a Tensor>) -> f64 {
    let (mut all, mut alive) = (0usize, 0usize);
    for t in arrays {
        all += t.data.len();
        alive += t.data.iter().filter(|v| **v != 0.0).count();
    }
    if all == 0 {
        1.0
    } else {
        alive as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    #[test]
    fn exactly_the_smallest_are_pruned_and_ties_go_by_index() {
        let mask = Mask::prune_smallest(&[0.5, -0.1, 0.1, -0.1, 2.0], 2);
        let alive: Vec<bool> = (0..5).map(|i| mask.get(i)).collect();
        assert_eq!(alive, [true, false, false, true, true]);
    }

    #[test]
    fn the_mask_equals_a_full_sort_on_random_values() {
        let r = Random::new(3, Purpose::Filler, 0);
        for n in [1usize, 7, 8, 9, 100, 1001] {
            for k in [0, 1, n / 3, n - 1, n] {
                // Few distinct magnitudes, so that ties abound.
                let values: Vec<f32> = (0..n).map(|i| r.below(i as u64, 7) as f32 - 3.0).collect();
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()).then(a.cmp(&b)));
                let mask = Mask::prune_smallest(&values, k);
                assert_eq!(mask.alive(), n - k);
                assert!(order[..k].iter().all(|&i| !mask.get(i)), "n {n} k {k}");
            }
        }
    }

    #[test]
    fn masks_that_prune_further_are_nested() {
        // An alive 0 before a pruned one would be taken in its stead by magnitude and index alone.
        let values = [0.0, 5.0, 0.0, 0.0, 1.0, 2.0];
        let first = Mask::of_nonzero(&[1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        for k in 2..=6 {
            let next = first.prune_further(&values, k);
            assert_eq!(next.alive(), 6 - k);
            assert!((0..6).all(|i| first.get(i) || !next.get(i)), "{k}");
        }
        let next = first.prune_further(&values, 4);
        assert!(!next.get(0) && !next.get(4) && next.get(5));
    }

    #[test]
    fn bits_survive_a_round_trip() {
        let mask = Mask::prune_smallest(&[3.0, 1.0, 2.0, 0.0, 5.0, 1.0, 1.0, 9.0, 0.1], 4);
        assert_eq!(Mask::from_bits(9, mask.bits()).as_ref(), Some(&mask));
        assert_eq!(Mask::from_bits(20, mask.bits()), None);
        let mut values = [1.0f32; 9];
        mask.apply(&mut values);
        assert_eq!(values.iter().filter(|v| **v == 0.0).count(), 4);
        assert_eq!(Mask::of_nonzero(&values), mask);
    }
}
