//! Canonical Huffman codes with lengths of at most 15 bits, for alphabets of up to 256 symbols.
//!
//! A canonical code follows from the lengths alone: codes of one length are successive numbers in the order
//! of their symbols, shorter ones first (as in RFC 1951, but written most significant bit first).

use super::bits::{Bits, PEEK};
use anyhow::{Result, ensure};

/// The longest code that [`Decoder`] reads.
pub const LONGEST: u32 = PEEK;

/// The lengths (at most `longest` bits, 2^`longest` ≥ symbols) that make the sum of count × length least; 0 for
/// symbols that do not occur. Of fewer than two symbols that occur, one that does not gets a code too, so
/// that the code is always complete.
///
/// Package-merge (Larmore, Hirschberg 1990).
pub fn lengths(counts: &[u64], longest: u32) -> Vec<u8> {
    let mut coins: Vec<(u64, Vec<u8>)> = (0u8..=255)
        .zip(counts)
        .filter(|(_, n)| **n > 0)
        .map(|(symbol, n)| (*n, vec![symbol]))
        .collect();
    for symbol in 0..2 {
        if coins.len() < 2 && coins.iter().all(|c| c.1 != [symbol]) {
            // Of no weight, it could be given a longer code than completes the others.
            coins.push((1, vec![symbol]));
        }
    }
    coins.sort_by_key(|c| c.0);
    let mut row = coins.clone();
    for _ in 1..longest {
        let packages = row.chunks_exact(2);
        let mut next: Vec<(u64, Vec<u8>)> = packages
            .map(|pair| (pair[0].0 + pair[1].0, [&pair[0].1[..], &pair[1].1].concat()))
            .collect();
        next.extend(coins.iter().cloned());
        next.sort_by_key(|c| c.0);
        row = next;
    }
    let mut lengths = vec![0; counts.len()];
    for symbol in row[..2 * coins.len() - 2].iter().flat_map(|c| &c.1) {
        lengths[usize::from(*symbol)] += 1;
    }
    lengths
}

/// The codes that belong to these lengths, each in its low bits; 0 where the length is 0.
pub fn codes(lengths: &[u8]) -> Vec<u32> {
    let mut next = 0;
    let mut codes = vec![0; lengths.len()];
    for length in 1..=LONGEST as u8 {
        next <<= 1;
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, l)| **l == length) {
            *code = next;
            next += 1;
        }
    }
    codes
}

/// Bits of codes that are looked up in one step.
const QUICK: u32 = 9;

/// Reads symbols.
pub struct Decoder {
    /// The symbols in the order of their codes.
    symbols: Vec<u8>,
    /// For each length the first code that is longer, and the first of this length, both as PEEK bits, and
    /// its place in `symbols`.
    ranges: [(u32, u32, usize); LONGEST as usize + 1],
    /// Length and symbol by the first QUICK bits; length 0 where the code is longer.
    quick: Vec<(u8, u8)>,
}

impl Decoder {
    /// # Errors
    /// The lengths are not those of a complete code: one of which every sequence of bits is made up.
    pub fn new(lengths: &[u8]) -> Result<Self> {
        let mut symbols = Vec::new();
        let mut ranges = [(0, 0, 0); LONGEST as usize + 1];
        let mut quick = vec![(0, 0); 1 << QUICK];
        let mut first = 0u32;
        for length in 1..=LONGEST {
            let (from, place) = (first, symbols.len());
            for (symbol, _) in (0u8..=255)
                .zip(lengths)
                .filter(|(_, l)| u32::from(**l) == length)
            {
                ensure!(
                    first < 1 << PEEK,
                    "expected a complete Huffman code, found too many short codes"
                );
                let span = 1 << (PEEK - length);
                if length <= QUICK {
                    let range = (first >> (PEEK - QUICK)) as usize
                        ..((first + span) >> (PEEK - QUICK)) as usize;
                    quick[range].fill((length as u8, symbol));
                }
                symbols.push(symbol);
                first += span;
            }
            ranges[length as usize] = (first, from, place);
        }
        ensure!(
            first == 1 << PEEK,
            "expected a complete Huffman code, found one with gaps"
        );
        Ok(Self {
            symbols,
            ranges,
            quick,
        })
    }

