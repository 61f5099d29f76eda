//! Lists of pictures with labels: Caffe's list file, a line `path label` a picture, or a folder that has
//! one folder of pictures for each class.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::class_list;
use super::picture_file::{ENDINGS_SHOWN, is_picture};
use crate::files::{self, encoding, reason};

/// A picture of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path as the list has it; below the folder of classes, `CLASS/FILE`.
    pub name: String,
    /// The class.
    pub label: i32,
    /// The line in the list, from 1; 0 where there is no list.
    pub line: usize,
}

/// Pictures in the order of their list, or sorted by class and file name; at least one.
#[derive(Clone, Debug)]
pub struct List {
    /// The list file or folder.
    pub source: PathBuf,
    /// The pictures.
    pub entries: Vec<Entry>,
    /// The names of the classes, where folders are the classes or a class list says: label i is the i-th.
    pub classes: Vec<String>,
    /// Classes of the list that have no folder.
    pub missing: Vec<String>,
    /// Files of a folder that are no pictures by their names.
    pub left_out: usize,
}

impl List {
    /// Reads a list file, or finds the pictures below a folder. A folder's classes are numbered by the class
    /// list in it, where there is one, else by name.
    pub fn read(source: &Path) -> Result<Self> {
        let own = class_list::of(source)?;
        let named = source.join(class_list::CLASSES).display().to_string();
        Self::read_with(source, own.map(|names| (names, named)))
    }

    /// As [`List::read`], with a class list and its name for messages.
    pub fn read_with(source: &Path, classes: Option<(Vec<String>, String)>) -> Result<Self> {
        let list = if source.is_dir() {
            Self::of_folder(source, classes)?
        } else {
            Self::of_file(source, classes)?
        };
        ensure!(
            !list.entries.is_empty(),
            "{} has no pictures{}",
            source.display(),
            if source.is_dir() {
                format!("; expected one folder for each class with its {ENDINGS_SHOWN} files")
            } else {
                String::new()
            }
        );
        Ok(list)
    }

    /// As in Caffe, the label stands behind the last space, so that paths may have spaces.
    fn of_file(source: &Path, classes: Option<(Vec<String>, String)>) -> Result<Self> {
        let text = files::read_text(source)?;
        let mut entries = Vec::new();
        for (i, line) in text.lines().enumerate().map(|(i, l)| (i + 1, l.trim_end())) {
            if line.is_empty() {
                continue;
            }
            let parts = line.rsplit_once([' ', '\t']);
            let entry = parts.and_then(|(name, label)| {
                let label = label.parse().ok()?;
                let name = name.trim_end().to_string();
                Some(Entry {
                    name,
                    label,
                    line: i,
                })
            });
            entries.push(entry.filter(|e| !e.name.is_empty()).with_context(|| {
                format!(
                    "{}:{i}: expected a path, a space and a label (a whole number), found '{line}'",
                    source.display()
                )
            })?);
        }
        if let Some((names, list)) = &classes {
            let known = |e: &&Entry| usize::try_from(e.label).is_ok_and(|l| l < names.len());
            if let Some(e) = entries.iter().find(|e| !known(e)) {
                bail!(
                    "{}:{}: the label {} is no class of {list}, which has {}: expected 0 to {}",
                    source.display(),
                    e.line,
                    e.label,
                    names.len(),
                    names.len() - 1
                );
            }
        }
        Ok(Self {
            source: source.to_path_buf(),
            entries,
            classes: classes.map_or_else(Vec::new, |(names, _)| names),
            left_out: 0,
            missing: Vec::new(),
        })
    }

    fn of_folder(source: &Path, classes: Option<(Vec<String>, String)>) -> Result<Self> {
        let (folders, beside) = contents(source)?;
        let labels = match &classes {
            Some((names, list)) => class_list::labels(&folders, names, list)
                .with_context(|| source.display().to_string())?,
            None => (0..i32::try_from(folders.len())?).collect(),
        };
        let beside = beside.iter().filter(|n| *n != class_list::CLASSES).count();
        let (mut entries, mut left_out) = (Vec::new(), beside);
        for (label, class) in labels.into_iter().zip(&folders) {
            let (below, names) = contents(&source.join(encoding::path(class)))?;
            left_out += below.len();
            let before = entries.len();
            for name in names {
                if is_picture(&name) {
                    entries.push(Entry {
                        name: format!("{class}/{name}"),
                        label,
                        line: 0,
                    });
                } else {
                    left_out += 1;
                }
            }
            if entries.len() == before {
                bail!(
                    "{} has no {ENDINGS_SHOWN} files: every folder of {} is a class",
                    source.join(class).display(),
                    source.display()
                );
            }
        }
        Ok(Self {
            source: source.to_path_buf(),
            entries,
            missing: match &classes {
                Some((names, _)) => names
                    .iter()
                    .filter(|n| !folders.contains(n))
                    .cloned()
                    .collect(),
                None => Vec::new(),
            },
            classes: classes.map_or(folders, |(names, _)| names),
            left_out,
        })
    }

    /// How messages name an entry's place: `LIST:LINE`, or the folder.
    pub fn place(&self, entry: &Entry) -> String {
        match entry.line {
            0 => self.source.display().to_string(),
            line => format!("{}:{line}", self.source.display()),
        }
    }

