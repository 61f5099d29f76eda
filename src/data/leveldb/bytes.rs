//! The parts that LevelDB's structures are made of, taken from the front of a slice.

use anyhow::{Context, Result};

/// Bytes that are still to be read.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).context("it ends too early")?;
        self.0 = rest;
        Ok(head)
    }

    /// A number of seven bits a byte, the low ones first.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        anyhow::bail!("it has a number that does not end")
    }

    /// A varint as a length.
    pub fn length(&mut self) -> Result<usize> {
        let value = self.varint()?;
        usize::try_from(value)
            .ok()
            .filter(|&n| u32::try_from(n).is_ok())
            .with_context(|| format!("it has a length of {value}"))
    }

    /// Bytes behind their length.
    pub fn string(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// A fixed number, the low byte first.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(number(self.take(4)?) as u32)
    }

    /// A fixed number, the low byte first.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(number(self.take(8)?))
    }
}

/// Up to eight bytes as a number, the low byte first.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}
