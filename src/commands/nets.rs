//! Weights without their data: the net that a file of weights is for, as far as the commands on files need it.

use super::inspect::{self, Built};
use crate::net::Net;
use crate::session::Model;
use crate::weights_file::Stored;
use crate::{files, warn, weights_file};
use anyhow::{Result, bail};
use std::path::Path;

/// The net of `model` for its weights alone: a built-in one as for deployment, another one in the TEST phase;
/// its data need not be there.
pub fn skeleton(model: &Model) -> Result<Net> {
    match model {
        Model::Builtin(builtin, family) => builtin.skeleton(*family),
        Model::File(_) | Model::Packed(_) => match inspect::build(model)? {
            (Built::Whole(net), _) => Ok(*net),
            (Built::Names(_), notes) => {
                bail!(
                    "{}: its shapes are unknown: {}",
                    model.train_val()?.file,
                    notes.join("; ")
                )
            }
        },
    }
}

/// The built-in net that fits the weights.
pub fn fitting(weights: &Path) -> Result<Net> {
    skeleton(&Model::find(None, &[weights.to_path_buf()])?)
}

/// The weights in a file with their codebooks, and their net: `model`, which they must fit then, else the
/// built-in one that fits them, if there is one. Only a Deep Compression file needs a net to be read.
pub fn stored(model: Option<&Path>, weights: &Path) -> Result<(Stored, Option<Net>)> {
    let net = match model {
        Some(_) => skeleton(&Model::find(model, &[weights.to_path_buf()])?)?,
        None => match fitting(weights) {
            Ok(net) => net,
            Err(_) => {
                let stored = weights_file::read_named(weights, &files::read(weights)?)?;
                stored.warn_of_bad();
                return Ok((stored, None));
            }
        },
    };
    let mut stored = weights_file::read(weights, &net)?;
    stored.warn_of_bad();
    for name in net.match_weights(&stored)?.missing {
        warn!("Layer {name} is not in {}", stored.file);
    }
    for (i, node) in net.graph().nodes.iter().enumerate() {
        let own = stored.layers.iter_mut();
        for own in own.filter(|l| l.legacy && l.name == node.name()) {
            // The net knows which of the four old axes mean something.
            for (blob, id) in own.blobs.iter_mut().zip(net.layer_params(i)) {
                blob.shape = net.params()[id].shape.clone();
            }
            own.legacy = false;
        }
    }
    Ok((stored, Some(net)))
}
