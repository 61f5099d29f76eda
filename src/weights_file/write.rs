//! Writing weights in any of the formats.

use super::{Stored, StoredLayer, coded, skeleton};
use crate::compress::container::{self, Written};
use crate::compress::net_file::{self, Encoded, Entry};
use crate::hdf5::Writer;
use crate::net::Net;
use crate::net::weights::LoadPlan;
use crate::proto::caffe::DsdCodebook;
use crate::proto::{BlobProto, LayerParameter, NetParameter, binary, blob};
use crate::report::progress;
use crate::tensor::Tensor;
use crate::{files, npz};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use std::path::Path;

/// The formats that hold plain float32 numbers under their layers' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// `.caffemodel`, with codebooks in a field that Caffe skips.
    Caffemodel,
    /// `.caffemodel.h5`, without codebooks.
    Hdf5,
    /// `.npz` with arrays LAYER:K, without codebooks.
    Npz,
}

impl Named {
    /// The format that the end of a file's name stands for.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "caffemodel" => Some(Self::Caffemodel),
            "h5" => Some(Self::Hdf5),
            "npz" => Some(Self::Npz),
            _ => None,
        }
    }
}

/// Writes `stored` to `path`. With a net, a caffemodel holds its layers with all their parameters, as Caffe
/// writes them; without one, only names and blobs, which is all that Caffe reads of it.
///
/// # Errors
/// The weights do not fit the net, a name cannot be stored, or the file cannot be written.
pub fn write_named(path: &Path, format: Named, stored: &Stored, net: Option<&Net>) -> Result<()> {
    match format {
        Named::Caffemodel => binary::write(path, &message(stored, net)?),
        Named::Hdf5 => {
            let mut file = Writer::new();
            for (layer, k, tensor) in blobs(stored) {
                let place = format!("data/{}/{k}", layer.name);
                file.floats(&place, tensor.shape.dims(), &tensor.data)?;
            }
            file.save(path)
        }
        Named::Npz => {
            let named: Vec<(String, &Tensor)> = blobs(stored)
                .map(|(layer, k, tensor)| (format!("{}:{k}", layer.name), tensor))
                .collect();
            npz::write(path, named.iter().map(|(n, t)| (n.as_str(), t.view())))
        }
    }
}

/// Writes the caffemodel that `skeleton` (see [`super::skeleton()`]) comes from with the blobs of `stored`; false if
/// they are not those of its layers.
///
/// # Errors
/// The file cannot be written.
pub fn write_skeleton(path: &Path, skeleton: &[u8], stored: &Stored) -> Result<bool> {
    let Some(bytes) = skeleton::filled(skeleton, stored) else {
        return Ok(false);
    };
    binary::check_size(path, bytes.len())?;
    files::write_atomic(path, |w| Ok(w.write_all(&bytes)?))?;
    Ok(true)
}

/// All blobs that are there.
fn blobs(stored: &Stored) -> impl Iterator<Item = (&StoredLayer, usize, &Tensor)> {
    stored.layers.iter().flat_map(|layer| {
        let blob = move |k| Some((layer, k, layer.blob(k)?));
        (0..layer.blobs.len()).filter_map(blob)
    })
}

fn message(stored: &Stored, net: Option<&Net>) -> Result<NetParameter> {
    let mut message = NetParameter::default();
    let mut plan = LoadPlan::default();
    if let Some(net) = net {
        let zeros = net.params().iter().map(|p| Tensor::zeros(p.shape.clone()));
        let mut weights = zeros.collect();
        plan = net.load(&mut weights, stored)?;
        message = net.to_message(&weights, None);
    }
    for layer in &mut message.layer {
        if plan.missing.iter().any(|name| name == layer.name()) {
            layer.blobs.clear();
        } else if let Some(own) = stored.layer(layer.name()) {
            for (k, blob) in layer.blobs.iter_mut().enumerate() {
                blob.dsd = codebook(own, k);
            }
        }
    }
    let rest = |l: &&StoredLayer| net.is_none() || plan.unused.contains(&l.name);
    for own in stored.layers.iter().filter(rest) {
        message.layer.push(LayerParameter {
            name: Some(own.name.clone()),
            blobs: (0..own.blobs.len()).map(|k| blob_of(own, k)).collect(),
            ..Default::default()
        });
    }
    Ok(message)
}

