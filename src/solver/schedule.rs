//! How the masks of a sparse phase come and go over its iterations.

pub mod acdc;
pub mod cubic;
pub mod rigl;
pub mod srste;

use super::pruning::Rule;
use super::sparsity::Sparsity;
use acdc::{AcDc, Rounds, Side};
use anyhow::{Result, bail};
pub use cubic::{Cubic, Ramp};
pub use rigl::RigL;
pub use srste::SrSte;
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
    /// Small weights die, others grow; see [`RigL::new`].
    RigL {
        /// The iterations between two exchanges.
        every: Option<u64>,
        /// The iteration from which on the masks stay.
        until: Option<u64>,
        /// The part that is exchanged at first.
        drop_fraction: Option<f64>,
    },
    /// Masks of dense weights, taken anew after every update.
    SrSte {
        /// The decay of weights that are left out; [`srste::DECAY`] where it is not said.
        decay: Option<f32>,
    },
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
                let other = |rule: Rule| !rule.is_by_magnitude();
                refuse(sparsity, layers, other, |layer, rule| {
                    format!(
                        "schedule \"cubic\" takes one weight after the other by magnitude, which the sparsity {rule} of \
                         layer '{layer}' does not; leave the schedule out"
                    )
                })?;
            }
            Self::AcDc(rounds) => {
                rounds.switches(max_iter)?;
            }
            Self::RigL {
                every,
                until,
                drop_fraction,
            } => {
                RigL::new(*every, *until, *drop_fraction, max_iter)?;
                let grouped = |rule: Rule| matches!(rule, Rule::Groups { .. });
                refuse(sparsity, layers, grouped, |layer, rule| {
                    format!(
                        "schedule \"rigl\" lets weights grow where the gradient is largest, which would break the \
                         groups of sparsity {rule} of layer '{layer}'; use schedule \"srste\""
                    )
                })?;
            }
            Self::SrSte { decay } => {
                if let Some(decay) = decay.filter(|d| !(*d >= 0.0 && d.is_finite())) {
                    bail!("srste_decay is {decay}, but must be 0 or more");
                }
                let other = |rule: Rule| {
                    !matches!(rule, Rule::Groups { .. }) && rule != Rule::Fraction(0.0)
                };
                refuse(sparsity, layers, other, |layer, rule| {
                    format!(
                        "schedule \"srste\" is for N:M sparsity such as 2:4, but that of layer '{layer}' is {rule}"
                    )
                })?;
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

/// Refuses the first layer whose rule is one of `bad`, in the words of `why`.
fn refuse(
    sparsity: &Sparsity,
    layers: &[&str],
    bad: impl Fn(Rule) -> bool,
    why: impl Fn(&str, Rule) -> String,
) -> Result<()> {
    let found = layers
        .iter()
        .find_map(|l| Some((*l, sparsity.of(l).filter(|r| bad(*r))?)));
    match found {
        Some((layer, rule)) => bail!("{}", why(layer, rule)),
        None => Ok(()),
    }
}

/// What changes the masks while a sparse phase runs, as its snapshots keep it.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// See [`Cubic`].
    Cubic(Cubic),
    /// See [`AcDc`].
    AcDc(AcDc),
    /// See [`RigL`].
    RigL(RigL),
    /// See [`SrSte`].
    SrSte(SrSte),
}

impl Schedule {
    /// The iteration of the last change that the schedule knows of.
    pub fn last(&self) -> u64 {
        match self {
            Self::Cubic(cubic) => cubic.until,
            Self::AcDc(acdc) => acdc.switches.last().copied().unwrap_or(0),
            Self::RigL(rigl) => rigl.last(),
            Self::SrSte(_) => 0,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cubic(cubic) => cubic.fmt(f),
            Self::AcDc(acdc) => acdc.fmt(f),
            Self::RigL(rigl) => rigl.fmt(f),
            Self::SrSte(srste) => srste.fmt(f),
        }
    }
}
