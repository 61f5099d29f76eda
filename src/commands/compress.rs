//! `dsd compress`: weights into a Deep Compression `.net` or our own `.dsdz`.

mod choose;
mod forms;
mod judge;
mod layers;
mod pack;

use anyhow::Result;
use rayon::prelude::*;
use std::path::Path;

use super::model_folder::ModelFolder;
use super::nets;
use super::{Settings, Usage};
use crate::cli::{self, CompressedFormat};
use crate::compress::codebook::Codebook;
use crate::compress::container;
use crate::net::Net;
use crate::session::packed;
use crate::solver::bits::Bits;
use crate::weights_file::{Stored, StoredLayer};
use crate::{files, info, warn, weights_file};

/// Runs the command.
pub fn run(args: &cli::Compress, settings: &Settings) -> Result<()> {
    let args = &resolved(args)?;
    let bits = args.bits.as_deref().map(Bits::parse).transpose();
    let bits = bits.map_err(|e| Usage(format!("--bits: {e:#}")))?;
    if let Some(points) = args.max_loss {
        return choose::run(args, settings, bits, points);
    }
    let (stored, net) = nets::stored(args.model.as_deref(), args.weights())?;
    warn_of_unmatched(bits.as_ref(), &stored);
    let coder = Coder::new(args, settings, net)?;
    let coded = coder.code(stored, bits.as_ref())?;
    for note in &coded.notes {
        info!("{note}");
    }
    files::write_atomic(args.out(), |w| Ok(w.write_all(&coded.bytes)?))?;
    info!("Wrote {}", args.out().display());
    layers::report(&coded.stored, &coded.parts, coded.bytes.len(), args.out())?;
    coder.tell_model(args.out());
    if !coded.notes.is_empty() {
        info!(
            "Weights have changed, and the accuracy was not checked; --max_loss P --source VAL does that"
        );
    }
    Ok(())
}

/// The arguments, with what a folder stands for.
fn resolved(args: &cli::Compress) -> Result<cli::Compress> {
    let mut args = args.clone();
    if let Some(folder) = args.folder.take() {
        let model = ModelFolder::expect(&folder)?;
        args.weights = Some(model.weights()?);
        args.model = Some(model.net()?);
        if args.out.is_none() {
            let full = folder.canonicalize().unwrap_or(folder.clone());
            let name = full.file_name().unwrap_or(folder.as_os_str());
            args.out = Some(folder.join(name).with_extension("dsdz"));
        }
    }
    Ok(args)
}

fn warn_of_unmatched(bits: Option<&Bits>, stored: &Stored) {
    let names: Vec<&str> = stored.layers.iter().map(|l| l.name.as_str()).collect();
    for pattern in bits.iter().flat_map(|bits| bits.unmatched(&names)) {
        warn!("--bits: no layer is named '{pattern}'");
    }
}

/// Makes files of weights in the format asked for.
struct Coder {
    format: CompressedFormat,
    /// The net of the weights; a .net needs one.
    net: Option<Net>,
    /// What the file has beside its weights.
    beside: Vec<container::Part>,
}

/// A file to be.
struct Coded {
    bytes: Vec<u8>,
    parts: Vec<Part>,
    /// The weights in it.
    stored: Stored,
    /// What sharing values cost.
    notes: Vec<String>,
}

impl Coder {
    fn new(args: &cli::Compress, settings: &Settings, net: Option<Net>) -> Result<Self> {
        let is_net = args.out().extension().is_some_and(|e| e == "net");
        let format = args.format.unwrap_or(match is_net {
            true => CompressedFormat::Net,
            false => CompressedFormat::Huffman,
        });
        Ok(Self {
            format,
            beside: match format {
                CompressedFormat::Huffman => pack::parts(args, settings)?,
                CompressedFormat::Net if args.pack.is_given() => {
                    let text = "a .net holds weights alone: --labels, --mean_file, --mean_value and --scale go with a .dsdz";
                    return Err(Usage(text.into()).into());
                }
                CompressedFormat::Net => Vec::new(),
            },
            net: match (format, net) {
                // Without a net, this says why none was found.
                (CompressedFormat::Net, None) => Some(nets::fitting(args.weights())?),
                (_, net) => net,
            },
        })
    }

    /// Says what can be done with the file, if it is a model.
    fn tell_model(&self, out: &Path) {
        let has = |name: &str| self.beside.iter().any(|p| p.name == name);
        let shown = out.display();
        if has(packed::PREPROCESSING) {
            info!(
                "It is a model by itself, with its net{}: dsd classify {shown} PICTURES, dsd test {shown} FOLDER",
                match has(packed::LABELS) {
                    true => " and its classes' names",
                    false => "",
                }
            );
        }
    }

    /// The file of `stored`, whose layers share as few values as `bits` and the format say.
    fn code(&self, mut stored: Stored, bits: Option<&Bits>) -> Result<Coded> {
        let (bytes, parts, notes) = match (self.format, &self.net) {
            (CompressedFormat::Net, Some(net)) => net_file(&mut stored, net, bits)?,
            _ => huffman(&mut stored, self.net.as_ref(), bits, &self.beside)?,
        };
        Ok(Coded {
            bytes,
            parts,
            stored,
            notes,
        })
    }
}