    /// What stands before every name. As in Caffe, `root` is put there as it is; a `/` is added, and the
    /// path looked up by `resolve`, only where that finds the first picture; last, it is looked for beside
    /// the list. Folders of classes need none.
    pub fn root(&self, root: &str, resolve: &dyn Fn(&str) -> PathBuf) -> String {
        let Some(first) = self.entries.first().filter(|e| e.line > 0) else {
            return format!("{}/", encoding::name(&self.source));
        };
        let slash = format!("{root}/");
        let tries: &[&str] = if root.is_empty() {
            &[""]
        } else {
            &[root, &slash]
        };
        let found = tries.iter().find_map(|root| {
            let path = resolve(&format!("{root}{}", first.name));
            let path = path.exists().then_some(path)?;
            let path = encoding::name(path);
            Some(path.strip_suffix(&first.name)?.to_string())
        });
        let beside = || {
            let folder = self.source.parent().filter(|f| !f.as_os_str().is_empty())?;
            let roots = tries
                .iter()
                .map(|root| format!("{}/{root}", folder.display()));
            roots
                .into_iter()
                .find(|root| Path::new(&format!("{root}{}", first.name)).exists())
        };
        found.or_else(beside).unwrap_or_else(|| root.to_string())
    }
}

/// The folders and the files in a folder, sorted by name; hidden ones are left out.
fn contents(folder: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let failed = |e: std::io::Error| anyhow!("cannot read {}: {}", folder.display(), reason(&e));
    let (mut folders, mut names) = (Vec::new(), Vec::new());
    for item in fs::read_dir(folder).map_err(failed)? {
        let item = item.map_err(failed)?;
        let name = encoding::name(item.file_name());
        if name.starts_with('.') {
            continue;
        }
        // Follows links.
        let is_folder = fs::metadata(item.path()).is_ok_and(|m| m.is_dir());
        if is_folder { &mut folders } else { &mut names }.push(name);
    }
    folders.sort_unstable();
    names.sort_unstable();
    Ok((folders, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_file_is_read_as_caffe_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        fs::write(&path, "a b.jpg 3\r\n\nx/c.png\t-1\n").unwrap();
        let list = List::read(&path).unwrap();
        let entry = |name: &str, label, line| Entry {
            name: name.into(),
            label,
            line,
        };
        assert_eq!(
            list.entries,
            [entry("a b.jpg", 3, 1), entry("x/c.png", -1, 3)]
        );
        assert_eq!(
            list.place(&list.entries[1]),
            format!("{}:3", path.display())
        );
        let resolve = |name: &str| folder.path().join(name);
        assert_eq!(list.root("r", &resolve), "r");
        fs::create_dir(folder.path().join("r")).unwrap();
        fs::write(folder.path().join("r/a b.jpg"), "").unwrap();
        let root = folder.path().join("r/").display().to_string();
        assert_eq!(list.root("r", &resolve), root);
        assert_eq!(list.root("r/", &resolve), root);
        assert_eq!(list.root("", &resolve), "");
        for wrong in ["a.jpg\n", "a.jpg cat\n", "a.jpg 1.5", " 7"] {
            fs::write(&path, format!("ok.jpg 0\n{wrong}")).unwrap();
            let e = List::read(&path).unwrap_err().to_string();
            assert!(e.contains("list.txt:2: expected a path"), "{e}");
        }
        fs::write(&path, "\n").unwrap();
        assert!(
            List::read(&path)
                .unwrap_err()
                .to_string()
                .ends_with("has no pictures")
        );
    }

    #[test]
    fn folders_are_classes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in [
            "dog/2.JPEG",
            "dog/1.png",
            "cat/x.jpg",
            "cat/notes.txt",
            "cat/.hidden.jpg",
        ] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "").unwrap();
        }
        let list = List::read(root).unwrap();
        let found: Vec<_> = list
            .entries
            .iter()
            .map(|e| (e.name.as_str(), e.label))
            .collect();
        assert_eq!(
            found,
            [("cat/x.jpg", 0), ("dog/1.png", 1), ("dog/2.JPEG", 1)]
        );
        assert_eq!((list.classes.len(), list.left_out), (2, 1));
        assert_eq!(
            list.root("ignored", &|name: &str| PathBuf::from(name)),
            format!("{}/", root.display())
        );
        fs::write(root.join("classes.txt"), "bird\ndog\ncat\n").unwrap();
        let list = List::read(root).unwrap();
        let labels: Vec<i32> = list.entries.iter().map(|e| e.label).collect();
        assert_eq!(labels, [2, 1, 1]);
        assert_eq!((list.classes.len(), list.left_out), (3, 1));
        assert_eq!(list.missing, ["bird"]);
        fs::write(root.join("classes.txt"), "dog\n").unwrap();
        let e = format!("{:#}", List::read(root).unwrap_err());
        assert!(e.contains("the folder 'cat' is no class of"), "{e}");
        fs::remove_file(root.join("classes.txt")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        let e = List::read(root).unwrap_err().to_string();
        assert!(e.contains("empty has no .jpg"), "{e}");
    }
}
