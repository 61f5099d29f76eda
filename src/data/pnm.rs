//! Portable bitmaps, graymaps and pixmaps (P1 to P6) as OpenCV reads them: numbers in text are scaled by their
//! greatest value, those in binary are not, and of 16 bits the upper 8 are kept.

use anyhow::{Context, Result, bail, ensure};

use super::datum::SMALLER;
use super::picture_file::{Gray, Raw};
use crate::memory;

/// Numbers of the largest picture that is decoded; a broken header may promise any size.
const LARGEST: usize = 1 << 29;

/// Decodes a file that begins as one of these formats does; `None` for others.
pub(super) fn decode(file: &[u8]) -> Option<Result<Raw>> {
    let [b'P', kind @ b'1'..=b'6', next, rest @ ..] = file else {
        return None;
    };
    let begins = next.is_ascii_whitespace() || *next == b'#';
    begins.then(|| read(*kind - b'0', &file[file.len() - rest.len() - 1..]))
}

fn read(kind: u8, rest: &[u8]) -> Result<Raw> {
    let mut text = Text { rest };
    let channels = if matches!(kind, 3 | 6) { 3 } else { 1 };
    let bits = matches!(kind, 1 | 4);
    let w = text.number().context("its width is missing")? as usize;
    let h = text.number().context("its height is missing")? as usize;
    let most = match bits {
        true => 1,
        false => text.number().context("its greatest value is missing")?,
    };
    ensure!(
        (1..=65_535).contains(&most),
        "its greatest value is {most}; expected 1 to 65535"
    );
    let count = w.checked_mul(h).and_then(|n| n.checked_mul(channels));
    let count = count.filter(|n| (1..=LARGEST).contains(n));
    let count = count.with_context(|| format!("its size is {w} x {h} pixels"))?;
    let what = || format!("a picture of {w} x {h} pixels");
    memory::room(count as u128, what, SMALLER)?;
    let deep = most > 255;
    let short = |found: usize| {
        format!("it ends early: expected {count} numbers for {w} x {h} pixels, found {found}")
    };
    let pixels = match kind {
        1 => {
            let mut pixels = Vec::new();
            for i in 0..count {
                let bit = text.digit().with_context(|| short(i))?;
                pixels.push(if bit == 0 { 255 } else { 0 });
            }
            pixels
        }
        2 | 3 => {
            let mut pixels = Vec::new();
            for i in 0..count {
                let value = text.number().with_context(|| short(i))?.min(most);
                pixels.push(if deep {
                    (value >> 8) as u8
                } else {
                    (value * 255 / most) as u8
                });
            }
            pixels
        }
        4 => {
            let row = w.div_ceil(8);
            let bytes = text.binary();
            ensure!(bytes.len() >= row * h, short(bytes.len() / row * w));
            let bit = |bytes: &[u8], x: usize| (bytes[x / 8] >> (7 - x % 8)) & 1;
            let rows = bytes.chunks_exact(row).take(h);
            rows.flat_map(|r| (0..w).map(move |x| 255 * (1 - bit(r, x))))
                .collect()
        }
        _ if deep => {
            let bytes = text.binary();
            ensure!(bytes.len() / 2 >= count, short(bytes.len() / 2));
            bytes.chunks_exact(2).take(count).map(|b| b[0]).collect()
        }
        _ => {
            let bytes = text.binary();
            ensure!(bytes.len() >= count, short(bytes.len()));
            bytes[..count].to_vec()
        }
    };
    Ok(Raw {
        size: [h, w],
        pixels,
        channels,
        deep,
        gray: Gray::Own,
    })
}

/// The part of the file that is not yet read.
struct Text<'a> {
    rest: &'a [u8],
}

impl<'a> Text<'a> {
    /// Passes over white space and comments.
    fn skip(&mut self) {
        while let [first, rest @ ..] = self.rest {
            match first {
                b'#' => {
                    let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.rest = &rest[end.unwrap_or(rest.len())..];
                }
                b if b.is_ascii_whitespace() => self.rest = rest,
                _ => break,
            }
        }
    }

    fn number(&mut self) -> Result<u32> {
        self.skip();
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        if digits == 0 {
            match rest.first() {
                None => bail!("the file ends"),
                Some(b) => bail!("expected a number, found '{}'", b.escape_ascii()),
            }
        }
        self.rest = rest;
        let value = number.iter().fold(0u32, |n, b| {
            n.saturating_mul(10).saturating_add(u32::from(b - b'0'))
        });
        Ok(value)
    }

    /// A bit in text, which needs no space behind it.
    fn digit(&mut self) -> Result<u8> {
        self.skip();
        match self.rest {
            [bit @ (b'0' | b'1'), rest @ ..] => {
                self.rest = rest;
                Ok(bit - b'0')
            }
            [other, ..] => bail!("expected 0 or 1, found '{}'", other.escape_ascii()),
            [] => bail!("the file ends"),
        }
    }

    /// What is behind the one white space that ends the header.
    fn binary(&self) -> &'a [u8] {
        self.rest.get(1..).unwrap_or_default()
    }
}
