//! Curves of a whole run in the terminal: a panel of block characters for each, over one axis of iterations.

use super::number::G;
use std::fmt;

/// The columns of a chart.
pub const COLUMNS: usize = LABEL + WIDTH;

/// Those of a panel's label and of the panel itself.
const LABEL: usize = 8;
const WIDTH: usize = 64;

/// An eighth of a cell, two eighths …
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A part of the axis: a phase.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its iterations.
    pub iterations: u64,
}

/// The axis of a panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// From 0 to 1.
    Part,
    /// Powers of 10 around the values.
    Powers,
    /// From one value to another; what is beyond fills the panel.
    Between(f64, f64),
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it shows.
    pub name: &'static str,
    /// Its lines in height.
    pub rows: usize,
    /// Its axis.
    pub scale: Scale,
    /// Its value in each column, as [`columns`] names them.
    pub values: Vec<f64>,
}

/// For each column of the chart the part and the iteration in it that the column begins with. A part is left out only
/// where there are more parts than columns.
pub fn columns(parts: &[Part]) -> Vec<(usize, u64)> {
    let all: u128 = parts.iter().map(|p| u128::from(p.iterations)).sum();
    let mut columns = Vec::with_capacity(WIDTH);
    for c in 0..WIDTH {
        let mut at = c as u128 * all / WIDTH as u128;
        for (k, part) in parts.iter().enumerate() {
            let n = u128::from(part.iterations);
            if at < n {
                columns.push((k, at as u64));
                break;
            }
            at -= n;
        }
    }
    columns
}

/// Curves, one below the other, over the same parts.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The parts of the axis.
    pub parts: Vec<Part>,
    /// What a part is.
    pub named: &'static str,
    /// Whether the iteration is written with which each begins.
    pub counted: bool,
    /// The curves.
    pub panels: Vec<Panel>,
}

impl Panel {
    /// The ends of the axis, as values and as labels.
    fn axis(&self) -> ((f64, f64), [String; 2]) {
        match self.scale {
            Scale::Part => return ((0.0, 1.0), ["1".to_string(), "0".to_string()]),
            Scale::Between(low, high) => {
                return ((low, high), [high, low].map(|v| format!("{v:.3}")));
            }
            Scale::Powers => {}
        }
        let logs = self.values.iter().filter(|v| **v > 0.0).map(|v| v.log10());
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        // A rate that is a power of 10 but for its last bits is that power.
        let low = if low.is_finite() {
            (low + 1e-6).floor()
        } else {
            -1.0
        };
        let high = if high.is_finite() {
            (high - 1e-6).ceil()
        } else {
            0.0
        };
        let high = high.max(low + 1.0);
        let label = |power: f64| G(10f64.powf(power) as f32).to_string();
        ((low, high), [label(high), label(low)])
    }

