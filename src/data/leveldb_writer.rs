//! Writing a LevelDB with Caffe's settings (blocks of 64 KiB, Snappy).
//!
//! The database is built under a temporary name beside its own, read once by our own reader and renamed, so that
//! it appears whole or not at all.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use rusty_leveldb::{CompressorId, DB, Options, compressor::SnappyCompressor};

use super::leveldb::Leveldb;
use super::new_folder::NewFolder;
use super::records::Records;
use crate::files::reason;

/// Bytes that are kept in memory before they become a table.
const BUFFER: usize = 64 << 20;

/// A database under construction. Dropped before [`LeveldbWriter::finish`], it leaves nothing.
pub struct LeveldbWriter {
    records: u64,
    last: Vec<u8>,
    /// Whether each key was greater than the one before it, so that all are different.
    increasing: bool,
    // Dropped in this order: the database closes before its folder goes.
    database: DB,
    folder: NewFolder,
}

impl LeveldbWriter {
    /// Begins the database that will be the folder `target`, which must not exist.
    pub fn create(target: &Path) -> Result<Self> {
        Self::with_buffer(target, BUFFER)
    }

    fn with_buffer(target: &Path, buffer: usize) -> Result<Self> {
        ensure!(
            target.to_str().is_some(),
            "cannot make the database {}: its name is not UTF-8; use --backend lmdb, or another name",
            target.display()
        );
        let folder = NewFolder::create(target)?;
        let options = Options {
            create_if_missing: true,
            block_size: 65_536,
            write_buffer_size: buffer,
            max_open_files: 100,
            compressor: SnappyCompressor::ID,
            ..Options::default()
        };
        let database = DB::open(folder.path(), options)
            .map_err(|e| anyhow!("cannot make the database {}: {}", target.display(), e.err))?;
        Ok(Self {
            records: 0,
            last: Vec::new(),
            increasing: true,
            database,
            folder,
        })
    }

    /// The folder as it is now, for other files that shall belong to the database.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a record; a key that is there already gets the new value.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.database
            .put(key, value)
            .map_err(|e| self.folder.failed(&e.err))?;
        self.increasing &= self.records == 0 || self.last.as_slice() < key;
        key.clone_into(&mut self.last);
        self.records += 1;
        Ok(())
    }

    /// Closes, reads and syncs the database, and gives it its name.
    pub fn finish(self) -> Result<()> {
        let Self {
            records,
            increasing,
            mut database,
            folder,
            ..
        } = self;
        database.close().map_err(|e| folder.failed(&e.err))?;
        drop(database);
        // The log of the library's doings, with the temporary name in it, and the lock.
        for name in ["LOG", "LOG.old", "LOCK"] {
            let _ = fs::remove_file(folder.path().join(name));
        }
        if records > 0 {
            // A full disk may cut the last write short without a word.
            let found = Leveldb::open(folder.path())?.count();
            ensure!(
                found == records || !increasing && found < records,
                folder.failed(&format!(
                    "{records} records were written, but {found} are there"
                ))
            );
        }
        let sync = || -> std::io::Result<()> {
            for file in fs::read_dir(folder.path())? {
                File::open(file?.path())?.sync_all()?;
            }
            Ok(())
        };
        sync().map_err(|e| folder.failed(&reason(&e)))?;
        folder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::caffe::Datum;
    use prost::Message;

    fn value(i: usize) -> Vec<u8> {
        let datum = Datum {
            label: Some(i as i32),
            data: Some((0..3000).map(|k| (k * i) as u8).collect()),
            ..Datum::default()
        };
        datum.encode_to_vec()
    }

    #[test]
    fn records_come_back_from_tables_and_the_log() {
        // Several tables and a log; all in the log.
        for buffer in [100_000, BUFFER] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("db");
            let mut writer = LeveldbWriter::with_buffer(&target, buffer).unwrap();
            for i in 0..500 {
                writer.put(format!("{i:08}").as_bytes(), &value(i)).unwrap();
            }
            assert!(!target.exists());
            writer.finish().unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            assert!(Leveldb::looks_like(&target));
            let mut database = Leveldb::open(&target).unwrap();
            assert_eq!(database.count(), 500);
            let mut datum = Datum::default();
            for i in 0..500 {
                database.read(i, &mut datum).unwrap();
                assert_eq!(datum, Datum::decode(&*value(i as usize)).unwrap());
                assert_eq!(database.key(), format!("{i:08}"));
            }
        }
    }

    #[test]
    fn keys_in_any_order_are_sorted_and_the_last_value_holds() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("db");
        let mut writer = LeveldbWriter::with_buffer(&target, 50_000).unwrap();
        for i in (0..100).rev().chain([7, 7]) {
            writer.put(format!("{i:03}").as_bytes(), &value(i)).unwrap();
        }
        writer.finish().unwrap();
        let mut database = Leveldb::open(&target).unwrap();
        assert_eq!(database.count(), 100);
        let mut datum = Datum::default();
        for i in 0..100 {
            database.read(i, &mut datum).unwrap();
            assert_eq!(datum.label(), i as i32);
        }
    }

    #[test]
    fn an_unfinished_database_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("db");
        let mut writer = LeveldbWriter::create(&target).unwrap();
        writer.put(b"a", &value(1)).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::create_dir(&target).unwrap();
        let error = LeveldbWriter::create(&target).err().unwrap().to_string();
        assert!(error.contains("exists already"), "{error}");
    }
}
