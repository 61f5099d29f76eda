//! A look at pictures before anything is decided: where they are, their sizes and colours.

use crate::data::datum::{Channels, decode_picture};
use crate::data::list::List;
use crate::files::encoding;
use anyhow::{Result, bail};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Pictures that are opened to learn sizes and colours.
const SAMPLE: usize = 400;

/// Names of folders of validation pictures.
const VAL: [&str; 4] = ["val", "valid", "validation", "dev"];

/// The pictures, in the parts that they come in.
pub(super) struct Found {
    /// To train on, or all that there are.
    pub train: List,
    /// To validate with, if they are apart.
    pub val: Option<List>,
    /// Kept for the end, if there are such.
    pub test: Option<List>,
}

impl Found {
    /// The pictures at `what`: a folder with a folder a class; one with such folders `train`, `val` and `test`; or a list.
    /// `val` is a folder or list of validation pictures.
    pub fn at(what: &Path, val: Option<&Path>) -> Result<Self> {
        refuse_files_of_records(what)?;
        let train_folder = what.join("train");
        let below = |names: &[&str]| {
            let folders = names.iter().map(|n| what.join(n));
            folders.into_iter().find(|f| f.is_dir())
        };
        let parted = train_folder.is_dir() && (below(&VAL).is_some() || below(&["test"]).is_some());
        if !parted {
            let train = List::read(what)?;
            let val = val.map(|v| list_like(&train, v)).transpose()?;
            return Ok(Self {
                train,
                val,
                test: None,
            });
        }
        let train = List::read(&train_folder)?;
        let val = val.map(Path::to_path_buf).or_else(|| below(&VAL));
        let val = val.map(|v| list_like(&train, &v)).transpose()?;
        let test = below(&["test"])
            .map(|t| list_like(&train, &t))
            .transpose()?;
        Ok(Self { train, val, test })
    }
}

/// The pictures of another part, with the classes of the first.
fn list_like(train: &List, path: &Path) -> Result<List> {
    let shown = train.source.display().to_string();
    let classes = (!train.classes.is_empty()).then(|| (train.classes.clone(), shown));
    List::read_with(path, classes)
}

/// Says what to do with databases and files of records, which are no folders of pictures.
fn refuse_files_of_records(what: &Path) -> Result<()> {
    let has = |name: &str| what.join(name).exists();
    let shown = what.display();
    if has("data.mdb") || has("CURRENT") {
        bail!(
            "{shown} is a database; expected pictures. Its net can be made by hand from a copy of a built-in one: dsd new \
             squeezenet_v1.1 --out my_net"
        );
    }
    if has("data_batch_1.bin") {
        bail!(
            "{shown} holds CIFAR-10's binary files; expected pictures. dsd convert_cifar_data {shown} . lmdb makes databases of \
             them"
        );
    }
    let idx = ["train-images-idx3-ubyte", "train-images.idx3-ubyte"];
    if idx.iter().any(|n| has(n)) {
        bail!(
            "{shown} holds MNIST's files; expected pictures. dsd convert_mnist_data IMAGES LABELS train_lmdb makes a database \
             of them"
        );
    }
    Ok(())
}

/// The files of a list, in its order.
pub(super) fn files(list: &List) -> Vec<PathBuf> {
    let beside = list.source.parent().unwrap_or(Path::new("")).to_path_buf();
    let root = list.root("", &|name| crate::files::resolve(name, &beside));
    let path = |name: &str| encoding::path(&format!("{root}{name}"));
    list.entries.iter().map(|e| path(&e.name)).collect()
}

/// How many classes a list has.
pub(super) fn classes(list: &List) -> usize {
    let most = list.entries.iter().map(|e| e.label).max().unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(0) + 1;
    most.max(list.classes.len())
}

/// The names of the classes; numbers, where nothing names them.
pub(super) fn names(list: &List) -> Vec<String> {
    match list.classes.is_empty() {
        true => (0..classes(list)).map(|c| c.to_string()).collect(),
        false => list.classes.clone(),
    }
}

/// What some of the pictures are like.
#[derive(Debug)]
pub(super) struct Sample {
    /// Heights and widths.
    pub sizes: Vec<[usize; 2]>,
    /// Whether none of them has a colour.
    pub gray: bool,
}

/// Opens pictures from all over `files`; those that cannot be read do not count.
pub(super) fn sample(files: &[PathBuf]) -> Result<Sample> {
    let step = files.len().div_ceil(SAMPLE).max(1);
    let some: Vec<&PathBuf> = files.iter().step_by(step).collect();
    let look = |path: &&PathBuf| -> Option<([usize; 2], bool)> {
        let file = std::fs::read(path).ok()?;
        let mut planes = Vec::new();
        let [_, h, w] = decode_picture(&file, Channels::Color, &mut planes).ok()?;
        let (one, rest) = planes.split_at(h * w);
        let gray = rest.chunks(h * w).all(|plane| plane == one);
        Some(([h, w], gray))
    };
    let looked: Vec<_> = some.par_iter().filter_map(look).collect();
    if looked.is_empty() {
        let first = files.first().map(|f| f.display().to_string());
        bail!(
            "none of the {} pictures that were tried can be read, the first {}",
            some.len(),
            first.unwrap_or_default()
        );
    }
    Ok(Sample {
        sizes: looked.iter().map(|l| l.0).collect(),
        gray: looked.iter().all(|l| l.1),
    })
}
