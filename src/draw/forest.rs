//! Means with their errors, a row each, over one number: what arms of an experiment are compared by.

use super::chart::{STYLE, round_numbers};
use super::svg::escaped;
use std::fmt::{self, Write};

const WIDTH: f64 = 720.0;
/// The height of a row, the room above the first and below the last.
const ROW: f64 = 26.0;
const ABOVE: f64 = 44.0;
const BELOW: f64 = 48.0;
/// The width of a letter, on average.
const LETTER: f64 = 6.6;

/// An arm: a mean, and from where to where its error reaches.
#[derive(Clone, Debug, Default)]
pub struct Arm {
    /// What it is called.
    pub label: String,
    /// The mean.
    pub mean: f64,
    /// The ends of the error bar; the mean itself where there is none.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// What it is the mean of, if that shall be seen: a faint dot each.
    pub points: Vec<f64>,
    /// What stands to the right: the number in words, as `0.7102 ± 0.0021`.
    pub note: String,
}

/// Arms below each other.
#[derive(Clone, Debug, Default)]
pub struct Forest {
    /// Above it.
    pub title: String,
    /// What is measured.
    pub x: String,
    /// From above to below.
    pub arms: Vec<Arm>,
    /// A level to compare with, and what it is.
    pub base: Option<(f64, String)>,
}

impl Forest {
    /// The text of a file of its own (SVG), light, and dark where the reader's system is.
    pub fn svg(&self) -> String {
        self.text(true)
    }

    /// The same inside of a page, whose style has the colours.
    pub fn inline(&self) -> String {
        self.text(false)
    }

    fn text(&self, alone: bool) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, alone);
        text
    }

    /// The numbers from the left to the right end.
    fn span(&self) -> (f64, f64) {
        let ends = |a: &Arm| [a.mean, a.low, a.high].into_iter().chain(a.points.clone());
        let all = self.arms.iter().flat_map(ends);
        let all = all.chain(self.base.iter().map(|b| b.0));
        let (low, high) = all
            .filter(|v| v.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
                (l.min(v), h.max(v))
            });
        if low > high {
            return (0.0, 1.0);
        }
        let room = (0.06 * (high - low)).max(1e-6 * high.abs()).max(1e-9);
        (low - room, high + room)
    }

    fn write(&self, out: &mut String, alone: bool) -> fmt::Result {
        let letters = |texts: &mut dyn Iterator<Item = &String>| {
            let most = texts.map(|t| t.chars().count()).max();
            LETTER * most.unwrap_or(0) as f64
        };
        let left = 16.0 + letters(&mut self.arms.iter().map(|a| &a.label)).min(0.45 * WIDTH);
        let right = WIDTH - 16.0 - letters(&mut self.arms.iter().map(|a| &a.note)).min(0.3 * WIDTH);
        let bottom = ABOVE + ROW * self.arms.len() as f64;
        let height = bottom + BELOW;
        let (low, high) = self.span();
        let across = |v: f64| left + (right - left) * (v - low) / (high - low);
        let name = match alone {
            true => " xmlns=\"http://www.w3.org/2000/svg\"",
            false => "",
        };
        writeln!(
            out,
            "<svg{name} width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\" font-size=\"12\">"
        )?;
        writeln!(out, "<title>{}</title>", escaped(&self.words()))?;
        if alone {
            writeln!(
                out,
                "<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>"
            )?;
        }
        writeln!(
            out,
            "<text class=\"ink\" x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}</text>",
            escaped(&self.title)
        )?;
        for (tick, label) in round_numbers(low, high) {
            let x = across(tick);
            writeln!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {ABOVE}V{bottom}\"/><text class=\"faint\" x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{label}</text>",
                bottom + 17.0
            )?;
        }
        if let Some((base, what)) = &self.base {
            writeln!(
                out,
                "<path class=\"base\" stroke-dasharray=\"3 3\" d=\"M{:.1} {ABOVE}V{bottom}\"><title>{}: {base}</title></path>",
                across(*base),
                escaped(what)
            )?;
        }
        for (k, arm) in self.arms.iter().enumerate() {
            arm.write(out, ABOVE + ROW * (k as f64 + 0.5), &across)?;
        }
        writeln!(
            out,
            "<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n</svg>",
            (left + right) / 2.0,
            bottom + 37.0,
            escaped(&self.x)
        )
    }

    fn words(&self) -> String {
        let arm = |a: &Arm| match a.note.is_empty() {
            true => format!("{} {}", a.label, a.mean),
            false => format!("{} {}", a.label, a.note),
        };
        let arms: Vec<String> = self.arms.iter().map(arm).collect();
        format!("{}: {}", self.title, arms.join("; "))
    }
}

impl Arm {
    fn write(&self, out: &mut String, y: f64, across: &dyn Fn(f64) -> f64) -> fmt::Result {
        writeln!(
            out,
            "<text class=\"ink\" x=\"16\" y=\"{:.1}\">{}</text><text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            y + 4.0,
            escaped(&self.label),
            WIDTH - 8.0,
            y + 4.0,
            escaped(&self.note)
        )?;
        for &point in self.points.iter().filter(|p| p.is_finite()) {
            let x = across(point);
            writeln!(
                out,
                "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" opacity=\"0.35\"/>"
            )?;
        }
        if !self.mean.is_finite() {
            return Ok(());
        }
        if self.low.is_finite() && self.high.is_finite() && self.low < self.high {
            let (a, b) = (across(self.low), across(self.high));
            writeln!(
                out,
                "<path class=\"error\" d=\"M{a:.1} {y:.1}H{b:.1}M{a:.1} {:.1}v8M{b:.1} {:.1}v8\"/>",
                y - 4.0,
                y - 4.0
            )?;
        }
        let x = across(self.mean);
        writeln!(
            out,
            "<path class=\"dot\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"/>",
            y - 5.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forest() -> Forest {
        let arm = |label: &str, mean: f64, error: f64| Arm {
            label: label.into(),
            mean,
            low: mean - error,
            high: mean + error,
            points: vec![mean - error, mean + error],
            note: format!("{mean} ± {error}"),
        };
        Forest {
            title: "a & b".into(),
            x: "accuracy".into(),
            arms: vec![arm("control", 0.7, 0.01), arm("DSD", 0.72, 0.0)],
            base: Some((0.7, "control".into())),
        }
    }

    #[test]
    fn each_arm_has_a_mean_and_those_with_an_error_a_bar() {
        let text = forest().svg();
        assert!(text.starts_with("<svg xmlns=") && text.ends_with("</svg>\n"));
        assert_eq!(text.matches("class=\"error\"").count(), 1);
        assert_eq!(text.matches("l5 5l-5 5l-5 -5z").count(), 2);
        assert!(text.contains("a &amp; b: control 0.7 ± 0.01; DSD 0.72 ± 0"));
        let inline = forest().inline();
        assert!(!inline.contains("xmlns") && !inline.contains("<style>"));
    }

    #[test]
    fn arms_without_numbers_are_named_and_nothing_else() {
        let mut forest = forest();
        for arm in &mut forest.arms {
            (arm.mean, arm.low, arm.high, arm.points) = (f64::NAN, f64::NAN, f64::NAN, vec![]);
        }
        forest.base = None;
        let text = forest.svg();
        assert!(text.contains("control") && !text.contains("x=\"NaN\"") && !text.contains("MNaN"));
        assert!(Forest::default().svg().contains("</svg>"));
    }
}
