//! The named parts that a file has before its layers, each a message of its own.

use super::super::bits::{Input, put_varint};
use super::{MOST_PARTS, Part, message};
use anyhow::{Context, Result, ensure};

/// Adds the parts.
pub(super) fn put(parts: &[Part], out: &mut Vec<u8>) {
    put_varint(parts.len(), out);
    for part in parts {
        put_varint(part.name.len(), out);
        out.extend(part.name.as_bytes());
        message::put(&part.bytes, out);
    }
}

/// Goes past the parts.
pub(super) fn skip(input: &mut Input<'_>) -> Result<()> {
    for _ in 0..count(input)? {
        name(input)?;
        message::skip(input)?;
    }
    Ok(())
}

/// Reads the parts, of at most `most` bytes together.
pub(super) fn read(input: &mut Input<'_>, mut most: usize) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for i in 0..count(input)? {
        let name = String::from_utf8_lossy(name(input)?).to_string();
        let bytes = message::read(input, most).with_context(|| format!("part {i} ('{name}')"))?;
        most -= bytes.len();
        parts.push(Part { name, bytes });
    }
    Ok(parts)
}

fn count(input: &mut Input<'_>) -> Result<usize> {
    let count = input.varint()?;
    ensure!(
        count <= MOST_PARTS,
        "expected at most {MOST_PARTS} parts beside the layers, found {count}"
    );
    Ok(count)
}

fn name<'a>(input: &mut Input<'a>) -> Result<&'a [u8]> {
    let length = input.varint()?;
    input.take(length).context("a part's name")
}
