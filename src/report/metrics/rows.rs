//! The two forms of a metrics file, by its name: lines of JSON, and CSV where it ends in `.csv`.
//!
//! CSV has a line a number: `phase,iteration,global_iteration,time,name,value`, with names as in TensorBoard's files
//! (`train/loss`, `test/accuracy` …).

use anyhow::{Result, bail};
use serde::Deserialize;
use std::path::Path;

/// The head of a CSV file.
pub(super) const HEAD: &str = "phase,iteration,global_iteration,time,name,value\n";

/// How the course is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
}

/// What a resumption must know of a line.
#[derive(Debug, Deserialize)]
pub(super) struct Stamp {
    pub(super) iteration: u64,
    pub(super) phase: String,
}

impl Form {
    /// The form of a file of this name.
    pub(super) fn of(path: &Path) -> Self {
        let csv = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        if csv { Self::Csv } else { Self::Json }
    }

    /// What an empty file begins with.
    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Json => "",
            Self::Csv => HEAD,
        }
    }

    /// The finished lines of a file behind its head, with their line breaks.
    ///
    /// # Errors
    /// It is another file.
    pub(super) fn lines(self, text: &str, path: &Path) -> Result<Vec<(Stamp, String)>> {
        let mut lines = Vec::new();
        let rest = text.strip_prefix(self.head());
        if rest.is_none() && !HEAD.starts_with(text) {
            bail!(
                "{}:1: expected '{}': not a metrics file; give another name to --metrics",
                path.display(),
                HEAD.trim_end()
            );
        }
        let first = self.head().lines().count();
        for (i, line) in rest.unwrap_or_default().split_inclusive('\n').enumerate() {
            let unfinished = !line.ends_with('\n');
            match self.stamp(line) {
                _ if unfinished && (i + first > 0 || line.starts_with('{')) => {}
                Some(stamp) => lines.push((stamp, line.to_owned())),
                None => bail!(
                    "{}:{}: expected {}: not a metrics file; give another name to --metrics",
                    path.display(),
                    i + 1 + first,
                    match self {
                        Self::Json => "a JSON object with \"iteration\" and \"phase\"",
                        Self::Csv => "a phase and an iteration",
                    }
                ),
            }
        }
        Ok(lines)
    }

    fn stamp(self, line: &str) -> Option<Stamp> {
        match self {
            Self::Json => serde_json::from_str(line).ok(),
            Self::Csv => {
                let mut cells = line.split(',');
                Some(Stamp {
                    phase: cells.next()?.to_owned(),
                    iteration: cells.next()?.parse().ok()?,
                })
            }
        }
    }
}

/// The lines of a point in CSV.
pub(super) fn csv(
    (phase, iteration, global): (&str, u64, u64),
    time: &str,
    values: &[(String, f64)],
) -> String {
    let line = |(name, value): &(String, f64)| {
        let value = match value.is_finite() {
            true => value.to_string(),
            // As an empty cell every reader of CSV knows it.
            false => String::new(),
        };
        format!(
            "{phase},{iteration},{global},{time},{},{value}\n",
            cell(name)
        )
    };
    values.iter().map(line).collect()
}

/// A cell that may hold anything.
fn cell(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
