//! Tables in plain text: columns aligned, no frames, so that they read well and cut well with awk.

use super::output;
use std::fmt;

/// The columns between two cells.
const GAP: usize = 2;

/// The least room in which a last column is broken between words.
const LEAST: usize = 20;

/// On which side the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table that is filled row by row and then shown.
///
/// ```
/// use dsd::report::table::{Align::*, Table};
/// let mut table = Table::new([("phase", Left), ("density", Right)]);
/// table.row(["dense", "1"]);
/// table.row(["sparse", "0.7"]);
/// assert_eq!(table.to_string(), "phase   density\n------  -------\ndense         1\nsparse      0.7\n");
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    heads: Vec<String>,
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Align)>) -> Self {
        let (heads, aligns) = columns.into_iter().map(|(h, a)| (h.into(), a)).unzip();
        Self {
            heads,
            aligns,
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty, cells past the last column are dropped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.heads.len(), String::new());
        self.rows.push(row);
    }

    /// The columns' heads.
    pub fn heads(&self) -> impl ExactSizeIterator<Item = (&str, Align)> {
        let heads = self.heads.iter().map(String::as_str);
        heads.zip(self.aligns.iter().copied())
    }

    /// Its text in lines of at most so many columns: as it is if it fits; else with its last column broken between words, if
    /// that is enough; else a block a row, its first cell and then each head with its cell. Only a cell that is wider by
    /// itself, such as a path, makes a longer line.
    pub fn fitted(&self, columns: usize) -> String {
        let widths = self.widths();
        let before: usize = widths.iter().rev().skip(1).map(|w| w + GAP).sum();
        let last = widths.last().copied().unwrap_or(0);
        if before + last <= columns {
            return self.to_string();
        }
        let room = columns.saturating_sub(before);
        let words = |row: &Vec<String>| {
            let cell = row.last().map_or("", |c| c);
            cell.split_whitespace().all(|w| w.chars().count() <= room)
        };
        let is_text = self.aligns.last() == Some(&Align::Left);
        // Of a name and what it is, the latter may be a path that is longer than the line.
        let facts = self.heads.len() == 2;
        if is_text && room >= LEAST && (facts || self.rows.iter().all(words)) {
            return self.with_last_broken(room);
        }
        self.blocks(columns)
    }

    /// Its text for stdout, on a terminal in its width.
    pub fn shown(&self) -> String {
        self.fitted(output::columns())
    }

    fn with_last_broken(&self, room: usize) -> String {
        let mut narrow = self.clone();
        narrow.rows.clear();
        for row in &self.rows {
            let (last, rest) = row.split_last().expect("a table has columns");
            for (k, line) in broken(last.split_whitespace(), " ", room)
                .into_iter()
                .enumerate()
            {
                let mut cells = match k {
                    0 => rest.to_vec(),
                    _ => vec![String::new(); rest.len()],
                };
                cells.push(line);
                narrow.rows.push(cells);
            }
        }
        narrow.to_string()
    }

    fn blocks(&self, columns: usize) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let mut cells = self
                .heads
                .iter()
                .zip(row)
                .filter(|(_, cell)| !cell.is_empty());
            let Some((head, first)) = cells.next() else {
                continue;
            };
            // A first cell that is a number, or not the first column's, does not say what it is.
            let named = self.aligns[0] == Align::Left && *head == self.heads[0];
            text += &match named {
                true => format!("{first}\n"),
                false => format!("{head} {first}\n"),
            };
            let cells: Vec<String> = cells.map(|(head, cell)| format!("{head} {cell}")).collect();
            let cells = cells.iter().map(|c| &c[..]);
            for line in broken(cells, "  ", columns.saturating_sub(GAP)) {
                text += format!("  {line}").trim_end();
                text.push('\n');
            }
        }
        text
    }

    /// The width of each column.
    fn widths(&self) -> Vec<usize> {
        let width = |s: &String| s.chars().count();
        let widest = |c: usize| {
            let cells = self.rows.iter().map(|row| width(&row[c]));
            cells.fold(width(&self.heads[c]), usize::max)
        };
        (0..self.heads.len()).map(widest).collect()
    }

    /// The rows, a cell a column.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let rule: Vec<String> = widths.iter().map(|&w| "-".repeat(w)).collect();
        for row in [&self.heads, &rule].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, &w), align) in row.iter().zip(&widths).zip(&self.aligns) {
                line += &match align {
                    Align::Left => format!("{cell:<w$}  "),
                    Align::Right => format!("{cell:>w$}  "),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Words in lines of at most `room` columns, where they fit by themselves; one line at least.
fn broken<'a>(words: impl Iterator<Item = &'a str>, between: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().expect("one at least");
        let wide = line.chars().count() + between.len() + word.chars().count();
        if line.is_empty() {
            line.push_str(word);
        } else if wide <= room {
            *line += between;
            *line += word;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::Align::*;
    use super::*;

    #[test]
    fn numbers_stand_right_and_words_left() {
        let mut t = Table::new([("phase", Left), ("loss", Right), ("time", Right)]);
        t.row(["dense", "0.05", "12.1 s"]);
        t.row(["redense", "0.0412", "9 s"]);
        let text = "\
phase      loss    time
-------  ------  ------
dense      0.05  12.1 s
redense  0.0412     9 s
";
        assert_eq!(t.to_string(), text);
    }

    #[test]
    fn short_and_long_rows_fit_and_wide_letters_count_once() {
        let mut t = Table::new([("a", Left), ("b", Right)]);
        t.row(["é"]);
        t.row(["x", "1", "lost"]);
        assert_eq!(t.to_string(), "a  b\n-  -\né\nx  1\n");
    }

    #[test]
    fn a_narrow_terminal_gets_lines_that_fit() {
        let mut t = Table::new([
            ("phase", Left),
            ("density", Right),
            ("loss", Right),
            ("weights", Left),
        ]);
        t.row(["dense", "1", "0.05", "run/dense/digits_iter_600.caffemodel"]);
        t.row(["sparse", "0.7", "", "run/sparse/digits_iter_300.caffemodel"]);
        assert_eq!(t.fitted(80), t.to_string());
        let text = "\
dense
  density 1  loss 0.05
  weights run/dense/digits_iter_600.caffemodel
sparse
  density 0.7
  weights run/sparse/digits_iter_300.caffemodel
";
        assert_eq!(t.fitted(47), text);
        let mut t = Table::new([("field", Left), ("value", Left)]);
        t.row(["kernels", "direct, winograd, depthwise, and of strides"]);
        let text = "\
field    value
-------  -----------------
kernels  direct, winograd,
         depthwise, and of
         strides
";
        assert_eq!(t.fitted(30), text);
        for columns in [0, 1, 20, 30, 40, 80, 200] {
            let lines = t.fitted(columns);
            let widest = lines.lines().map(|l| l.chars().count()).max();
            assert!(widest <= Some(columns.max(51)), "{columns}: {lines}");
        }
    }
}
