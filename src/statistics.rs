//! What a few runs can show: means and deviations over seeds, differences of runs that share a seed, and whether a
//! difference is more than chance.

use std::fmt;

/// The mean and the spread of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many.
    pub n: usize,
    /// Their mean; NaN of none.
    pub mean: f64,
    /// Their standard deviation, dividing by n − 1; 0 of one.
    pub deviation: f64,
}

impl Summary {
    /// Of these numbers.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let deviation = match n {
            0 | 1 => 0.0,
            _ => (squares / (n - 1) as f64).sqrt(),
        };
        Self { n, mean, deviation }
    }

    /// The standard error of the mean.
    pub fn error(&self) -> f64 {
        self.deviation / (self.n.max(1) as f64).sqrt()
    }
}

/// What pairs of runs that share a seed say of a difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// One pair has no spread.
    OnePair,
    /// Less than chance alone may give, with 95% confidence by Student's t.
    Chance,
    /// More than two standard errors, but of so few pairs that chance alone may still give it.
    Hint,
    /// More than chance gives, with 95% confidence by Student's t.
    Difference,
}

/// The differences of pairs: their mean, with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired(Summary);

impl Paired {
    /// The differences `a − b` of each pair; `None` without a pair.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
        (!differences.is_empty()).then(|| Self(Summary::of(&differences)))
    }

    /// How many pairs.
    pub fn n(&self) -> usize {
        self.0.n
    }

    /// The mean difference.
    pub fn mean(&self) -> f64 {
        self.0.mean
    }

    /// The standard error of the mean difference; 0 of one pair.
    pub fn error(&self) -> f64 {
        self.0.error()
    }

    /// What they say.
    pub fn verdict(&self) -> Verdict {
        if self.n() < 2 {
            return Verdict::OnePair;
        }
        let size = self.mean().abs();
        if size > t95(self.n() - 1) * self.error() {
            Verdict::Difference
        } else if size > 2.0 * self.error() {
            Verdict::Hint
        } else {
            Verdict::Chance
        }
    }
}

/// The two-sided 95% quantile of Student's t with so many degrees of freedom, at least 1 (tabulated to 30, then the
/// normal distribution's with the first term of its expansion).
pub fn t95(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    match TABLE.get(freedom.saturating_sub(1)) {
        Some(t) => *t,
        None => 1.960 + 2.42 / freedom as f64,
    }
}

/// The standard error of a fraction that was found on `n` independent cases.
pub fn binomial_error(fraction: f64, n: u64) -> f64 {
    let p = fraction.clamp(0.0, 1.0);
    (p * (1.0 - p) / n.max(1) as f64).sqrt()
}

/// A number to two digits behind the point, never -0.00.
pub fn two_digits(value: f64) -> f64 {
    (100.0 * value).round() / 100.0 + 0.0
}

/// One honest sentence about `what` against `control`: by how much, and whether so few pairs can show it. `unit` scales
/// the numbers and names them: 100 and "points" for accuracies.
pub struct Sentence<'a> {
    /// Whose difference it is.
    pub what: &'a str,
    /// From what.
    pub control: &'a str,
    /// The difference.
    pub paired: Paired,
    /// The factor of the numbers, and their name.
    pub unit: (f64, &'a str),
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = self.unit;
        let mean = two_digits(scale * self.paired.mean());
        let error = scale * self.paired.error();
        let (what, control, n) = (self.what, self.control, self.paired.n());
        let side = if mean < 0.0 { "under" } else { "over" };
        let unit = if unit.is_empty() {
            String::new()
        } else {
            format!(" {unit}")
        };
        match self.paired.verdict() {
            Verdict::OnePair => write!(
                f,
                "{what} {mean:+.2}{unit} {side} {control}, with one seed, which shows nothing: seeds alone differ by as \
                 much; --seeds 3 or more says whether it lasts"
            ),
            Verdict::Chance => write!(
                f,
                "{what} {mean:+.2} ± {error:.2}{unit} {side} {control}: no difference that {n} seeds can show"
            ),
            Verdict::Hint => write!(
                f,
                "{what} {mean:+.2} ± {error:.2}{unit} {side} {control}: more than two standard errors, but {n} seeds are \
                 too few to rule out chance (95% needs {:.1})",
                t95(n - 1)
            ),
            Verdict::Difference => write!(
                f,
                "{what} {mean:+.2} ± {error:.2}{unit} {side} {control}: a difference, more than chance gives {n} pairs of \
                 runs (95%)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_deviations_and_errors_are_the_textbook_s() {
        let s = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(s.mean, 5.0);
        assert!((s.deviation - 2.138_089_935).abs() < 1e-8);
        assert!((s.error() - 0.755_928_946).abs() < 1e-8);
        assert_eq!(Summary::of(&[3.0]).deviation, 0.0);
        assert!(Summary::of(&[]).mean.is_nan());
        assert!((binomial_error(0.5, 100) - 0.05).abs() < 1e-12);
        assert_eq!(format!("{:+.2}", two_digits(-0.001)), "+0.00");
    }

    #[test]
    fn differences_go_by_pairs_and_few_pairs_show_little() {
        let verdict = |pairs: &[(f64, f64)]| Paired::of(pairs).unwrap().verdict();
        assert!(Paired::of(&[]).is_none());
        assert_eq!(verdict(&[(0.7, 0.6)]), Verdict::OnePair);
        // The seeds differ by far more than the arms, but alike.
        let pairs = [(0.70, 0.69), (0.60, 0.588), (0.80, 0.791), (0.50, 0.489)];
        assert_eq!(verdict(&pairs), Verdict::Difference);
        assert_eq!(
            verdict(&[(0.7, 0.6), (0.6, 0.7), (0.65, 0.64)]),
            Verdict::Chance
        );
        // 2.5 errors from 3 pairs.
        assert_eq!(
            verdict(&[(1.0, 0.0), (2.0, 0.0), (3.5, 0.0)]),
            Verdict::Hint
        );
    }

    #[test]
    fn the_sentence_says_what_so_few_seeds_can_show() {
        let sentence = |pairs: &[(f64, f64)]| {
            let paired = Paired::of(pairs).unwrap();
            Sentence {
                what: "DSD",
                control: "the control",
                paired,
                unit: (100.0, "points"),
            }
            .to_string()
        };
        let text = sentence(&[(0.71, 0.70), (0.70, 0.70), (0.71, 0.708)]);
        assert_eq!(
            text,
            "DSD +0.40 ± 0.31 points over the control: no difference that 3 seeds can show"
        );
        assert!(sentence(&[(0.6, 0.7)]).contains("-10.00 points under the control, with one seed"));
        let text = sentence(&[(0.72, 0.70), (0.73, 0.70), (0.721, 0.70), (0.73, 0.701)]);
        assert!(text.contains("more than chance gives 4 pairs"), "{text}");
    }

    #[test]
    fn quantiles_fall_to_the_normal_one() {
        assert!((1..60).all(|n| t95(n) > t95(n + 1)));
        assert!((t95(1000) - 1.962).abs() < 1e-3);
    }
}
