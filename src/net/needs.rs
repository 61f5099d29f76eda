//! Which gradients a net computes, and which are asked of layers that have none.

use super::graph::{Graph, ValueId};
use crate::layers::Facts;

/// What gradients a net computes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Layers whose backward runs.
    pub layers: Vec<bool>,
    /// For every layer and bottom: whether its gradient is wanted.
    pub bottoms: Vec<Vec<bool>>,
    /// The first thing of backward that cannot be done, in a sentence.
    pub refused: Option<String>,
    /// Layers without a backward that a gradient arrives at.
    pub dead_ends: Vec<usize>,
}

impl Needs {
    /// Those of a net that never goes backward.
    pub fn none(layers: usize) -> Self {
        Self {
            layers: vec![false; layers],
            bottoms: vec![Vec::new(); layers],
            ..Self::default()
        }
    }
}

/// What the question is about.
pub(crate) struct Question<'a> {
    pub graph: &'a Graph,
    /// What the layers say of themselves.
    pub facts: &'a [Facts],
    /// For every layer: whether a parameter of it learns.
    pub learns: &'a [bool],
    /// For every value: its weight in the loss.
    pub loss_weights: &'a [f32],
    /// Every gradient that can be computed is wanted.
    pub force: bool,
    /// Values on which gradients are put from outside.
    pub targets: &'a [ValueId],
}

impl Question<'_> {
    /// Which layers and bottoms need gradients, by Caffe's rules: a layer that learns, or reads what
    /// learns, and that a loss depends on. With `force`, every gradient that can be computed is.
    pub fn answer(&self) -> Needs {
        let (graph, facts) = (self.graph, self.facts);
        let mut needs = Needs::none(graph.nodes.len());
        let mut value_learns = vec![false; graph.values.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            if node.is_source() {
                continue;
            }
            let wants = |(k, &v): (usize, &ValueId)| {
                let given = node.param.propagate_down.get(k);
                given.copied().unwrap_or(value_learns[v] || self.force) && facts[i].flows_to(k)
            };
            let bottoms: Vec<bool> = node.bottoms.iter().enumerate().map(wants).collect();
            needs.layers[i] =
                facts[i].has_backward && (self.learns[i] || bottoms.contains(&true) || self.force);
            for &t in &node.tops {
                value_learns[t] = needs.layers[i];
            }
            needs.bottoms[i] = bottoms;
        }
        // What no loss depends on gets no gradient.
        let mut under_loss = self.under_loss();
        for (i, node) in graph.nodes.iter().enumerate().rev() {
            let contributes = node.tops.iter().any(|&t| under_loss[t]);
            if contributes && !facts[i].has_backward && !node.bottoms.is_empty() {
                needs.dead_ends.push(i);
            }
            needs.layers[i] &= contributes;
            for (k, &v) in node.bottoms.iter().enumerate() {
                if !needs.layers[i] {
                    needs.bottoms[i][k] = false;
                }
                under_loss[v] |= needs.layers[i] && needs.bottoms[i][k];
            }
        }
        needs.refused = self.refused(&needs);
        needs
    }

    /// For every value, whether it is a part of the loss, or gets a gradient from outside.
    fn under_loss(&self) -> Vec<bool> {
        let mut under: Vec<bool> = self.loss_weights.iter().map(|w| *w != 0.0).collect();
        for &t in self.targets {
            under[t] = true;
        }
        under
    }

    /// The first gradient that Caffe would stop at: one that a layer cannot compute, though what learns
    /// lies below it; or one that is asked for outright.
    fn refused(&self, needs: &Needs) -> Option<String> {
        let (layers_ask, bottoms_ask) = self.asked();
        let graph = self.graph;
        for (i, node) in graph.nodes.iter().enumerate().rev() {
            let facts = &self.facts[i];
            let asks = |k: &usize| layers_ask[i] && bottoms_ask[i][*k];
            let mut bottoms = (0..node.bottoms.len()).filter(asks).peekable();
            let given = node.tops.iter().any(|t| self.targets.contains(t));
            let ends = graph.force_backward && needs.dead_ends.contains(&i);
            if !facts.has_backward
                && !node.bottoms.is_empty()
                && (bottoms.peek().is_some() || given || ends)
            {
                return Some(format!(
                    "{}: {}",
                    graph.place(i),
                    no_backward(node.param.r#type())
                ));
            }
            let refusal = |k: usize| Some((k, facts.refusal(k)?));
            if let Some((k, sentence)) = bottoms.find_map(refusal) {
                return Some(format!(
                    "{}: {sentence}: bottom {k} '{}' comes from what learns; propagate_down (once for each \
                     bottom, false for this one) stops the gradient there",
                    graph.place(i),
                    graph.values[node.bottoms[k]].name
                ));
            }
        }
        None
    }

    /// The layers, and of each the bottoms, that Caffe asks for gradients, whether they have them or not.
    fn asked(&self) -> (Vec<bool>, Vec<Vec<bool>>) {
        let graph = self.graph;
        let mut value_asks = vec![false; graph.values.len()];
        let mut layers = Vec::new();
        let mut bottoms: Vec<Vec<bool>> = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate() {
            let below = node.bottoms.iter().any(|&v| value_asks[v]);
            layers.push(self.learns[i] || below);
            for &t in &node.tops {
                value_asks[t] = layers[i];
            }
            let given = |k: usize| node.param.propagate_down.get(k).copied();
            let asks = |(k, &v): (usize, &ValueId)| given(k).unwrap_or(value_asks[v]);
            bottoms.push(node.bottoms.iter().enumerate().map(asks).collect());
        }
        let mut under_loss = self.under_loss();
        // Values whose readers all do without their gradient.
        let mut skipped = vec![false; graph.values.len()];
        for (i, node) in graph.nodes.iter().enumerate().rev() {
            let contributes = node.tops.iter().any(|&t| under_loss[t]);
            let skip = node.tops.iter().all(|&t| skipped[t]);
            layers[i] &= contributes && !skip;
            for (k, &v) in node.bottoms.iter().enumerate() {
                bottoms[i][k] &= contributes && !skip;
                under_loss[v] |= contributes;
                skipped[v] = graph.values[v]
                    .uses
                    .iter()
                    .all(|&(n, k)| n >= i && !bottoms[n][k]);
            }
        }
        (layers, bottoms)
    }
}

/// What is said of a layer type without a backward.
pub(crate) fn no_backward(layer_type: &str) -> String {
    format!(
        "Not Implemented Yet: layers of type {layer_type} have no backward, but a gradient is asked of it"
    )
}
