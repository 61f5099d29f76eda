//! The learning rate that a phase starts with, where phases share a solver: the DSD paper's 1 : 0.1 : 0.01.

use crate::flow::{QUANTIZE_RATE, rate_of};
use crate::phase::Phase;

/// A learning rate and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    /// `base_lr`.
    pub value: f32,
    /// ` (a tenth of the solver's 0.1)`, or nothing.
    pub note: String,
}

impl Rate {
    /// The rate as it is said.
    pub fn said(value: f32) -> Self {
        let note = String::new();
        Self { value, note }
    }

    /// The rate of a phase whose solver says `said`. `first` is the kind of the first phase of the run with that solver,
    /// whose rate is the solver's; `None` if this is the first.
    pub fn of(phase: Phase, said: f32, first: Option<Phase>) -> Self {
        let Some(first) = first else {
            return Self::said(said);
        };
        let part = match phase {
            Phase::Quantize => QUANTIZE_RATE,
            _ => rate_of(phase) / rate_of(first),
        };
        let words = match part {
            p if p > 0.5 => return Self::said(said),
            p if p > 0.05 => "a tenth",
            _ => "a hundredth",
        };
        // In decimals, so that a hundredth of 0.1 is 0.001 and not its neighbour.
        let decimal = said.to_string().parse::<f64>().unwrap_or(f64::from(said));
        Self {
            value: (decimal * part) as f32,
            note: format!(" ({words} of the solver's {said})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_with_one_solver_have_the_papers_rates() {
        use Phase::{Dense, Quantize, Redense, Sparse};
        let of = |phase, first| Rate::of(phase, 0.1, first);
        assert_eq!(of(Dense, None), Rate::said(0.1));
        assert_eq!(of(Sparse, Some(Dense)).value, 0.01);
        assert_eq!(of(Redense, Some(Dense)).value, 0.001);
        assert_eq!(of(Redense, Some(Sparse)).value, 0.01);
        assert_eq!(of(Sparse, Some(Sparse)), Rate::said(0.1));
        assert_eq!(of(Sparse, Some(Redense)), Rate::said(0.1));
        assert_eq!(of(Quantize, Some(Dense)).value, 0.001);
        assert_eq!(of(Quantize, Some(Redense)).value, 0.001);
        assert_eq!(
            of(Redense, Some(Dense)).note,
            " (a hundredth of the solver's 0.1)"
        );
        assert_eq!(Rate::of(Redense, 0.05, Some(Dense)).value, 0.0005);
    }
}
