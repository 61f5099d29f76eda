//! The part of a net that turns pictures into class scores: its data layer replaced by an input, without
//! the layers that need labels.

use crate::net::Net;
use crate::net::graph::{Graph, Node, ValueId};
use crate::proto::caffe::{BlobShape, InputParameter, LayerParameter, NetParameter};
use crate::proto::{BlockLines, Parsed};
use anyhow::{Result, bail};
use std::collections::HashSet;

/// A net whose pictures come from outside.
#[derive(Debug)]
pub struct PictureNet {
    net: Parsed<NetParameter>,
    /// The layer that brought the pictures.
    pub source: LayerParameter,
}

impl PictureNet {
    /// Finds the layer that brings the pictures and drops all that depends on labels.
    ///
    /// # Errors
    /// No layer, or several, bring pictures, or nothing stays.
    pub fn new(graph: &Graph) -> Result<Self> {
        let sources: Vec<&Node> = graph
            .nodes
            .iter()
            .filter(|n| n.is_source() && brings_pictures(n))
            .collect();
        let [source] = sources[..] else {
            bail!(
                "{}: expected one layer that brings pictures (Input of 4 axes, Data or ImageData), found {}",
                graph.file,
                sources.len()
            );
        };
        let Some(&pictures) = source.tops.first() else {
            bail!("{}: layer '{}' has no top", graph.file, source.name());
        };
        let mut gone: HashSet<ValueId> = HashSet::new();
        let mut kept: Vec<&Node> = Vec::new();
        for node in &graph.nodes {
            if node.is_source() || node.bottoms.iter().any(|v| gone.contains(v)) {
                gone.extend(node.tops.iter().filter(|v| **v != pictures));
            } else {
                kept.push(node);
            }
        }
        if kept.is_empty() {
            bail!(
                "{}: no layer computes scores from pictures alone",
                graph.file
            );
        }
        let input = LayerParameter {
            name: source.param.name.clone(),
            r#type: Some("Input".into()),
            top: vec![graph.values[pictures].name.clone()],
            ..LayerParameter::default()
        };
        let layers = std::iter::once(input).chain(kept.iter().map(|n| n.param.clone()));
        let lines = std::iter::once(source.line).chain(kept.iter().map(|n| n.line));
        Ok(Self {
            source: source.param.clone(),
            net: Parsed {
                message: NetParameter {
                    name: Some(graph.name.clone()),
                    layer: layers.collect(),
                    ..NetParameter::default()
                },
                file: graph.file.clone(),
                lines: BlockLines::of_layers(lines),
            },
        })
    }

    /// The net for pictures of this shape (channels, height, width), `batch` at a time.
    pub fn with_input(&self, batch: usize, dims: [usize; 3]) -> Parsed<NetParameter> {
        let mut net = self.net.clone();
        let [c, h, w] = dims;
        let dim = [batch, c, h, w].map(|d| d as i64).to_vec();
        net.message.layer[0].input_param = Some(InputParameter {
            shape: vec![BlobShape { dim }],
        });
        net
    }
}

/// Whether a source layer's first top is pictures: of an Input layer, one of four axes.
fn brings_pictures(node: &Node) -> bool {
    match node.param.r#type() {
        "Data" | "ImageData" => true,
        "Input" => {
            let shapes = node.param.input_param.iter().flat_map(|p| &p.shape);
            shapes.take(1).any(|s| s.dim.len() == 4)
        }
        _ => false,
    }
}

/// Where a net's class scores are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// The blob.
    pub value: ValueId,
    /// How many classes.
    pub classes: usize,
    /// Whether they are probabilities already.
    pub softmax: bool,
}

impl Scores {
    /// The net's last output, those of a softmax first.
    ///
    /// # Errors
    /// It is not one score a class.
    pub fn find(net: &Net) -> Result<Self> {
        let graph = net.graph();
        let last = |softmax: bool| {
            let outputs = net.outputs().iter().copied();
            outputs
                .filter(|&v| !softmax || after_softmax(graph, v))
                .max()
        };
        let Some(value) = last(true).or(last(false)) else {
            bail!("{}: the net has no output", graph.file);
        };
        let shape = net.shape(value);
        if shape.axes() < 2 || shape.count_from(2) != 1 || shape.dim(1) == 0 {
            bail!(
                "{}: output '{}' has the shape {shape}; expected one score a class: pictures x classes",
                graph.file,
                graph.values[value].name
            );
        }
        Ok(Self {
            value,
            classes: shape.dim(1),
            softmax: after_softmax(graph, value),
        })
    }

    /// Probabilities of one picture's `scores`.
    pub fn probabilities(&self, scores: &[f32]) -> Vec<f32> {
        if self.softmax {
            return scores.to_vec();
        }
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = scores.iter().map(|s| (s - most).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.iter().map(|p| p / sum).collect()
    }
}

/// Whether a value is a softmax's, perhaps in another shape.
fn after_softmax(graph: &Graph, value: ValueId) -> bool {
    let mut value = value;
    loop {
        let node = &graph.nodes[graph.values[value].producer];
        match (node.param.r#type(), &node.bottoms[..]) {
            ("Softmax", _) => return true,
            ("Flatten" | "Reshape" | "Dropout" | "Split", [before]) => value = *before,
            _ => return false,
        }
    }
}
