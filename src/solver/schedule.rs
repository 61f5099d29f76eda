//! How the masks of a sparse phase come and go over its iterations.

pub mod acdc;
pub mod cubic;

use super::sparsity::Sparsity;
use acdc::{AcDc, Rounds, Side};
use anyhow::{Result, bail};
pub use cubic::{Cubic, Ramp};
use std::fmt;

/// How a sparse phase prunes, as it is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Pruning {
    /// At the start, and the masks hold.
    #[default]
    Once,
    /// At the start, and nothing holds what is 0 then.
    Released,
    /// More and more, along a cubic curve.
    Cubic {
        /// The iterations between two prunings.
        every: Option<u64>,
        /// The iteration of the last.
        until: Option<u64>,
    },
    /// Sparse and dense in turn.
    AcDc(Rounds),
}

impl Pruning {
    /// Checks it against the length of the phase and the rules for the net's `layers`.
    ///
    /// # Errors
    /// Nothing would be trained, or a rule that this pruning cannot follow.
    pub fn check(&self, max_iter: u64, sparsity: &Sparsity, layers: &[&str]) -> Result<()> {
        match self {
            Self::Once | Self::Released => {}
            Self::Cubic { every, until } => {
                Cubic::new(*every, *until, max_iter)?;
                let other = |l: &&str| sparsity.of(l).filter(|rule| !rule.is_by_magnitude());
                if let Some((layer, rule)) = layers.iter().find_map(|l| Some((l, other(l)?))) {
                    bail!(
                        "schedule \"cubic\" takes one weight after the other by magnitude, which the sparsity {rule} of \
                         layer '{layer}' does not; leave the schedule out"
                    );
                }
            }
            Self::AcDc(rounds) => {
                rounds.switches(max_iter)?;
            }
        }
        Ok(())
    }

    /// Whether masks hold the zeros in the end.
    pub fn ends_masked(&self) -> bool {
        match self {
            Self::Released => false,
            Self::AcDc(rounds) => rounds.ends == Side::Sparse,
            _ => true,
        }
    }
}

/// What changes the masks while a sparse phase runs, as its snapshots keep it.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// See [`Cubic`].
    Cubic(Cubic),
    /// See [`AcDc`].
    AcDc(AcDc),
}

impl Schedule {
    /// The iteration of the last change.
    pub fn last(&self) -> u64 {
        match self {
            Self::Cubic(cubic) => cubic.until,
            Self::AcDc(acdc) => acdc.switches.last().copied().unwrap_or(0),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cubic(cubic) => cubic.fmt(f),
            Self::AcDc(acdc) => acdc.fmt(f),
        }
    }
}
