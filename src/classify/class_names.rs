//! What the classes of a list may be called: a line may begin with a WordNet number, and have synonyms behind commas.

use anyhow::{Result, bail};
use std::collections::HashMap;

/// Whether a word is a WordNet number: `n01440764`.
fn is_number(word: &str) -> bool {
    word.len() == 9 && word.starts_with('n') && word.bytes().skip(1).all(|b| b.is_ascii_digit())
}

/// The name in a line, without a WordNet number.
fn name(line: &str) -> &str {
    match line.split_once(' ') {
        Some((number, name)) if is_number(number) => name.trim(),
        _ => line,
    }
}

/// What tables show of each line: the name up to its first comma, the whole line where that is another class's too.
pub fn short(lines: &[String]) -> Vec<String> {
    let first = |line: &String| {
        let name = name(line);
        name.split_once(',').map_or(name, |(n, _)| n).to_string()
    };
    let all: Vec<String> = lines.iter().map(first).collect();
    let mut times: HashMap<&str, usize> = HashMap::new();
    for name in &all {
        *times.entry(name).or_default() += 1;
    }
    let pick = |(name, line): (&String, &String)| match times[&**name] {
        1 if !name.is_empty() => name.clone(),
        _ => line.clone(),
    };
    all.iter().zip(lines).map(pick).collect()
}

/// From what a folder may be called to its class; `None` where several are called so.
pub struct Places(HashMap<String, Option<usize>>);

impl Places {
    /// Of the lines of a class list.
    pub fn of(lines: &[String]) -> Self {
        // A whole line, or its number, is surer than a synonym.
        let mut sure = HashMap::new();
        let mut loose: HashMap<String, Option<usize>> = HashMap::new();
        for (i, line) in lines.iter().enumerate() {
            sure.insert(plain(line), Some(i));
            if let Some((number, _)) = line.split_once(' ').filter(|(n, _)| is_number(n)) {
                sure.insert(plain(number), Some(i));
            }
            let mut called: Vec<String> = name(line).split(',').map(plain).collect();
            called.push(plain(name(line)));
            called.sort_unstable();
            called.dedup();
            for name in called {
                let place = loose.entry(name).or_insert(Some(i));
                if *place != Some(i) {
                    *place = None;
                }
            }
        }
        loose.extend(sure);
        Self(loose)
    }

    /// The class of a folder, if it is one.
    ///
    /// # Errors
    /// Several classes are called so.
    pub fn find(&self, folder: &str) -> Result<Option<usize>> {
        match self.0.get(&plain(folder)) {
            Some(None) => bail!(
                "several classes are called '{folder}'; name the folder as the whole line of its class, or by its \
                 WordNet number"
            ),
            found => Ok(found.copied().flatten()),
        }
    }
}

/// Folders may have `_` for a space.
fn plain(name: &str) -> String {
    name.trim().replace('_', " ")
}
