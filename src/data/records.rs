//! What a Data layer reads: numbered records, each a picture with a label, from whatever keeps them.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::digits::Digits;
use super::leveldb::Leveldb;
use super::lmdb::Lmdb;
use super::part::Part;
use crate::files::reason;
use crate::proto::caffe::{DataParameter, Datum, data_parameter::Db};

/// Records in a fixed order.
pub trait Records: Send {
    /// What users know the records by: a path or a built-in name.
    fn name(&self) -> String;

    /// The number of records, at least 1.
    fn count(&self) -> u64;

    /// Reads record `number` (below [`Records::count`]) into `datum`, whose buffers are reused.
    /// Reading in order is fast; other orders may walk.
    fn read(&mut self, number: u64, datum: &mut Datum) -> Result<()>;

    /// The key of the record that was read last, for messages.
    fn key(&self) -> String;
}

/// Opens what of the records of `source` a Data layer reads: all, or the part that `data_param` names.
///
/// # Errors
/// As of [`open`], or the part is not there.
pub fn open_part(source: &Path, data: &DataParameter) -> Result<Box<dyn Records>> {
    let records = open(source, data.backend())?;
    Ok(match Part::is_whole(data) {
        true => records,
        false => Box::new(Part::of(records, data)?),
    })
}

/// Opens the records that a Data layer's `source` names: a `builtin:` name, or a database, recognised by
/// its files whatever `backend` says.
pub fn open(source: &Path, backend: Db) -> Result<Box<dyn Records>> {
    if let Some(name) = source.to_str().filter(|s| s.starts_with("builtin:")) {
        return Ok(Box::new(Digits::open(name)?));
    }
    let shown = source.display();
    ensure!(
        !source.as_os_str().is_empty(),
        "data_param has no source; name a database with source: \"PATH\""
    );
    if let Err(e) = source.metadata() {
        bail!("cannot open the database {shown}: {}", reason(&e));
    }
    if Leveldb::looks_like(source) {
        let database = Leveldb::open(source);
        let database = database.with_context(|| format!("cannot open the database {shown}"))?;
        return Ok(Box::new(database));
    }
    if backend == Db::Leveldb && !source.is_file() && !source.join("data.mdb").exists() {
        bail!(
            "{shown} is no database: neither a LevelDB (no file CURRENT) nor an LMDB (no file data.mdb)"
        );
    }
    let lmdb = Lmdb::open(source).with_context(|| format!("cannot open the database {shown}"))?;
    Ok(Box::new(lmdb))
}
