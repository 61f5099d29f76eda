//! `debug_info`: Caffe's lines with the mean magnitude of every blob, gradient and parameter.
//!
//! A net that is built to be fast has no number for every blob: a ReLU is done by the convolution before it, and a
//! blob that several layers read has one gradient. So these numbers come from a second net of the same layers, in
//! which nothing works in place and every blob with several readers goes through a Split, under the names that
//! Caffe gives its own. The run's numbers stay those of its own net, to the bit.

use super::carried::Carried;
use super::graph::{Graph, Node, Value, ValueId};
use super::sizes::Sizes;
use super::{Net, Options, Outputs, Pass, Weights};
use crate::feed::Feed;
use crate::proto::caffe::LayerParameter;
use crate::report::number::G;
use crate::tensor::Shape;
use crate::{error, info};
use anyhow::Result;

/// The net that shows every blob.
pub struct DebugNet {
    net: Net,
    sizes: Sizes,
    /// For every layer of the run's net its place in this one.
    places: Vec<usize>,
}

impl DebugNet {
    /// The twin of `net`.
    ///
    /// # Errors
    /// As those of [`Net::new`].
    pub fn new(net: &Net) -> Result<Self> {
        let (graph, origins) = spread(net);
        let mut places = vec![0; net.graph.nodes.len()];
        for (at, origin) in origins.iter().enumerate() {
            if let Some(i) = origin {
                places[*i] = at;
            }
        }
        let streams = origins
            .iter()
            .map(|o| o.map_or(u64::MAX, |i| net.stream(i)));
        let options = Options {
            backward: net.backward,
            force_backward: net.force,
            every_blob: true,
            streams: streams.collect(),
            sparse: net.sparse,
            precision: net.precision,
            ..Options::default()
        };
        let shapes: Vec<Shape> = net.inputs.iter().map(|&v| net.shapes[v].clone()).collect();
        Ok(Self {
            net: Net::new(graph, &shapes, &options)?,
            sizes: Sizes::new(&options),
            places,
        })
    }

    /// Prints the `[Forward]` lines of a batch.
    ///
    /// # Errors
    /// Those of the pass.
    pub fn forward(
        &mut self,
        of: &Net,
        pass: &Pass,
        weights: &Weights,
        batch: &dyn Feed,
    ) -> Result<()> {
        self.show(of, pass, weights, batch, None)
    }

    /// Prints the `[Forward]` and `[Backward]` lines of a batch; `gradients` are the run's, with those of earlier
    /// batches of this iteration.
    ///
    /// # Errors
    /// Those of the pass.
    pub fn train(
        &mut self,
        of: &Net,
        pass: &Pass,
        weights: &Weights,
        batch: &dyn Feed,
        gradients: &[Vec<f32>],
    ) -> Result<()> {
        self.show(of, pass, weights, batch, Some(gradients))
    }

    fn show(
        &mut self,
        of: &Net,
        pass: &Pass,
        weights: &Weights,
        batch: &dyn Feed,
        gradients: Option<&[Vec<f32>]>,
    ) -> Result<()> {
        for &(i, ratio) in &of.ratios {
            self.net.set_dropout_ratio(self.places[i], ratio);
        }
        let carried = pass.carried.map(|c| c.moved(&self.places));
        let net = self.sizes.fit(&self.net, batch)?;
        let all: Vec<ValueId> = (0..net.graph.values.len()).collect();
        let pass = Pass {
            random: pass.random,
            carried: carried.as_ref(),
            wanted: all.clone(),
            wanted_diffs: Vec::new(),
            ..Pass::new(0, 0)
        };
        let outputs = match gradients {
            None => net.forward(&pass, weights, batch)?,
            Some(_) => {
                let pass = Pass {
                    wanted_diffs: all,
                    ..pass
                };
                net.forward_backward(&pass, weights, batch, &mut net.zero_gradients())?
            }
        };
        net.show_forward(weights, &outputs);
        if let Some(gradients) = gradients {
            net.show_backward(&outputs, gradients);
            net.show_norms(weights, gradients);
        }
        Ok(())
    }
}

impl Carried {
    /// The same states for a net that has layer `i` at `places[i]`.
    fn moved(&self, places: &[usize]) -> Self {
        let mut moved = Self::default();
        for (i, states) in self.iter() {
            moved.add(places[i], states.to_vec());
        }
        moved
    }
}

