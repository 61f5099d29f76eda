//! The axes of a chart: round numbers that span what is shown.

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it measures.
    pub name: String,
    /// Where its numbers stand, from one end to the other; at least two.
    ticks: Vec<f64>,
    /// Whether it goes by powers of ten.
    powers: bool,
}

impl Axis {
    /// An axis of round numbers from below `low` to above `high`; from 0 to 1 where these are no numbers.
    pub fn spanning(name: &str, low: f64, high: f64) -> Self {
        let known = low.is_finite() && high.is_finite() && low <= high;
        let (low, high) = if known { (low, high) } else { (0.0, 1.0) };
        Self {
            name: name.to_owned(),
            ticks: ticks(low, high),
            powers: false,
        }
    }

    /// An axis of powers of ten from below `low` to above `high`; what is not above 0 has no place on it.
    pub fn powers(name: &str, low: f64, high: f64) -> Self {
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return Self::spanning(name, low, high);
        }
        // A power of ten but for its last bits is that power.
        let first = (low.log10() + 1e-6).floor() as i32;
        let last = ((high.log10() - 1e-6).ceil() as i32).max(first + 1);
        let step = ((last - first) as usize).div_ceil(12).max(1);
        let last = first + ((last - first) as usize).next_multiple_of(step) as i32;
        Self {
            name: name.to_owned(),
            ticks: (first..=last)
                .step_by(step)
                .map(|p| 10f64.powi(p))
                .collect(),
            powers: true,
        }
    }

    /// An axis with these numbers, which grow; at least two.
    pub fn at(name: &str, ticks: Vec<f64>) -> Self {
        match ticks[..] {
            [first, .., last] if first < last => Self {
                name: name.to_owned(),
                ticks,
                powers: false,
            },
            _ => Self::spanning(name, 0.0, 1.0),
        }
    }

    /// Where a number lies: 0 at the start, 1 at the end.
    pub(super) fn part(&self, value: f64) -> f64 {
        let (low, high) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        if self.powers {
            return (value / low).log10() / (high / low).log10();
        }
        (value - low) / (high - low)
    }

    /// The numbers and how they are written.
    pub(super) fn labels(&self) -> impl Iterator<Item = (f64, String)> + '_ {
        let step = self.ticks[1] - self.ticks[0];
        let label = move |t: f64| match self.powers {
            true => written(t),
            false => label(t, step),
        };
        self.ticks.iter().map(move |&t| (t, label(t)))
    }
}

/// Round numbers, evenly apart, from below `low` to above `high`: 1, 2 or 5 times a power of ten apart.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = (high - low)
        .max(low.abs().max(high.abs()) * 1e-6)
        .max(1e-12);
    let power = 10f64.powf((span / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
    let step = steps.into_iter().find(|s| span / s <= 6.0).unwrap_or(span);
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    let count = (last - first).clamp(1.0, 20.0) as usize;
    (0..=count).map(|k| (first + k as f64) * step).collect()
}

/// The round numbers from `low` to `high`, both included, and how they are written.
pub fn round_numbers(low: f64, high: f64) -> Vec<(f64, String)> {
    let all = ticks(low, high);
    let step = all[1] - all[0];
    let slack = 1e-9 * step;
    let inside = all
        .into_iter()
        .filter(|t| (low - slack..=high + slack).contains(t));
    inside.map(|t| (t, label(t, step))).collect()
}

/// A number by itself, in few digits.
pub fn written(value: f64) -> String {
    match value.abs() {
        small if small > 0.0 && small < 1e-3 => format!("{value:e}"),
        _ => label(value, value.abs()),
    }
}

/// A tick in as few digits as tell it from its neighbour.
fn label(value: f64, step: f64) -> String {
    let large = value.abs() >= 1e7;
    if value != 0.0 && (large || step < 1e-5) {
        let digits = (value.abs() / step).log10().floor().clamp(0.0, 9.0) as usize;
        return format!("{value:.digits$e}");
    }
    let places = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_span_all() {
        let near = |got: Vec<f64>, want: &[f64]| {
            assert_eq!(got.len(), want.len(), "{got:?}");
            assert!(
                got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-9),
                "{got:?}"
            );
        };
        near(ticks(0.02, 0.58), &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        near(ticks(1.6, 6.9), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert!(ticks(0.5, 0.5).len() >= 2 && ticks(0.0, 0.0).len() >= 2);
    }

    #[test]
    fn labels_tell_ticks_apart() {
        for (value, step, text) in [
            (0.1, 0.1, "0.1"),
            (20.0, 20.0, "20"),
            (450_000.0, 50_000.0, "450000"),
            (2e-6, 1e-6, "2e-6"),
            (3e8, 1e8, "3e8"),
            (0.0, 1e8, "0"),
        ] {
            assert_eq!(label(value, step), text);
        }
    }

    #[test]
    fn an_axis_of_nothing_is_from_zero_to_one() {
        let axis = Axis::spanning("y", f64::INFINITY, f64::NEG_INFINITY);
        assert_eq!((axis.part(0.0), axis.part(1.0)), (0.0, 1.0));
        assert_eq!(Axis::at("x", vec![1.0]).part(1.0), 1.0);
    }
}
