//! The range test of learning rates (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3): a
//! short training whose rate rises from step to step, and the loss that each rate gave.

use super::Solver;
use anyhow::{Result, ensure};

/// The part of the smoothed loss that comes from the steps before.
const SMOOTHING: f64 = 0.9;
/// How many times the least loss is a loss that has blown up.
const BLOWN_UP: f64 = 4.0;
/// The least loss must lie this part below the first one for the net to have learned.
const LEARNED: f64 = 0.02;
/// Steps before which nothing is concluded: the smoothed loss is that of too few batches.
const SETTLED: usize = 10;

/// The rates to try: from `least` to `most`, each the same multiple of the one before.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first rate.
    pub least: f64,
    /// The last one.
    pub most: f64,
    /// How many there are, at least 2.
    pub steps: usize,
}

impl Range {
    /// The rate of a step.
    pub fn rate(&self, step: usize) -> f64 {
        let part = step as f64 / (self.steps - 1) as f64;
        self.least * (self.most / self.least).powf(part)
    }
}

/// What a range test has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Each step's rate and the smoothed loss before its update.
    pub losses: Vec<(f64, f64)>,
    /// The rate whose loss is no number or many times the least, if it came to that: the test ends there.
    pub blown_up: Option<f64>,
}

impl Tried {
    /// The step with the least loss, if that lies below the first losses.
    pub fn least(&self) -> Option<usize> {
        let settled = self.losses.get(SETTLED..)?;
        let step = (0..settled.len()).min_by(|&a, &b| settled[a].1.total_cmp(&settled[b].1))?;
        (settled[step].1 < self.losses[0].1 * (1.0 - LEARNED)).then_some(SETTLED + step)
    }

    /// The step before the least loss at which the loss falls fastest with the logarithm of the rate: over a tenth of the steps
    /// before the least, since neighbours differ by their batches alone; and not among the first, of too few batches.
    pub fn steepest(&self) -> Option<usize> {
        let least = self.least()?;
        let near = (least / 20).max(1);
        let fall = |&k: &usize| self.losses[k - near].1 - self.losses[k + near].1;
        (2 * SETTLED + near..=least.saturating_sub(near)).max_by(|a, b| fall(a).total_cmp(&fall(b)))
    }

    /// A rate to train with: a tenth of that of the least loss, where the net still learns and is far from blowing up; 1, 2
    /// or 5 times a power of ten.
    pub fn advice(&self) -> Option<f64> {
        let rate = self.losses[self.least()?].0 / 10.0;
        let power = 10f64.powf((rate.log10() + 1e-9).floor());
        let digit = [5.0, 2.0, 1.0]
            .into_iter()
            .find(|d| d * power <= rate * 1.000_001);
        Some(digit.unwrap_or(1.0) * power)
    }
}

impl Solver {
    /// Trains with the rates of `range` in turn until one of them blows up; `seen` hears of each step. The solver is of no use
    /// for training afterwards: its weights have been updated and its data read.
    ///
    /// # Errors
    /// The data cannot be read, or the net gives no loss before any update.
    pub fn range_test(&mut self, range: Range, mut seen: impl FnMut(usize, f64)) -> Result<Tried> {
        let mut tried = Tried {
            losses: Vec::with_capacity(range.steps),
            blown_up: None,
        };
        let (mut mean, mut weight, mut best) = (0.0, 0.0, f64::INFINITY);
        for step in 0..range.steps {
            let rate = range.rate(step);
            let loss = f64::from(self.mean_loss()?);
            ensure!(
                step > 0 || loss.is_finite(),
                "the loss of the first batch is {loss}, before any update: no learning rate helps; see what the data and \
                 the weights are (debug_info: true in the solver names the layer)"
            );
            mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss;
            weight = SMOOTHING * weight + (1.0 - SMOOTHING);
            let smooth = mean / weight;
            seen(step, smooth);
            if !loss.is_finite() || step >= SETTLED && smooth > BLOWN_UP * best {
                tried.blown_up = Some(rate);
                break;
            }
            best = best.min(smooth);
            tried.losses.push((rate, smooth));
            self.update(rate as f32);
            self.iter += 1;
        }
        Ok(tried)
    }

    /// The loss of one iteration, and its gradients.
    fn mean_loss(&mut self) -> Result<f32> {
        let passes = self.config.param.iter_size().max(1) as u64;
        let mut sum = 0.0;
        for k in 0..passes {
            let (mut outputs, batch) = self.forward_backward(k, passes)?;
            sum += outputs.loss;
            if outputs.loss.is_finite() {
                self.carried.take(&mut outputs);
                self.apply_updates(&mut outputs);
            }
            self.give_back(batch);
        }
        Ok(sum / passes as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = Range {
        least: 1e-6,
        most: 10.0,
        steps: 71,
    };

    /// A test whose loss at each step is as given.
    fn tried(loss: impl Fn(usize) -> f64) -> Tried {
        Tried {
            losses: (0..RANGE.steps).map(|k| (RANGE.rate(k), loss(k))).collect(),
            blown_up: None,
        }
    }

    #[test]
    fn rates_rise_by_the_same_factor() {
        assert!((RANGE.rate(10) - 1e-5).abs() < 1e-12);
        assert!((RANGE.rate(70) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn the_advice_is_a_tenth_of_the_rate_of_the_least_loss() {
        // Falls from step 30, is least at step 50 (a rate of 0.1), rises after it.
        let t = tried(|k| match k {
            0..30 => 2.0,
            30..=50 => 2.0 - (k - 30) as f64 / 20.0,
            _ => 1.0 + (k - 50) as f64 / 5.0,
        });
        assert_eq!(t.least(), Some(50));
        assert!((30..50).contains(&t.steepest().unwrap()));
        assert!((t.advice().unwrap() - 0.01).abs() < 1e-9);
        // At step 54 the rate is 0.25, of which a tenth is 0.025: 0.02 is the round number below.
        let t = tried(|k| (k as f64 - 54.0).abs() / 54.0 + 1.0);
        assert!((t.advice().unwrap() - 0.02).abs() < 1e-9);
    }

    #[test]
    fn no_advice_where_nothing_is_learned() {
        assert_eq!(tried(|_| 2.3).advice(), None);
        assert_eq!(tried(|k| 2.3 + k as f64).advice(), None);
        let short = Tried {
            losses: vec![(1e-6, 1.0); 3],
            blown_up: Some(1e-5),
        };
        assert_eq!((short.advice(), short.steepest()), (None, None));
    }
}
