//! Weights files of every format, told apart by content: `.caffemodel` of any generation,
//! `.caffemodel.h5`, `.npz`, our compressed `.dsdz`, and the Deep Compression `.net`.

pub mod hdf5;
mod skeleton;
mod stored;
mod write;

use crate::compress::container;
use crate::compress::net_file::{self, NetLayer};
use crate::net::Net;
use crate::proto::LayerParameter;
use crate::tensor::{Shape, Tensor};
use crate::{files, info, npz, proto};
use anyhow::{Context, Result, bail};
use std::path::Path;
pub use stored::{Stored, StoredLayer};
pub use write::{Named, to_container, to_net_file, write_named, write_skeleton};

/// What kind of weights file some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A zip of NumPy arrays.
    Npz,
    /// HDF5.
    Hdf5,
    /// Our own compressed file.
    Container,
    /// A Deep Compression file, which has no header: its size fits the net's layers.
    DeepCompression,
    /// Anything else is taken for a caffemodel.
    Caffemodel,
}

/// Tells what `bytes` are, for a net with these layers.
pub fn kind(bytes: &[u8], layers: &[NetLayer]) -> Kind {
    if npz::looks_like(bytes) {
        Kind::Npz
    } else if crate::hdf5::looks_like(bytes) {
        Kind::Hdf5
    } else if container::looks_like(bytes) {
        Kind::Container
    } else if net_file::looks_like(bytes, layers) {
        Kind::DeepCompression
    } else {
        Kind::Caffemodel
    }
}

/// Layers and the shapes of their weights and biases.
type Coded = Vec<(NetLayer, Vec<Shape>)>;

/// The layers of `net` that a `.net` file has, in its order. The published rule goes by names; a net that names its
/// convolutions otherwise (fire2/squeeze1x1) is taken by its layers' types.
fn coded(net: &Net) -> Coded {
    let (named, typed) = (coded_by(net, is_named), coded_by(net, is_typed));
    let has = |layer: &NetLayer| named.iter().any(|(l, _)| l.name == layer.name);
    match typed.iter().all(|(layer, _)| has(layer)) {
        true => named,
        false => typed,
    }
}

/// The same for the file `bytes`: by the one rule or the other.
fn coded_as(bytes: &[u8], net: &Net) -> Coded {
    let rules: [fn(&LayerParameter) -> bool; 2] = [is_named, is_typed];
    let fits = |layers: &Coded| net_file::looks_like(bytes, &plain(layers));
    let found = rules.into_iter().map(|rule| coded_by(net, rule)).find(fits);
    found.unwrap_or_else(|| coded(net))
}

fn plain(layers: &Coded) -> Vec<NetLayer> {
    layers.iter().map(|(l, _)| l.clone()).collect()
}

fn is_named(layer: &LayerParameter) -> bool {
    let named = |part: &&str| layer.name().contains(*part);
    ["conv", "fc", "ip"].iter().any(named)
}

fn is_typed(layer: &LayerParameter) -> bool {
    matches!(
        layer.r#type(),
        "Convolution" | "Deconvolution" | "InnerProduct"
    )
}

fn coded_by(net: &Net, rule: fn(&LayerParameter) -> bool) -> Coded {
    let mut layers = Vec::new();
    for (i, node) in net.graph().nodes.iter().enumerate() {
        let shapes: Vec<Shape> = net
            .layer_params(i)
            .map(|id| net.params()[id].shape.clone())
            .collect();
        if let (true, Some(weights)) = (rule(&node.param), shapes.first()) {
            let outputs = shapes.get(1).map_or(0, Shape::count);
            layers.push((NetLayer::new(node.name(), weights.count(), outputs), shapes));
        }
    }
    layers
}

/// The layers of `net` that a `.net` file has.
pub fn net_layers(net: &Net) -> Vec<NetLayer> {
    plain(&coded(net))
}

/// Whether bytes that are not of [`Kind::DeepCompression`] for a net seem to be a `.net` nevertheless: one that is
/// cut, or of another net.
fn is_misfit(path: &Path, bytes: &[u8]) -> bool {
    let named = path.extension().is_some_and(|e| e == "net");
    (named || net_file::layers_in(bytes).is_some())
        && kind(bytes, &[]) == Kind::Caffemodel
        && proto::binary::decode_caffemodel(bytes, "").is_err()
}

