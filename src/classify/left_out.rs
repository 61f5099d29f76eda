//! The files of a folder that are no pictures by their names, so that nobody waits for their labels.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Shown at most.
const SHOWN: usize = 8;

/// What the folders among `given` have beside `pictures`, in a sentence for each folder that has any.
pub fn left_out(given: &[PathBuf], pictures: &[PathBuf]) -> Vec<String> {
    let taken: HashSet<&Path> = pictures.iter().map(PathBuf::as_path).collect();
    let mut sentences = Vec::new();
    for folder in given.iter().filter(|path| path.is_dir()) {
        let mut rest = Vec::new();
        let mut folders = vec![folder.clone()];
        let mut seen = HashSet::new();
        while let Some(below) = folders.pop() {
            if !seen.insert(below.canonicalize().unwrap_or_else(|_| below.clone())) {
                continue;
            }
            for entry in fs::read_dir(&below).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !taken.contains(path.as_path()) {
                    rest.push(path);
                }
            }
        }
        rest.sort();
        if rest.is_empty() {
            continue;
        }
        let name = |path: &PathBuf| {
            let short = path.strip_prefix(folder).unwrap_or(path);
            short.display().to_string()
        };
        let mut names: Vec<String> = rest.iter().take(SHOWN).map(name).collect();
        if rest.len() > SHOWN {
            names.push("…".to_string());
        }
        sentences.push(format!(
            "{}: left out {} file{} that are no pictures by their names: {}",
            folder.display(),
            rest.len(),
            if rest.len() == 1 { "" } else { "s" },
            names.join(", ")
        ));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_tells_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("b")).unwrap();
        for name in ["a.jpg", "notes.txt", "b/x.doc"] {
            fs::write(at(name), "").unwrap();
        }
        let given = [folder.path().to_path_buf(), at("a.jpg")];
        let told = left_out(&given, &[at("a.jpg")]);
        assert_eq!(told.len(), 1);
        assert!(
            told[0].ends_with(
                "left out 2 files that are no pictures by their names: b/x.doc, notes.txt"
            )
        );
        let all = [at("a.jpg"), at("notes.txt"), at("b/x.doc")];
        assert!(left_out(&given, &all).is_empty());
    }
}
