//! Tables in plain text: columns aligned, no frames, so that they read well and cut well with awk.

use std::fmt;

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

    /// The rows, a cell a column.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |s: &String| s.chars().count();
        let widths: Vec<usize> = (0..self.heads.len())
            .map(|c| {
                self.rows
                    .iter()
                    .map(|row| width(&row[c]))
                    .fold(width(&self.heads[c]), usize::max)
            })
            .collect();
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
}