impl Net {
    fn show_forward(&self, weights: &Weights, outputs: &Outputs) {
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let name = node.name();
            for &t in &node.tops {
                let blob = &self.graph.values[t].name;
                let data = outputs.values.get(&t).map_or(&[][..], |t| &t.data);
                let mean = G(mean(data));
                info!("    [Forward] Layer {name}, top blob {blob} data: {mean}");
            }
            for (k, u) in self.uses[i].iter().enumerate() {
                let updated = outputs.updates.iter().rev().find(|(id, _)| *id == u.id);
                let data = updated.map_or(&weights[u.id].data, |(_, values)| values);
                let (shown, mean) = (self.display_name(i, k), G(mean(data)));
                info!("    [Forward] Layer {name}, param blob {shown} data: {mean}");
            }
        }
    }

    fn show_backward(&self, outputs: &Outputs, gradients: &[Vec<f32>]) {
        for (i, node) in self.graph.nodes.iter().enumerate().rev() {
            if !self.lowered.needs.layers[i] {
                continue;
            }
            let name = node.name();
            for (k, v) in node.bottoms.iter().enumerate() {
                if self.lowered.needs.bottoms[i][k] {
                    let blob = &self.graph.values[*v].name;
                    let diff = outputs.diffs.get(v).map_or(&[][..], |t| &t.data);
                    let mean = G(mean(diff));
                    info!("    [Backward] Layer {name}, bottom blob {blob} diff: {mean}");
                }
            }
            for (k, u) in self.uses[i].iter().enumerate() {
                if self.learns(u.id) {
                    let mean = G(mean(&gradients[u.id]));
                    info!("    [Backward] Layer {name}, param blob {k} diff: {mean}");
                }
            }
        }
    }

    fn show_norms(&self, weights: &Weights, gradients: &[Vec<f32>]) {
        let data = || weights.iter().flat_map(|w| &w.data);
        let diff = || gradients.iter().flatten();
        error!(
            "    [Backward] All net params (data, diff): L1 norm = ({}, {}); L2 norm = ({}, {})",
            G(data().map(|v| f64::from(v.abs())).sum::<f64>() as f32),
            G(diff().map(|v| f64::from(v.abs())).sum::<f64>() as f32),
            G(squares(data()).sqrt() as f32),
            G(squares(diff()).sqrt() as f32),
        );
    }

    /// What Caffe's debug_info calls parameter `k` of layer `i`: its name for sharing, else its index.
    pub(crate) fn display_name(&self, i: usize, k: usize) -> String {
        let given = self.graph.nodes[i].param.param.get(k);
        match given.map_or("", |p| p.name()) {
            "" => k.to_string(),
            name => name.to_string(),
        }
    }
}

/// Caffe's `asum / count`.
pub(crate) fn mean(values: &[f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let sum: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
    (sum / values.len() as f64) as f32
}

fn squares<'a>(values: impl Iterator<Item = &'a f32>) -> f64 {
    values.map(|&v| f64::from(v) * f64::from(v)).sum()
}

/// The graph of `net` with Caffe's Split layers and nothing in place; for every node the one that it is in `net`.
fn spread(net: &Net) -> (Graph, Vec<Option<usize>>) {
    let old = &net.graph;
    let mut new = Graph {
        nodes: Vec::new(),
        values: Vec::new(),
        outputs: Vec::new(),
        ..old.clone()
    };
    let mut origins = Vec::new();
    // For every old value, what its readers read, in their order.
    let mut copies: Vec<Vec<ValueId>> = vec![Vec::new(); old.values.len()];
    for (i, node) in old.nodes.iter().enumerate() {
        let mut copy = Node {
            param: node.param.clone(),
            line: node.line,
            bottoms: Vec::new(),
            tops: Vec::new(),
        };
        let at = new.nodes.len();
        for (k, &v) in node.bottoms.iter().enumerate() {
            let nth = old.values[v].uses.iter().position(|u| *u == (i, k));
            let read = copies[v][nth.unwrap_or(0)];
            new.values[read].uses.push((at, k));
            copy.bottoms.push(read);
        }
        for &t in &node.tops {
            copy.tops.push(value(&mut new, &old.values[t].name, at));
        }
        new.nodes.push(copy);
        origins.push(Some(i));
        for (k, &t) in node.tops.iter().enumerate() {
            let made = new.nodes[at].tops[k];
            let (readers, weight) = (old.values[t].uses.len(), node.param.loss_weight.get(k));
            let weight = weight.copied().filter(|w| *w != 0.0);
            let ways = readers + usize::from(weight.is_some());
            if readers == 0 || ways < 2 {
                copies[t] = vec![made; readers];
                continue;
            }
            copies[t] = split(&mut new, at, k, ways, weight);
            origins.push(None);
            if weight.is_some() {
                // The loss counts at the split's first top, which is nobody else's.
                copies[t].remove(0);
                new.nodes[at].param.loss_weight[k] = 0.0;
            }
        }
    }
    new.outputs = (0..new.values.len())
        .filter(|&v| new.values[v].uses.is_empty())
        .collect();
    (new, origins)
}

/// A Split of top `k` of node `at`, under the names that Caffe gives it.
fn split(graph: &mut Graph, at: usize, k: usize, ways: usize, weight: Option<f32>) -> Vec<ValueId> {
    let made = graph.nodes[at].tops[k];
    let blob = &graph.values[made].name;
    let name = format!("{blob}_{}_{k}_split", graph.nodes[at].name());
    let tops: Vec<String> = (0..ways).map(|n| format!("{name}_{n}")).collect();
    let place = graph.nodes.len();
    let param = LayerParameter {
        name: Some(name),
        r#type: Some("Split".into()),
        bottom: vec![blob.clone()],
        top: tops.clone(),
        loss_weight: weight
            .map(|w| (0..ways).map(|n| if n == 0 { w } else { 0.0 }).collect())
            .unwrap_or_default(),
        ..LayerParameter::default()
    };
    graph.values[made].uses.push((place, 0));
    let tops: Vec<ValueId> = tops.iter().map(|t| value(graph, t, place)).collect();
    let line = graph.nodes[at].line;
    graph.nodes.push(Node {
        param,
        line,
        bottoms: vec![made],
        tops: tops.clone(),
    });
    tops
}

fn value(graph: &mut Graph, name: &str, producer: usize) -> ValueId {
    graph.values.push(Value {
        name: name.to_string(),
        producer,
        uses: Vec::new(),
        overwrites: None,
    });
    graph.values.len() - 1
}
