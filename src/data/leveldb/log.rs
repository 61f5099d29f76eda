//! LevelDB's log files: blocks of 32 KiB that hold records, large ones in several fragments. In `N.log`
//! each record is a batch of writes; in a MANIFEST, an edit.

use std::fs::File;

use anyhow::{Result, bail, ensure};

use super::bytes::{Bytes, number};
use super::{At, Found, checksum_fits, read_at, sized};

const BLOCK: u64 = 32768;
/// Checksum (4), length (2) and kind (1) before each fragment.
const HEADER: u64 = 7;

/// The record at `place` (a byte of the file) and what follows it. `None` at the end of the file.
///
/// # Errors
/// A checksum that does not fit, or a file that ends inside a record.
pub(super) fn next(file: &mut File, place: &mut u64, record: &mut Vec<u8>) -> Result<Option<u64>> {
    record.clear();
    let size = file.metadata()?.len();
    let mut start = None;
    loop {
        let left = BLOCK - *place % BLOCK;
        if left < HEADER {
            *place += left;
        }
        if *place >= size {
            ensure!(start.is_none(), "truncated: it ends inside a record");
            return Ok(None);
        }
        ensure!(
            size - *place >= HEADER,
            "truncated: it ends inside a record's header"
        );
        let mut header = [0; HEADER as usize];
        read_at(file, *place, &mut header)?;
        let (length, kind) = (number(&header[4..6]), header[6]);
        if kind == 0 && length == 0 {
            // Space that was set aside and not written.
            ensure!(start.is_none(), "damaged at byte {place}");
            *place += BLOCK - *place % BLOCK;
            continue;
        }
        let data = *place + HEADER;
        ensure!(
            length + HEADER <= BLOCK - *place % BLOCK,
            "damaged at byte {place}: a fragment of {length} bytes does not fit its block"
        );
        ensure!(
            data + length <= size,
            "truncated: it ends inside a record, at byte {size}"
        );
        let old = record.len();
        sized(record, old + length as usize)?;
        read_at(file, data, &mut record[old..])?;
        ensure!(
            checksum_fits(number(&header[..4]) as u32, &[&[kind], &record[old..]]),
            "damaged at byte {place}: the checksum does not fit"
        );
        let whole = match (kind, start) {
            (1, None) => true,
            (2, None) => false,
            // Fragments follow each other block by block; `read` relies on it.
            (3 | 4, Some(_)) if (*place).is_multiple_of(BLOCK) => kind == 4,
            _ => bail!("damaged at byte {place}: a fragment of kind {kind} is out of order"),
        };
        *place = data + length;
        let start = *start.get_or_insert(data);
        if whole {
            return Ok(Some(start));
        }
        ensure!(
            (*place).is_multiple_of(BLOCK),
            "damaged at byte {place}: a fragment ends before its block"
        );
    }
}

/// Finds the records that the batches of a log write or delete.
pub(super) fn scan(file: &mut File, found: &mut dyn FnMut(Found) -> Result<()>) -> Result<()> {
    let (mut place, mut record) = (0, Vec::new());
    while let Some(start) = next(file, &mut place, &mut record)? {
        let mut batch = Bytes(&record);
        let (first, count) = (batch.u64()?, batch.u32()?);
        for i in 0..u64::from(count) {
            let (kind, key) = (batch.take(1)?[0], batch.string()?);
            let value = match kind {
                0 => None,
                1 => {
                    let value = batch.string()?;
                    let at = record.len() - batch.0.len() - value.len();
                    Some((At::Log(in_file(start, at as u64)), value.len()))
                }
                other => bail!("damaged: a write of kind {other} before byte {place}"),
            };
            found((key, first.wrapping_add(i), value))?;
        }
        ensure!(
            batch.is_empty(),
            "damaged: a batch is longer than its {count} writes, before byte {place}"
        );
    }
    Ok(())
}

/// Where byte `at` of a record stands in the file, whose first byte is at `start`.
fn in_file(start: u64, at: u64) -> u64 {
    let first = BLOCK - start % BLOCK;
    if at < first {
        return start + at;
    }
    let (blocks, rest) = (
        (at - first) / (BLOCK - HEADER),
        (at - first) % (BLOCK - HEADER),
    );
    start + first + blocks * BLOCK + HEADER + rest
}

/// Reads what stands at byte `at` of the file, without the headers in between.
pub(super) fn read(file: &mut File, mut at: u64, mut buffer: &mut [u8]) -> Result<()> {
    while !buffer.is_empty() {
        let left = (BLOCK - at % BLOCK) as usize;
        let (part, rest) = buffer.split_at_mut(left.min(buffer.len()));
        read_at(file, at, part)?;
        at += part.len() as u64 + HEADER;
        buffer = rest;
    }
    Ok(())
}