/// Reads a weights file for `net`.
///
/// # Errors
/// The file cannot be read, or is of none of the formats.
pub fn read(path: &Path, net: &Net) -> Result<Stored> {
    let file = path.display().to_string();
    let bytes = files::read(path)?;
    let layers = coded_as(&bytes, net);
    let plain = plain(&layers);
    let kind = kind(&bytes, &plain);
    match kind {
        _ if kind == Kind::DeepCompression || is_misfit(path, &bytes) => {
            let decoded = net_file::decode(&bytes, &plain).with_context(|| {
                format!(
                    "{file}: a Deep Compression .net, read with {}",
                    net.graph().file
                )
            })?;
            let mut stored = Stored {
                file,
                layers: Vec::new(),
            };
            for (d, (_, shapes)) in decoded.into_iter().zip(layers) {
                let blobs = shapes
                    .into_iter()
                    .zip([d.weights, d.biases])
                    .map(|(shape, data)| Tensor { shape, data })
                    .collect();
                stored.layers.push(StoredLayer {
                    name: d.name,
                    blobs,
                    codebooks: vec![Some(d.codebook)],
                    legacy: false,
                });
            }
            info!(
                "{} is a Deep Compression file; decoded {} layers",
                stored.file,
                stored.layers.len()
            );
            Ok(stored)
        }
        _ => read_named(path, &bytes),
    }
}

/// What a `.dsdz` of these weights has beside them: of a `.dsdz` all that it has, of a caffemodel what it says beside its
/// numbers.
///
/// # Errors
/// The file is damaged.
pub fn parts(bytes: &[u8]) -> Result<Vec<container::Part>> {
    if kind(bytes, &[]) == Kind::Container {
        return container::parts(bytes);
    }
    let caffemodel = skeleton(bytes)?.map(|bytes| container::Part {
        name: container::CAFFEMODEL.to_string(),
        bytes,
    });
    Ok(caffemodel.into_iter().collect())
}

/// What a weights file says beside the weights, as a caffemodel without numbers: of a caffemodel, and of a compressed
/// file that was made from one.
///
/// # Errors
/// The file is damaged.
pub fn skeleton(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    match kind(bytes, &[]) {
        Kind::Container => container::part(bytes, container::CAFFEMODEL),
        Kind::Caffemodel if proto::binary::decode_caffemodel(bytes, "").is_ok() => {
            Ok(skeleton::of(bytes))
        }
        _ => Ok(None),
    }
}

/// Reads a weights file that names its layers.
pub fn read_named(path: &Path, bytes: &[u8]) -> Result<Stored> {
    let file = path.display().to_string();
    if is_misfit(path, bytes) {
        let layers = match net_file::layers_in(bytes) {
            Some(n) => format!(" of {n} layers"),
            None => String::new(),
        };
        bail!(
            "{file}: a Deep Compression .net{layers}, which has no names, and its {} bytes are those of no built-in net: \
             the file is cut, or of another net; name its net with --model",
            bytes.len()
        );
    }
    match kind(bytes, &[]) {
        Kind::Npz => Stored::from_arrays(npz::read(path)?, &file),
        Kind::Hdf5 => Stored::from_hdf5(&crate::hdf5::File::from_bytes(bytes, &file)?),
        Kind::Container => {
            let layers = container::decode(bytes).with_context(|| file.clone())?;
            let layers = layers.into_iter().map(of_container).collect();
            Ok(Stored { file, layers })
        }
        _ => {
            if let Some(found) = proto::prototxt(bytes) {
                bail!(
                    "{file}: expected weights, found {found}; nets are given with --model, solvers with --solver"
                );
            }
            let message = proto::binary::decode_caffemodel(bytes, &file)?;
            Stored::from_message(&message, &file)
        }
    }
}

fn of_container(layer: container::Layer) -> StoredLayer {
    // No blob, and an empty scalar in memory: what StoredLayer::blob takes for one that is left out.
    let blobs = layer.blobs.into_iter().map(Option::unwrap_or_default);
    let (blobs, codebooks) = blobs.unzip();
    StoredLayer {
        name: layer.name,
        blobs,
        codebooks,
        legacy: layer.legacy,
    }
}
