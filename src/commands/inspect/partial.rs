//! A net of which not all is known: layers of forks or in Python, or data that say nothing of their shape. What
//! does not depend on them is described all the same.

use std::collections::HashSet;

use anyhow::{Context, Result};

use crate::layers;
use crate::net::graph::{Graph, Node};
use crate::proto::forks::types::is_known;
use crate::tensor::Shape;

/// What is known of a net.
pub struct Partial {
    /// Its layers.
    pub graph: Graph,
    /// The shape of every value, where it is known.
    pub shapes: Vec<Option<Shape>>,
    /// For every layer its learnable numbers and multiply-accumulates for one sample, where they are known.
    pub counts: Vec<Option<(usize, u64)>>,
}

/// Whether no layer of Caffe has this type, or one whose work cannot be known. A slip of the pen is neither.
pub fn is_foreign(kind: &str) -> bool {
    let unknown = !is_known(kind) && layers::types::meant(kind).is_none();
    kind == "Python" || unknown
}

impl Partial {
    /// What follows from the shapes of the tops of the sources, as far as they are known.
    ///
    /// # Errors
    /// A layer of Caffe that does not fit.
    pub fn new(graph: Graph, sources: &[Option<Shape>]) -> Result<Self> {
        let mut shapes: Vec<Option<Shape>> = vec![None; graph.values.len()];
        let mut counts = Vec::new();
        let mut given = sources.iter();
        // A shared parameter is counted where it is first used.
        let mut seen = HashSet::new();
        let mut rows = None;
        for (i, node) in graph.nodes.iter().enumerate() {
            if node.is_source() {
                for &top in &node.tops {
                    shapes[top] = given.next().cloned().flatten();
                    rows = rows.or(shapes[top].as_ref().map(|s| s.dim(0)));
                }
                counts.push(Some((0, 0)));
                continue;
            }
            let bottoms: Option<Vec<Shape>> =
                node.bottoms.iter().map(|&v| shapes[v].clone()).collect();
            if is_foreign(node.param.r#type()) {
                counts.push(None);
                continue;
            }
            let place = || graph.place(i);
            let layer = layers::create(&node.param, graph.mode).with_context(place)?;
            let Some(bottoms) = bottoms else {
                counts.push(None);
                continue;
            };
            let tops = layer.shapes(&bottoms).with_context(place)?;
            for (&v, shape) in node.tops.iter().zip(tops) {
                shapes[v] = Some(shape);
            }
            let params = layer.params(&bottoms);
            let own = params.iter().enumerate().filter(|(k, _)| {
                let name = node.param.param.get(*k).map_or("", |p| p.name());
                name.is_empty() || seen.insert(name.to_owned())
            });
            let learnable = own.filter(|(_, p)| p.learnable);
            let values = learnable.map(|(_, p)| p.shape.count()).sum();
            let macs = layer.facts(&bottoms).macs / rows.unwrap_or(1).max(1) as u64;
            counts.push(Some((values, macs)));
        }
        Ok(Self {
            graph,
            shapes,
            counts,
        })
    }

    /// The layers that are not known, `'rois' (ROIPooling)`.
    pub fn foreign(&self) -> Vec<String> {
        let foreign = |n: &&Node| is_foreign(n.param.r#type());
        let named = |n: &Node| format!("'{}' ({})", n.name(), n.param.r#type());
        self.graph.nodes.iter().filter(foreign).map(named).collect()
    }

    /// What is to be said of them; none if there are none.
    pub fn note(&self) -> Option<String> {
        let foreign = self.foreign();
        let (shown, more) = match foreign.len() {
            0 => return None,
            n if n > 6 => (&foreign[..5], format!(" and {} more", n - 5)),
            _ => (&foreign[..], String::new()),
        };
        Some(format!(
            "layers of forks of Caffe or in Python cannot be run here, and the shapes behind them are unknown: {}{more}",
            shown.join(", ")
        ))
    }
}
