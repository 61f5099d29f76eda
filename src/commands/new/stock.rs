//! The pictures of one part, wherever they are: files, or records of a database.

use crate::data::class_list;
use crate::data::datum::{Channels, Pixels, decode_picture, picture};
use crate::data::list::List;
use crate::data::records::{self, Records};
use crate::files::{encoding, reason, resolve};
use crate::proto::caffe::Datum;
use crate::proto::caffe::data_parameter::Db;
use anyhow::{Result, anyhow, bail, ensure};
use std::path::{Path, PathBuf};

/// Classes, at most.
const MOST: usize = 100_000;

/// Pictures with labels.
pub(super) struct Stock {
    /// The folder, list or database.
    pub source: PathBuf,
    /// The class of each picture.
    pub labels: Vec<i32>,
    /// The names of the classes, where somebody has said.
    pub classes: Vec<String>,
    /// Classes without a folder.
    pub missing: Vec<String>,
    /// Files of a folder that are no pictures by their names.
    pub left_out: usize,
    /// The files; of a database there are none.
    files: Option<Vec<PathBuf>>,
}

impl Stock {
    /// The pictures of a list or a folder of classes.
    ///
    /// # Errors
    /// A label is no class.
    pub fn of_list(list: List) -> Result<Self> {
        let beside = list.source.parent().unwrap_or(Path::new("")).to_path_buf();
        let root = list.root("", &|name| resolve(name, &beside));
        let path = |name: &str| encoding::path(&format!("{root}{name}"));
        let files = list.entries.iter().map(|e| path(&e.name)).collect();
        let stock = Self {
            labels: list.entries.iter().map(|e| e.label).collect(),
            files: Some(files),
            source: list.source,
            classes: list.classes,
            missing: list.missing,
            left_out: list.left_out,
        };
        stock.check(MOST)?;
        Ok(stock)
    }

    /// Checks that labels are classes, of which there are so many.
    fn check(&self, classes: usize) -> Result<()> {
        let known = |label: &i32| usize::try_from(*label).is_ok_and(|l| l < classes);
        if let Some(i) = self.labels.iter().position(|label| !known(label)) {
            bail!(
                "{}: picture {i} ({}) has the label {}; expected a class from 0 to {}",
                self.source.display(),
                self.name(i),
                self.labels[i],
                classes - 1
            );
        }
        Ok(())
    }

    /// Checks that these pictures are of the classes of `train`.
    ///
    /// # Errors
    /// They are of others, or the classes have other names.
    pub fn check_like(&self, train: &Self) -> Result<()> {
        self.check(train.count_classes())?;
        if !self.classes.is_empty()
            && !train.classes.is_empty()
            && let Some(difference) = class_list::difference(&train.classes, &self.classes)
        {
            bail!(
                "{} and {} have {difference}",
                train.source.display(),
                self.source.display()
            );
        }
        Ok(())
    }

    /// The pictures of a database.
    ///
    /// # Errors
    /// It cannot be read, or a record has no class.
    pub fn of_database(path: &Path) -> Result<Self> {
        let mut records = records::open(path, Db::Lmdb)?;
        let mut datum = Datum::default();
        let mut labels = Vec::new();
        for i in 0..records.count() {
            records.read(i, &mut datum)?;
            labels.push(datum.label());
        }
        let stock = Self {
            source: path.to_path_buf(),
            labels,
            classes: class_list::of(path)?.unwrap_or_default(),
            missing: Vec::new(),
            left_out: 0,
            files: None,
        };
        stock.check(MOST)?;
        Ok(stock)
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// How many classes it has.
    fn count_classes(&self) -> usize {
        let most = self.labels.iter().max().copied().unwrap_or(0);
        let most = usize::try_from(most).unwrap_or(0) + 1;
        most.max(self.classes.len())
    }

    /// The names of the classes; numbers, where nobody has named them.
    pub fn names(&self) -> Vec<String> {
        match self.classes.is_empty() {
            true => (0..self.count_classes()).map(|c| c.to_string()).collect(),
            false => self.classes.clone(),
        }
    }

    /// What picture `i` is called.
    pub fn name(&self, i: usize) -> String {
        match &self.files {
            Some(files) => files[i].display().to_string(),
            None => format!("{}:{i}", self.source.display()),
        }
    }

    /// Reads pictures in any order.
    pub fn reader(&self) -> Result<Reader<'_>> {
        let records = match self.files {
            Some(_) => None,
            None => Some(records::open(&self.source, Db::Lmdb)?),
        };
        Ok(Reader {
            stock: self,
            records,
        })
    }
}

/// Fetches pictures as they are stored.
pub(super) struct Reader<'a> {
    stock: &'a Stock,
    records: Option<Box<dyn Records>>,
}

impl Reader<'_> {
    /// Picture `i`, not decoded yet.
    pub fn fetch(&mut self, i: usize) -> Result<Raw> {
        match (&mut self.records, &self.stock.files) {
            (Some(records), _) => {
                let mut datum = Datum::default();
                records.read(i as u64, &mut datum)?;
                Ok(Raw::Record(datum))
            }
            (None, Some(files)) => Ok(Raw::File(files[i].clone())),
            (None, None) => bail!("{}: is gone", self.stock.source.display()),
        }
    }
}

/// A picture as it is stored.
pub(super) enum Raw {
    /// A file that is still to be read.
    File(PathBuf),
    /// A record.
    Record(Datum),
}

impl Raw {
    /// Its planes, blue, green, red, or one of a gray picture's record; channels, height, width.
    pub fn decode(&self, channels: Channels) -> Result<(Vec<u8>, [usize; 3])> {
        let mut planes = Vec::new();
        match self {
            Self::File(path) => {
                let file = std::fs::read(path).map_err(|e| anyhow!("{}", reason(&e)))?;
                let dims = decode_picture(&file, channels, &mut planes)?;
                Ok((planes, dims))
            }
            Self::Record(datum) => {
                let found = picture(datum, channels, &mut planes)?;
                let (dims, pixels) = (found.dims, found.pixels);
                let bytes = match pixels {
                    Pixels::Bytes(bytes) => bytes.to_vec(),
                    Pixels::Floats(_) => bail!("its numbers are floats; expected bytes"),
                };
                let c = dims[0];
                ensure!(
                    c == 1 || c == 3,
                    "it has {c} channels; expected 1 (gray) or 3 (colours)"
                );
                Ok((bytes, dims))
            }
        }
    }
}
