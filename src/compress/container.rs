//! Our own file of compressed weights, `.dsdz`: all blobs of a caffemodel by name, codes and gaps in canonical
//! Huffman codes, and a check sum over everything. docs/compressed_format.md has every byte of it.

mod blob;
mod message;
mod parts;

use super::bits::{Input, put_varint};
use super::codebook::Codebook;
use crate::tensor::Tensor;
use anyhow::{Context, Result, ensure};

/// The first bytes of a file. The high bit and the line ends show a transfer that changed them.
pub const MAGIC: [u8; 8] = *b"\x89DSDZ\r\n\x1a";

/// The versions: 2 has a caffemodel's message before the layers, 3 any parts with names.
const VERSION: u32 = 1;
const WITH_MESSAGE: u32 = 2;
const WITH_PARTS: u32 = 3;

/// Magic, version and total length.
const HEADER: usize = 20;

/// Values that a file of any length may hold.
const FREE_VALUES: u64 = 1 << 20;

/// Values that each of its bytes may stand for: pruned weights take next to none, but a file must not ask for
/// memory out of all proportion to its length.
const VALUES_A_BYTE: u64 = 1 << 10;

/// The most layers and blobs of a layer, and axes of a blob (the last as in Caffe).
const MOST_LAYERS: usize = 50_000;
const MOST_BLOBS: usize = 1000;
const MOST_AXES: usize = 32;

/// The most parts beside the layers.
const MOST_PARTS: usize = 100;

/// The part that holds a caffemodel without its blobs' shapes and numbers.
pub const CAFFEMODEL: &str = "caffemodel";

/// The part that holds a mean, as a BlobProto.
pub const MEAN: &str = "mean.binaryproto";

/// Bytes that a file has beside its layers, by a name of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What they are called.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A blob and, if it is coded, the codebook that holds its values. No blob at all stands for one that another
/// layer owns.
pub type Blob<'a> = Option<(&'a Tensor, Option<&'a Codebook>)>;

/// A layer as read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Whether leading ones of its shapes mean nothing, as with Caffe's old num, channels, height, width.
    pub legacy: bool,
    /// Its blobs.
    pub blobs: Vec<Option<(Tensor, Option<Codebook>)>>,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The bytes that it takes.
    pub bytes: usize,
    /// For each blob the bits of its codes; none where its values stand as they are.
    pub bits: Vec<Option<u32>>,
}

/// Whether `bytes` begin as a file of this format.
pub fn looks_like(bytes: &[u8]) -> bool {
    // The rest of the mark is there to be damaged.
    bytes.starts_with(&MAGIC[..5])
}

/// A layer as a file holds it.
pub struct Encoded {
    content: Vec<u8>,
    values: u64,
    written: Written,
}

impl Encoded {
    /// Encodes a layer. A blob whose values are all in the codebook that comes with it is coded with that; any
    /// other is written in the way that takes least. All values come back exactly, but of zeros the sign.
    ///
    /// # Errors
    /// More blobs or axes than a file can have.
    pub fn new(name: &str, legacy: bool, blobs: &[Blob<'_>]) -> Result<Self> {
        ensure!(
            blobs.len() <= MOST_BLOBS,
            "layer '{name}': a .dsdz holds at most {MOST_BLOBS} blobs of a layer"
        );
        let (mut content, mut values, mut bits) = (Vec::new(), 0, Vec::new());
        put_varint(name.len(), &mut content);
        content.extend(name.as_bytes());
        content.push(u8::from(legacy));
        put_varint(blobs.len(), &mut content);
        for (k, blob) in blobs.iter().enumerate() {
            let Some((tensor, codebook)) = blob else {
                content.push(blob::ABSENT);
                bits.push(None);
                continue;
            };
            ensure!(
                tensor.shape.axes() <= MOST_AXES && tensor.shape.count() == tensor.data.len(),
                "layer '{name}', blob {k}: expected at most {MOST_AXES} axes and as many values as they span, found \
                 {} axes and {} values",
                tensor.shape.axes(),
                tensor.data.len()
            );
            values += tensor.data.len() as u64;
            bits.push(blob::write(tensor, *codebook, &mut content));
        }
        Ok(Self {
            values,
            written: Written {
                bytes: content.len(),
                bits,
            },
            content,
        })
    }
}

/// A file that is being put together.
pub struct Writer {
    layers: usize,
    values: u64,
    content: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A file with no layer in it.
    pub fn new() -> Self {
        Self {
            layers: 0,
            values: 0,
            content: Vec::new(),
        }
    }

    /// Adds a layer.
    ///
    /// # Errors
    /// More layers than a file can have.
    pub fn add(&mut self, layer: Encoded) -> Result<Written> {
        self.layers += 1;
        ensure!(
            self.layers <= MOST_LAYERS,
            "a .dsdz holds at most {MOST_LAYERS} layers"
        );
        self.values += layer.values;
        self.content.extend(layer.content);
        Ok(layer.written)
    }

