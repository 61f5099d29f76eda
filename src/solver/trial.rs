//! What a run will need, found out by a few passes that leave nothing behind.

use super::Solver;
use super::keep::snapshots_left;
use crate::net::Pass;
use anyhow::Result;
use std::time::{Duration, Instant};

/// The passes of a trial: enough to be told from noise, few enough to wait for.
const MOST_PASSES: u32 = 20;

/// What a phase needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its time, tests included, from the iteration at which the solver stands.
    pub time: Duration,
    /// What its snapshots take on disk.
    pub disk: u64,
    /// What it takes of memory.
    pub memory: u64,
}

impl Solver {
    /// Runs some passes for about `limit` and says what the rest of the phase needs. The solver is of no use for training
    /// afterwards: its weights have been updated and its data read.
    ///
    /// # Errors
    /// The data cannot be read, or a layer fails.
    pub fn trial(&mut self, limit: Duration) -> Result<Need> {
        let left = self.max_iter().saturating_sub(self.iter);
        let mut time = Duration::ZERO;
        if left > 0 {
            let passes = u64::from(self.config.param.iter_size().max(1) as u32);
            let each = self.time_passes(limit)?;
            let update = Instant::now();
            self.update(self.policy.rate(self.iter));
            time = scaled(each, passes).saturating_add(update.elapsed());
            time = scaled(time, left);
        }
        let every = u64::try_from(self.config.param.test_interval()).unwrap_or(0);
        if !self.tests.is_empty() && every > 0 {
            // Before the first iteration, every so many, and at the end.
            let times = left / every + 1;
            for test in &mut self.tests {
                let each = test.time_batches(self.seed, &self.weights, limit)?;
                time = time.saturating_add(scaled(each, test.iterations().saturating_mul(times)));
            }
        }
        Ok(Need {
            time,
            disk: self.snapshot_bytes().saturating_mul(snapshots_left(
                &self.config,
                self.iter,
                self.keep,
            )),
            memory: self.memory as u64,
        })
    }

    /// The time of one pass forward and backward, the first not counted.
    fn time_passes(&mut self, limit: Duration) -> Result<Duration> {
        let mut clock = Instant::now();
        let mut done = 0;
        loop {
            let batch = self.next_batch()?;
            let pass = Pass::new(self.seed, u64::from(done));
            self.net
                .forward_backward_anew(&pass, &self.weights, &batch, &mut self.gradients)?;
            self.give_back(batch);
            if done == 0 {
                // The first one also makes room in memory and packs weights.
                let first = clock.elapsed();
                if first >= limit {
                    return Ok(first);
                }
                clock = Instant::now();
            } else if clock.elapsed() >= limit || done >= MOST_PASSES {
                return Ok(clock.elapsed() / done);
            }
            done += 1;
        }
    }

    /// The bytes of one snapshot: weights, history, masks.
    pub fn snapshot_bytes(&self) -> u64 {
        let weights: usize = self.weights.iter().map(|w| 4 * w.data.len()).sum();
        let history: usize = self.history.iter().map(|h| 4 * h.len()).sum();
        let masks: usize = self.masks.iter().flatten().map(|m| m.bits().len()).sum();
        (weights + history + masks) as u64
    }
}

fn scaled(each: Duration, times: u64) -> Duration {
    Duration::try_from_secs_f64(each.as_secs_f64() * times as f64).unwrap_or(Duration::MAX)
}
