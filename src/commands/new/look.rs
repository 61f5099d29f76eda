//! A look at pictures before anything is decided: where they are, their sizes and colours.

use super::stock::{Raw, Stock};
use crate::cli::{Backend, ConvertCifar, ConvertMnist};
use crate::commands::{convert_cifar_data, convert_mnist_data};
use crate::data::datum::Channels;
use crate::data::list::List;
use crate::files;
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Pictures that are opened to learn sizes and colours.
const SAMPLE: usize = 400;

/// Names of folders of validation pictures.
const VAL: [&str; 4] = ["val", "valid", "validation", "dev"];

/// The names of CIFAR-10's classes, beside its files.
const CIFAR_NAMES: &str = "batches.meta.txt";

/// MNIST's files: pictures and labels, to train on and to test on.
const MNIST: [[&str; 2]; 2] = [
    ["train-images", "train-labels"],
    ["t10k-images", "t10k-labels"],
];

/// The pictures, in the parts that they come in.
pub(super) struct Found {
    /// To train on, or all that there are.
    pub train: Stock,
    /// To validate with, if they are apart.
    pub val: Option<Stock>,
    /// Kept for the end, if there are such.
    pub test: Option<Stock>,
    /// Where databases of other files are, until all is done.
    _databases: Option<TempDir>,
}

impl Found {
    /// The pictures at `what`: a folder with a folder a class; one with such folders `train`, `val` and `test`; a list; a database;
    /// CIFAR-10's or MNIST's files. `val` is where validation pictures are. Databases that are made on the way are beside
    /// `out`.
    pub fn at(what: &Path, val: Option<&Path>, out: &Path) -> Result<Self> {
        if what.join("data_batch_1.bin").is_file() {
            return Self::cifar(what, val, out);
        }
        if let Some(files) = mnist(what, 0) {
            return Self::mnist(what, files, val, out);
        }
        let train_folder = what.join("train");
        let below = |names: &[&str]| {
            let mut folders = names.iter().map(|n| what.join(n));
            folders.find(|f| f.is_dir())
        };
        let parted = train_folder.is_dir() && (below(&VAL).is_some() || below(&["test"]).is_some());
        if !parted {
            let train = stock(what, None)?;
            let val = val.map(|v| stock(v, Some(&train))).transpose()?;
            return Ok(Self::of(train, val, None));
        }
        let train = stock(&train_folder, None)?;
        let val = val.map(Path::to_path_buf).or_else(|| below(&VAL));
        let val = val.map(|v| stock(&v, Some(&train))).transpose()?;
        let test = below(&["test"]).map(|t| stock(&t, Some(&train)));
        Ok(Self::of(train, val, test.transpose()?))
    }

    fn of(train: Stock, val: Option<Stock>, test: Option<Stock>) -> Self {
        Self {
            train,
            val,
            test,
            _databases: None,
        }
    }

    fn cifar(what: &Path, val: Option<&Path>, out: &Path) -> Result<Self> {
        let made = beside(out)?;
        let args = ConvertCifar {
            input: what.to_path_buf(),
            output: made.path().to_path_buf(),
            backend: Backend::Lmdb,
        };
        convert_cifar_data::run(&args)?;
        let names = what.join(CIFAR_NAMES);
        let names = names.is_file().then(|| files::read_text(&names));
        let names: Vec<String> = names.transpose()?.map_or_else(Vec::new, |text| {
            let lines = text.lines().map(|l| l.trim().to_string());
            lines.filter(|l| !l.is_empty()).collect()
        });
        let database = |part: &str| made.path().join(format!("cifar10_{part}_lmdb"));
        let mut train = Stock::of_database(&database("train"))?;
        train.classes = names;
        let test = Stock::of_database(&database("test"))?;
        Self::kept(made, train, val, Some(test))
    }

    /// The parts of databases that are made on the way.
    fn kept(made: TempDir, train: Stock, val: Option<&Path>, test: Option<Stock>) -> Result<Self> {
        let val = val.map(|v| stock(v, Some(&train))).transpose()?;
        Ok(Self {
            _databases: Some(made),
            ..Self::of(train, val, test)
        })
    }

