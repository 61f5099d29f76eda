//! Class lists: the names of classes, one a line; label i is the i-th. A database made of folders carries its
//! own, and a folder of classes may hold one, so that a class without pictures does not shift the labels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::files;

/// The file in a database's or a picture folder's own folder that holds its class list.
pub const CLASSES: &str = "classes.txt";

/// The class list in a database or a folder of pictures; `None` if it has none.
///
/// # Errors
/// There is one, but it cannot be read.
pub fn of(folder: &Path) -> Result<Option<Vec<String>>> {
    let file = folder.join(CLASSES);
    file.is_file().then(|| read(&file)).transpose()
}

/// Reads a class list: a text file, or the folder (a database, pictures) that holds one.
///
/// # Errors
/// It cannot be read, is empty, or names a class twice.
pub fn read(path: &Path) -> Result<Vec<String>> {
    let path = if path.is_dir() {
        path.join(CLASSES)
    } else {
        PathBuf::from(path)
    };
    let shown = path.display();
    let text = files::read_text(&path)?;
    let mut names: Vec<String> = text.lines().map(|l| l.trim().to_string()).collect();
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    ensure!(
        !names.is_empty(),
        "{shown} names no classes; expected one name a line"
    );
    let mut lines = HashMap::new();
    for (i, name) in names.iter().enumerate() {
        ensure!(
            !name.is_empty(),
            "{shown}:{}: expected the name of a class, found an empty line",
            i + 1
        );
        if let Some(first) = lines.insert(name, i + 1) {
            bail!(
                "{shown}:{}: the class '{name}' is in line {first} already",
                i + 1
            );
        }
    }
    Ok(names)
}

/// The label of each folder of `found` in the class list `names`, which is of `list`.
///
/// # Errors
/// The list lacks a folder.
pub fn labels(found: &[String], names: &[String], list: &str) -> Result<Vec<i32>> {
    let places: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(i, n)| (n.as_str(), i))
        .collect();
    let label = |folder: &String| {
        let place = places.get(folder.as_str()).with_context(|| {
            format!(
                "the folder '{folder}' is no class of {list}, which has {} (first '{}'); add it there in a new \
                 last line, or move the folder away",
                names.len(),
                names[0]
            )
        })?;
        Ok(i32::try_from(*place)?)
    };
    found.iter().map(label).collect()
}

/// Where two class lists part: a sentence's end, `None` if they are the same.
pub fn difference(a: &[String], b: &[String]) -> Option<String> {
    if a == b {
        return None;
    }
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let name = |list: &[String]| match list.get(at) {
        Some(name) => format!("'{name}'"),
        None => "no class".to_string(),
    };
    Some(format!(
        "{} and {} classes; label {at} is {} in one and {} in the other",
        a.len(),
        b.len(),
        name(a),
        name(b)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn lists_are_read_from_files_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(dir.path()).unwrap(), None);
        let file = dir.path().join(CLASSES);
        fs::write(&file, "cat\n big dog\n\n").unwrap();
        let names = ["cat".to_string(), "big dog".to_string()];
        assert_eq!(read(&file).unwrap(), names);
        assert_eq!(read(dir.path()).unwrap(), names);
        assert_eq!(of(dir.path()).unwrap().unwrap(), names);
        let found = ["big dog".to_string()];
        assert_eq!(labels(&found, &names, "L").unwrap(), [1]);
        let error = labels(&["cow".into()], &names, "L")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("'cow' is no class of L, which has 2"),
            "{error}"
        );
        for (text, wanted) in [
            ("", "names no classes"),
            ("a\n\nb", ":2: expected the name"),
            ("a\nb\na", ":3: the class 'a' is in line 1"),
        ] {
            fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn lists_are_compared() {
        let list = |text: &str| -> Vec<String> { text.split(' ').map(String::from).collect() };
        assert_eq!(difference(&list("a b"), &list("a b")), None);
        assert_eq!(
            difference(&list("a b c"), &list("a c")).unwrap(),
            "3 and 2 classes; label 1 is 'b' in one and 'c' in the other"
        );
        assert!(
            difference(&list("a b"), &list("a"))
                .unwrap()
                .contains("'b' in one and no class")
        );
    }
}
