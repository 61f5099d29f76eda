//! The learning rate that a phase starts with, where phases share a solver: the DSD paper's 1 : 0.1 : 0.01; and rates of
//! the dense phase that a later one takes up again.

use super::flow::Plan;
use crate::flow::{Flow, QUANTIZE_RATE, rate_of};
use crate::phase::Phase;
use anyhow::{Result, bail};

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

    /// The rate of a phase that takes up the rates of `base_lr` again from iteration `from` on.
    pub fn rewound(value: f32, from: u64) -> Self {
        let note = format!(" (its rates from iteration {from} on)");
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

/// Finds the rates for phases with `rewind_to`: those of the last dense phase before with the same solver, of its length and
/// with its base_lr; else those of the phase's own solver. A phase whose length is not said gets what is left of them.
///
/// # Errors
/// Nothing is left.
pub(super) fn rewind(flow: &Flow, plans: &mut [Plan]) -> Result<()> {
    for (k, step) in flow.steps.iter().enumerate() {
        let Some(from) = step.rewind_to else { continue };
        let twin = |j: &usize| {
            let s = &flow.steps[*j];
            s.phase == Phase::Dense && s.solver == step.solver && s.rewind_to.is_none()
        };
        let (mut param, of) = match (0..k).rev().find(twin) {
            Some(j) => {
                let mut param = plans[j].config.param.clone();
                param.base_lr = flow.steps[j].base_lr.or(param.base_lr);
                (param, format!("the {} phase", flow.steps[j].name))
            }
            None => (plans[k].original.clone(), "its solver".to_string()),
        };
        param.base_lr = Some(param.base_lr());
        let length = u64::try_from(param.max_iter()).unwrap_or(0);
        if from >= length {
            bail!(
                "phase {}: rewind_to is {from}, but {of} has {length} iterations, so no rates are left; rewind to an \
                 earlier one",
                step.name
            );
        }
        if step.max_iter.is_none() {
            plans[k].config.param.max_iter = i32::try_from(length - from).ok();
        }
        plans[k].rewound = Some((param, from));
    }
    Ok(())
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
