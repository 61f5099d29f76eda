//! Writing an LMDB as Caffe does: records in transactions of 1000, the map growing as needed.
//!
//! The database is built under a temporary name beside its own and renamed at the end, so that it appears
//! whole or not at all. Until then nothing is synced to the disk.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, MdbError};

use super::new_folder::NewFolder;

/// Records of a transaction, as in Caffe.
const RECORDS: usize = 1000;
/// Bytes after which a transaction ends in any case, so that large pictures do not fill the memory.
const BYTES: usize = 256 << 20;
/// Bytes of the first map; it doubles whenever it is full.
const FIRST_MAP: usize = 64 << 20;
/// Bytes of the longest key that LMDB takes.
const LONGEST_KEY: usize = 511;

/// A database under construction. Dropped before [`LmdbWriter::finish`], it leaves nothing.
pub struct LmdbWriter {
    pending: Vec<(Vec<u8>, Vec<u8>)>,
    pending_bytes: usize,
    map: usize,
    // Dropped in this order: the environment closes before its folder goes.
    environment: Env,
    folder: NewFolder,
}

impl LmdbWriter {
    /// Begins the database that will be the folder `target`, which must not exist.
    pub fn create(target: &Path) -> Result<Self> {
        Self::with_map(target, FIRST_MAP)
    }

    fn with_map(target: &Path, map: usize) -> Result<Self> {
        let folder = NewFolder::create(target)?;
        let environment = open(folder.path(), map)
            .map_err(|e| anyhow!("cannot make the database {}: {e}", target.display()))?;
        Ok(Self {
            pending: Vec::new(),
            pending_bytes: 0,
            map,
            environment,
            folder,
        })
    }

    /// The folder as it is now, for other files that shall belong to the database.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a record; a key that is there already gets the new value.
    pub fn put(&mut self, key: &[u8], value: Vec<u8>) -> Result<()> {
        ensure!(
            (1..=LONGEST_KEY).contains(&key.len()),
            "the key '{}' has {} bytes; LMDB takes 1 to {LONGEST_KEY}: shorten the path",
            key.escape_ascii(),
            key.len()
        );
        self.pending_bytes += key.len() + value.len();
        self.pending.push((key.to_vec(), value));
        if self.pending.len() >= RECORDS || self.pending_bytes >= BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        loop {
            match self.transaction() {
                Ok(()) => break,
                Err(heed::Error::Mdb(MdbError::MapFull)) => self.grow()?,
                Err(e) => bail!(
                    "cannot write the database {}: {e}",
                    self.folder.target().display()
                ),
            }
        }
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Writes what is pending, all or nothing.
    fn transaction(&self) -> heed::Result<()> {
        let env = &self.environment;
        let done = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
            let database = opener.create_database::<Bytes, Bytes>(txn, None)?;
            for (key, value) in &self.pending {
                database.put(txn, key, value)?;
            }
            Ok::<_, heed::Error>(CommitOrAbort::<(), ()>::Commit(()))
        });
        done.map(|_| ())
    }

    #[allow(unsafe_code)]
    fn grow(&mut self) -> Result<()> {
        let shown = self.folder.target().display();
        let map = self.map.checked_mul(2).with_context(|| {
            format!("the database {shown} is too large for this machine's addresses")
        })?;
        // SAFETY: no transaction is under way: the only ones are those of `transaction`, which has
        // returned and aborted its own, and the environment is this writer's alone.
        unsafe { self.environment.resize(map) }
            .map_err(|e| anyhow!("cannot enlarge the database {shown} to {map} bytes: {e}"))?;
        self.map = map;
        Ok(())
    }

    /// Writes what is left, syncs, and gives the database its name.
    pub fn finish(mut self) -> Result<()> {
        self.commit()?;
        let Self {
            environment,
            folder,
            ..
        } = self;
        environment
            .force_sync()
            .map_err(|e| folder.failed(&e.to_string()))?;
        environment.prepare_for_closing().wait();
        folder.finish()
    }
}

#[allow(unsafe_code)]
fn open(folder: &Path, map: usize) -> heed::Result<Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(map);
    // SAFETY: a crash may break what is not synced, but that has no name yet; `finish` syncs first.
    unsafe { options.flags(EnvFlags::NO_SYNC) };
    // SAFETY: the folder is new, and only this process knows its name.
    unsafe { options.open(folder) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::lmdb::Lmdb;
    use crate::data::records::Records;
    use crate::proto::caffe::Datum;
    use prost::Message;
    use std::fs;
    use std::path::PathBuf;

    fn value(i: i32, bytes: usize) -> Vec<u8> {
        let datum = Datum {
            label: Some(i),
            data: Some(vec![i as u8; bytes]),
            ..Datum::default()
        };
        datum.encode_to_vec()
    }

    #[test]
    fn records_come_back_and_the_map_grows() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("db");
        let mut writer = LmdbWriter::with_map(&target, 1 << 18).unwrap();
        for i in 0..2500 {
            writer
                .put(format!("{i:08}").as_bytes(), value(i, 3000))
                .unwrap();
        }
        assert!(!target.exists());
        writer.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let mut lmdb = Lmdb::open(&target).unwrap();
        assert_eq!(lmdb.count(), 2500);
        let mut datum = Datum::default();
        for i in 0..2500 {
            lmdb.read(i, &mut datum).unwrap();
            assert_eq!(datum, Datum::decode(&*value(i as i32, 3000)).unwrap());
        }
    }

    #[test]
    fn an_unfinished_database_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("db");
        let mut writer = LmdbWriter::create(&target).unwrap();
        writer.put(b"a", value(1, 10)).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_that_cannot_be_made_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| LmdbWriter::create(path).err().unwrap().to_string();
        assert!(error(dir.path()).contains("exists already"));
        assert!(error(&dir.path().join("none/db")).contains("none is no folder"));
        let mut writer = LmdbWriter::create(&dir.path().join("db")).unwrap();
        let long = writer
            .put(&[b'x'; 512], Vec::new())
            .unwrap_err()
            .to_string();
        assert!(long.contains("has 512 bytes"), "{long}");
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_it_as_they_may_any_file_of_the_user() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("db");
        LmdbWriter::create(&target).unwrap().finish().unwrap();
        fs::write(dir.path().join("usual"), "").unwrap();
        let mode = |p: PathBuf| p.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            mode(target.join("data.mdb")),
            mode(dir.path().join("usual"))
        );
    }
}
