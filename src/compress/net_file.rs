//! The Deep Compression `.net` file (Han, Mao, Dally 2015), as published with the 660 KB SqueezeNet: pruned
//! weights as codes into a small codebook, with the gaps between them.
//!
//! The file has no header and no names: what it means depends on the net, so the layers are given to
//! [`decode`], and whether a file fits a net is told by its size ([`looks_like`]). Little-endian:
//!
//! 1. one u32 a layer, the number n of stored entries;
//! 2. then, layer by layer: the codebook (2^b f32, entry 0 is 0.0), the biases (one f32 an output), the n
//!    codes (b bits each) and the n gaps (4 bits each, low nibble first, as are codes of 4 bits).
//!
//! An entry stands gap + 1 places after the one before it, in the weights' C order. A run of more than 15
//! zeros is bridged by padding: entries of code 0.

mod encode;

use super::codebook::Codebook;
use anyhow::{Context, Result, bail, ensure};
pub use encode::{Encoded, Entry, encode};

const MISFIT: &str = "the model does not fit this file (the net has changed since it was written, or is another), or the file is \
     not a Deep Compression .net";

/// A layer that the file has weights of. These are the net's convolutions and inner products, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetLayer {
    /// The name, which also says how many bits a code has: 4 where it contains `fc` or `ip` but not `conv`, 8
    /// elsewhere.
    pub name: String,
    /// The number of weights.
    pub weights: usize,
    /// The number of outputs, which is that of the biases.
    pub outputs: usize,
}

impl NetLayer {
    /// A layer of these sizes.
    pub fn new(name: impl Into<String>, weights: usize, outputs: usize) -> Self {
        let name = name.into();
        Self {
            name,
            weights,
            outputs,
        }
    }

    /// The number of bits of a code: 4 or 8.
    pub fn bits(&self) -> u32 {
        let has = |part| self.name.contains(part);
        // The published rule is "conv: 8, else 4" over names with conv, fc or ip; nets that name their
        // convolutions otherwise (fire2/squeeze1x1) can be read too this way.
        if (has("fc") || has("ip")) && !has("conv") {
            4
        } else {
            8
        }
    }

    /// The bytes of the layer's part for `n` entries; saturates.
    fn bytes(&self, n: usize) -> usize {
        let codes = if self.bits() == 4 { n.div_ceil(2) } else { n };
        let floats = (1usize << self.bits()).saturating_add(self.outputs);
        floats
            .saturating_mul(4)
            .saturating_add(codes)
            .saturating_add(n.div_ceil(2))
    }
}

/// A layer's weights as decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The layer's name.
    pub name: String,
    /// The values that codes stand for, in the file's order.
    pub codebook: Codebook,
    /// The weights in C order, zeros filled in.
    pub weights: Vec<f32>,
    /// The biases.
    pub biases: Vec<f32>,
    /// The number of entries stored.
    pub stored: usize,
    /// How many of them are padding.
    pub padding: usize,
}

/// Decodes a `.net` file for a net with these layers.
///
/// # Errors
/// The file is truncated, has bytes left over, or has weights that the layers have no place for. Nothing is
/// allocated beyond the layers' own sizes.
pub fn decode(bytes: &[u8], layers: &[NetLayer]) -> Result<Vec<Decoded>> {
    ensure!(!layers.is_empty(), "the model has no layer with weights");
    if let Some(found) = layers_in(bytes).filter(|&found| found != layers.len()) {
        bail!(
            "expected the weights of the net's {} layers ({:?} to {:?}), found those of {found} (by the counts that the \
             file begins with): the net has changed since the file was written, or is another",
            layers.len(),
            layers[0].name,
            layers[layers.len() - 1].name
        );
    }
    let mut input = Input { bytes, at: 0 };
    let counts = counts(&mut input, layers)?;
    let size = size(layers, &counts);
    let mut decoded = Vec::with_capacity(layers.len());
    for (layer, n) in layers.iter().zip(counts) {
        let layer = decode_layer(&mut input, layer, n);
        decoded.push(match bytes.len() < size {
            true => layer.with_context(|| {
                format!(
                    "cut: its counts make {size} bytes, the file has {}",
                    bytes.len()
                )
            })?,
            false => layer?,
        });
    }
    let left = bytes.len() - input.at;
    ensure!(
        left == 0,
        "expected the file to end after layer {:?}, at byte {}, found {left} more bytes: {MISFIT}",
        layers[layers.len() - 1].name,
        input.at
    );
    Ok(decoded)
}

/// Whether the file's size is what its counts and these layers make it.
pub fn looks_like(bytes: &[u8], layers: &[NetLayer]) -> bool {
    let counts = counts(&mut Input { bytes, at: 0 }, layers);
    !layers.is_empty() && counts.is_ok_and(|counts| size(layers, &counts) == bytes.len())
}

