//! RigL (Evci et al. 2020, "Rigging the Lottery: Making All Tickets Winners"): at every ΔT-th step the smallest living
//! weights die and as many grow where the gradient is largest. How many, falls along a cosine.

use super::super::mask::Mask;
use anyhow::{Result, bail};
use std::cmp::Reverse;
use std::f64::consts::PI;
use std::fmt;

/// ΔT where it is not said: the paper's.
const EVERY: u64 = 100;

/// α where it is not said: the paper's.
const DROP: f64 = 0.3;

/// When, and how many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RigL {
    /// ΔT, the iterations from one exchange to the next.
    pub every: u64,
    /// T_end: from this iteration on the masks stay.
    pub until: u64,
    /// α, the part of the living weights of a layer that is exchanged at first.
    pub drop_fraction: f64,
}

impl RigL {
    /// The numbers of a phase of `max_iter` iterations; where not given, those of the paper: an exchange every 100
    /// iterations in the first three quarters, of 0.3 of the weights at first.
    ///
    /// # Errors
    /// An end after that of the phase or before the first exchange, or a part that is none.
    pub fn new(
        every: Option<u64>,
        until: Option<u64>,
        drop_fraction: Option<f64>,
        max_iter: u64,
    ) -> Result<Self> {
        let drop_fraction = drop_fraction.unwrap_or(DROP);
        if !(drop_fraction > 0.0 && drop_fraction <= 1.0) {
            bail!(
                "drop_fraction is {drop_fraction}, but must lie in (0, 1]: it is the part of the living weights that is \
                 exchanged"
            );
        }
        let rigl = Self {
            every: every.unwrap_or(EVERY).max(1),
            until: until.unwrap_or(max_iter - max_iter / 4),
            drop_fraction,
        };
        if rigl.until > max_iter {
            bail!(
                "update_until is {}, but the phase has {max_iter} iterations",
                rigl.until
            );
        }
        if rigl.until <= rigl.every {
            bail!(
                "schedule \"rigl\" would exchange weights every {} iterations until iteration {}, and so never; give a \
                 smaller update_every",
                rigl.every,
                rigl.until
            );
        }
        Ok(rigl)
    }

    /// Whether weights are exchanged at iteration `iter`, in place of an update. The mask of the start has its ΔT first.
    pub fn due(&self, iter: u64) -> bool {
        iter > 0 && iter < self.until && iter.is_multiple_of(self.every.max(1))
    }

    /// The iteration of the last exchange.
    pub fn last(&self) -> u64 {
        let every = self.every.max(1);
        self.until.saturating_sub(1) / every * every
    }

    /// How many of `alive` weights are exchanged at iteration `iter`: α/2·(1 + cos(π·t/T_end)) of them (equation 1),
    /// rounded down.
    pub fn exchanged(&self, iter: u64, alive: usize) -> usize {
        let t = iter as f64 / self.until.max(1) as f64;
        let part = self.drop_fraction / 2.0 * (1.0 + (PI * t).cos());
        ((part * alive as f64) as usize).min(alive)
    }
}

/// The mask after an exchange: of the living weights the `k` of smallest magnitude die, and of all that are dead then the
/// `k` of largest gradient grow, one that has just died too if its gradient says so. Of equals the first dies and the
/// first grows.
pub fn exchange(mask: &Mask, weights: &[f32], gradients: &[f32], k: usize) -> Mask {
    let n = mask.count();
    let dead = n - mask.alive();
    let kept = mask.prune_further(weights, dead + k);
    Mask::prune_first(n, dead, |i| {
        (kept.get(i), gradients[i].abs().to_bits(), Reverse(i))
    })
}

impl fmt::Display for RigL {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rigl, {} every {} until {}",
            self.drop_fraction, self.every, self.until
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_die_and_the_steepest_grow() {
        let mask = Mask::of_nonzero(&[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        let weights = [0.1, -5.0, 0.1, 3.0, 0.0, 0.0, 0.0, 0.0];
        let alive = |gradients: &[f32], k| {
            let next = exchange(&mask, &weights, gradients, k);
            assert_eq!(next.alive(), 4);
            (0..8).filter(|&i| next.get(i)).collect::<Vec<_>>()
        };
        let g = [0.0, 9.0, 0.0, 9.0, 1.0, -3.0, 3.0, 2.0];
        assert_eq!(alive(&g, 0), [0, 1, 2, 3]);
        assert_eq!(alive(&g, 1), [1, 2, 3, 5]);
        assert_eq!(alive(&g, 2), [1, 3, 5, 6]);
        assert_eq!(alive(&g, 4), [1, 3, 5, 6]);
        // What has just died may grow.
        let g = [7.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(alive(&g, 2), [0, 1, 3, 4]);
        // Without dead ones there is nothing to exchange.
        let all = Mask::all(3);
        assert_eq!(exchange(&all, &[1.0, 2.0, 3.0], &[0.0; 3], 2), all);
    }

    #[test]
    fn the_part_falls_along_a_cosine() {
        let r = RigL::new(Some(10), Some(100), Some(0.4), 120).unwrap();
        assert_eq!(r.exchanged(0, 1000), 400);
        assert_eq!(r.exchanged(50, 1000), 200);
        assert_eq!(r.exchanged(90, 1000), 9);
        let due: Vec<u64> = (0..120).filter(|t| r.due(*t)).collect();
        assert_eq!((due.len(), due[0], *due.last().unwrap()), (9, 10, r.last()));
        assert_eq!(r.to_string(), "rigl, 0.4 every 10 until 100");
        let r = RigL::new(None, None, None, 1000).unwrap();
        assert_eq!((r.every, r.until, r.drop_fraction), (100, 750, 0.3));
        let error = |every, until, drop| {
            let e = RigL::new(every, until, drop, 100).unwrap_err();
            e.to_string()
        };
        assert!(error(None, None, None).contains("never"));
        assert!(error(Some(1), Some(101), None).contains("100 iterations"));
        assert!(error(Some(1), None, Some(0.0)).contains("(0, 1]"));
    }
}
