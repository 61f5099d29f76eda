//! Writing a `.net`, to the byte as the published one is.

use super::super::codebook::Codebook;
use super::NetLayer;
use anyhow::{Context, Result, ensure};

/// The longest gap; a longer run of zeros is bridged by padding.
const LONGEST_GAP: usize = 15;

/// What is stored of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The values that its weights take, in as many bits as the layer's codes have at most.
    pub codebook: &'a Codebook,
    /// The weights in C order.
    pub weights: &'a [f32],
    /// The biases.
    pub biases: &'a [f32],
}

/// A file, and how it divides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// The file.
    pub bytes: Vec<u8>,
    /// The bytes of each layer, its count among them.
    pub layers: Vec<usize>,
}

/// Encodes a net's layers. A file that [`super::decode`] has read comes out the same, byte by byte.
///
/// # Errors
/// The sizes are not those of the layers, a weight is not in its codebook, or a number is not finite.
pub fn encode(layers: &[NetLayer], entries: &[Entry<'_>]) -> Result<Encoded> {
    ensure!(
        !layers.is_empty() && layers.len() == entries.len(),
        "expected the weights of {} layers, found {}",
        layers.len(),
        entries.len()
    );
    let mut counts = Vec::new();
    let mut content = Vec::new();
    let mut encoded = Encoded::default();
    for (layer, entry) in layers.iter().zip(entries) {
        let before = content.len();
        let n = encode_layer(layer, entry, &mut content)
            .with_context(|| format!("layer {:?}", layer.name))?;
        counts.extend(n.to_le_bytes());
        encoded.layers.push(4 + content.len() - before);
    }
    encoded.bytes = [counts, content].concat();
    Ok(encoded)
}

fn encode_layer(layer: &NetLayer, entry: &Entry<'_>, out: &mut Vec<u8>) -> Result<u32> {
    let (bits, found) = (layer.bits(), entry.codebook.bits());
    ensure!(
        entry.weights.len() == layer.weights && entry.biases.len() == layer.outputs,
        "expected {} weights and {} biases, found {} and {}",
        layer.weights,
        layer.outputs,
        entry.weights.len(),
        entry.biases.len()
    );
    let book = entry.codebook.resized(bits);
    let book = book
        .with_context(|| format!("expected codes of {bits} bits, found a codebook of {found}"))?;
    let codes = book
        .codes(entry.weights)
        .context("expected weights that are all in the codebook, found others")?;
    ensure!(
        entry.biases.iter().all(|b| b.is_finite()),
        "expected finite biases, found NaN or infinity"
    );
    let (mut stored, mut gaps) = (Vec::new(), Vec::new());
    let mut gap = 0;
    for code in codes {
        if code == 0 {
            gap += 1;
            continue;
        }
        while gap > LONGEST_GAP {
            stored.push(0);
            gaps.push(LONGEST_GAP as u8);
            gap -= LONGEST_GAP + 1;
        }
        stored.push(code);
        gaps.push(gap as u8);
        gap = 0;
    }
    for x in book.values().iter().chain(entry.biases) {
        out.extend(x.to_le_bytes());
    }
    match bits {
        4 => out.extend(nibbles(&stored)),
        _ => out.extend(&stored),
    }
    out.extend(nibbles(&gaps));
    u32::try_from(stored.len()).context("expected fewer than 2^32 entries, found more")
}

/// Two numbers of 4 bits a byte, the first one low.
fn nibbles(numbers: &[u8]) -> impl Iterator<Item = u8> {
    numbers
        .chunks(2)
        .map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4))
}
