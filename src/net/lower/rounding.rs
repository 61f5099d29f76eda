//! Which arrays are rounded to bfloat16, in a net that computes so.
//!
//! A layer that multiplies (a convolution, an inner product) reads rounded bottoms, rounded weights and rounded
//! gradients. What passes between layers is rounded once, by the step that writes it: the last thing that a fused step
//! does. Not rounded are the data, up to the first layer that multiplies them (labels are none of its business), what
//! no layer reads (a net's outputs) or none but losses and accuracies (the scores), losses and what has no gradient.

use super::{Form, Source};
use crate::layers::{Coupling, Role};
use crate::net::graph::{Node, ValueId};
use crate::proto::caffe::pooling_parameter::PoolMethod;

/// What is rounded; nothing in a net of float32.
#[derive(Debug)]
pub(crate) struct Rounding {
    /// For every layer: whether it multiplies its bottoms and weights.
    pub multiplies: Vec<bool>,
    /// For every value: whether it is rounded where it lies.
    pub values: Vec<bool>,
    /// For every value: whether its gradient is.
    pub diffs: Vec<bool>,
    /// For every layer: whether it gives rounded numbers of rounded ones by itself, so that there is nothing to do.
    pub exact: Vec<bool>,
    /// For every layer and bottom: whether it reads a rounded copy.
    pub copies: Vec<Vec<bool>>,
}

impl Rounding {
    /// Decides for a net.
    pub fn new(source: Source) -> Self {
        let graph = source.graph;
        let (nodes, values) = (graph.nodes.len(), graph.values.len());
        let rounds = source.precision.rounds();
        let mut rounding = Self {
            multiplies: vec![false; nodes],
            values: vec![false; values],
            diffs: vec![false; values],
            exact: vec![false; nodes],
            copies: graph
                .nodes
                .iter()
                .map(|n| vec![false; n.bottoms.len()])
                .collect(),
        };
        if !rounds {
            return rounding;
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            rounding.multiplies[i] = multiplies(node);
        }
        let made = made(source);
        for v in 0..values {
            let producer = graph.values[v].producer;
            let score = source.loss_weights[v] != 0.0 || is_score(source, producer);
            let mut readers = graph.values[v].uses.iter().map(|(i, _)| *i);
            let read = readers.clone().any(|i| !is_score(source, i));
            rounding.values[v] = match made[v] {
                true => read && !score,
                // Where all readers multiply, one rounding is enough, and nobody sees it.
                false => read && !source.every_blob && readers.all(|i| rounding.multiplies[i]),
            };
            rounding.diffs[v] = rounding.multiplies[producer] || !score;
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            let rounded = |v: &ValueId| rounding.values[*v];
            rounding.exact[i] = is_exact(source, i) && node.bottoms.iter().all(rounded);
            if rounding.multiplies[i] {
                rounding.copies[i] = node.bottoms.iter().map(|v| !rounded(v)).collect();
            }
        }
        rounding
    }

    /// Whether the step of layer `i`, which does the work of `form`'s chain behind it too, rounds its top `v`.
    pub fn top(&self, source: Source, form: &Form, i: usize, v: ValueId) -> bool {
        if self.exact[i] {
            return false;
        }
        let chain = &form.chains[i];
        let last = chain.last().map_or(v, |&j| source.graph.nodes[j].tops[0]);
        // A ReLU changes nothing of what is rounded.
        let rectified = chain.iter().all(|&j| source.facts[j].role == Role::Relu);
        self.values[last] || rectified && self.values[v]
    }
}

fn multiplies(node: &Node) -> bool {
    matches!(
        node.param.r#type(),
        "Convolution" | "Deconvolution" | "InnerProduct" | "LSTM" | "RNN"
    )
}

/// Whether the tops of layer `i` are losses, or numbers to be counted and compared.
fn is_score(source: Source, i: usize) -> bool {
    let facts = &source.facts[i];
    let mean = matches!(facts.coupling, Coupling::Mean { .. });
    !source.graph.nodes[i].is_source() && (mean || facts.is_loss || !facts.has_backward)
}

/// For every value: whether a layer with weights has made it, or something that it is made of. The others are data.
fn made(source: Source) -> Vec<bool> {
    let graph = source.graph;
    let mut made = vec![false; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        let any = source.weighted[i] || node.bottoms.iter().any(|&v| made[v]);
        for (k, &t) in node.tops.iter().enumerate() {
            // Filter passes each bottom on by itself.
            let own = source.facts[i].data_decide_rows;
            made[t] = match node.bottoms.get(k).filter(|_| own) {
                Some(&v) => made[v],
                None => any,
            };
        }
    }
    made
}

/// Whether layer `i` only moves numbers, forward, or makes some of them 0.
fn is_exact(source: Source, i: usize) -> bool {
    let param = &source.graph.nodes[i].param;
    let role = source.facts[i].role;
    match param.r#type() {
        "Split" | "Slice" | "Flatten" | "Reshape" | "Crop" | "Filter" | "BatchReindex" => true,
        "Pooling" => {
            let pool = param.pooling_param.as_ref();
            pool.map_or(PoolMethod::Max, |p| p.pool()) == PoolMethod::Max
        }
        _ => matches!(role, Role::Relu | Role::Join),
    }
}
