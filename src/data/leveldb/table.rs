//! LevelDB's table files: blocks of sorted entries, an index of the blocks, and a footer.

use std::fs::File;

use anyhow::{Context, Result, bail, ensure};

use super::bytes::{Bytes, number};
use super::{At, Found, checksum_fits, read_at, sized};

/// The handles of two blocks, padded, and the magic number.
const FOOTER: u64 = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Kind (1) and checksum (4) behind each block.
const TRAILER: u64 = 5;
/// Snappy's copies of 64 bytes take 3.
const MOST_UNFOLDED: u64 = 32;
/// Blocks up to here are read whole to find their keys; of larger ones, only the keys.
const SMALL: u64 = 256 << 10;

/// Takes key, place in the block and length of the value of an entry.
type Each<'a> = dyn FnMut(&[u8], usize, usize) -> Result<()> + 'a;

/// Where a block stands in its file.
#[derive(Clone, Copy)]
pub(super) struct Handle {
    pub offset: u64,
    size: u64,
}

impl Handle {
    fn parse(bytes: &mut Bytes) -> Result<Self> {
        let (offset, size) = (bytes.varint()?, bytes.varint()?);
        Ok(Self { offset, size })
    }

    /// Checks that the block lies inside a file of `size` bytes.
    fn check(self, size: u64) -> Result<Self> {
        let end = (self.offset.checked_add(self.size)).and_then(|n| n.checked_add(TRAILER));
        ensure!(
            end.is_some_and(|end| end <= size),
            "damaged: a block is said to stand outside of the file"
        );
        Ok(self)
    }
}

/// A block's entries, unpacked.
pub(super) struct Block(Vec<u8>);

impl Block {
    /// Reads the block at `handle`; `buffer` lends its memory.
    pub fn read(file: &mut File, handle: Handle, mut buffer: Vec<u8>) -> Result<Self> {
        let damaged = || format!("damaged at byte {}", handle.offset);
        let size = usize::try_from(handle.size).with_context(damaged)?;
        sized(&mut buffer, size.saturating_add(TRAILER as usize))?;
        read_at(file, handle.offset, &mut buffer)?;
        let (content, trailer) = buffer.split_at(size);
        ensure!(
            checksum_fits(number(&trailer[1..]) as u32, &[content, &trailer[..1]]),
            "{}: the checksum does not fit",
            damaged()
        );
        match trailer[0] {
            0 => buffer.truncate(size),
            1 => {
                let claimed = snap::raw::decompress_len(content).with_context(damaged)?;
                ensure!(
                    claimed as u64 <= MOST_UNFOLDED * (handle.size + 1),
                    "{}: {size} bytes cannot unfold to {claimed}",
                    damaged()
                );
                let mut unpacked = Vec::new();
                sized(&mut unpacked, claimed)?;
                let length = snap::raw::Decoder::new().decompress(content, &mut unpacked);
                unpacked.truncate(length.with_context(damaged)?);
                buffer = unpacked;
            }
            other => bail!("{}: its kind of compression is {other}", damaged()),
        }
        Ok(Self(buffer))
    }

    /// The block's bytes, in which entries are found by their places.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Calls `each` with key, place and length of the value of every entry.
    fn entries(&self, each: &mut Each) -> Result<()> {
        let end = self
            .0
            .len()
            .checked_sub(4)
            .context("damaged: an empty block")?;
        let restarts = number(&self.0[end..]) as usize;
        let end = restarts.checked_mul(4).and_then(|n| end.checked_sub(n));
        let end = end.context("damaged: a block's list of restarts is too long")?;
        let mut rest = Bytes(&self.0[..end]);
        let mut key = Vec::new();
        while !rest.is_empty() {
            let length = step(&mut rest, &mut key)?;
            let at = end - rest.0.len();
            rest.take(length)?;
            each(&key, at, length)?;
        }
        Ok(())
    }
}

/// Takes the head of an entry: makes `key` its key and gives the length of the value behind it.
fn step(rest: &mut Bytes, key: &mut Vec<u8>) -> Result<usize> {
    let (shared, own, length) = (rest.length()?, rest.length()?, rest.length()?);
    ensure!(
        shared <= key.len(),
        "damaged: a key shares {shared} bytes with one of {}",
        key.len()
    );
    key.truncate(shared);
    key.extend_from_slice(rest.take(own)?);
    Ok(length)
}

/// Finds the records of a table.
pub(super) fn scan(file: &mut File, found: &mut dyn FnMut(Found) -> Result<()>) -> Result<()> {
    let size = file.metadata()?.len();
    ensure!(size >= FOOTER, "too short for a LevelDB table");
    let mut footer = [0; FOOTER as usize];
    read_at(file, size - FOOTER, &mut footer)?;
    ensure!(
        number(&footer[40..]) == MAGIC,
        "not a LevelDB table, or truncated (its last 8 bytes are not a table's)"
    );
    let mut handles = Bytes(&footer[..40]);
    // The first block tells of filters.
    Handle::parse(&mut handles)?;
    let index = Handle::parse(&mut handles)?.check(size)?;
    let index = Block::read(file, index, Vec::new())?;
    let mut blocks = Vec::new();
    index.entries(&mut |_, at, length| {
        let mut handle = Bytes(&index.0[at..at + length]);
        blocks.push(Handle::parse(&mut handle)?.check(size)?);
        Ok(())
    })?;
    for handle in blocks {
        let mut each = |key: &[u8], at: usize, length: usize| {
            let (key, tail) = key
                .split_last_chunk::<8>()
                .context("damaged: a key is too short")?;
            let tail = u64::from_le_bytes(*tail);
            let value = match tail & 0xff {
                0 => None,
                1 => Some((At::Table(handle, u32::try_from(at)?), length)),
                other => bail!("damaged: an entry of kind {other}"),
            };
            found((key, tail >> 8, value))
        };
        if handle.size > SMALL && large(file, handle, &mut each)? {
            continue;
        }
        let block = Block::read(file, handle, Vec::new())?;
        block.entries(&mut each)?;
    }
    Ok(())
}

/// Finds the entries of a large block without reading its values; false if it is packed, so that it has
/// to be read. The checksum waits until a record of it is wanted.
fn large(file: &mut File, handle: Handle, each: &mut Each) -> Result<bool> {
    let mut tail = [0; 5];
    read_at(file, handle.offset + handle.size - 4, &mut tail)?;
    if tail[4] != 0 {
        return Ok(false);
    }
    let restarts = 4 * (number(&tail[..4]) + 1);
    let end = handle.size.checked_sub(restarts);
    let end = end.context("damaged: a block's list of restarts is too long")?;
    let (mut at, mut key, mut window) = (0, Vec::new(), Vec::new());
    while at < end {
        // Three numbers and a key; Caffe's keys are a few dozen bytes.
        let mut size = 256;
        let (head, length) = loop {
            sized(&mut window, usize::try_from((end - at).min(size))?)?;
            read_at(file, handle.offset + at, &mut window)?;
            let mut rest = Bytes(&window);
            let before = key.clone();
            match step(&mut rest, &mut key) {
                Ok(length) => break ((window.len() - rest.0.len()) as u64, length),
                Err(e) if at + size >= end => return Err(e),
                Err(_) => key = before,
            }
            size *= 4;
        };
        let value = at + head;
        ensure!(
            value + length as u64 <= end,
            "damaged: an entry is longer than its block"
        );
        each(&key, usize::try_from(value)?, length)?;
        at = value + length as u64;
    }
    Ok(true)
}
