//! A text as streams of characters, for recurrent nets that foretell the next one.
//!
//! A text of n characters becomes N streams side by side, each a piece of it: array [rows, N], where row t holds
//! the t-th character of every piece. An HDF5Data layer whose batch_size is the number of steps reads it piece by piece
//! [steps, N], and a recurrent layer goes on where the batch before has stopped (`cont`), to the pieces' ends.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::files;
use crate::hdf5::Writer;

/// The characters that a net knows; one's number is its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Sorted, none twice.
    symbols: Vec<char>,
}

impl Vocabulary {
    /// The characters of a text.
    pub fn of(text: &str) -> Self {
        let mut symbols: Vec<char> = text.chars().collect();
        symbols.sort_unstable();
        symbols.dedup();
        Self { symbols }
    }

    /// Reads what [`Vocabulary::lines`] has written.
    ///
    /// # Errors
    /// A line that is no JSON string of one character, or characters that are not in order.
    pub fn read(path: &Path) -> Result<Self> {
        let mut symbols: Vec<char> = Vec::new();
        for (n, line) in files::read_text(path)?.lines().enumerate() {
            let place = || format!("{}:{}", path.display(), n + 1);
            let word: Option<String> = serde_json::from_str(line).ok();
            let mut characters = word.iter().flat_map(|w| w.chars());
            let (Some(c), None) = (characters.next(), characters.next()) else {
                bail!("{}: expected a character in quotes, found {line}", place());
            };
            ensure!(
                symbols.last().is_none_or(|&last| last < c),
                "{}: {line} must come before the character above; the file is not as `convert_text` wrote it",
                place()
            );
            symbols.push(c);
        }
        ensure!(!symbols.is_empty(), "{} is empty", path.display());
        Ok(Self { symbols })
    }

    /// The file: a character a line, as JSON strings, for many are invisible.
    pub fn lines(&self) -> Result<String> {
        let mut text = String::new();
        for symbol in &self.symbols {
            writeln!(text, "{}", serde_json::to_string(symbol)?)?;
        }
        Ok(text)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether it has no character.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// The numbers of a text's characters.
    ///
    /// # Errors
    /// The line of the first character that is not there.
    pub fn encode(&self, text: &str) -> Result<Vec<f32>> {
        let number = |(line, c): (usize, char)| {
            let place = self.symbols.binary_search(&c).ok();
            let place = place.with_context(|| {
                format!(
                    "line {line} has {c:?}, which is not in the vocabulary; make one of this text"
                )
            })?;
            Ok(place as f32)
        };
        let mut line = 1;
        let with_lines = text.chars().map(|c| {
            let here = line;
            line += usize::from(c == '\n');
            (here, c)
        });
        with_lines.map(number).collect()
    }
}

/// Streams of characters, and what follows each.
#[derive(Debug, PartialEq)]
pub struct Streams {
    /// Characters of a stream, a multiple of the steps of a batch.
    pub rows: usize,
    /// How many.
    pub streams: usize,
    /// The characters' numbers, [rows, streams].
    pub data: Vec<f32>,
    /// The numbers of the next characters.
    pub label: Vec<f32>,
}

impl Streams {
    /// Cuts a text into as many `streams`, as long as whole batches of `steps` allow; what is left at its end is not
    /// used. `None` where there is not one batch.
    pub fn new(symbols: &[f32], streams: usize, steps: usize) -> Option<Self> {
        // The last character has no next one.
        let rows = symbols.len().saturating_sub(1) / streams / steps * steps;
        if rows == 0 {
            return None;
        }
        let at = |shift: usize| {
            let place = move |i: usize| symbols[i % streams * rows + i / streams + shift];
            (0..rows * streams).map(place).collect()
        };
        Some(Self {
            rows,
            streams,
            data: at(0),
            label: at(1),
        })
    }

    /// Writes datasets `data`, `cont` and `label`; `cont` is 0 where a stream starts, and 1 after that.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut cont = vec![1.0f32; self.data.len()];
        cont[..self.streams].fill(0.0);
        let dims = [self.rows, self.streams];
        let mut file = Writer::new();
        file.floats("data", &dims, &self.data)?;
        file.floats("cont", &dims, &cont)?;
        file.floats("label", &dims, &self.label)?;
        file.save(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_pieces_of_the_text_and_labels_what_follows() {
        let text: Vec<f32> = (0..21).map(|i| i as f32).collect();
        // 20 characters have a next one: 3 streams of 6, cut to whole batches of 2.
        let s = Streams::new(&text, 3, 2).unwrap();
        assert_eq!(s.rows, 6);
        assert_eq!(s.data[..6], [0., 6., 12., 1., 7., 13.]);
        assert_eq!(s.data[15..], [5., 11., 17.]);
        let next: Vec<f32> = s.data.iter().map(|d| d + 1.0).collect();
        assert_eq!(s.label, next);
        assert_eq!(Streams::new(&text, 3, 4).unwrap().rows, 4);
        assert!(Streams::new(&text, 3, 7).is_none() && Streams::new(&[], 1, 1).is_none());
    }

    #[test]
    fn vocabularies_are_written_and_read_again() {
        let words = Vocabulary::of("b \"a\"\n\té");
        assert_eq!(
            words.lines().unwrap(),
            "\"\\t\"\n\"\\n\"\n\" \"\n\"\\\"\"\n\"a\"\n\"b\"\n\"é\"\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.txt");
        std::fs::write(&path, words.lines().unwrap()).unwrap();
        assert_eq!(Vocabulary::read(&path).unwrap(), words);
        assert_eq!(words.encode("ab\n").unwrap(), [4., 5., 1.]);
        let e = words.encode("a\nbc").unwrap_err().to_string();
        assert!(e.starts_with("line 2 has 'c', which is not"), "{e}");
    }

    #[test]
    fn other_files_are_no_vocabulary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.txt");
        for (text, said) in [
            (
                "\"a\"\nb\n",
                "v.txt:2: expected a character in quotes, found b",
            ),
            ("\"ab\"\n", "v.txt:1: expected a character"),
            ("\"b\"\n\"a\"\n", "v.txt:2: \"a\" must come before"),
            ("", "v.txt is empty"),
        ] {
            std::fs::write(&path, text).unwrap();
            let e = Vocabulary::read(&path).unwrap_err().to_string();
            assert!(e.contains(said), "{e}");
        }
    }
}
