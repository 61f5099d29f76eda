//! Weights from files into a net: matched by layer name, as Caffe does, and said aloud.

use super::graph::Node;
use super::{Net, ParamUse, Weights};
use crate::proto::{BlobProto, NetParameter, blob};
use crate::tensor::{Shape, Tensor};
use crate::weights_file::{Stored, StoredLayer};
use anyhow::{Result, bail};

/// What went where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadPlan {
    /// Layers of the net that got weights.
    pub loaded: Vec<String>,
    /// Layers of the net with weights that the file does not have.
    pub missing: Vec<String>,
    /// Layers of the file that the net does not have.
    pub unused: Vec<String>,
}

impl LoadPlan {
    /// Whether the file names SqueezeNet's layers in the one way and the net in the other.
    fn other_family(&self) -> bool {
        let has = |names: &[String], part: &str| names.iter().any(|n| n.contains(part));
        let (original, release) = ("squeeze1x1", "conv1x1_1");
        has(&self.unused, original) && has(&self.missing, release)
            || has(&self.unused, release) && has(&self.missing, original)
    }
}

/// The last update of a parameter; nothing where it does not learn.
pub(crate) fn filled(diff: &[f32], shape: &Shape) -> Vec<f32> {
    let mut diff = diff.to_vec();
    diff.resize(shape.count(), 0.0);
    diff
}

/// Whether a blob of `shape` is what a parameter of `wanted` takes.
fn fits(shape: &Shape, legacy: bool, wanted: &Shape) -> bool {
    let strip = |s: &Shape| {
        s.dims()
            .iter()
            .copied()
            .skip_while(|&d| d == 1)
            .collect::<Vec<_>>()
    };
    shape == wanted || legacy && wanted.axes() <= 4 && strip(shape) == strip(wanted)
}

impl Net {
    /// Whether blob `k` of layer `i` is its own, not one that it shares with a layer before it.
    pub(crate) fn owns(&self, i: usize, k: usize) -> bool {
        self.uses[i][k].own
    }

    /// Copies what `stored` has into `weights`, if [`Net::match_weights`] finds no fault.
    pub fn load(&self, weights: &mut Weights, stored: &Stored) -> Result<LoadPlan> {
        let plan = self.match_weights(stored)?;
        self.copy(weights, &self.pairs(stored, false));
        Ok(plan)
    }

    /// [`Net::load`] of what this net itself has stored: of several layers of one name each gets its own.
    pub fn restore(&self, weights: &mut Weights, stored: &Stored) -> Result<LoadPlan> {
        let pairs = self.pairs(stored, true);
        let plan = self.match_pairs(stored, &pairs)?;
        self.copy(weights, &pairs);
        Ok(plan)
    }

    fn copy(&self, weights: &mut Weights, pairs: &[Vec<&StoredLayer>]) {
        for (i, sources) in pairs.iter().enumerate() {
            for (k, id) in self.layer_params(i).enumerate() {
                for blob in sources.iter().filter_map(|source| source.blob(k)) {
                    weights[id].data.copy_from_slice(&blob.data);
                }
            }
        }
    }

