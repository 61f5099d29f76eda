//! A database under construction, of whichever kind.

use std::path::Path;

use anyhow::{Result, bail};

use super::class_list::CLASSES;
use super::leveldb_writer::LeveldbWriter;
use super::lmdb_writer::LmdbWriter;
use crate::files;
use crate::proto::caffe::data_parameter::Db;

/// Writes records; dropped before [`DatabaseWriter::finish`], it leaves nothing.
pub enum DatabaseWriter {
    /// An LMDB.
    Lmdb(LmdbWriter),
    /// A LevelDB.
    Leveldb(Box<LeveldbWriter>),
}

impl DatabaseWriter {
    /// Begins the database that will be the folder `target`, which must not exist.
    pub fn create(target: &Path, kind: Db) -> Result<Self> {
        Ok(match kind {
            Db::Lmdb => Self::Lmdb(LmdbWriter::create(target)?),
            Db::Leveldb => Self::Leveldb(Box::new(LeveldbWriter::create(target)?)),
        })
    }

    /// Adds a record; a key that is there already gets the new value.
    pub fn put(&mut self, key: &[u8], value: Vec<u8>) -> Result<()> {
        match self {
            Self::Lmdb(writer) => writer.put(key, value),
            Self::Leveldb(writer) => writer.put(key, &value),
        }
    }

    /// Stores the names of the classes with the database.
    pub fn put_classes(&mut self, classes: &[String]) -> Result<()> {
        if let Some(name) = classes.iter().find(|c| c.contains('\n')) {
            bail!("the name of the class {name:?} has a line break in it");
        }
        let folder = match self {
            Self::Lmdb(writer) => writer.folder(),
            Self::Leveldb(writer) => writer.folder(),
        };
        let text = classes.join("\n") + "\n";
        files::write_atomic(&folder.join(CLASSES), |w| Ok(w.write_all(text.as_bytes())?))
    }

    /// Writes what is left, syncs, and gives the database its name.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Lmdb(writer) => writer.finish(),
            Self::Leveldb(writer) => writer.finish(),
        }
    }
}