fn codebook(layer: &StoredLayer, k: usize) -> Option<DsdCodebook> {
    let book = layer.codebook(k)?;
    Some(DsdCodebook {
        bits: Some(book.bits()),
        values: book.values().to_vec(),
    })
}

pub(super) fn blob_of(layer: &StoredLayer, k: usize) -> BlobProto {
    let Tensor { shape, data } = &layer.blobs[k];
    let mut proto = blob::blob(shape.dims(), data);
    proto.dsd = codebook(layer, k);
    if let (true, &[n, c, h, w]) = (layer.legacy, shape.dims()) {
        let size = |d: usize| i32::try_from(d).ok();
        proto.shape = None;
        (proto.num, proto.channels, proto.height, proto.width) =
            (size(n), size(c), size(h), size(w));
    }
    proto
}

/// The weights as our own compressed file with these parts, and what became of each layer.
///
/// # Errors
/// More layers, blobs or axes than a file can have.
pub fn to_container(stored: &Stored, parts: &[container::Part]) -> Result<(Vec<u8>, Vec<Written>)> {
    let values = |layer: &StoredLayer| layer.blobs.iter().map(|b| b.data.len() as u64).sum::<u64>();
    let bar = progress::bar("values", 0, stored.layers.iter().map(values).sum());
    let encode = |layer: &StoredLayer| {
        let blob = |k| layer.blob(k).map(|tensor| (tensor, layer.codebook(k)));
        let blobs: Vec<container::Blob> = (0..layer.blobs.len()).map(blob).collect();
        let encoded = container::Encoded::new(&layer.name, layer.legacy, &blobs);
        bar.inc(values(layer));
        encoded
    };
    // One layer a task: which is ready first is open, their order in the file is not.
    let layers = stored.layers.par_iter().with_max_len(1);
    let encoded: Vec<Result<container::Encoded>> = layers.map(encode).collect();
    let mut writer = container::Writer::new();
    let added = encoded.into_iter().map(|layer| writer.add(layer?));
    let written = added.collect::<Result<_>>()?;
    Ok((writer.finish(parts), written))
}

/// The weights of `net` as a Deep Compression file, with the layers of [`super::net_layers`].
///
/// # Errors
/// A layer has weights that such a file has no place for, or `stored` lacks some; or a layer's weights have no
/// codebook, or one of more bits than the layer's codes have.
pub fn to_net_file(stored: &Stored, net: &Net) -> Result<Encoded> {
    let layers = coded(net);
    for node in &net.graph().nodes {
        let Some(own) = stored.layer(node.name()) else {
            continue;
        };
        let fits = own.blobs.len() <= 2 && layers.iter().any(|(l, _)| l.name == own.name);
        ensure!(
            fits,
            "layer '{}' ({}, {} blobs) has no place in a Deep Compression .net, which holds weights and biases of layers \
             with 'conv', 'fc' or 'ip' in their names; use --format huffman",
            own.name,
            node.param.r#type(),
            own.blobs.len()
        );
    }
    let mut entries = Vec::new();
    for (layer, shapes) in &layers {
        let place = || format!("{}: layer '{}'", stored.file, layer.name);
        let own = stored.layer(&layer.name);
        let own = own.with_context(|| format!("{}: expected its weights, found none", place()))?;
        let data = |k: usize| own.blob(k).map(|b| &b.data[..]);
        let (Some(weights), biases) = (data(0), data(1)) else {
            bail!(
                "{}: its weights are another layer's, which a .net cannot say",
                place()
            );
        };
        let codebook = own.codebook(0);
        entries.push(Entry {
            codebook: codebook
                .with_context(|| format!("{}: its weights have no codebook", place()))?,
            weights,
            biases: biases.filter(|_| shapes.len() > 1).unwrap_or_default(),
        });
    }
    let plain: Vec<_> = layers.into_iter().map(|(l, _)| l).collect();
    net_file::encode(&plain, &entries).with_context(|| stored.file.clone())
}
