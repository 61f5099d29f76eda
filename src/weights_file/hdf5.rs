//! Weights as Caffe's HDF5 snapshots keep them: `data/LAYER/K`, and in `diff/LAYER/K` the last update if
//! the solver asks for it. What a layer shares with one before it is stored once, with its owner.

use super::{Stored, StoredLayer};
use crate::hdf5::{File, Writer};
use crate::net::weights::filled;
use crate::net::{Net, Weights};
use crate::tensor::Tensor;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// More blobs than any layer has.
const MOST_BLOBS: usize = 1000;

impl Stored {
    /// The weights in an HDF5 file. Blobs that the file leaves out because another layer owns them are
    /// missing in [`StoredLayer::blob`].
    pub fn from_hdf5(file: &File) -> Result<Self> {
        let shown = file.name();
        let paths = file.list("data")?;
        if paths.is_empty() {
            if file.shape("iter")?.is_some() {
                bail!("{shown}: this is a solver state, not weights; give it to --snapshot");
            }
            bail!("{shown}: it holds no weights (no dataset below the group 'data')");
        }
        let mut layers: BTreeMap<&str, Vec<Tensor>> = BTreeMap::new();
        for path in &paths {
            let parts = path
                .rsplit_once('/')
                .and_then(|(layer, k)| Some((layer, k.parse::<usize>().ok()?)));
            let Some((layer, k)) = parts.filter(|p| p.1 < MOST_BLOBS) else {
                bail!("{shown}: dataset 'data/{path}' is not named data/LAYER/K");
            };
            let blobs = layers.entry(layer).or_default();
            if blobs.len() <= k {
                blobs.resize_with(k + 1, Tensor::default);
            }
            blobs[k] = file.tensor(&format!("data/{path}"))?;
        }
        let layer = |(name, blobs): (&str, Vec<Tensor>)| StoredLayer {
            name: name.to_owned(),
            blobs,
            ..Default::default()
        };
        Ok(Self {
            file: shown.to_owned(),
            layers: layers.into_iter().map(layer).collect(),
        })
    }
}

/// The weights as an HDF5 file that Caffe reads, with the last updates where they are given.
pub fn of_net(net: &Net, weights: &Weights, diffs: Option<&[Vec<f32>]>) -> Result<Writer> {
    let mut file = groups(net);
    for (i, node) in net.graph().nodes.iter().enumerate() {
        let place = || format!("layer '{}'", node.name());
        for (k, id) in net.layer_params(i).enumerate() {
            let (name, shape) = (node.name(), &net.params()[id].shape);
            if net.owns(i, k) {
                let data = &weights[id].data;
                file.floats(&format!("data/{name}/{k}"), shape.dims(), data)
                    .with_context(place)?;
            }
            if let Some(diffs) = diffs {
                let diff = filled(&diffs[id], shape);
                file.floats(&format!("diff/{name}/{k}"), shape.dims(), &diff)
                    .with_context(place)?;
            }
        }
    }
    Ok(file)
}

/// An HDF5 file with a group for every layer without weights, as Caffe makes them.
fn groups(net: &Net) -> Writer {
    let mut file = Writer::new();
    let bare = |i: &usize| (0..net.layer_params(*i).count()).all(|k| !net.owns(*i, k));
    let names: BTreeSet<&str> = (0..net.graph().nodes.len())
        .filter(bare)
        .map(|i| net.graph().nodes[i].name())
        .collect();
    for name in names {
        // A layer without a usable name has nothing to store.
        let _ = file.group(&format!("data/{name}"));
    }
    file
}

/// Finds out before training whether the layers' names can be paths in an HDF5 file.
pub fn check_names(net: &Net) -> Result<()> {
    let mut file = groups(net);
    for (i, node) in net.graph().nodes.iter().enumerate() {
        for k in (0..net.layer_params(i).count()).filter(|&k| net.owns(i, k)) {
            file.floats(&format!("data/{}/{k}", node.name()), &[0], &[])
                .with_context(|| net.graph().place(i))?;
        }
    }
    file.check()
}
