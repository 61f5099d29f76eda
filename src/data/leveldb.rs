//! Caffe's LevelDB databases, read-only: nothing is locked, recovered or written, so that the folder stays
//! as it is.
//!
//! The format is LevelDB's own (its doc/table_format.md, log_format.md and impl.md): MANIFEST tells
//! which tables (`N.ldb`, `N.sst`) live and which log (`N.log`) holds what is newer than they. Opening
//! reads the keys, not the records, and remembers where each record stands. There are crates that open
//! such databases, but they write while opening, cannot be sent to another thread, and pass over damaged
//! blocks in silence.

mod bytes;
mod log;
mod manifest;
mod table;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::datum::{self, SMALLER};
use super::records::Records;
use crate::files::reason;
use crate::memory;
use crate::proto::caffe::Datum;
use table::{Block, Handle};

/// The records of a LevelDB in the order of their keys.
pub struct Leveldb {
    folder: PathBuf,
    entries: Vec<Entry>,
    /// The file that was read last, by its place in `names`.
    open: Option<(u32, File)>,
    names: Vec<PathBuf>,
    /// The table block that was read last.
    block: Option<(u32, u64, Vec<u8>)>,
    value: Vec<u8>,
    last: usize,
}

/// A record: its key, and where its value stands.
struct Entry {
    key: Box<[u8]>,
    /// The number of the write, larger for newer ones.
    sequence: u64,
    /// None of a deleted record.
    place: Option<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    /// The file, by its place in the database's names.
    file: u32,
    /// The length of the value.
    length: u32,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    /// At this byte of a log file, whose block headers have to be left out.
    Log(u64),
    /// In this block of a table, that many bytes from its start.
    Table(Handle, u32),
}

/// What scanning a file finds: key, sequence number, value; no value where the record is deleted.
type Found<'a> = (&'a [u8], u64, Option<(At, usize)>);

impl Leveldb {
    /// Whether `folder` looks like a LevelDB.
    pub fn looks_like(folder: &Path) -> bool {
        let numbered = |e: std::fs::DirEntry| {
            let name = e.file_name();
            let name = name.to_str().unwrap_or_default();
            name == "CURRENT" || name.starts_with("MANIFEST-") || name.ends_with(".ldb")
        };
        !folder.join("data.mdb").exists()
            && std::fs::read_dir(folder).is_ok_and(|mut d| d.any(|e| e.is_ok_and(numbered)))
    }

