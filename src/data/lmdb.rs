//! Caffe's LMDB databases, read-only and page by page: no file is mapped, no lock file made or used, so that a read-only
//! folder can be read, and a file that is damaged, or cut off meanwhile, is an error and no signal. Nobody may write
//! to a database while it is read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::datum;
use super::lmdb_file::check;
use super::lmdb_tree::Walk;
use super::records::Records;
use crate::proto::caffe::Datum;

/// The records of an LMDB in the order of their keys.
pub struct Lmdb {
    folder: PathBuf,
    count: u64,
    /// The key of the record that was read last.
    key: Vec<u8>,
    walk: Walk,
}

impl Lmdb {
    /// Opens the database in the folder `path`, or whose `data.mdb` is `path`.
    ///
    /// # Errors
    /// There is none, or it is none that Caffe's tools write: empty, truncated, of another kind or byte order.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = folder(path)?;
        let file = folder.join("data.mdb");
        let summary = check(&file)?;
        ensure!(
            summary.records > 0,
            "{} is an empty database: it has no records",
            folder.display()
        );
        Ok(Self {
            count: summary.records,
            key: Vec::new(),
            walk: Walk::new(&file, summary)?,
            folder,
        })
    }
}

impl Records for Lmdb {
    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn read(&mut self, number: u64, datum: &mut Datum) -> Result<()> {
        let shown = self.folder.display();
        let found = self.walk.find(number);
        let record = found.with_context(|| format!("record number {number} of {shown}"))?;
        let Some((key, value)) = record else {
            bail!(
                "{shown} is broken: it promises {} records, but record number {number} is missing",
                self.count
            );
        };
        let decoded = datum::decode(value, datum);
        self.key.clear();
        self.key.extend_from_slice(key);
        decoded.with_context(|| format!("record '{}' of {shown}", self.key.escape_ascii()))
    }

    fn key(&self) -> String {
        self.key.escape_ascii().to_string()
    }
}

/// The folder of a database given as folder or as its `data.mdb`.
fn folder(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    ensure!(path.exists(), "{shown} does not exist");
    let folder = match path.parent() {
        Some(parent) if path.is_file() && path.ends_with("data.mdb") => parent,
        _ if path.is_file() => {
            bail!("{shown} is a file; an LMDB database is a folder with a file data.mdb in it")
        }
        _ => path,
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    ensure!(
        folder.join("data.mdb").exists(),
        "{} is not an LMDB database: it holds no file data.mdb",
        folder.display()
    );
    Ok(folder.to_path_buf())
}

#[cfg(test)]
#[path = "lmdb_tests.rs"]
pub(super) mod tests;
