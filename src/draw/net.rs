//! What is to be seen of a net: layers, each with those that work in place on what it made, and blobs.

use super::describe;
use crate::models;
use crate::net::graph::{Graph, State};
use crate::net::{Net, Options};
use crate::proto::Parsed;
use crate::proto::caffe::{LayerParameter, NetParameter};
use std::collections::HashMap;

/// A node of the picture.
#[derive(Clone, Debug)]
pub enum Node {
    /// A layer, and in the order in which they run those that rewrite its top.
    Layers(Vec<LayerParameter>),
    /// A blob, and its shape without the batch where it is known.
    Blob(String, Option<String>),
}

/// An edge of the picture.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The node where it starts.
    pub from: usize,
    /// The node where it ends.
    pub to: usize,
    /// What stands beside it.
    pub label: String,
}

/// A net as nodes and edges.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    /// The net's name.
    pub name: String,
    /// The nodes, those of earlier layers first.
    pub nodes: Vec<Node>,
    /// The edges.
    pub edges: Vec<Edge>,
}

impl Drawing {
    /// The drawing of `layers`; `shapes` are those of blobs.
    pub fn new(name: &str, layers: &[LayerParameter], shapes: &HashMap<String, String>) -> Self {
        let mut drawing = Self {
            name: name.to_string(),
            ..Self::default()
        };
        // The node of a blob's last value, and the layer that made it.
        let mut blobs: HashMap<&str, usize> = HashMap::new();
        let mut makers: HashMap<&str, usize> = HashMap::new();
        for layer in layers {
            if describe::in_place(layer)
                && let Some(&maker) = makers.get(layer.top[0].as_str())
                && let Node::Layers(stack) = &mut drawing.nodes[maker]
            {
                stack.push(layer.clone());
                continue;
            }
            let own = drawing.nodes.len();
            drawing.nodes.push(Node::Layers(vec![layer.clone()]));
            for bottom in &layer.bottom {
                let known = blobs.get(bottom.as_str()).copied();
                let from = known.unwrap_or_else(|| drawing.blob(bottom, shapes));
                blobs.insert(bottom, from);
                drawing.edge(from, own, String::new());
            }
            for top in &layer.top {
                // A blob of two makers is that of two phases, unless one of them rewrites it.
                let known = blobs.get(top.as_str()).copied();
                let known = known.filter(|_| !layer.bottom.contains(top));
                let to = known.unwrap_or_else(|| drawing.blob(top, shapes));
                blobs.insert(top, to);
                makers.insert(top, own);
                drawing.edge(own, to, describe::edge(layer));
            }
        }
        drawing
    }

    fn blob(&mut self, name: &str, shapes: &HashMap<String, String>) -> usize {
        let shape = shapes.get(name).cloned();
        self.nodes.push(Node::Blob(name.to_string(), shape));
        self.nodes.len() - 1
    }

    fn edge(&mut self, from: usize, to: usize, label: String) {
        self.edges.push(Edge { from, to, label });
    }
}

/// The shapes of a net's blobs without the batch, `96 x 111 x 111`; none where the net does not say them
/// itself (its data lie elsewhere) or cannot be built.
pub fn shapes(net: &Parsed<NetParameter>, state: &State) -> HashMap<String, String> {
    let build = || {
        let graph = Graph::new(net, state)?;
        let inputs = models::input_shapes(&graph)?;
        Net::new(graph, &inputs, &Options::default())
    };
    let Ok(net) = build() else {
        return HashMap::new();
    };
    let shape = |v: usize| {
        let dims = net.shape(v).dims();
        let rest = dims.get(1..).unwrap_or_default();
        let words: Vec<String> = rest.iter().map(usize::to_string).collect();
        words.join(" x ")
    };
    let values = net.graph().values.iter().enumerate();
    values
        .map(|(v, value)| (value.name.clone(), shape(v)))
        .filter(|(_, shape)| !shape.is_empty())
        .collect()
}
