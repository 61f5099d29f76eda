//! What a run does by the clock: snapshots where the solver asks for none, and the time left.

use super::{Reports, Solver, snapshot};
use crate::info;
use crate::report::human::HumanTime;
use anyhow::Result;
use std::fs;
use std::time::{Duration, Instant};

/// How often the time left is said.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The clocks of a run.
pub(super) struct Timekeeper {
    /// When this sitting began, and at which iteration.
    began: Instant,
    from: u64,
    /// When the last snapshot was written.
    pub(super) saved: Instant,
    said: Option<Instant>,
    /// The iteration of the newest snapshot that the clock asked for.
    pub(super) timed: Option<u64>,
}

impl Timekeeper {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            from: 0,
            saved: now,
            said: None,
            timed: None,
        }
    }

    /// Starts the clocks at iteration `from`.
    pub(super) fn start(&mut self, from: u64) {
        let timed = self.timed;
        *self = Self::new();
        (self.from, self.timed) = (from, timed);
    }

    /// The time that the rest of the phase takes, and with it `later` more iterations of the phases after it, at the pace
    /// so far; `None` before the first iteration.
    fn left(&self, iter: u64, max_iter: u64, later: f64) -> Option<(Duration, Duration)> {
        let done = iter.checked_sub(self.from).filter(|n| *n > 0)?;
        let each = self.began.elapsed().as_secs_f64() / done as f64;
        let own = max_iter.saturating_sub(iter) as f64;
        let time = |iterations: f64| Duration::try_from_secs_f64(each * iterations).ok();
        Some((time(own)?, time(own + later)?))
    }
}

impl Solver {
    /// Writes a snapshot if the clock says so, and removes the one that the clock asked for before it.
    pub(super) fn save_by_the_clock(&mut self, every: Option<Duration>) -> Result<()> {
        if every.is_none_or(|every| self.time.saved.elapsed() < every)
            || self.saved == Some(self.iter)
        {
            return Ok(());
        }
        let before = self.time.timed;
        self.write_snapshot(true)?;
        if let Some(iter) = before.filter(|iter| *iter != self.iter) {
            let format = snapshot::Format::of(&self.config.param);
            // The state first: without weights it would be no snapshot.
            for ending in [format.state(), format.weights()] {
                // If it stays, it does no harm.
                let _ = fs::remove_file(snapshot::file_name(&self.prefix, iter, ending));
            }
        }
        Ok(())
    }

    /// Says once a minute, and at the first point shown, how long the phase and the run will take.
    pub(super) fn say_time_left(&mut self, reports: &Reports, shown: bool) {
        let due = match self.time.said {
            None => shown || self.time.began.elapsed() >= SAID_EVERY,
            Some(said) => said.elapsed() >= SAID_EVERY,
        };
        let max_iter = self.max_iter();
        if !due || self.iter >= max_iter {
            return;
        }
        if let Some((own, all)) = self.time.left(self.iter, max_iter, reports.later) {
            self.time.said = Some(Instant::now());
            let whole = match reports.later > 0.0 {
                true => format!(", {} in the whole run", HumanTime(all)),
                false => String::new(),
            };
            info!(
                "Time left: about {}{whole} ({} of {max_iter} iterations done)",
                HumanTime(own),
                self.iter
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_pace_so_far() {
        let mut time = Timekeeper::new();
        time.start(100);
        assert_eq!(time.left(100, 200, 0.0), None);
        time.began -= Duration::from_secs(50);
        let (own, all) = time.left(150, 200, 250.0).unwrap();
        assert!((own.as_secs_f64() - 50.0).abs() < 1.0, "{own:?}");
        assert!((all.as_secs_f64() - 300.0).abs() < 1.0, "{all:?}");
        assert_eq!(time.left(150, 0, f64::MAX), None);
    }
}
