//! What `dsd time` has measured: the times of every layer, iteration by iteration.

use crate::net::{MOVES, Timer};

/// Milliseconds of forward and backward, one of each an iteration.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub forward: Vec<f64>,
    pub backward: Vec<f64>,
}

/// The times of a net.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// Of every layer. Leaves of the batch run side by side: what the threads spent together is scaled to the
    /// time that passed, so that the layers' times add up to the net's.
    pub layers: Vec<Times>,
    /// Of what moves numbers between layers ([`MOVES`]), scaled likewise.
    pub moves: Vec<Times>,
    /// Of all together.
    pub whole: Times,
    /// Of the passes, by the clock on the wall.
    pub totals: Vec<f64>,
}

impl Measured {
    /// Nothing yet of so many layers.
    pub fn new(layers: usize) -> Self {
        Self {
            layers: vec![Times::default(); layers],
            moves: vec![Times::default(); MOVES.len()],
            whole: Times::default(),
            totals: Vec::new(),
        }
    }

    /// Notes an iteration that took `ms`, and in which `timer` was running.
    pub fn add(&mut self, ms: f64, timer: &Timer) {
        let moves = (0..MOVES.len()).map(|k| timer.take_moves(k));
        let layers = (0..self.layers.len()).map(|i| timer.take(i));
        let spent: Vec<(f64, f64)> = layers.chain(moves).collect();
        let sum: f64 = spent.iter().map(|(f, b)| f + b).sum();
        let scale = if sum > 0.0 { ms / sum } else { 0.0 };
        let all = self.layers.iter_mut().chain(&mut self.moves);
        for (times, (f, b)) in all.zip(&spent) {
            times.forward.push(f * scale);
            times.backward.push(b * scale);
        }
        let all = |f: fn(&(f64, f64)) -> f64| spent.iter().map(f).sum::<f64>() * scale;
        self.whole.forward.push(all(|s| s.0));
        self.whole.backward.push(all(|s| s.1));
        self.totals.push(ms);
    }
}

/// The mean, which Caffe prints.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The median, which a disturbed iteration leaves where it is.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 50.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 50.0]), 3.0);
        assert_eq!(mean(&[4.0, 1.0]), 2.5);
    }
}
