//! Sequences of small symbols, written in the cheapest of three ways: as they are, as one symbol that is
//! repeated, or in a Huffman code. docs/compressed_format.md calls this SYMBOLS(n, w).

use super::bits::{Input, Writer};
use super::huffman::{self, Decoder, LONGEST};
use anyhow::{Context, Result, bail};

/// The longest code of a code length; the lengths of these are written in 3 bits each.
const LONGEST_OF_LENGTHS: u32 = 7;

/// How a sequence is written.
pub struct Plan {
    width: u32,
    kind: Kind,
    bits: u64,
}

enum Kind {
    Empty,
    Plain,
    One(u8),
    Huffman(Vec<u8>),
}

impl Plan {
    /// The cheapest way for a sequence in which symbol `s` occurs `counts[s]` times; there are at most 2^`width`
    /// symbols, `width` being 1 to 8.
    pub fn new(counts: &[u64], width: u32) -> Self {
        let n: u64 = counts.iter().sum();
        let plan = |kind, bits| Self { width, kind, bits };
        if n == 0 {
            return plan(Kind::Empty, 0);
        }
        if let Some(one) = counts.iter().position(|c| *c == n) {
            return plan(Kind::One(one as u8), 16);
        }
        let lengths = huffman::lengths(counts, LONGEST);
        let coded: u64 = counts
            .iter()
            .zip(&lengths)
            .map(|(n, l)| n * u64::from(*l))
            .sum();
        let coded = 16 + table(&lengths).1 + coded;
        let plain = 8 + n * u64::from(width);
        match coded < plain {
            true => plan(Kind::Huffman(lengths), coded),
            false => plan(Kind::Plain, plain),
        }
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.bits.div_ceil(8)
    }

    /// Adds the sequence, which must be the one that was counted.
    pub fn write(&self, symbols: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
        let mut writer = Writer::default();
        match &self.kind {
            Kind::Empty => {}
            Kind::Plain => {
                out.push(0);
                symbols.for_each(|s| writer.put(s.into(), self.width));
            }
            Kind::One(symbol) => out.extend([1, *symbol]),
            Kind::Huffman(lengths) => {
                let used = lengths.iter().rposition(|l| *l > 0).unwrap_or(0);
                out.extend([2, used as u8]);
                for (value, bits) in table(lengths).0 {
                    writer.put(value, bits);
                }
                let codes = huffman::codes(lengths);
                for s in symbols.map(usize::from) {
                    writer.put(codes[s], lengths[s].into());
                }
            }
        }
        out.extend(writer.finish());
    }
}

/// The table of code lengths as values and their bits, and the sum of the bits.
fn table(lengths: &[u8]) -> (Vec<(u32, u32)>, u64) {
    let used = lengths.iter().rposition(|l| *l > 0).unwrap_or(0);
    let lengths = &lengths[..=used];
    let mut counts = [0; LONGEST as usize + 1];
    lengths.iter().for_each(|l| counts[usize::from(*l)] += 1);
    let own = huffman::lengths(&counts, LONGEST_OF_LENGTHS);
    let codes = huffman::codes(&own);
    let mut fields: Vec<(u32, u32)> = own.iter().map(|l| (u32::from(*l), 3)).collect();
    for l in lengths.iter().map(|l| usize::from(*l)) {
        fields.push((codes[l], own[l].into()));
    }
    let bits = fields.iter().map(|f| u64::from(f.1)).sum();
    (fields, bits)
}

/// How often each of 256 symbols occurs.
pub fn count(symbols: impl Iterator<Item = u8>) -> [u64; 256] {
    let mut counts = [0; 256];
    symbols.for_each(|s| counts[usize::from(s)] += 1);
    counts
}

/// Reads `n` symbols of at most `width` bits. A few bytes can stand for any number of equal symbols, so the
/// caller bounds `n`.
///
/// # Errors
/// The input ends, or is no such sequence.
pub fn read(input: &mut Input<'_>, n: usize, width: u32) -> Result<Vec<u8>> {
    if n == 0 {
        return Ok(Vec::new());
    }
    match input.byte()? {
        0 if width == 8 => Ok(input.take(n)?.to_vec()),
        0 => {
            let bits = n.checked_mul(width as usize).context("too many symbols")?;
            let bytes = input.take(bits.div_ceil(8))?;
            let mut bits = Input::new(bytes).bits();
            (0..n).map(|_| Ok(bits.take(width)? as u8)).collect()
        }
        1 => {
            let one = input.byte()?;
            check(one, width)?;
            Ok(vec![one; n])
        }
        2 => {
            let used = input.byte()?;
            check(used, width)?;
            let mut bits = input.bits();
            let own = (0..=LONGEST).map(|_| Ok(bits.take(3)? as u8));
            let own = Decoder::new(&own.collect::<Result<Vec<u8>>>()?)?;
            let lengths = (0..=used).map(|_| own.read(&mut bits));
            let decoder = Decoder::new(&lengths.collect::<Result<Vec<u8>>>()?)?;
            // Every code takes a bit at least: more symbols than bits are not worth an allocation.
            if n > bits.left() {
                bail!("expected {n} Huffman codes, found {} bits", bits.left());
            }
            let mut symbols = vec![0; n];
            for symbol in &mut symbols {
                *symbol = decoder.read(&mut bits)?;
            }
            input.skip(&bits)?;
            Ok(symbols)
        }
        other => bail!("expected symbols in way 0, 1 or 2, found {other}"),
    }
}

fn check(symbol: u8, width: u32) -> Result<()> {
    if u32::from(symbol) >> width != 0 {
        bail!("expected symbols of {width} bits, found {symbol}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    #[test]
    fn any_sequence_comes_back_and_takes_the_bytes_that_were_planned() {
        let random = Random::new(3, Purpose::Layer, 0);
        for n in [0usize, 1, 2, 3, 100, 3000] {
            for width in 1..=8u32 {
                for power in [0, 1, 2, 9, 60] {
                    let most = ((1u32 << width) - 1) as f32;
                    let symbols: Vec<u8> = (0..n as u64)
                        .map(|i| {
                            (random.branch(u64::from(width)).unit(i).powi(power) * most).round()
                                as u8
                        })
                        .collect();
                    let counts = count(symbols.iter().copied());
                    let plan = Plan::new(&counts[..1 << width], width);
                    let mut bytes = Vec::new();
                    plan.write(symbols.iter().copied(), &mut bytes);
                    assert_eq!(bytes.len() as u64, plan.bytes());
                    assert!(bytes.len() <= 1 + (n * width as usize).div_ceil(8).max(1));
                    let mut input = Input::new(&bytes);
                    assert_eq!(read(&mut input, n, width).unwrap(), symbols);
                    assert!(input.rest().is_empty());
                    for end in 0..bytes.len() {
                        assert!(read(&mut Input::new(&bytes[..end]), n, width).is_err());
                    }
                }
            }
        }
    }

    #[test]
    fn a_few_bytes_do_not_make_much_memory() {
        for bytes in [
            &[0, 1, 2][..],
            &[2, 1, 0x24, 0, 0, 0, 0, 0, 0],
            &[1, 4],
            &[3],
            &[2, 9],
        ] {
            assert!(read(&mut Input::new(bytes), usize::MAX / 2, 2).is_err());
        }
    }
}
