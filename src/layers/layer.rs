//! The trait of the layers, and what they say about their parameters.

use super::{Backward, Facts, Forward, Kernel, Lower};
use crate::proto::caffe::{FillerParameter, LayerParameter, Phase};
use crate::tensor::{Shape, View};
use anyhow::Result;

/// Caffe's phase of a net. (Called mode here: a phase of `dsd` is dense, sparse or redense.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout drops, BatchNorm uses the batch's statistics, backward will follow.
    Train,
    /// Inference.
    Test,
}

impl Mode {
    /// The mode of a layer in a net of this mode: its own `phase` (not that of its include rules), else the
    /// net's.
    pub fn of(self, layer: &LayerParameter) -> Self {
        match layer.phase {
            Some(phase) if phase == Phase::Train as i32 => Self::Train,
            Some(_) => Self::Test,
            None => self,
        }
    }
}

/// A learnable array of a layer, before it has values.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// The sizes.
    pub shape: Shape,
    /// How it starts.
    pub filler: FillerParameter,
    /// Whether pruning may take values from it (weights, not biases).
    pub prunable: bool,
    /// Whether it counts as learnable (BatchNorm's running statistics do not).
    pub learnable: bool,
}

impl ParamSpec {
    /// A weight: prunable and learnable.
    pub fn weight(shape: impl Into<Shape>, filler: Option<&FillerParameter>) -> Self {
        Self {
            shape: shape.into(),
            filler: filler.cloned().unwrap_or_default(),
            prunable: true,
            learnable: true,
        }
    }

    /// A bias: learnable, never pruned.
    pub fn bias(shape: impl Into<Shape>, filler: Option<&FillerParameter>) -> Self {
        Self {
            prunable: false,
            ..Self::weight(shape, filler)
        }
    }
}

/// One layer of a net.
pub trait Layer: Send + Sync {
    /// Checks the bottoms' shapes (number and sizes) and gives the tops'. No data exist yet. Errors say
    /// every shape that matters; the net adds the layer's name and line.
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>>;

    /// The learnable arrays for bottoms that passed [`Layer::shapes`].
    fn params(&self, _bottoms: &[Shape]) -> Vec<ParamSpec> {
        Vec::new()
    }

    /// What else the shapes say, for bottoms that passed [`Layer::shapes`]. Asked once, when a net is built.
    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts::default()
    }

    /// What shall compute the layer where its weights are rewritten for it first; `None` where the layer does so
    /// itself with the weights as they are.
    fn lower(&self, _l: &Lower) -> Option<Box<dyn Kernel>> {
        None
    }

    /// The scale and shift of each channel, of a layer whose role is [`Role::Affine`](super::Role::Affine).
    fn affine(&self, _params: &[View]) -> (Vec<f32>, Vec<f32>) {
        (Vec::new(), Vec::new())
    }

    /// What the sum that a [`Coupling::Mean`](super::Coupling::Mean) layer leaves in top 0 is divided by.
    /// `bottoms` are those of the whole batch; only the labels' data are sure to be there.
    fn normaliser(&self, _bottoms: &[View]) -> f32 {
        1.0
    }

    /// Computes the tops.
    fn forward(&self, f: &mut Forward) -> Result<()>;

    /// Computes the bottoms' gradients and adds to the parameters'.
    fn backward(&self, b: &mut Backward) -> Result<()>;
}
