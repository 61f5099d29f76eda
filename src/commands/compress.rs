//! `dsd compress`: weights into a Deep Compression `.net` or our own `.dsdz`.

use std::path::Path;

use anyhow::{Result, ensure};
use indicatif::HumanCount;
use rayon::prelude::*;

use super::Usage;
use super::model_folder::ModelFolder;
use super::nets;
use crate::cli::{self, CompressedFormat};
use crate::compress::codebook::Codebook;
use crate::net::Net;
use crate::report::human::HumanBytes;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::solver::bits::Bits;
use crate::weights_file::{Stored, StoredLayer};
use crate::{files, info, outln, warn, weights_file};

/// Runs the command.
pub fn run(args: &cli::Compress) -> Result<()> {
    let args = &resolved(args)?;
    let bits = args.bits.as_deref().map(Bits::parse).transpose();
    let bits = bits.map_err(|e| Usage(format!("--bits: {e:#}")))?;
    let is_net = args.out.extension().is_some_and(|e| e == "net");
    let format = args.format.unwrap_or(match is_net {
        true => CompressedFormat::Net,
        false => CompressedFormat::Huffman,
    });
    let (mut stored, net) = nets::stored(args.model.as_deref(), &args.weights)?;
    if let Some(bits) = &bits {
        let names: Vec<&str> = stored.layers.iter().map(|l| l.name.as_str()).collect();
        for pattern in bits.unmatched(&names) {
            warn!("--bits: no layer is named '{pattern}'");
        }
    }
    let (bytes, parts) = match format {
        CompressedFormat::Huffman => {
            let skeleton = weights_file::skeleton(&files::read(&args.weights)?)?;
            huffman(&mut stored, net.as_ref(), bits.as_ref(), skeleton)?
        }
        CompressedFormat::Net => {
            // Without a net, this says why none was found.
            let net = match net {
                Some(net) => net,
                None => nets::fitting(&args.weights)?,
            };
            net_file(&mut stored, &net, bits.as_ref())?
        }
    };
    files::write_atomic(&args.out, |w| Ok(w.write_all(&bytes)?))?;
    info!("Wrote {}", args.out.display());
    report(&stored, &parts, bytes.len(), &args.out)
}

/// The arguments, with what a folder stands for.
fn resolved(args: &cli::Compress) -> Result<cli::Compress> {
    let mut args = args.clone();
    if let Some(folder) = args.folder.take() {
        let model = ModelFolder::expect(&folder)?;
        args.weights = model.weights()?;
        args.model = Some(model.net()?);
        if args.out.as_os_str().is_empty() {
            let full = folder.canonicalize().unwrap_or(folder.clone());
            let name = full.file_name().unwrap_or(folder.as_os_str());
            args.out = folder.join(name).with_extension("dsdz");
        }
    }
    Ok(args)
}

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
    skeleton: Option<Vec<u8>>,
) -> Result<(Vec<u8>, Vec<Part>)> {
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
    for note in notes.into_iter().collect::<Result<Vec<_>>>()?.concat() {
        info!("{note}");
    }
    let (bytes, written) = weights_file::to_container(stored, skeleton.as_deref())?;
    let part = |(layer, written): (&StoredLayer, crate::compress::container::Written)| Part {
        name: layer.name.clone(),
        bits: written.bits.first().copied().flatten(),
        bytes: written.bytes,
    };
    Ok((bytes, stored.layers.iter().zip(written).map(part).collect()))
}

fn net_file(stored: &mut Stored, net: &Net, bits: Option<&Bits>) -> Result<(Vec<u8>, Vec<Part>)> {
    let layers = weights_file::net_layers(net);
    let file = stored.file.clone();
    for coded in &layers {
        let most = bits.and_then(|b| b.of(&coded.name)).unwrap_or(coded.bits());
        if most > coded.bits() {
            warn!(
                "Layer {}: a .net has {} bits for it, not {most}",
                coded.name,
                coded.bits()
            );
        }
        let layer = stored.layers.iter_mut().find(|l| l.name == coded.name);
        if let Some(layer) = layer.filter(|l| l.blob(0).is_some())
            && let Some(note) = share_values(&file, layer, 0, most.min(coded.bits()))?
        {
            info!("{note}");
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

fn report(stored: &Stored, parts: &[Part], bytes: usize, out: &Path) -> Result<()> {
    let counted = |n: usize| HumanCount(n as u64).to_string();
    let mut table = Table::new([
        ("layer", Align::Left),
        ("weights", Align::Right),
        ("nonzero", Align::Right),
        ("density", Align::Right),
        ("bits", Align::Right),
        ("bytes", Align::Right),
        ("share", Align::Right),
    ]);
    let mut values = 0;
    for part in parts {
        let Some(layer) = stored.layer(&part.name) else {
            continue;
        };
        values += layer.blobs.iter().map(|b| b.data.len()).sum::<usize>();
        let weights = layer.blobs.first().map_or(&[][..], |b| &b.data);
        let nonzero = weights.iter().filter(|w| **w != 0.0).count();
        table.row([
            part.name.clone(),
            counted(weights.len()),
            counted(nonzero),
            format!("{:.4}", nonzero as f64 / weights.len().max(1) as f64),
            part.bits.map_or("float".to_string(), |b| b.to_string()),
            counted(part.bytes),
            format!("{:.1}%", 100.0 * part.bytes as f64 / bytes as f64),
        ]);
    }
    ensure!(
        !parts.is_empty(),
        "{}: it has no layer with weights",
        stored.file
    );
    output::text(format_args!("{table}"))?;
    let plain = 4 * values;
    outln!(
        "{} layer{}: {} bytes ({}) in float32, {} bytes ({}) in {}: {:.2} times smaller",
        parts.len(),
        if parts.len() == 1 { "" } else { "s" },
        counted(plain),
        HumanBytes(plain as u64),
        counted(bytes),
        HumanBytes(bytes as u64),
        out.display(),
        plain as f64 / bytes as f64
    )?;
    Ok(())
}
