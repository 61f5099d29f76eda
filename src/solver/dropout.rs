//! Dropout that gets weaker as weights are removed (Han et al. 2015, "Learning both Weights and Connections",
//! equation 3): a net with fewer connections has less to overfit with, so D_r = D_o·√(C_ir / C_io), where C_io and
//! C_ir are the connections of the layer before and after pruning. Their ratio is the density of the layer whose
//! results the dropout drops.

use super::Solver;
use crate::info;
use crate::net::Net;
use crate::report::number::G;
use std::collections::BTreeSet;

impl Solver {
    /// Makes every Dropout layer's ratio follow the density of the layers before it, from the next pruning or
    /// restored snapshot on; with a schedule it changes with the masks.
    pub fn scale_dropout(&mut self) {
        self.scale_dropout = true;
    }

    /// Sets the ratios by the masks and codebooks as they are.
    pub(super) fn rescale_dropout(&mut self) {
        if !self.scale_dropout {
            return;
        }
        for i in 0..self.net.graph().nodes.len() {
            let node = &self.net.graph().nodes[i];
            if node.param.r#type() != "Dropout" {
                continue;
            }
            let said = node.param.dropout_param.unwrap_or_default().dropout_ratio();
            let sources = sources(&self.net, i);
            let (alive, all) = sources
                .iter()
                .map(|&id| self.alive(id))
                .fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
            // Dropout of the data itself: no weights come before it.
            let density = if all == 0 {
                1.0
            } else {
                alive as f64 / all as f64
            };
            let ratio = (f64::from(said) * density.sqrt()) as f32;
            let name = node.name().to_string();
            if let Some(before) = self.net.set_dropout_ratio(i, ratio)
                && before != ratio
            {
                let layers: Vec<&str> = sources
                    .iter()
                    .map(|&id| self.net.params()[id].layer.as_str())
                    .collect();
                info!(
                    "Dropout {name}: ratio {} of {}, for {} has density {density:.4}",
                    G(ratio),
                    G(said),
                    layers.join(", ")
                );
            }
        }
    }

    /// How many weights of parameter `id` are not held at 0, and how many there are.
    pub(super) fn alive(&self, id: usize) -> (usize, usize) {
        let n = self.weights[id].data.len();
        let alive = match (&self.masks[id], &self.shared[id]) {
            (Some(mask), _) => mask.alive(),
            (None, Some(shared)) => shared.alive(),
            (None, None) => n,
        };
        (alive, n)
    }
}

/// The prunable parameters whose layers feed layer `i` with none between: of several branches (Concat, Eltwise)
/// those of each.
fn sources(net: &Net, i: usize) -> BTreeSet<usize> {
    let graph = net.graph();
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut open = graph.nodes[i].bottoms.clone();
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        let producer = graph.values[value].producer;
        let weights: Vec<usize> = net
            .layer_params(producer)
            .filter(|&id| net.params()[id].prunable)
            .collect();
        if weights.is_empty() {
            open.extend(&graph.nodes[producer].bottoms);
        }
        found.extend(weights);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Mode;
    use crate::models;
    use crate::net::Options;
    use crate::net::graph::{Graph, State};
    use crate::tensor::Shape;

    fn sources_of(model: &str, shape: [usize; 4], dropout: &str) -> Vec<String> {
        let builtin = models::find(model).unwrap();
        let net = builtin.train_val(models::Family::Release).unwrap();
        let graph = Graph::new(&net, &State::new(Mode::Train)).unwrap();
        let shapes = [Shape::new(shape), Shape::new([shape[0]])];
        let mut net = Net::new(graph, &shapes, &Options::default()).unwrap();
        let nodes = &net.graph().nodes;
        let i = nodes.iter().position(|n| n.name() == dropout).unwrap();
        assert_eq!(net.set_dropout_ratio(i, 0.25), Some(0.5));
        assert_eq!(net.set_dropout_ratio(i, 0.5), Some(0.25));
        assert_eq!(net.set_dropout_ratio(i - 1, 0.5), None);
        let of = |id: usize| net.params()[id].layer.clone();
        sources(&net, i).into_iter().map(of).collect()
    }

    #[test]
    fn the_layers_before_a_dropout_are_found_through_all_between() {
        assert_eq!(sources_of("alexnet", [1, 3, 227, 227], "drop7"), ["fc7"]);
        assert_eq!(
            sources_of("squeezenet_v1.0", [1, 3, 227, 227], "drop9"),
            ["fire9/conv1x1_2", "fire9/conv3x3_2"]
        );
    }
}