    /// The bytes of the file, with `parts` beside the layers; [`CAFFEMODEL`] is what the caffemodel that the weights come
    /// from says beside them.
    pub fn finish(self, parts: &[Part]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        // The oldest version that can say it, for the programs that are out.
        let version = match parts {
            [] => VERSION,
            [one] if one.name == CAFFEMODEL => WITH_MESSAGE,
            _ => WITH_PARTS,
        };
        file.extend(version.to_le_bytes());
        file.extend([0; 8]);
        match (version, parts) {
            (WITH_MESSAGE, [one]) => message::put(&one.bytes, &mut file),
            (WITH_PARTS, parts) => parts::put(parts, &mut file),
            _ => {}
        }
        put_varint(self.layers, &mut file);
        file.extend(self.content);
        // Weights almost all of which are zero would be more than the file may hold by its length.
        let least = self
            .values
            .saturating_sub(FREE_VALUES)
            .div_ceil(VALUES_A_BYTE) as usize;
        file.resize(file.len().max(least), 0);
        let length = file.len() as u64 + 4;
        file[12..HEADER].copy_from_slice(&length.to_le_bytes());
        file.extend(crc32c::crc32c(&file).to_le_bytes());
        file
    }
}

/// Reads a file.
///
/// # Errors
/// It is none of this format, of another version, truncated, or damaged in any byte. Whatever it says, memory
/// is only taken in proportion to its length.
pub fn decode(bytes: &[u8]) -> Result<Vec<Layer>> {
    let (version, content) = content(bytes)?;
    let mut input = Input::new(content);
    match version {
        WITH_MESSAGE => message::skip(&mut input)?,
        WITH_PARTS => parts::skip(&mut input)?,
        _ => {}
    }
    let most = FREE_VALUES + VALUES_A_BYTE * bytes.len() as u64;
    let mut budget = blob::Budget { most, left: most };
    let layers = input.varint()?;
    ensure!(
        layers <= MOST_LAYERS,
        "expected at most {MOST_LAYERS} layers, found {layers}"
    );
    let mut decoded = Vec::new();
    for i in 0..layers {
        let layer = read_layer(&mut input, &mut budget);
        decoded.push(layer.with_context(|| format!("layer {i} of {layers}"))?);
    }
    let rest = input.rest();
    ensure!(
        rest.iter().all(|b| *b == 0),
        "expected nothing but zeros after the last layer, found {} other bytes",
        rest.len()
    );
    Ok(decoded)
}

/// What the file has beside its layers.
///
/// # Errors
/// The file is damaged.
pub fn parts(bytes: &[u8]) -> Result<Vec<Part>> {
    let (version, content) = content(bytes)?;
    let mut input = Input::new(content);
    let most = message::most(bytes.len());
    match version {
        WITH_MESSAGE => Ok(vec![Part {
            name: CAFFEMODEL.to_string(),
            bytes: message::read(&mut input, most)?,
        }]),
        WITH_PARTS => parts::read(&mut input, most),
        _ => Ok(Vec::new()),
    }
}

/// The file's part of this name, if it has one.
///
/// # Errors
/// The file is damaged.
pub fn part(bytes: &[u8], name: &str) -> Result<Option<Vec<u8>>> {
    let found = parts(bytes)?.into_iter().find(|p| p.name == name);
    Ok(found.map(|p| p.bytes))
}

/// The version, and what lies between the header and the check sum, once these are known to be right.
fn content(bytes: &[u8]) -> Result<(u32, &[u8])> {
    ensure!(
        looks_like(bytes),
        "not a .dsdz: expected its mark at the begin"
    );
    let truncated = |what: String| format!("truncated: {what}; copy or write it again");
    ensure!(
        bytes.len() >= HEADER + 4,
        truncated(format!(
            "expected at least {} bytes, found {}",
            HEADER + 4,
            bytes.len()
        ))
    );
    ensure!(
        bytes.starts_with(&MAGIC),
        "damaged: its mark has changed, as by a transfer in text mode; copy it again as it is"
    );
    let number = |b: &[u8]| b.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let (version, length) = (number(&bytes[8..12]), number(&bytes[12..HEADER]));
    ensure!(
        length <= bytes.len() as u64,
        truncated(format!(
            "it says that it has {length} bytes, found {}",
            bytes.len()
        ))
    );
    ensure!(
        length == bytes.len() as u64,
        "damaged: it says that it has {length} bytes, found {}",
        bytes.len()
    );
    let (all, crc) = bytes.split_at(bytes.len() - 4);
    let (found, wanted) = (crc32c::crc32c(all), number(crc) as u32);
    ensure!(
        found == wanted,
        "damaged: expected the CRC-32C {wanted:08x}, found {found:08x}; copy or write it again"
    );
    ensure!(
        (u64::from(VERSION)..=u64::from(WITH_PARTS)).contains(&version),
        "expected version {VERSION} to {WITH_PARTS}, found {version}: a newer dsd wrote it"
    );
    Ok((version as u32, &all[HEADER..]))
}

fn read_layer(input: &mut Input<'_>, budget: &mut blob::Budget) -> Result<Layer> {
    let length = input.varint()?;
    let name = std::str::from_utf8(input.take(length)?).context("its name is not UTF-8")?;
    let flags = input.byte()?;
    ensure!(flags <= 1, "'{name}': expected flags 0 or 1, found {flags}");
    let blobs = input.varint()?;
    ensure!(
        blobs <= MOST_BLOBS,
        "'{name}': expected at most {MOST_BLOBS} blobs, found {blobs}"
    );
    let mut layer = Layer {
        name: name.to_string(),
        legacy: flags == 1,
        blobs: Vec::new(),
    };
    for k in 0..blobs {
        let blob = blob::read(input, budget);
        layer
            .blobs
            .push(blob.with_context(|| format!("'{name}', blob {k}"))?);
    }
    Ok(layer)
}

#[cfg(test)]
mod tests;
