//! From picture files to classes: which net to run, what is done to a picture before, and what comes out.

mod class_names;
pub mod folders;
pub mod imagenet;
mod left_out;
mod net;
mod preprocess;
pub mod pycaffe;
pub mod tally;
pub mod windows;

pub use left_out::left_out;
pub use net::{PictureNet, Scores};
pub use preprocess::{Given, Preprocess};

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::data::picture_file::{ENDINGS_SHOWN, is_picture};
use crate::files;

/// A class and its probability.
pub type Prediction = (usize, f32);

/// The `top` classes of largest probability, the largest first; of equal ones the first class first.
pub fn best(probabilities: &[f32], top: usize) -> Vec<Prediction> {
    let mut all: Vec<Prediction> = probabilities.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(top);
    all
}

/// The classes' names, one a line.
pub fn labels(path: &Path) -> Result<Vec<String>> {
    let text = files::read_text(path)?;
    Ok(text.lines().map(|line| line.trim().to_string()).collect())
}

/// The picture files that `given` names: files as they are, folders with all below them that end in
/// one of [`ENDINGS`](crate::data::picture_file::ENDINGS), sorted.
pub fn pictures(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in given {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let mut below = Vec::new();
        let mut folders = vec![path.clone()];
        // A link may lead back to a folder above.
        let mut seen = HashSet::new();
        while let Some(folder) = folders.pop() {
            if seen.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone())) {
                list(&folder, &mut folders, &mut below)?;
            }
        }
        if below.is_empty() {
            bail!(
                "{}: no picture in this folder ({ENDINGS_SHOWN})",
                path.display()
            );
        }
        below.sort();
        found.append(&mut below);
    }
    Ok(found)
}

fn list(folder: &Path, folders: &mut Vec<PathBuf>, pictures: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |e: std::io::Error| {
        anyhow::anyhow!("cannot read {}: {}", folder.display(), files::reason(&e))
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            folders.push(path);
        } else if path
            .file_name()
            .is_some_and(|n| is_picture(&n.to_string_lossy()))
        {
            pictures.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_equals_in_order() {
        assert_eq!(
            best(&[0.1, 0.4, 0.1, 0.4], 3),
            [(1, 0.4), (3, 0.4), (0, 0.1)]
        );
        assert_eq!(best(&[1.0], 5), [(0, 1.0)]);
    }

    #[test]
    fn folders_are_searched_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("b/c")).unwrap();
        for name in ["z.PNG", "a.jpg", "b/c/x.JPEG", "b/notes.txt"] {
            std::fs::write(at(name), "").unwrap();
        }
        let given = [folder.path().to_path_buf(), PathBuf::from("no/such.gif")];
        let wanted = [
            at("a.jpg"),
            at("b/c/x.JPEG"),
            at("z.PNG"),
            "no/such.gif".into(),
        ];
        assert_eq!(pictures(&given).unwrap(), wanted);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path(), at("b/loop")).unwrap();
            assert_eq!(pictures(&given).unwrap().len(), 4);
        }
        let empty = tempfile::tempdir().unwrap();
        let error = pictures(&[empty.path().to_path_buf()]).unwrap_err();
        assert!(error.to_string().contains("no picture in this folder"));
    }
}
