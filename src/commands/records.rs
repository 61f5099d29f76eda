//! Filling a database with records that are made one after the other.

use std::path::Path;

use anyhow::Result;
use prost::Message;

use crate::data::writer::DatabaseWriter;
use crate::proto::caffe::{Datum, data_parameter::Db};
use crate::report::progress;
use crate::solver::signals::{Request, Signals};
use crate::warn;

/// Writes `count` records into a new database; false, and no database, if a signal came first.
pub fn fill(
    target: &Path,
    kind: Db,
    count: usize,
    mut record: impl FnMut(usize) -> Result<(String, Datum)>,
) -> Result<bool> {
    let signals = Signals::listen(Request::Stop, Request::Stop)?;
    let mut writer = DatabaseWriter::create(target, kind)?;
    let bar = progress::bar("convert", 0, count as u64);
    for i in 0..count {
        if signals.peek() == Request::Stop {
            drop(writer);
            warn!("Stopped by a signal: {} is not made", target.display());
            return Ok(false);
        }
        let (key, datum) = record(i)?;
        writer.put(key.as_bytes(), datum.encode_to_vec())?;
        bar.inc(1);
    }
    writer.finish()?;
    bar.finish_and_clear();
    Ok(true)
}