    /// The next symbol.
    ///
    /// # Errors
    /// The bits end within it.
    pub fn read(&self, bits: &mut Bits<'_>) -> Result<u8> {
        let ahead = bits.peek();
        let (length, symbol) = self.quick[(ahead >> (PEEK - QUICK)) as usize];
        if length > 0 {
            bits.drop(u32::from(length))?;
            return Ok(symbol);
        }
        for length in QUICK + 1..=LONGEST {
            let (end, from, place) = self.ranges[length as usize];
            if ahead < end {
                bits.drop(length)?;
                return Ok(self.symbols[place + ((ahead - from) >> (PEEK - length)) as usize]);
            }
        }
        anyhow::bail!("expected a Huffman code, found none")
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::{Input, Writer};
    use super::*;
    use crate::random::{Purpose, Random};

    /// The bits of an optimal code without a limit: the sum of the inner nodes of Huffman's tree.
    fn huffman(counts: &[u64]) -> u64 {
        let mut alive: Vec<u64> = counts.iter().copied().filter(|n| *n > 0).collect();
        let mut sum = 0;
        while alive.len() > 1 {
            alive.sort_unstable_by(|a, b| b.cmp(a));
            let (a, b) = (alive.pop().unwrap(), alive.pop().unwrap());
            alive.push(a + b);
            sum += a + b;
        }
        sum
    }

    fn cost(counts: &[u64], lengths: &[u8]) -> u64 {
        counts
            .iter()
            .zip(lengths)
            .map(|(n, l)| n * u64::from(*l))
            .sum()
    }

    #[test]
    fn lengths_are_huffmans_where_the_limit_does_not_bind_and_complete_where_it_does() {
        let random = Random::new(1, Purpose::Layer, 0);
        for case in 0..60u64 {
            let n = 2 + random.below(2 * case, 255);
            let power = 1 + case as i32 % 6;
            let counts: Vec<u64> = (0..n as u64)
                .map(|i| (random.branch(case).unit(i).powi(power) * 1000.0) as u64)
                .collect();
            let lengths = lengths(&counts, LONGEST);
            if lengths.iter().all(|l| u32::from(*l) < LONGEST)
                && counts.iter().filter(|n| **n > 0).count() > 1
            {
                assert_eq!(cost(&counts, &lengths), huffman(&counts));
            }
            Decoder::new(&lengths).unwrap();
        }
        // Fibonacci's numbers make the longest codes.
        let mut counts = vec![1u64, 1];
        (2..40).for_each(|i| counts.push(counts[i - 1] + counts[i - 2]));
        for limit in [6, 7, 15] {
            let lengths = lengths(&counts, limit);
            assert!(lengths.iter().all(|l| (1..=limit as u8).contains(l)));
            Decoder::new(&lengths).unwrap();
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let random = Random::new(2, Purpose::Layer, 0);
        for (n, power) in [(1, 1), (2, 1), (3, 9), (17, 3), (256, 1), (256, 30)] {
            let symbols: Vec<u8> = (0..5000)
                .map(|i| (random.unit(i).powi(power) * n as f32) as u8)
                .collect();
            let mut counts = vec![0; n];
            symbols.iter().for_each(|s| counts[usize::from(*s)] += 1);
            counts.resize(n.max(2), 0);
            let lengths = lengths(&counts, LONGEST);
            let (codes, mut writer) = (codes(&lengths), Writer::default());
            for s in symbols.iter().map(|s| usize::from(*s)) {
                writer.put(codes[s], u32::from(lengths[s]));
            }
            let bytes = writer.finish();
            let mut bits = Input::new(&bytes).bits();
            let decoder = Decoder::new(&lengths).unwrap();
            for s in symbols {
                assert_eq!(decoder.read(&mut bits).unwrap(), s);
            }
            assert!(bits.left() < 8);
        }
    }

    #[test]
    fn other_lengths_are_errors() {
        for lengths in [
            &[][..],
            &[0, 0],
            &[1],
            &[1, 1, 1],
            &[1, 2],
            &[2, 2, 2, 2, 15],
            &[16, 1],
        ] {
            assert!(Decoder::new(lengths).is_err(), "{lengths:?}");
        }
    }
}
