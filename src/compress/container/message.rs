//! The part of a file that says what its weights came from: a message without numbers, deflated.

use super::super::bits::{Input, put_varint};
use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use std::io::{Read, Write};

/// Bytes of messages that a file of any length may hold, and those that each of the file's bytes may stand for.
const FREE: usize = 1 << 20;
const A_BYTE: usize = 1 << 10;

/// The bytes that all messages of a file of `file` bytes may have together.
pub(super) fn most(file: usize) -> usize {
    FREE.saturating_add(file.saturating_mul(A_BYTE))
}

/// Adds a message.
pub(super) fn put(message: &[u8], out: &mut Vec<u8>) {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(message);
    let deflated = encoder.finish().unwrap_or_default();
    put_varint(message.len(), out);
    put_varint(deflated.len(), out);
    out.extend(deflated);
}

/// Goes past the message.
pub(super) fn skip(input: &mut Input<'_>) -> Result<()> {
    deflated(input).map(drop)
}

fn deflated<'a>(input: &mut Input<'a>) -> Result<(usize, &'a [u8])> {
    let length = input.varint()?;
    let deflated = input.varint()?;
    let bytes = input.take(deflated).context("its message")?;
    Ok((length, bytes))
}

/// Reads a message of at most `most` bytes.
pub(super) fn read(input: &mut Input<'_>, most: usize) -> Result<Vec<u8>> {
    let (length, bytes) = deflated(input)?;
    ensure!(
        length <= most,
        "expected a message of at most {most} bytes, found one of {length}"
    );
    let mut message = Vec::new();
    let mut decoder = DeflateDecoder::new(bytes).take(length as u64 + 1);
    decoder
        .read_to_end(&mut message)
        .context("its message is damaged")?;
    ensure!(
        message.len() == length,
        "its message is damaged: expected {length} bytes, found {}",
        message.len()
    );
    Ok(message)
}
