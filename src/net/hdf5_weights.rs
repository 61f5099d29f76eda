//! Weights as Caffe's HDF5 snapshots keep them: `data/LAYER/K`, and in `diff/LAYER/K` the last update if
//! the solver asks for it. What a layer shares with one before it is stored once, with its owner.

use super::weights::{Stored, StoredLayer};
use super::{Net, Weights};
use crate::hdf5::{File, Writer};
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// More blobs than any layer has.
const MOST_BLOBS: usize = 1000;

impl StoredLayer {
    /// Blob `k`, if the file has it.
    pub fn blob(&self, k: usize) -> Option<&Tensor> {
        // A scalar without its number stands for a blob that the file leaves out.
        let absent = |b: &&Tensor| b.data.is_empty() && b.shape.axes() == 0;
        self.blobs.get(k).filter(|b| !absent(b))
    }
}

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

impl Net {
    /// Whether blob `k` of layer `i` is its own, not one that it shares with a layer before it.
    pub(super) fn owns(&self, i: usize, k: usize) -> bool {
        self.uses[i][k].own
    }

    /// The weights as an HDF5 file that Caffe reads, with the last updates where they are given.
    pub fn to_hdf5(&self, weights: &Weights, diffs: Option<&[Vec<f32>]>) -> Result<Writer> {
        let mut file = self.hdf5_groups();
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let place = || format!("layer '{}'", node.name());
            for (k, u) in self.uses[i].iter().enumerate() {
                let (name, shape) = (node.name(), &self.params[u.id].shape);
                if self.owns(i, k) {
                    let data = &weights[u.id].data;
                    file.floats(&format!("data/{name}/{k}"), shape.dims(), data)
                        .with_context(place)?;
                }
                if let Some(diffs) = diffs {
                    let diff = filled(&diffs[u.id], shape);
                    file.floats(&format!("diff/{name}/{k}"), shape.dims(), &diff)
                        .with_context(place)?;
                }
            }
        }
        Ok(file)
    }

    /// An HDF5 file with a group for every layer without weights, as Caffe makes them.
    fn hdf5_groups(&self) -> Writer {
        let mut file = Writer::new();
        let bare = |i: &usize| (0..self.uses[*i].len()).all(|k| !self.owns(*i, k));
        let names: BTreeSet<&str> = (0..self.graph.nodes.len())
            .filter(bare)
            .map(|i| self.graph.nodes[i].name())
            .collect();
        for name in names {
            // A layer without a usable name has nothing to store.
            let _ = file.group(&format!("data/{name}"));
        }
        file
    }

    /// Finds out before training whether the layers' names can be paths in an HDF5 file.
    pub fn check_hdf5_names(&self) -> Result<()> {
        let mut file = self.hdf5_groups();
        for (i, node) in self.graph.nodes.iter().enumerate() {
            for k in (0..self.uses[i].len()).filter(|&k| self.owns(i, k)) {
                file.floats(&format!("data/{}/{k}", node.name()), &[0], &[])
                    .with_context(|| self.graph.place(i))?;
            }
        }
        file.check()
    }
}

/// The last update of a parameter; nothing where it does not learn.
pub(super) fn filled(diff: &[f32], shape: &Shape) -> Vec<f32> {
    let mut diff = diff.to_vec();
    diff.resize(shape.count(), 0.0);
    diff
}