    /// The lines, from above.
    fn lines(&self) -> Vec<String> {
        let ((low, high), [top, bottom]) = self.axis();
        let cells = (8 * self.rows) as f64;
        let log = self.scale == Scale::Powers;
        let height = |v: &f64| {
            let v = if log { v.log10() } else { *v };
            if !v.is_finite() {
                return 0;
            }
            let part = ((v - low) / (high - low)).clamp(0.0, 1.0);
            // The least there is shows, too.
            ((part * cells).round() as usize)
                .max(usize::from(self.scale != Scale::Part || part > 0.0))
        };
        let heights: Vec<usize> = self.values.iter().map(height).collect();
        let line = |row: usize| {
            let label = match row {
                0 => &top,
                r if r + 1 == self.rows => &bottom,
                _ => "",
            };
            let floor = 8 * (self.rows - 1 - row);
            let cell = |h: &usize| match h.saturating_sub(floor) {
                0 => ' ',
                n => BLOCKS[n.min(8) - 1],
            };
            let cells: String = heights.iter().map(cell).collect();
            format!("{label:>w$} {}", cells.trim_end(), w = LABEL - 1)
        };
        (0..self.rows)
            .map(|row| line(row).trim_end().to_string())
            .collect()
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for panel in &self.panels {
            writeln!(
                f,
                "{}{}",
                panel.name,
                if panel.scale == Scale::Powers {
                    " (powers of 10)"
                } else {
                    ""
                }
            )?;
            for line in panel.lines() {
                writeln!(f, "{line}")?;
            }
        }
        let starts = columns(&self.parts);
        let mut texts = [String::new(), String::new()];
        for (k, part) in self.parts.iter().enumerate() {
            let column = starts.iter().position(|(p, _)| *p == k);
            let Some(column) = column else { continue };
            let after = starts.iter().rposition(|(p, _)| *p == k);
            let room = after.unwrap_or(column) + 1 - column;
            let before: u64 = self.parts[..k].iter().map(|p| p.iterations).sum();
            for (text, word) in texts
                .iter_mut()
                .zip([part.name.clone(), before.to_string()])
            {
                let gap = column.saturating_sub(text.chars().count());
                *text += &" ".repeat(gap);
                let word = format!("|{word}");
                // A name ends before the next part's begins.
                *text += &word.chars().take(room.max(1)).collect::<String>();
            }
        }
        let [names, starts] = texts;
        writeln!(f, "{:>w$} {names}", self.named, w = LABEL - 1)?;
        match self.counted {
            true => writeln!(f, "{:>w$} {starts}", "from", w = LABEL - 1),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, iterations: u64) -> Part {
        Part {
            name: name.to_string(),
            iterations,
        }
    }

    #[test]
    fn every_part_has_its_share_of_the_columns() {
        let of = |parts: &[Part], k| columns(parts).iter().filter(|(p, _)| *p == k).count();
        let parts = [part("dense", 300), part("sparse", 100), part("redense", 0)];
        assert_eq!([0, 1, 2].map(|k| of(&parts, k)), [48, 16, 0]);
        assert_eq!(columns(&parts)[48], (1, 0));
        assert_eq!(columns(&[part("dense", 3)]).last(), Some(&(0, 2)));
        assert!(columns(&[]).is_empty() && columns(&[part("dense", 0)]).is_empty());
    }

    #[test]
    fn powers_of_10_are_one_height_apart_and_nothing_is_wider_than_72() {
        let parts = vec![part("dense", 32), part("sparse", 16), part("redense", 16)];
        let rate = |k: usize| [0.1, 0.01, 0.001][k];
        let values = columns(&parts).into_iter().map(|(k, _)| rate(k)).collect();
        let density = columns(&parts).into_iter().map(|(k, _)| [1.0, 0.5, 1.0][k]);
        let chart = Chart {
            named: "phase",
            counted: true,
            panels: vec![
                Panel {
                    name: "rate",
                    rows: 4,
                    scale: Scale::Powers,
                    values,
                },
                Panel {
                    name: "density",
                    rows: 2,
                    scale: Scale::Part,
                    values: density.collect(),
                },
            ],
            parts,
        };
        let text = chart.to_string();
        assert!(text.lines().all(|l| l.chars().count() <= 72), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let full = "█".repeat(32);
        assert_eq!(lines[0], "rate (powers of 10)");
        assert_eq!(lines[1], format!("    0.1 {full}"));
        assert_eq!(lines[3], format!("        {full}{}", "█".repeat(16)));
        assert_eq!(
            lines[4],
            format!("  0.001 {full}{}{}", "█".repeat(16), "▁".repeat(16))
        );
        assert_eq!(
            lines[6],
            format!("      1 {full}{}{}", " ".repeat(16), "█".repeat(16))
        );
        let names = lines[8];
        assert!(
            names.starts_with("  phase |dense ") && names.ends_with("|redense"),
            "{names}"
        );
        assert!(
            lines[9].starts_with("   from |0 ") && lines[9].ends_with("|48"),
            "{text}"
        );
    }

    #[test]
    fn odd_values_are_drawn_too() {
        let lines = |values: &[f64], scale| {
            let values = values.to_vec();
            let panel = Panel {
                name: "rate",
                rows: 2,
                scale,
                values,
            };
            panel.lines()
        };
        assert_eq!(lines(&[0.0, 0.0], Scale::Powers), ["      1", "    0.1"]);
        assert_eq!(lines(&[0.05], Scale::Powers), ["    0.1 ▃", "   0.01 █"]);
        assert_eq!(
            lines(&[f64::NAN, 2.0, 0.01], Scale::Part),
            ["      1  █", "      0  █▁"]
        );
        assert!(lines(&[], Scale::Powers).iter().all(|l| !l.is_empty()));
    }
}
