//! AC/DC (Peste et al. 2021, "AC/DC: Alternating Compressed/DeCompressed Training of Deep Neural Networks"): sparse and
//! dense stretches in turn under one curve of rates. Each sparse one prunes to the same sparsity anew, by the weights as
//! they are then; in each dense one the pruned weights come back from 0.

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Deserialize;
use std::fmt;

/// What a stretch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Pruned.
    #[default]
    Sparse,
    /// All weights are trained.
    Dense,
}

impl Side {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sparse => "sparse",
            Self::Dense => "dense",
        }
    }
}

/// Which stretches there shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// The iterations of a stretch; without them the phase is cut evenly.
    pub every: Option<u64>,
    /// The number of sparse stretches, where `every` does not say it; 3 if nothing does.
    pub rounds: Option<u64>,
    /// What the first one is.
    pub starts: Side,
    /// What the last one is.
    pub ends: Side,
}

impl Rounds {
    /// The iterations at which one stretch follows another, in a phase of `max_iter`. With a length of stretches, the last
    /// takes the iterations that are left, and those of one more that would end the phase on the wrong side.
    ///
    /// # Errors
    /// The phase is too short.
    pub fn switches(&self, max_iter: u64) -> Result<Vec<u64>> {
        let same = u64::from(self.starts == self.ends);
        if let Some(every) = self.every {
            let mut n = max_iter / every.max(1);
            if n % 2 != same {
                n = n.saturating_sub(1);
            }
            if n < 2 {
                bail!(
                    "schedule \"acdc\" with ac_dc_every {every} has no room for {} in the phase's {max_iter} iterations",
                    match same {
                        1 => "three stretches",
                        _ => "two stretches",
                    }
                );
            }
            return Ok((1..n).map(|j| j * every).collect());
        }
        let rounds = self.rounds.unwrap_or(3);
        let n = match (self.starts, self.ends) {
            (Side::Sparse, Side::Sparse) => rounds.saturating_mul(2).saturating_sub(1),
            (Side::Dense, Side::Dense) => rounds.saturating_mul(2).saturating_add(1),
            _ => rounds.saturating_mul(2),
        };
        if n > max_iter {
            bail!(
                "schedule \"acdc\" with {rounds} rounds has {n} stretches, but the phase only {max_iter} iterations"
            );
        }
        let at = |j: u64| (u128::from(j) * u128::from(max_iter) / u128::from(n.max(1))) as u64;
        Ok((1..n).map(at).collect())
    }
}

/// Sparse and dense stretches, and how the sparse ones prune.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcDc {
    /// The rules, as [`Sparsity::parse`](super::Sparsity::parse) reads them.
    pub sparsity: String,
    /// What the first stretch is.
    pub starts: Side,
    /// The iterations at which one stretch follows another.
    pub switches: Vec<u64>,
}

impl AcDc {
    /// Whether the weights are pruned at iteration `iter`.
    pub fn is_sparse(&self, iter: u64) -> bool {
        let behind = self.switches.iter().filter(|s| **s <= iter).count();
        (self.starts == Side::Sparse) == behind.is_multiple_of(2)
    }
}

impl fmt::Display for AcDc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at: Vec<String> = self.switches.iter().map(u64::to_string).collect();
        write!(
            f,
            "acdc, {} first, turns at {}",
            self.starts.name(),
            at.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_fill_the_phase_and_end_on_the_wanted_side() {
        let of = |every, rounds, starts, ends, max_iter| {
            let r = Rounds {
                every,
                rounds,
                starts,
                ends,
            };
            r.switches(max_iter).map_err(|e| e.to_string())
        };
        use Side::{Dense, Sparse};
        assert_eq!(of(None, None, Sparse, Sparse, 10), Ok(vec![2, 4, 6, 8]));
        assert_eq!(of(None, Some(2), Sparse, Dense, 11), Ok(vec![2, 5, 8]));
        assert_eq!(of(None, Some(1), Dense, Dense, 9), Ok(vec![3, 6]));
        assert_eq!(of(None, Some(2), Dense, Sparse, 8), Ok(vec![2, 4, 6]));
        assert_eq!(of(Some(3), None, Sparse, Sparse, 14), Ok(vec![3, 6]));
        assert_eq!(of(Some(3), None, Sparse, Dense, 14), Ok(vec![3, 6, 9]));
        assert!(
            of(Some(9), None, Sparse, Sparse, 14)
                .unwrap_err()
                .contains("no room")
        );
        assert!(
            of(None, None, Sparse, Sparse, 4)
                .unwrap_err()
                .contains("5 stretches")
        );
        assert_eq!(of(None, Some(1), Sparse, Sparse, 4), Ok(vec![]));
    }

    #[test]
    fn the_sides_take_turns() {
        let mut a = AcDc {
            switches: vec![2, 5],
            ..AcDc::default()
        };
        let sides = |a: &AcDc| (0..7).map(|t| a.is_sparse(t)).collect::<Vec<_>>();
        assert_eq!(sides(&a), [true, true, false, false, false, true, true]);
        a.starts = Side::Dense;
        assert_eq!(sides(&a), [false, false, true, true, true, false, false]);
        assert_eq!(a.to_string(), "acdc, dense first, turns at 2 5");
    }
}