    fn mnist(what: &Path, train: [PathBuf; 2], val: Option<&Path>, out: &Path) -> Result<Self> {
        let made = beside(out)?;
        let mut parts = Vec::new();
        for (name, files) in [("train", Some(train)), ("test", mnist(what, 1))] {
            let Some([images, labels]) = files else {
                continue;
            };
            let db = made.path().join(name);
            let args = ConvertMnist {
                images,
                labels,
                db: db.clone(),
                backend: Backend::Lmdb,
            };
            convert_mnist_data::plain(&args)?;
            parts.push(db);
        }
        let train = Stock::of_database(&parts[0])?;
        let test = parts.get(1).map(|p| Stock::of_database(p)).transpose()?;
        Self::kept(made, train, val, test)
    }
}

/// A folder for databases that are made on the way.
fn beside(out: &Path) -> Result<TempDir> {
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dsd-").suffix(".tmp");
    let made = builder.tempdir_in(parent);
    made.with_context(|| format!("cannot make a folder in {}", parent.display()))
}

/// MNIST's files of a part in a folder, as they are called in several places, plain or packed.
fn mnist(folder: &Path, part: usize) -> Option<[PathBuf; 2]> {
    let [images, labels] = MNIST[part];
    let find = |name: &str, kind: &str| {
        let ends = [
            format!("{name}-{kind}"),
            format!("{name}.{kind}"),
            format!("{name}-{kind}.gz"),
            format!("{name}.{kind}.gz"),
        ];
        ends.iter().map(|n| folder.join(n)).find(|p| p.is_file())
    };
    Some([find(images, "idx3-ubyte")?, find(labels, "idx1-ubyte")?])
}

/// The pictures at `path`, with the classes of `like`.
fn stock(path: &Path, like: Option<&Stock>) -> Result<Stock> {
    if path.join("data.mdb").is_file()
        || path.join("CURRENT").is_file()
        || path.ends_with("data.mdb")
    {
        let stock = Stock::of_database(path)?;
        if let Some(like) = like {
            stock.check_like(like)?;
        }
        return Ok(stock);
    }
    let Some(like) = like else {
        return Stock::of_list(List::read(path)?);
    };
    let shown = like.source.display().to_string();
    let classes = (!like.classes.is_empty()).then(|| (like.classes.clone(), shown));
    let stock = Stock::of_list(List::read_with(path, classes)?)?;
    stock.check_like(like)?;
    Ok(stock)
}

/// What some of the pictures are like.
#[derive(Debug)]
pub(super) struct Sample {
    /// Heights and widths.
    pub sizes: Vec<[usize; 2]>,
    /// Whether none of them has a colour.
    pub gray: bool,
}

/// Opens pictures from all over `stock`; those that cannot be read do not count.
pub(super) fn sample(stock: &Stock) -> Result<Sample> {
    let step = stock.len().div_ceil(SAMPLE).max(1);
    let mut reader = stock.reader()?;
    let some: Vec<usize> = (0..stock.len()).step_by(step).collect();
    let raws: Result<Vec<Raw>> = some.iter().map(|i| reader.fetch(*i)).collect();
    let look = |raw: &Raw| -> Option<([usize; 2], bool)> {
        let (planes, [_, h, w]) = raw.decode(Channels::Color).ok()?;
        let (one, rest) = planes.split_at(h * w);
        let gray = rest.chunks(h * w).all(|plane| plane == one);
        Some(([h, w], gray))
    };
    let looked: Vec<_> = raws?.par_iter().filter_map(look).collect();
    if looked.is_empty() {
        bail!(
            "none of the {} pictures that were tried can be read, the first {}",
            some.len(),
            stock.name(0)
        );
    }
    Ok(Sample {
        sizes: looked.iter().map(|l| l.0).collect(),
        gray: looked.iter().all(|l| l.1),
    })
}
