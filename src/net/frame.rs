//! The memory of one leaf in flight, and the arrays in it.

use super::Net;
use super::carried::Carried;
use super::program::{Operand, Place};
use crate::kernels::aligned::Aligned;
use crate::kernels::crew::Crew;
use crate::kernels::layout::copy;
use crate::layers::Keep;
use crate::net::graph::ValueId;
use crate::tensor::{Shape, Tensor, View, ViewMut};
use anyhow::Result;

/// Partial gradients, in the order of the net's parameters; empty where none is wanted.
pub(crate) type Grads = Vec<Vec<f32>>;

/// What to do where there is no memory for a leaf.
pub(super) const ADVICE: &str = "lower the batch size, or --threads";

/// The buffers of one leaf.
#[derive(Debug)]
pub(crate) struct Frame {
    pub buffers: Vec<Aligned>,
    /// Rows of the net's inputs, of those that do not lie ready.
    pub fed: Vec<Aligned>,
    /// What each layer's backward needs from its forward.
    pub keeps: Vec<Keep>,
    /// What each layer's sum is divided by.
    pub normalisers: Vec<f32>,
    /// Shapes that only the data decide (behind a Filter layer), by value; `None` for the planned ones. Empty in a net
    /// without such a layer.
    pub actual: Vec<Option<Shape>>,
}

impl Frame {
    /// # Errors
    /// The memory is not there.
    pub fn new(net: &Net) -> Result<Self> {
        let what = || format!("a buffer of the net {}", net.graph.file);
        let one = |&n: &usize| Aligned::try_zeros(n, what, ADVICE);
        let buffers = net.lowered.buffers.iter().map(one);
        Ok(Self {
            buffers: buffers.collect::<Result<_>>()?,
            fed: net.inputs.iter().map(|_| Aligned::default()).collect(),
            keeps: net.layers.iter().map(|_| Keep::default()).collect(),
            normalisers: vec![1.0; net.layers.len()],
            actual: match net.facts.iter().any(|f| f.data_decide_rows) {
                true => vec![None; net.shapes.len()],
                false => Vec::new(),
            },
        })
    }
}

/// The arrays that a step reads.
#[derive(Clone, Copy)]
pub(super) struct Arrays<'a> {
    pub buffers: &'a [Aligned],
    pub actual: &'a [Option<Shape>],
    /// The leaf's rows of the net's inputs.
    pub feed: &'a [&'a [f32]],
}

impl<'a> Arrays<'a> {
    /// The shape that an array has with these data.
    pub fn shape(&self, operand: &Operand) -> Shape {
        let actual = self.actual.get(operand.value).and_then(Option::as_ref);
        actual.unwrap_or(&operand.shape).clone()
    }

    /// An array to read; without numbers where it is nowhere, or its buffer is being written.
    pub fn view(&self, operand: &Operand) -> View<'a> {
        let shape = self.shape(operand);
        let data = match operand.place {
            Place::Nowhere => &[][..],
            Place::Feed(k) => self.feed[k],
            Place::Buffer(b) => match &self.buffers[b][..] {
                [] => &[],
                buffer => &buffer[operand.first..][..operand.layout.extent(&shape)],
            },
        };
        View {
            shape,
            layout: operand.layout,
            data,
        }
    }

    /// The array `operand` in its buffer, to write.
    pub fn view_mut<'b>(&self, operand: &Operand, buffer: &'b mut [f32]) -> ViewMut<'b> {
        let shape = self.shape(operand);
        let data = &mut buffer[operand.first..][..operand.layout.extent(&shape)];
        ViewMut {
            shape,
            layout: operand.layout,
            data,
        }
    }
}

/// A copied value (or its gradient): the rows of a leaf.
#[derive(Debug)]
pub(crate) struct Piece {
    pub value: ValueId,
    pub tensor: Tensor,
}

impl Piece {
    pub fn new(crew: &Crew, value: ValueId, view: View) -> Self {
        let mut tensor = Tensor::zeros(view.shape.clone());
        let mut to = ViewMut::planes(view.shape.clone(), &mut tensor.data);
        copy(crew, &view, &mut to);
        Self { value, tensor }
    }
}

/// What a leaf leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub values: Vec<Piece>,
    pub diffs: Vec<Piece>,
    /// New values of parameters that forward changes.
    pub updates: Vec<(usize, Vec<f32>)>,
    /// What recurrent layers leave for the next batch.
    pub carried: Carried,
}
