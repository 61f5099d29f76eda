//! The axes of curves.

use crate::draw::chart::{round_numbers, written};

/// From numbers to places on an axis.
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// Over all of `values`, which with `log` are powers of ten, and over `range` unless they are.
    pub(super) fn over(
        values: impl Iterator<Item = f64>,
        log: bool,
        range: Option<(f64, f64)>,
    ) -> Self {
        let start = range.filter(|_| !log);
        let (low, high) = start.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        let (low, high) = values.fold((low, high), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = match low <= high {
            true if log => (low.log10(), high.log10()),
            true => (low, high),
            false => (0.0, 1.0),
        };
        // One number alone gets room on both sides.
        let (low, high) = match low < high {
            true => (low, high),
            false => (low - 0.5, high + 0.5),
        };
        Self { low, high, log }
    }

    /// Whether the axis has a place for a number.
    pub(super) fn has(&self, v: f64) -> bool {
        !self.log || v > 0.0
    }

    /// Where a number lies: 0 at the start, 1 at the end.
    pub(super) fn part(&self, v: f64) -> f64 {
        let v = if self.log { v.log10() } else { v };
        (v - self.low) / (self.high - self.low)
    }

    /// Round numbers on the axis, and how they are written.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        if !self.log {
            return round_numbers(self.low, self.high);
        }
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let wide = self.high - self.low > 1.5;
        let steps: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = powers.flat_map(|p| steps.iter().map(move |s| s * 10f64.powi(p)));
        let inside = |v: &f64| (self.low - 1e-9..=self.high + 1e-9).contains(&v.log10());
        let found: Vec<f64> = all.filter(inside).collect();
        if found.len() < 2 {
            // Of less than a step of these: round numbers as on any axis.
            let [low, high] = [self.low, self.high].map(|v| 10f64.powf(v));
            return round_numbers(low, high);
        }
        found.into_iter().map(|v| (v, written(v))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_round_ticks() {
        let ticks = |low: f64, high: f64, log| -> Vec<String> {
            let scale = Scale::over([low, high].into_iter(), log, None);
            scale.ticks().into_iter().map(|t| t.1).collect()
        };
        assert_eq!(ticks(0.0003, 0.03, true), ["0.001", "0.01"]);
        assert_eq!(ticks(0.1, 0.6, true), ["0.1", "0.2", "0.5"]);
        assert_eq!(ticks(0.0, 1200.0, false)[..3], ["0", "200", "400"]);
        assert!(!ticks(5.0, 5.0, false).is_empty());
        assert_eq!(ticks(0.021, 0.029, true)[..2], ["0.022", "0.024"]);
    }
}