/// Whether the file may be of these layers, and is only cut: their number is the file's, and none has more entries
/// than weights.
pub fn counts_fit(bytes: &[u8], layers: &[NetLayer]) -> bool {
    layers_in(bytes) == Some(layers.len()) && counts(&mut Input { bytes, at: 0 }, layers).is_ok()
}

/// The size that these counts and layers make; saturates.
fn size(layers: &[NetLayer], counts: &[usize]) -> usize {
    let parts = layers.iter().zip(counts);
    parts.fold(4 * layers.len(), |sum, (layer, &n)| {
        sum.saturating_add(layer.bytes(n))
    })
}

/// How many layers a file has, if it can be told without the net: as many as there are counts before the first
/// codebook, whose first value is 0 and whose others are numbers such as weights.
pub fn layers_in(bytes: &[u8]) -> Option<usize> {
    const MOST_LAYERS: usize = 10_000;
    const MOST_ENTRIES: u32 = 1 << 30;
    let word = |k: usize| {
        let word = bytes.get(4 * k..4 * k + 4)?;
        Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    };
    let is_weight = |word: u32| {
        let x = f32::from_bits(word).abs();
        x == 0.0 || (1e-12..1e4).contains(&x)
    };
    for k in 0..MOST_LAYERS {
        let n = word(k)?;
        if n == 0 && k > 0 {
            let mut values = (k + 1..k + 16).map(|k| word(k).is_some_and(is_weight));
            if values.all(|is| is) {
                return Some(k);
            }
        }
        if n > MOST_ENTRIES {
            return None;
        }
    }
    None
}

/// The number of entries of every layer, checked against its weights.
fn counts(input: &mut Input<'_>, layers: &[NetLayer]) -> Result<Vec<usize>> {
    layers
        .iter()
        .map(|layer| {
            let word = input.take(4, layer, "the number of its entries")?;
            let n = word.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
            ensure!(
                n <= layer.weights,
                "layer {:?}: expected at most its {} weights, found {n} stored entries: {MISFIT}",
                layer.name,
                layer.weights
            );
            Ok(n)
        })
        .collect()
}

fn decode_layer(input: &mut Input<'_>, layer: &NetLayer, n: usize) -> Result<Decoded> {
    let bits = layer.bits();
    let codebook = input.floats(1 << bits, layer, "its codebook")?;
    ensure!(
        codebook[0] == 0.0,
        "layer {:?}: expected 0 as entry 0 of its codebook, found {}: {MISFIT}",
        layer.name,
        codebook[0]
    );
    let codebook = Codebook::new(bits, codebook)
        .with_context(|| format!("layer {:?}: its codebook is none", layer.name))?;
    let biases = input.floats(layer.outputs, layer, "its biases")?;
    let code_bytes = if bits == 4 { n.div_ceil(2) } else { n };
    let codes = input.take(code_bytes, layer, "its codes")?;
    let gaps = input.take(n.div_ceil(2), layer, "its gaps")?;

    let mut weights = vec![0.0; layer.weights];
    let mut padding = 0;
    let mut next = 0;
    for i in 0..n {
        let code = if bits == 4 {
            nibble(codes, i)
        } else {
            codes[i]
        };
        let position = next + usize::from(nibble(gaps, i));
        if position >= weights.len() {
            bail!(
                "layer {:?}: expected positions below its {} weights, found entry {i} of {n} at \
                 {position}: {MISFIT}",
                layer.name,
                layer.weights
            );
        }
        weights[position] = codebook.values()[usize::from(code)];
        padding += usize::from(code == 0);
        next = position + 1;
    }
    Ok(Decoded {
        name: layer.name.clone(),
        codebook,
        weights,
        biases,
        stored: n,
        padding,
    })
}

/// Number `i` of numbers of 4 bits, the low half of a byte first.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 2] >> (4 * (i % 2)) & 15
}

/// The bytes and how far they are read.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, n: usize, layer: &NetLayer, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        ensure!(
            n <= rest.len(),
            "layer {:?}: expected {n} bytes of {what} at byte {}, found {}: the file is truncated, or {MISFIT}",
            layer.name,
            self.at,
            rest.len()
        );
        self.at += n;
        Ok(&rest[..n])
    }

    fn floats(&mut self, n: usize, layer: &NetLayer, what: &str) -> Result<Vec<f32>> {
        let bytes = self.take(n.saturating_mul(4), layer, what)?;
        let numbers = bytes.as_chunks::<4>().0.iter();
        let numbers: Vec<f32> = numbers.map(|&b| f32::from_le_bytes(b)).collect();
        if let Some(bad) = numbers.iter().find(|x| !x.is_finite()) {
            bail!(
                "layer {:?}: expected finite numbers in {what}, found {bad}: {MISFIT}",
                layer.name
            );
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests;
