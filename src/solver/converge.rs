//! A phase that ends when its loss falls no more, by the numbers that it logs alone: so runs repeat, and go on, to the bit.

use super::Solver;
use super::config::Config;
use crate::info;
use crate::report::number::G;
use anyhow::{Result, bail};

/// The displays without a fall that end a phase, where they are not said.
pub const PATIENCE: u64 = 10;

/// The least fall that counts, where it is not said: a hundredth of the loss.
pub const MIN_DELTA: f64 = 0.01;

/// When a phase has converged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// The displays without a fall that end it.
    pub displays: u64,
    /// The fall that counts, as a part of the least loss so far.
    pub min_delta: f64,
}

impl Patience {
    /// The numbers as they are given.
    ///
    /// # Errors
    /// A part outside of [0, 1).
    pub fn new(displays: Option<u64>, min_delta: Option<f64>) -> Result<Self> {
        let min_delta = min_delta.unwrap_or(MIN_DELTA);
        if !(0.0..1.0).contains(&min_delta) {
            bail!("min_delta is {min_delta}, but must lie in [0, 1): it is a part of the loss");
        }
        Ok(Self {
            displays: displays.unwrap_or(PATIENCE).max(1),
            min_delta,
        })
    }
}

/// What has been seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// The least smoothed loss that counted.
    pub best: Option<f32>,
    /// The displays since.
    pub waited: u64,
}

impl Seen {
    /// Takes a displayed loss in.
    fn see(&mut self, loss: f32, patience: &Patience) {
        let falls = self.best.is_none_or(|best| {
            let best = f64::from(best);
            f64::from(loss) < best - patience.min_delta * best.abs()
        });
        if falls {
            (self.best, self.waited) = (Some(loss), 0);
        } else {
            self.waited += 1;
        }
    }
}

/// Refuses a solver that displays nothing.
///
/// # Errors
/// It does not.
pub fn check_display(config: &Config) -> Result<()> {
    if config.param.display() <= 0 {
        bail!(
            "until_converged looks at the loss of each display, but the solver has none; give it \"display: N\""
        );
    }
    Ok(())
}

impl Solver {
    /// Ends the phase before `max_iter` if the displayed loss falls no more.
    ///
    /// # Errors
    /// The solver displays nothing.
    pub fn end_when_converged(&mut self, patience: Patience) -> Result<()> {
        check_display(&self.config)?;
        self.patience = Some(patience);
        Ok(())
    }

    /// Whether the loss falls no more.
    pub fn is_converged(&self) -> bool {
        self.patience
            .is_some_and(|patience| self.seen.waited >= patience.displays)
    }

    /// Looks at the smoothed loss of a display. While the schedule still changes the masks, a loss that rises says nothing.
    pub(super) fn look(&mut self) {
        let Some(patience) = self.patience else {
            return;
        };
        if self.schedule.as_ref().is_some_and(|s| self.iter < s.last()) || self.is_converged() {
            return;
        }
        self.seen.see(self.smoothed, &patience);
        if self.is_converged() {
            info!(
                "Iteration {}, converged: for {} displays the loss has not fallen by {} of {}",
                self.iter,
                patience.displays,
                G(patience.min_delta as f32),
                G(self.seen.best.unwrap_or_default())
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_falls_of_the_least_size_count() {
        let patience = Patience::new(Some(2), Some(0.1)).unwrap();
        let mut seen = Seen::default();
        let mut waited = Vec::new();
        for loss in [2.0, 1.5, 1.4, 1.3, 1.25, 1.25] {
            seen.see(loss, &patience);
            waited.push(seen.waited);
        }
        assert_eq!(waited, [0, 0, 1, 0, 1, 2]);
        // A loss below 0 falls too.
        let mut seen = Seen {
            best: Some(-1.0),
            waited: 0,
        };
        seen.see(-1.05, &patience);
        seen.see(-1.2, &patience);
        assert_eq!((seen.best, seen.waited), (Some(-1.2), 0));
        seen.see(f32::NAN, &patience);
        assert_eq!(seen.waited, 1);
        assert!(Patience::new(None, Some(1.0)).is_err());
    }
}
