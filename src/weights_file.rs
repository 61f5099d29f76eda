//! Weights files of every format, told apart by content: `.caffemodel` of any generation,
//! `.caffemodel.h5`, `.npz`, our compressed `.dsdz`, and the Deep Compression `.net`.

mod write;

use crate::compress::container;
use crate::compress::net_file::{self, NetLayer};
use crate::net::Net;
use crate::net::weights::{Stored, StoredLayer};
use crate::tensor::{Shape, Tensor};
use crate::{files, hdf5, info, npz, proto};
use anyhow::{Context, Result, bail};
use std::path::Path;
pub use write::{Named, to_container, to_net_file, write_named};

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
    } else if hdf5::looks_like(bytes) {
        Kind::Hdf5
    } else if container::looks_like(bytes) {
        Kind::Container
    } else if net_file::looks_like(bytes, layers) {
        Kind::DeepCompression
    } else {
        Kind::Caffemodel
    }
}

/// The layers of `net` that a `.net` file has, in its order, with the shapes of weights and biases.
fn coded(net: &Net) -> Vec<(NetLayer, Vec<Shape>)> {
    let mut layers = Vec::new();
    for (i, node) in net.graph().nodes.iter().enumerate() {
        let shapes: Vec<Shape> = net
            .layer_params(i)
            .map(|id| net.params()[id].shape.clone())
            .collect();
        let named = ["conv", "fc", "ip"]
            .iter()
            .any(|part| node.name().contains(part));
        if let (true, Some(weights)) = (named, shapes.first()) {
            let outputs = shapes.get(1).map_or(0, Shape::count);
            layers.push((NetLayer::new(node.name(), weights.count(), outputs), shapes));
        }
    }
    layers
}

/// The layers of `net` that a `.net` file has.
pub fn net_layers(net: &Net) -> Vec<NetLayer> {
    coded(net).into_iter().map(|(l, _)| l).collect()
}

/// Reads a weights file for `net`.
///
/// # Errors
/// The file cannot be read, or is of none of the formats.
pub fn read(path: &Path, net: &Net) -> Result<Stored> {
    let file = path.display().to_string();
    let bytes = files::read(path)?;
    let layers = coded(net);
    let plain: Vec<NetLayer> = layers.iter().map(|(l, _)| l.clone()).collect();
    match kind(&bytes, &plain) {
        Kind::DeepCompression => {
            let decoded = net_file::decode(&bytes, &plain).with_context(|| file.clone())?;
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

/// Reads a weights file that names its layers.
pub fn read_named(path: &Path, bytes: &[u8]) -> Result<Stored> {
    let file = path.display().to_string();
    match kind(bytes, &[]) {
        Kind::Npz => Stored::from_arrays(npz::read(path)?, &file),
        Kind::Hdf5 => Stored::from_hdf5(&hdf5::File::from_bytes(bytes, &file)?),
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
            let mut message = proto::binary::decode_caffemodel(bytes, &file)?;
            proto::upgrade_net(&mut message).with_context(|| file.clone())?;
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