    /// For every layer what of `stored` it gets, one after the other. Caffe gives everything of a name to
    /// the first layer of that name; with `each`, the second of a name gets the second.
    fn pairs<'a>(&self, stored: &'a Stored, each: bool) -> Vec<Vec<&'a StoredLayer>> {
        let mut pairs: Vec<Vec<&StoredLayer>> = vec![Vec::new(); self.graph.nodes.len()];
        let named = |i: usize| {
            let name = self.graph.nodes[i].name();
            stored.layers.iter().filter(move |l| l.name == name)
        };
        for (i, pair) in pairs.iter_mut().enumerate() {
            let (twin, name) = (self.twin(i), self.graph.nodes[i].name());
            let with_weights = |(n, u): (&Node, &Vec<ParamUse>)| n.name() == name && !u.is_empty();
            if self.uses[i].is_empty() && self.graph.nodes.iter().zip(&self.uses).any(with_weights)
            {
                continue;
            }
            match each {
                true => pair.extend(named(i).nth(twin)),
                false if twin == 0 => pair.extend(named(i)),
                false => {}
            }
        }
        pairs
    }

    /// What of `stored` goes where. A layer whose name matches must match in the number and the shapes
    /// of its blobs; none matching at all is an error.
    pub fn match_weights(&self, stored: &Stored) -> Result<LoadPlan> {
        self.match_pairs(stored, &self.pairs(stored, false))
    }

    fn match_pairs(&self, stored: &Stored, pairs: &[Vec<&StoredLayer>]) -> Result<LoadPlan> {
        let mut plan = LoadPlan::default();
        for (i, sources) in pairs.iter().enumerate() {
            let name = self.graph.nodes[i].name();
            for source in sources {
                self.fit(i, source, stored)?;
            }
            if !sources.is_empty() {
                plan.loaded.push(name.to_string());
            } else if (0..self.uses[i].len()).any(|k| self.owns(i, k)) {
                // What belongs to another layer is found there.
                plan.missing.push(name.to_string());
            }
        }
        let known = |l: &&StoredLayer| !self.graph.nodes.iter().any(|n| n.name() == l.name);
        plan.unused = stored
            .layers
            .iter()
            .filter(known)
            .map(|l| l.name.clone())
            .collect();
        // Both of SqueezeNet's families have a conv1: that it fits does not make the rest fit.
        if !plan.missing.is_empty() && (plan.loaded.is_empty() || plan.other_family()) {
            bail!("{}", self.mismatch(&plan, stored));
        }
        Ok(plan)
    }

    /// Checks that `source` has the blobs that layer `i` takes.
    fn fit(&self, i: usize, source: &StoredLayer, stored: &Stored) -> Result<()> {
        let (name, count) = (&source.name, self.uses[i].len());
        let lacks = |k: usize| source.blob(k).is_none() && self.owns(i, k);
        if source.blobs.len() > count || (0..count).any(lacks) {
            bail!(
                "{}: layer '{name}' has {} blobs, the net ({}) wants {count}",
                stored.file,
                source.blobs.len(),
                self.graph.place(i),
            );
        }
        for (k, u) in self.uses[i].iter().enumerate() {
            let Some(blob) = source.blob(k) else { continue };
            if !fits(&blob.shape, source.legacy, &u.shape) {
                bail!(
                    "{}: blob {k} of layer '{name}' has shape {}, the net ({}) wants {}; to train this \
                     layer from scratch, give it another name",
                    stored.file,
                    blob.shape,
                    self.graph.place(i),
                    u.shape
                );
            }
        }
        Ok(())
    }

    fn mismatch(&self, plan: &LoadPlan, stored: &Stored) -> String {
        let first = |names: &[String]| names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let matching = match &plan.loaded[..] {
            [] => "no layer name matches".to_string(),
            some => format!("only {} of its layers match", first(some)),
        };
        let mut text = format!("{}: {matching} the net {}", stored.file, self.graph.file);
        if stored.layers.is_empty() {
            return text
                + ": the file holds no weights (is it a solver state, or a net without weights?)";
        }
        text += &format!(
            ": the file has {} …, the net has {} …",
            first(&plan.unused),
            first(&plan.missing)
        );
        if plan.other_family() {
            text += "; SqueezeNet's layers come in two naming families (fire2/squeeze1x1 … and \
                     fire2/conv1x1_1 …): leave --model out and the net with the file's names is chosen";
        }
        text
    }

    /// The weights as a message that Caffe reads: the net's layers with their blobs, and with the last
    /// updates where they are given.
    pub fn to_message(&self, weights: &Weights, diffs: Option<&[Vec<f32>]>) -> NetParameter {
        let mut message = NetParameter {
            name: Some(self.graph.name.clone()),
            ..Default::default()
        };
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let mut layer = node.param.clone();
            let default = self.facts[i].loss_weight(0);
            // As Caffe's losses do, which write down the weight that they have by default.
            if layer.loss_weight.is_empty() && default != 0.0 {
                layer.loss_weight.push(default);
            }
            layer.phase = Some(match node.mode(self.mode()) {
                crate::layers::Mode::Train => crate::proto::caffe::Phase::Train,
                crate::layers::Mode::Test => crate::proto::caffe::Phase::Test,
            } as i32);
            layer.blobs = self.uses[i]
                .iter()
                .map(|u| BlobProto {
                    diff: diffs.map_or(Vec::new(), |d| filled(&d[u.id], &u.shape)),
                    ..blob::blob(u.shape.dims(), &weights[u.id].data)
                })
                .collect();
            message.layer.push(layer);
        }
        message
    }

    /// The weights as arrays named `LAYER:K`, shared ones under each name.
    pub fn to_stored(&self, weights: &Weights) -> Stored {
        let mut stored = Stored {
            file: self.graph.file.clone(),
            layers: Vec::new(),
        };
        for (i, node) in self
            .graph
            .nodes
            .iter()
            .enumerate()
            .filter(|(i, _)| !self.uses[*i].is_empty())
        {
            let blob = |u: &ParamUse| Tensor {
                shape: u.shape.clone(),
                data: weights[u.id].data.clone(),
            };
            let blobs = self.uses[i].iter().map(blob).collect();
            stored.layers.push(StoredLayer {
                name: node.name().to_string(),
                blobs,
                ..Default::default()
            });
        }
        stored
    }
}
