//! Gradual pruning (Zhu and Gupta 2017, "To prune, or not to prune"): the sparsity rises over the iterations,
//! fast at first, while many weights are idle, and slowly at the end:
//! s(t) = s_f + (s_i − s_f)·(1 − t/T)³, with s_i the sparsity found at the start, s_f the one wanted, at t = 0,
//! N, 2N … and T. Between these iterations the masks stay.

use anyhow::{Result, bail};
use std::fmt;

/// How one parameter's zeros grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// The layer.
    pub layer: String,
    /// The index of the parameter in its layer.
    pub blob: usize,
    /// The weights that were 0 at the start.
    pub from: usize,
    /// Those that shall be in the end; not fewer.
    pub to: usize,
}

/// When and how far to prune.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cubic {
    /// The iterations N between two changes of the masks.
    pub every: u64,
    /// The iteration T of the last change.
    pub until: u64,
    /// The parameters.
    pub ramps: Vec<Ramp>,
}

impl Cubic {
    /// A schedule without ramps for a phase of `max_iter` iterations. Where not given, it ends with the first
    /// half of the phase, so that the other half trains under the final masks, and has a hundred steps.
    ///
    /// # Errors
    /// An end at which nothing would be trained any more.
    pub fn new(every: Option<u64>, until: Option<u64>, max_iter: u64) -> Result<Self> {
        let end = until.unwrap_or(max_iter / 2);
        if end >= max_iter && until.is_some() {
            bail!(
                "prune_until is {end}, but the phase has {max_iter} iterations: none would train the weights that \
                 remain; end below {max_iter} (default: {})",
                max_iter / 2
            );
        }
        Ok(Self {
            every: every.unwrap_or(end / 100).max(1),
            until: end,
            ramps: Vec::new(),
        })
    }

    /// Whether the masks change before iteration `iter`.
    pub fn due(&self, iter: u64) -> bool {
        iter == self.until || iter < self.until && iter.is_multiple_of(self.every.max(1))
    }

    /// How many weights of `ramp` are 0 from iteration `iter` on.
    pub fn zeros(&self, ramp: &Ramp, iter: u64) -> usize {
        if iter >= self.until {
            return ramp.to;
        }
        let left = (1.0 - iter as f64 / self.until as f64).powi(3);
        let open = ramp.to.saturating_sub(ramp.from) as f64;
        ramp.to - (open * left).round() as usize
    }

    /// The number of changes after the first.
    pub fn steps(&self) -> u64 {
        self.until.div_ceil(self.every.max(1))
    }
}

impl fmt::Display for Cubic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cubic, every {} until {}", self.every, self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(from: usize, to: usize) -> Ramp {
        Ramp {
            layer: "ip".into(),
            blob: 0,
            from,
            to,
        }
    }

    #[test]
    fn the_curve_is_zhu_and_guptas() {
        let s = Cubic::new(Some(100), Some(2000), 3000).unwrap();
        let n = 1_000_000.0;
        for t in (0..=2000).step_by(100) {
            let want = 0.8 + (0.1 - 0.8) * (1.0 - t as f64 / 2000.0).powi(3);
            let got = s.zeros(&ramp(100_000, 800_000), t) as f64 / n;
            assert!((got - want).abs() < 1e-6, "{t}: {got} {want}");
        }
        assert_eq!(s.zeros(&ramp(100_000, 800_000), 2500), 800_000);
        assert_eq!(s.steps(), 20);
        // A layer that has more zeros than wanted keeps them: `to` is not below `from`.
        assert_eq!(s.zeros(&ramp(500, 500), 700), 500);
    }

    #[test]
    fn masks_change_at_the_steps_only() {
        let s = Cubic::new(Some(4), Some(10), 20).unwrap();
        let due: Vec<u64> = (0..20).filter(|t| s.due(*t)).collect();
        assert_eq!((due, s.steps()), (vec![0, 4, 8, 10], 3));
        let s = Cubic::new(None, None, 1000).unwrap();
        assert_eq!((s.every, s.until), (5, 500));
        let s = Cubic::new(None, None, 1).unwrap();
        assert_eq!((s.every, s.until, s.zeros(&ramp(0, 7), 0)), (1, 0, 7));
    }

    #[test]
    fn an_end_after_the_phase_is_refused() {
        let e = Cubic::new(None, Some(50), 50).unwrap_err().to_string();
        assert!(
            e.contains("prune_until is 50") && e.contains("below 50"),
            "{e}"
        );
    }
}