    /// Opens the database in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        let version = manifest::read(folder)?;
        let mut database = Self {
            folder: folder.to_path_buf(),
            entries: Vec::new(),
            open: None,
            names: Vec::new(),
            block: None,
            value: Vec::new(),
            last: 0,
        };
        for table in version.tables {
            database.scan(table.path(folder), |file, path, found| {
                ensure_size(path, table.size)?;
                table::scan(file, found)
            })?;
        }
        for number in version.logs {
            let path = folder.join(format!("{number:06}.log"));
            database.scan(path, |file, _, found| log::scan(file, found))?;
        }
        // Of one key the newest write holds.
        let order = |a: &Entry, b: &Entry| a.key.cmp(&b.key).then(b.sequence.cmp(&a.sequence));
        if !database.entries.is_sorted_by(|a, b| order(a, b).is_lt()) {
            database.entries.sort_unstable_by(order);
        }
        database
            .entries
            .dedup_by(|later, first| later.key == first.key);
        database.entries.retain(|e| e.place.is_some());
        ensure!(
            !database.entries.is_empty(),
            "{shown} is an empty database: it has no records"
        );
        Ok(database)
    }

    /// Takes up the records of one file.
    fn scan(
        &mut self,
        path: PathBuf,
        scan: impl FnOnce(&mut File, &Path, &mut dyn FnMut(Found) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let number = u32::try_from(self.names.len())?;
        let mut file = open(&path)?;
        let entries = &mut self.entries;
        let mut found = |(key, sequence, value): Found| {
            let place = match value {
                None => None,
                Some((at, length)) => Some(Place {
                    file: number,
                    length: u32::try_from(length)?,
                    at,
                }),
            };
            let key = key.into();
            entries.push(Entry {
                key,
                sequence,
                place,
            });
            Ok(())
        };
        scan(&mut file, &path, &mut found).with_context(|| path.display().to_string())?;
        self.names.push(path);
        Ok(())
    }

    /// Reads the value of entry `index` into `self.value`.
    fn fetch(&mut self, index: usize) -> Result<()> {
        let Some(place) = self.entries.get(index).and_then(|e| e.place) else {
            bail!("{}: no record number {index}", self.folder.display());
        };
        let path = &self.names[place.file as usize];
        let file = match &mut self.open {
            Some((number, file)) if *number == place.file => file,
            other => &mut other.insert((place.file, open(path)?)).1,
        };
        sized(&mut self.value, place.length as usize)?;
        let (handle, at) = match place.at {
            At::Log(at) => {
                let read = log::read(file, at, &mut self.value);
                return read.with_context(|| path.display().to_string());
            }
            At::Table(handle, at) => (handle, at as usize),
        };
        let known =
            matches!(&self.block, Some((f, o, _)) if (*f, *o) == (place.file, handle.offset));
        if !known {
            // The old block's memory serves the new one.
            let old = self.block.take().map_or(Vec::new(), |b| b.2);
            let block =
                Block::read(file, handle, old).with_context(|| path.display().to_string())?;
            self.block = Some((place.file, handle.offset, block.into_bytes()));
        }
        let block = self.block.as_ref().map(|b| &b.2[..]).unwrap_or_default();
        match block.get(at..).and_then(|b| b.get(..self.value.len())) {
            Some(value) => self.value.copy_from_slice(value),
            None => bail!("{} has changed while it is read", path.display()),
        }
        Ok(())
    }
}

impl Records for Leveldb {
    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    fn read(&mut self, number: u64, datum: &mut Datum) -> Result<()> {
        let index = usize::try_from(number)?;
        self.fetch(index)?;
        self.last = index;
        let place = || format!("record '{}' of {}", self.key(), self.folder.display());
        datum::decode(&self.value, datum).with_context(place)
    }

    fn key(&self) -> String {
        let entry = self.entries.get(self.last);
        entry.map_or(String::new(), |e| e.key.escape_ascii().to_string())
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => anyhow!(
            "{} is missing: the database names it; copy it again or make the database again",
            path.display()
        ),
        _ => anyhow!("cannot read {}: {}", path.display(), reason(&e)),
    })
}

/// Checks that a table is as long as the MANIFEST says.
fn ensure_size(path: &Path, wanted: u64) -> Result<()> {
    let size = path.metadata()?.len();
    ensure!(
        size == wanted,
        "expected {wanted} bytes, found {size}; copy it again or make the database again"
    );
    Ok(())
}

/// Gives a buffer another length.
///
/// # Errors
/// There is no memory for it.
fn sized(buffer: &mut Vec<u8>, length: usize) -> Result<()> {
    let what = || format!("a record or block of {length} bytes");
    let more = length.saturating_sub(buffer.len());
    memory::reserve(buffer, more, what, SMALLER)?;
    buffer.resize(length, 0);
    Ok(())
}

/// Fills `buffer` from byte `at` of a file.
fn read_at(file: &mut File, at: u64, buffer: &mut [u8]) -> Result<()> {
    let read = file
        .seek(SeekFrom::Start(at))
        .and_then(|_| file.read_exact(buffer));
    read.map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            anyhow!("truncated: expected {} bytes from byte {at}", buffer.len())
        }
        _ => anyhow!("{}", reason(&e)),
    })
}

/// Whether `stored` is LevelDB's masked CRC-32C of `parts`.
fn checksum_fits(stored: u32, parts: &[&[u8]]) -> bool {
    let crc = parts
        .iter()
        .fold(0, |crc, part| crc32c::crc32c_append(crc, part));
    crc.rotate_right(15).wrapping_add(0xa282_ead8) == stored
}

#[cfg(test)]
#[path = "leveldb_tests.rs"]
mod tests;
