//! Folders that are classes: which class of a net each is.

use super::class_names::{Places, short};
use super::imagenet;
use crate::data::class_list;
use crate::data::list::List;
use crate::data::picture_file::is_picture;
use crate::files::encoding;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The names of a net's classes, and what messages call the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Class i is the i-th; a line may begin with a WordNet number, and have synonyms behind commas.
    pub lines: Vec<String>,
    /// Where they are from.
    pub list: String,
}

/// Whether a folder has folders of pictures, as opposed to a database or a file.
pub fn is_classes(folder: &Path) -> bool {
    let below = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let database = ["data.mdb", "CURRENT"];
    if database.iter().any(|name| folder.join(name).exists()) {
        return false;
    }
    let holds = |class: fs::DirEntry| {
        let hidden = class.file_name().to_string_lossy().starts_with('.');
        !hidden && below(&class.path()).any(|f| is_picture(&f.file_name().to_string_lossy()))
    };
    below(folder).any(holds)
}

/// The pictures of a folder whose folders are classes of a net with `classes` of them, and what names the classes: `known`,
/// the folder's own list, or ImageNet's; else, where there are as many folders as classes, nothing but the folders' order.
///
/// # Errors
/// A folder is no class or has no picture, or without names there are more or fewer folders than classes.
pub fn pictures(
    folder: &Path,
    classes: usize,
    known: Option<&Known>,
) -> Result<(List, Option<String>)> {
    let shown = folder.display();
    ensure!(
        folder.is_dir(),
        "{shown}: expected a folder with a folder of pictures for each class"
    );
    let found = names(folder)?;
    let own = class_list::of(folder)?.map(|lines| Known {
        lines,
        list: folder.join(class_list::CLASSES).display().to_string(),
    });
    let known = known
        .cloned()
        .or(own)
        .or_else(|| imagenets(&found, classes));
    let Some(known) = known else {
        ensure!(
            found.len() == classes || found.is_empty(),
            "{shown} has {} folder{}, but the net has {classes} classes: give --labels F, the classes' names in the net's \
             order, one a line, so that each folder finds its class",
            found.len(),
            if found.len() == 1 { "" } else { "s" }
        );
        let list = List::read_with(folder, Some((found, shown.to_string())))?;
        return Ok((list, None));
    };
    ensure!(
        known.lines.len() == classes,
        "{}: {} names, but the net has {classes} classes",
        known.list,
        known.lines.len()
    );
    let places = Places::of(&known.lines);
    let mut spelt = known.lines.clone();
    let mut taken: HashMap<usize, &String> = HashMap::new();
    for name in &found {
        let place = places.find(name).with_context(|| shown.to_string())?;
        let Some(place) = place else {
            bail!(
                "{shown}: the folder '{name}' is no class of {}, which has {classes} (first '{}'); name it as its class, or \
                 move it away",
                known.list,
                known.lines[0]
            );
        };
        if let Some(first) = taken.insert(place, name) {
            bail!(
                "{shown}: the folders '{first}' and '{name}' are the same class, '{}' of {}; put their pictures into one",
                known.lines[place],
                known.list
            );
        }
        spelt[place].clone_from(name);
    }
    let mut list = List::read_with(folder, Some((spelt, known.list.clone())))?;
    list.classes = short(&known.lines);
    Ok((list, Some(known.list)))
}

/// The folders' names, sorted; hidden ones are left out.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |e: std::io::Error| {
        let why = crate::files::reason(&e);
        anyhow::anyhow!("cannot read {}: {why}", folder.display())
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = encoding::name(entry.file_name());
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The built-in names, for folders called so: other nets than ImageNet's have 1000 classes too.
fn imagenets(found: &[String], classes: usize) -> Option<Known> {
    if classes != imagenet::CLASSES {
        return None;
    }
    let lines = imagenet::lines();
    let places = Places::of(&lines);
    let mut fit = found.iter().map(|f| !matches!(places.find(f), Ok(None)));
    let fits = match found.len() == classes {
        true => fit.all(|f| f),
        false => fit.any(|f| f),
    };
    fits.then(|| Known {
        lines,
        list: imagenet::LIST.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let class = folder.path().join(name);
            fs::create_dir(&class).unwrap();
            fs::write(class.join("a.png"), "").unwrap();
        }
        folder
    }

    fn known(lines: &[&str]) -> Known {
        Known {
            lines: lines.iter().map(|l| l.to_string()).collect(),
            list: "L".into(),
        }
    }

    fn labels(list: &List) -> Vec<(String, i32)> {
        let entry = |e: &crate::data::list::Entry| (e.name.clone(), e.label);
        list.entries.iter().map(entry).collect()
    }

    #[test]
    fn folders_are_numbered_by_name_or_by_the_list() {
        let at = folder(&["b", "a"]);
        assert!(is_classes(at.path()));
        let (list, _) = pictures(at.path(), 2, None).unwrap();
        assert_eq!(
            labels(&list),
            [("a/a.png".into(), 0), ("b/a.png".into(), 1)]
        );
        let (list, _) = pictures(at.path(), 3, Some(&known(&["b", "c", "a"]))).unwrap();
        assert_eq!(
            labels(&list),
            [("a/a.png".into(), 2), ("b/a.png".into(), 0)]
        );
        assert_eq!(list.classes, ["b", "c", "a"]);
        fs::write(at.path().join("classes.txt"), "b\na\n").unwrap();
        let (list, _) = pictures(at.path(), 2, None).unwrap();
        assert_eq!(labels(&list)[0], ("a/a.png".into(), 1));
        fs::write(at.path().join("data.mdb"), "").unwrap();
        assert!(!is_classes(at.path()));
    }

    #[test]
    fn imagenets_folders_are_found_by_number_and_name() {
        let at = folder(&["n02123045", "toilet_tissue", "tench"]);
        let (list, _) = pictures(at.path(), 1000, None).unwrap();
        let wanted = [
            ("n02123045/a.png".to_string(), 281),
            ("tench/a.png".to_string(), 0),
            ("toilet_tissue/a.png".to_string(), 999),
        ];
        assert_eq!(labels(&list), wanted);
        assert_eq!(list.classes[281], "tabby");
        fs::create_dir(at.path().join("my cat")).unwrap();
        let error = pictures(at.path(), 1000, None).unwrap_err();
        assert!(format!("{error:#}").contains("'my cat' is no class of ImageNet's 1000"));
    }

    #[test]
    fn what_is_no_class_or_twice_one_is_told() {
        let at = folder(&["crane", "tench", "n1"]);
        let error = |classes: usize, known: Option<&Known>| {
            format!("{:#}", pictures(at.path(), classes, known).unwrap_err())
        };
        assert!(error(4, None).contains("has 3 folders, but the net has 4 classes: give --labels"));
        let two = known(&["n00000001 crane, bird", "n00000002 crane", "tench", "n1"]);
        assert!(error(4, Some(&two)).contains("several classes are called 'crane'"));
        assert!(error(4, Some(&known(&["a"]))).contains("L: 1 names, but the net has 4"));
        let twice = folder(&["n02123045", "tabby"]);
        let error = pictures(twice.path(), 1000, None).unwrap_err().to_string();
        assert!(
            error.contains("the folders 'n02123045' and 'tabby' are the same class"),
            "{error}"
        );
        let error = pictures(&at.path().join("tench/a.png"), 3, None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected a folder with a folder")
        );
    }
}
