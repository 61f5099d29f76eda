//! Deep Compression weights: the file has neither a header nor names, so a net has to fit it.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Description;
use super::net::{self, Built};
use super::weights::{Row, Rows};
use crate::compress::net_file;
use crate::net::Net;
use crate::report::human::HumanBytes;
use crate::session::Model;
use crate::tensor::Tensor;
use crate::weights_file::StoredLayer;
use crate::{models, weights_file};

/// Describes `bytes` if they are a Deep Compression file of `model`, or, if none is given, of a built-in net.
///
/// # Errors
/// The model cannot be read; or the bytes are nothing else (`or_else` is false) and do not fit it.
pub fn describe(
    path: &Path,
    bytes: &[u8],
    model: Option<&Path>,
    or_else: bool,
) -> Result<Option<Description>> {
    let given = model.is_some();
    let (model, name) = match model {
        Some(name) => {
            let model = Model::find(Some(name), &[path.to_path_buf()])?;
            (model, name.display().to_string())
        }
        None => match models::compressed(bytes)? {
            Some((builtin, family)) => (Model::Builtin(builtin, family), builtin.name.to_string()),
            None => return Ok(None),
        },
    };
    let net = match net::build(&model)? {
        (Built::Whole(net), _) => net,
        // What else the file is needs no model.
        (Built::Names(_), _) if or_else => return Ok(None),
        (Built::Names(_), notes) => {
            let why = notes.join("; ");
            bail!("{name} cannot tell the layers of {}: {why}", path.display());
        }
    };
    let coded = weights_file::net_layers(&net);
    // What does not fit is decoded nevertheless where nothing else is left, for the error that tells why.
    if !net_file::looks_like(bytes, &coded) && (or_else || !given) {
        return Ok(None);
    }
    let decoded = net_file::decode(bytes, &coded)
        .with_context(|| format!("{}: read with the model {name}", path.display()))?;
    let rows: Vec<Row> = decoded
        .into_iter()
        .map(|d| Row::of_layer(&of_net(&net, d)))
        .collect();
    let values: usize = rows.iter().map(|r| r.values).sum();
    let what = format!(
        "Deep Compression weights of {name}, {}",
        smaller(values, bytes.len())
    );
    let table = Rows {
        rows,
        word: "layer",
        notes: Vec::new(),
    };
    Ok(Some(table.describe(path, &what, "deep_compression")))
}

/// How much smaller a file is than its values.
pub fn smaller(values: usize, bytes: usize) -> String {
    let (plain, size) = (HumanBytes(4 * values as u64), HumanBytes(bytes as u64));
    let times = 4.0 * values as f64 / bytes as f64;
    format!("{size}, {times:.1} times smaller than {plain} in float32")
}

/// A decoded layer with the shapes that its net gives it.
fn of_net(net: &Net, decoded: net_file::Decoded) -> StoredLayer {
    let node = net
        .graph()
        .nodes
        .iter()
        .position(|n| n.name() == decoded.name);
    let ids = node.into_iter().flat_map(|i| net.layer_params(i));
    let blob = |(id, data): (usize, Vec<f32>)| Tensor {
        shape: net.params()[id].shape.clone(),
        data,
    };
    StoredLayer {
        blobs: ids
            .zip([decoded.weights, decoded.biases])
            .map(blob)
            .collect(),
        name: decoded.name,
        codebooks: vec![Some(decoded.codebook)],
        legacy: false,
    }
}
