//! Caffe's LMDB databases, read-only. Nothing is written into the data set: the lock file is neither made nor
//! used, so that a tracked one stays as it is and a read-only folder can be read. The price is LMDB's own: nobody
//! may write to a database while it is read.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls};

use super::datum;
use super::lmdb_file::{Summary, check};
use super::records::Records;
use crate::proto::caffe::Datum;

/// The records of an LMDB in the order of their keys.
pub struct Lmdb {
    folder: PathBuf,
    count: u64,
    /// Number and key of the record that was read last.
    place: Option<u64>,
    key: Vec<u8>,
    database: Database<'static, Bytes, Bytes>,
    // Dropped in this order: the transaction ends before the environment closes.
    transaction: RoTxn<'static, WithoutTls>,
    _environment: Environment,
}

impl Lmdb {
    /// Opens the database in the folder `path`, or whose `data.mdb` is `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = folder(path)?;
        let summary = check(&folder.join("data.mdb"))?;
        ensure!(
            summary.records > 0,
            "{} is an empty database: it has no records",
            folder.display()
        );
        let environment = Environment::open(&folder, &summary)?;
        let env = environment.env();
        let failed = || format!("cannot read {}", folder.display());
        let first = env.read_txn().with_context(failed)?;
        let database = env
            .open_databases_and_commit(first, |opener, txn| {
                opener
                    .open_database::<Bytes, Bytes>(txn, None)
                    .map(CommitOrAbort::<_, ()>::Commit)
            })
            .with_context(failed)?
            .unwrap_commit()
            .with_context(failed)?;
        let transaction = env.static_read_txn().with_context(failed)?;
        let count = database.len(&transaction).with_context(failed)?;
        ensure!(
            count > 0,
            "{} is an empty database: it has no records",
            folder.display()
        );
        Ok(Self {
            folder,
            count,
            place: None,
            key: Vec::new(),
            database,
            transaction,
            _environment: environment,
        })
    }

    /// Key and value of record `number`: the same record again or the next one in O(log n), others by
    /// walking the keys (forward from here, or from the start).
    fn find(&self, number: u64) -> heed::Result<Option<(&[u8], &[u8])>> {
        let (txn, key) = (&self.transaction, self.key.as_slice());
        let steps = match self.place {
            Some(place) if place == number => {
                let value = self.database.get(txn, key)?;
                return Ok(value.map(|value| (key, value)));
            }
            Some(place) if place < number => number - place - 1,
            _ if number == 0 => return self.database.first(txn),
            _ => return self.database.iter(txn)?.nth(steps(number)).transpose(),
        };
        if steps == 0 {
            return self.database.get_greater_than(txn, key);
        }
        let after = (Bound::Excluded(key), Bound::Unbounded);
        self.database
            .range(txn, &after)?
            .nth(self::steps(steps))
            .transpose()
    }
}

/// A count of records as an iterator's.
fn steps(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Records for Lmdb {
    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn read(&mut self, number: u64, datum: &mut Datum) -> Result<()> {
        let found = self.find(number);
        let shown = self.folder.display();
        let record =
            found.with_context(|| format!("{shown} is broken at record number {number}"))?;
        let Some((key, value)) = record else {
            bail!(
                "{shown} is broken: it promises {} records, but record number {number} is missing",
                self.count
            );
        };
        let decoded = datum::decode(value, datum);
        release(value);
        let key = key.to_vec();
        let (place, message) = (
            Some(number),
            format!("record '{}' of {shown}", key.escape_ascii()),
        );
        (self.key, self.place) = (key, place);
        decoded.context(message)
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

/// An open LMDB environment. A process must open each only once, so that all readers of a database, in
/// the nets of both modes for instance, share one; the last closes it.
struct Environment {
    folder: PathBuf,
}

type Table = HashMap<PathBuf, (Env<WithoutTls>, usize)>;

/// The open environments with the number of their users.
fn table() -> MutexGuard<'static, Table> {
    static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Environment {
    fn open(folder: &Path, summary: &Summary) -> Result<Self> {
        let shown = folder.display();
        let folder = folder.canonicalize().with_context(|| shown.to_string())?;
        let mut table = table();
        if let Some((_, users)) = table.get_mut(&folder) {
            *users += 1;
            return Ok(Self { folder });
        }
        let env = open(&folder, summary);
        let env =
            env.map_err(|e| anyhow::anyhow!("cannot open {shown} as an LMDB database: {e}"))?;
        table.insert(folder.clone(), (env, 1));
        Ok(Self { folder })
    }

    fn env(&self) -> Env<WithoutTls> {
        // An entry lives as long as its users, of which this is one.
        table()[&self.folder].0.clone()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        let mut table = table();
        if let Some((_, users)) = table.get_mut(&self.folder) {
            *users -= 1;
            if *users == 0 {
                // Closed while the table is locked: opening it again cannot come in between.
                table.remove(&self.folder);
            }
        }
    }
}

#[allow(unsafe_code)]
fn open(folder: &Path, summary: &Summary) -> heed::Result<Env<WithoutTls>> {
    let page = page_size();
    let map = usize::try_from(summary.bytes)
        .unwrap_or(usize::MAX - page)
        .div_ceil(page)
        * page;
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map);
    // SAFETY: NO_LOCK asks that nobody writes while we read: data sets are at rest when they are used, as the
    // head of this file asks of the user.
    unsafe { options.flags(EnvFlags::READ_ONLY | EnvFlags::NO_LOCK) };
    // SAFETY: the file is mapped; we never write to it, `lmdb_file::check` has found it as long as its
    // pages say, and the table of environments opens it once in this process. That nobody truncates it
    // while it is mapped is the user's part, as with every mapped file.
    unsafe { options.open(folder) }
}

/// Records of fewer bytes share too much of their pages with others.
const RELEASED: usize = 1 << 16;

/// Gives the system back the pages that hold nothing but `record`, a part of a mapped database. They count as this
/// process's memory as long as they are mapped, and a run over a large database would come to have all of it; in
/// the system's cache they stay.
#[allow(unsafe_code)]
fn release(record: &[u8]) {
    #[cfg(unix)]
    {
        // SAFETY: a question to the system.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
        if page == 0 || record.len() < RELEASED {
            return;
        }
        let skip = record.as_ptr().align_offset(page);
        let whole = record
            .get(skip..)
            .map_or(0, |rest| rest.len() / page * page);
        if whole == 0 {
            return;
        }
        // SAFETY: whole pages within the record, of a shared mapping that is only read: who reads them again gets the
        // file's bytes again.
        unsafe {
            let start = record.as_ptr().add(skip).cast_mut().cast();
            libc::madvise(start, whole, libc::MADV_DONTNEED);
        }
    }
    #[cfg(not(unix))]
    let _ = record;
}

/// The system's page size, of which a map's size must be a multiple; any larger power of two is, too.
fn page_size() -> usize {
    1 << 16
}

#[cfg(test)]
#[path = "lmdb_tests.rs"]
pub(super) mod tests;
