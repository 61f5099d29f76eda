//! The layers of a net, made one after the other from a graph: their shapes, parameters and facts.

use super::ParamUse;
use super::graph::{Graph, ValueId};
use super::registry::Registry;
use crate::layers::{self, Facts, Layer, ParamSpec};
use crate::tensor::Shape;
use anyhow::{Context, Result, bail};

/// What is known of a graph's layers.
#[derive(Default)]
pub(super) struct Built {
    /// `None` for sources of data.
    pub layers: Vec<Option<Box<dyn Layer>>>,
    /// What the layers say of themselves; the default for sources.
    pub facts: Vec<Facts>,
    pub shapes: Vec<Shape>,
    pub loss_weights: Vec<f32>,
    pub registry: Registry,
    pub uses: Vec<Vec<ParamUse>>,
    pub inputs: Vec<ValueId>,
}

impl Built {
    /// `input_shapes` are those of the source layers' tops, in order.
    pub fn new(graph: &Graph, input_shapes: &[Shape]) -> Result<Self> {
        let mut built = Self {
            shapes: vec![Shape::default(); graph.values.len()],
            loss_weights: vec![0.0; graph.values.len()],
            ..Self::default()
        };
        let mut given = input_shapes.iter();
        for (i, node) in graph.nodes.iter().enumerate() {
            match node.is_source() {
                true => built.source(graph, i, &mut given)?,
                false => built.layer(graph, i)?,
            }
        }
        Ok(built)
    }

    /// Takes in source layer `i`.
    fn source<'a>(
        &mut self,
        graph: &Graph,
        i: usize,
        given: &mut impl Iterator<Item = &'a Shape>,
    ) -> Result<()> {
        for &top in &graph.nodes[i].tops {
            let shape = given
                .next()
                .with_context(|| format!("{}: no shape for its tops", graph.place(i)))?;
            if !shape.is_at_most(isize::MAX as usize / 4) {
                bail!("{}: a batch of {shape:?} is too large", graph.place(i));
            }
            self.shapes[top] = shape.clone();
            self.inputs.push(top);
        }
        self.layers.push(None);
        self.facts.push(Facts::default());
        self.uses.push(Vec::new());
        Ok(())
    }

    /// Makes layer `i`.
    fn layer(&mut self, graph: &Graph, i: usize) -> Result<()> {
        let node = &graph.nodes[i];
        let bottoms: Vec<Shape> = node
            .bottoms
            .iter()
            .map(|&v| self.shapes[v].clone())
            .collect();
        let layer =
            layers::create(&node.param, node.mode(graph.mode)).with_context(|| graph.place(i))?;
        let tops = layer.shapes(&bottoms).with_context(|| graph.place(i))?;
        let named = node.tops.len();
        if tops.len() != named {
            bail!(
                "{}: type {} makes {} tops here, but {named} are named",
                graph.place(i),
                node.param.r#type(),
                tops.len(),
            );
        }
        let weights = &node.param.loss_weight;
        if weights.len() > named {
            let (n, place) = (weights.len(), graph.place(i));
            bail!("{place}: {n} loss weights for {named} tops");
        }
        let params = layer.params(&bottoms);
        check_sizes(&params, &tops).with_context(|| graph.place(i))?;
        let facts = layer.facts(&bottoms);
        for (k, (&v, shape)) in node.tops.iter().zip(tops).enumerate() {
            let given = weights.get(k).copied();
            self.loss_weights[v] = given.unwrap_or_else(|| facts.loss_weight(k));
            self.shapes[v] = shape;
        }
        self.uses.push(self.registry.add(graph, i, params)?);
        self.layers.push(Some(layer));
        self.facts.push(facts);
        Ok(())
    }

    /// For every layer: whether a parameter of it learns.
    pub fn learns(&self) -> Vec<bool> {
        let learns = |u: &ParamUse| self.registry.params[u.id].lr_mult != 0.0;
        let uses = self.uses.iter();
        uses.map(|uses| uses.iter().any(learns)).collect()
    }
}

/// Refuses arrays beyond Caffe's limit, but of a batch for one sample alone.
fn check_sizes(params: &[ParamSpec], tops: &[Shape]) -> Result<()> {
    let samples = tops.iter().map(|t| t.with_rows(1));
    let mut arrays = params.iter().map(|p| p.shape.clone()).chain(samples);
    if let Some(large) = arrays.find(|a| !a.is_at_most(i32::MAX as usize)) {
        bail!("an array of {large:?} is too large");
    }
    if let Some(large) = tops.iter().find(|t| !t.is_at_most(isize::MAX as usize / 4)) {
        bail!("a batch of {large:?} is too large");
    }
    Ok(())
}