/// Bytes, the layers' parts of them, and what sharing values cost.
type Written = (Vec<u8>, Vec<Part>, Vec<String>);

/// A layer's part of the file.
struct Part {
    name: String,
    bits: Option<u32>,
    bytes: usize,
}

fn huffman(
    stored: &mut Stored,
    net: Option<&Net>,
    bits: Option<&Bits>,
    beside: &[container::Part],
) -> Result<Written> {
    let file = stored.file.clone();
    let share = |layer: &mut StoredLayer| -> Result<Vec<String>> {
        let Some(most) = bits.and_then(|b| b.of(&layer.name)) else {
            return Ok(Vec::new());
        };
        let blobs = 0..layer.blobs.len();
        let shared: Vec<usize> = blobs.filter(|k| prunable(net, layer, *k)).collect();
        let notes = shared
            .into_iter()
            .map(|k| share_values(&file, layer, k, most));
        Ok(notes
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    };
    let layers = stored.layers.par_iter_mut().with_max_len(1);
    let notes: Vec<Result<Vec<String>>> = layers.map(share).collect();
    let notes = notes.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let (bytes, written) = weights_file::to_container(stored, beside)?;
    let part = |(layer, written): (&StoredLayer, container::Written)| Part {
        name: layer.name.clone(),
        bits: written.bits.first().copied().flatten(),
        bytes: written.bytes,
    };
    let parts = stored.layers.iter().zip(written).map(part).collect();
    Ok((bytes, parts, notes))
}

fn net_file(stored: &mut Stored, net: &Net, bits: Option<&Bits>) -> Result<Written> {
    let mut notes = Vec::new();
    let layers = weights_file::net_layers(net);
    let file = stored.file.clone();
    for coded in &layers {
        let most = bits.and_then(|b| b.of(&coded.name)).unwrap_or(coded.bits());
        if most > coded.bits() {
            notes.push(format!(
                "Layer {}: a .net has {} bits for it, not {most}",
                coded.name,
                coded.bits()
            ));
        }
        let layer = stored.layers.iter_mut().find(|l| l.name == coded.name);
        if let Some(layer) = layer.filter(|l| l.blob(0).is_some())
            && let Some(note) = share_values(&file, layer, 0, most.min(coded.bits()))?
        {
            notes.push(note);
        }
    }
    let in_net = |l: &&StoredLayer| net.graph().nodes.iter().any(|n| n.name() == l.name);
    for layer in stored.layers.iter().filter(|l| !in_net(l)) {
        warn!("Layer {} is not in the net: it is left out", layer.name);
    }
    let encoded = weights_file::to_net_file(stored, net)?;
    let part = |(layer, bytes): (&crate::compress::net_file::NetLayer, usize)| Part {
        name: layer.name.clone(),
        bits: Some(layer.bits()),
        bytes,
    };
    Ok((
        encoded.bytes,
        layers.iter().zip(encoded.layers).map(part).collect(),
        notes,
    ))
}

/// Whether blob `k` holds weights, as opposed to biases and statistics. Without a net, the first blob counts if
/// it has rows and columns.
fn prunable(net: Option<&Net>, layer: &StoredLayer, k: usize) -> bool {
    let node = |net: &Net| {
        net.graph()
            .nodes
            .iter()
            .position(|n| n.name() == layer.name)
    };
    if let Some((net, i)) = net.and_then(|net| Some((net, node(net)?))) {
        return net
            .layer_params(i)
            .nth(k)
            .is_some_and(|id| net.params()[id].prunable);
    }
    let dims = layer.blobs[k].shape.dims().iter();
    k == 0 && dims.skip_while(|d| layer.legacy && **d == 1).count() > 1
}

/// Makes a blob have at most 2^`bits` values, and says what it costs where that changes any.
fn share_values(
    file: &str,
    layer: &mut StoredLayer,
    k: usize,
    bits: u32,
) -> Result<Option<String>> {
    let given = layer.codebook(k).cloned();
    let data = &mut layer.blobs[k].data;
    if let Some(i) = data.iter().position(|w| !w.is_finite()) {
        anyhow::bail!(
            "{file}: layer '{}', blob {k}: expected finite weights to share values, found {} at {i}",
            layer.name,
            data[i]
        );
    }
    let (book, exact) = Codebook::fit(data, given.as_ref(), bits);
    let mut note = None;
    if !exact {
        let before = data.clone();
        book.decode(&book.assign(&before), data);
        let square = |x: f32| f64::from(x) * f64::from(x);
        let off: f64 = before
            .iter()
            .zip(data.iter())
            .map(|(a, b)| square(a - b))
            .sum();
        let norm: f64 = before.iter().map(|w| square(*w)).sum();
        note = Some(format!(
            "Layer {}: its weights take more values than {bits} bits hold; they now share {} and are off by {:.2}% (L2)",
            layer.name,
            (1 << bits) - 1,
            100.0 * (off / norm.max(f64::MIN_POSITIVE)).sqrt()
        ));
    }
    layer
        .codebooks
        .resize(layer.codebooks.len().max(k + 1), None);
    layer.codebooks[k] = Some(book);
    Ok(note)
}
