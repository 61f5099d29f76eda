//! CURRENT and the MANIFEST that it names: which files hold the database's records.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::bytes::Bytes;
use super::{log, open};
use crate::files::reason;

/// The files of a database.
pub(super) struct Version {
    /// Tables, by their numbers.
    pub tables: Vec<Table>,
    /// The numbers of the logs, in order.
    pub logs: Vec<u64>,
}

/// A table file.
pub(super) struct Table {
    number: u64,
    /// Its bytes.
    pub size: u64,
}

impl Table {
    /// The file, which older versions of LevelDB name `.sst`.
    pub fn path(&self, folder: &Path) -> PathBuf {
        let name = |ending: &str| folder.join(format!("{:06}.{ending}", self.number));
        let old = name("sst");
        if old.is_file() { old } else { name("ldb") }
    }
}

/// What the edits of a MANIFEST come to.
#[derive(Default)]
struct Edits {
    log: u64,
    previous_log: u64,
    tables: BTreeMap<u64, u64>,
}

/// Reads which files the database in `folder` consists of.
pub(super) fn read(folder: &Path) -> Result<Version> {
    let current = folder.join("CURRENT");
    let shown = current.display();
    let text = fs::read(&current).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow!(
                "{shown} is missing: without it the LevelDB cannot be read; copy or make it again"
            )
        }
        _ => anyhow!("cannot read {shown}: {}", reason(&e)),
    })?;
    let name = String::from_utf8(text).ok();
    let name = name.as_ref().map(|n| n.trim_end_matches('\n'));
    let number = name.and_then(|n| n.strip_prefix("MANIFEST-"));
    let Some(name) = name.filter(|_| number.is_some_and(|n| n.parse::<u64>().is_ok())) else {
        bail!("{shown} is damaged: it must name a file MANIFEST-N");
    };
    let path = folder.join(name);
    let edits = self::edits(&path).with_context(|| path.display().to_string())?;
    let mut logs = Vec::new();
    let entries =
        fs::read_dir(folder).map_err(|e| anyhow!("{}: {}", folder.display(), reason(&e)))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(".log"));
        let number = number.and_then(|n| n.parse::<u64>().ok());
        logs.extend(number.filter(|&n| n >= edits.log || n == edits.previous_log && n != 0));
    }
    logs.sort_unstable();
    ensure!(
        logs.contains(&edits.log)
            || !edits.tables.is_empty()
            // Another writer than LevelDB itself leaves the number out until its first table.
            || edits.log == 0 && !logs.is_empty(),
        "{}: the log {:06}.log is missing, which holds its records",
        folder.display(),
        edits.log
    );
    let table = |(number, size)| Table { number, size };
    Ok(Version {
        tables: edits.tables.into_iter().map(table).collect(),
        logs,
    })
}

fn edits(path: &Path) -> Result<Edits> {
    let mut file = open(path)?;
    let (mut place, mut record) = (0, Vec::new());
    let mut edits = Edits::default();
    let mut any = false;
    while log::next(&mut file, &mut place, &mut record)?.is_some() {
        edits.apply(Bytes(&record))?;
        any = true;
    }
    ensure!(any, "damaged: it has no edits");
    Ok(edits)
}

impl Edits {
    fn apply(&mut self, mut edit: Bytes) -> Result<()> {
        while !edit.is_empty() {
            match edit.varint()? {
                1 => {
                    let order = edit.string()?;
                    ensure!(
                        order == b"leveldb.BytewiseComparator",
                        "the keys are in an order of their own ('{}'), not LevelDB's",
                        order.escape_ascii()
                    );
                }
                2 => self.log = edit.varint()?,
                // The next file's number and the last write's.
                3 | 4 => {
                    edit.varint()?;
                }
                // Where the next compaction begins.
                5 => {
                    edit.varint()?;
                    edit.string()?;
                }
                6 => {
                    edit.varint()?;
                    self.tables.remove(&edit.varint()?);
                }
                7 => {
                    edit.varint()?;
                    let (number, size) = (edit.varint()?, edit.varint()?);
                    edit.string()?;
                    edit.string()?;
                    self.tables.insert(number, size);
                }
                9 => self.previous_log = edit.varint()?,
                other => bail!("damaged: an edit has the unknown field {other}"),
            }
        }
        Ok(())
    }
}
