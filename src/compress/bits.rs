//! Reading and writing numbers of any number of bits, and whole bytes, from bounded input.

use anyhow::{Result, ensure};

/// The most bits that are looked at in one go.
pub const PEEK: u32 = 15;

/// Bits to bytes, the most significant bit of a byte first.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    waiting: u64,
    bits: u32,
}

impl Writer {
    /// Adds the low `bits` (at most 32) of `value`.
    pub fn put(&mut self, value: u32, bits: u32) {
        self.waiting = self.waiting << bits | u64::from(value);
        self.bits += bits;
        while self.bits >= 8 {
            self.bits -= 8;
            self.bytes.push((self.waiting >> self.bits) as u8);
        }
    }

    /// The bytes; the last one is filled up with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        if self.bits > 0 {
            self.put(0, 8 - self.bits);
        }
        self.bytes
    }
}

/// Bytes and how far they are read. Every read is checked: the bytes may say anything.
pub struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    /// All of `bytes`, from the first.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes that are not yet read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let rest = self.rest();
        ensure!(
            n <= rest.len(),
            "expected {n} more bytes at byte {} of its content, found {}",
            self.at,
            rest.len()
        );
        self.at += n;
        Ok(&rest[..n])
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A number in LEB128: 7 bits a byte, the lowest first, the high bit says that more follow.
    pub fn varint(&mut self) -> Result<usize> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(usize::try_from(value)?);
            }
        }
        anyhow::bail!(
            "expected a number of at most 63 bits, ending before byte {}",
            self.at
        )
    }

    /// The bits from here on.
    pub fn bits(&self) -> Bits<'a> {
        Bits {
            bytes: self.rest(),
            at: 0,
        }
    }

    /// Goes on behind the last byte of which `bits` has taken any.
    pub fn skip(&mut self, bits: &Bits<'_>) -> Result<()> {
        self.take(bits.at.div_ceil(8)).map(drop)
    }
}

/// Adds `value` in LEB128.
pub fn put_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes as bits.
pub struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The bits left.
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_mul(8).saturating_sub(self.at)
    }

    /// The next [`PEEK`] bits, zeros behind the end; they are not taken.
    pub fn peek(&self) -> u32 {
        let byte = |i: usize| u32::from(self.bytes.get(self.at / 8 + i).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        word >> (24 - PEEK - (self.at % 8) as u32) & ((1 << PEEK) - 1)
    }

    /// Takes `n` bits (at most [`PEEK`]) of those that [`Bits::peek`] showed.
    pub fn drop(&mut self, n: u32) -> Result<()> {
        ensure!(
            n as usize <= self.left(),
            "expected {n} more bits, found {}",
            self.left()
        );
        self.at += n as usize;
        Ok(())
    }

    /// The next `n` bits (at most [`PEEK`]) as a number.
    pub fn take(&mut self, n: u32) -> Result<u32> {
        let value = self.peek() >> (PEEK - n);
        self.drop(n)?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        let numbers: Vec<(u32, u32)> = (0..200)
            .map(|i| (i * 77 % (1 << (i % 16)), i % 16))
            .collect();
        for &(value, bits) in &numbers {
            writer.put(value, bits);
        }
        let mut bytes = writer.finish();
        for value in [0, 127, 128, 300, usize::MAX >> 1] {
            put_varint(value, &mut bytes);
        }
        let mut input = Input::new(&bytes);
        let mut bits = input.bits();
        for (value, n) in numbers {
            assert_eq!(bits.take(n).unwrap(), value);
        }
        input.skip(&bits).unwrap();
        for value in [0, 127, 128, 300, usize::MAX >> 1] {
            assert_eq!(input.varint().unwrap(), value);
        }
        assert!(input.byte().is_err() && input.bits().take(1).is_err());
        assert!(Input::new(&[0xff; 10]).varint().is_err());
    }
}
