//! The layers: one file a type, and the one match from a type's name to its layer.
//!
//! A layer is what the prototxt says and nothing more: it holds no weights and no run-time state, so
//! that many groups of samples can pass through it at once. Weights live in the net's parameters; what
//! backward needs from forward lives in the group's [`Keep`].
//!
//! **To add a layer**: write `src/layers/NAME.rs` with `pub fn new(param: &LayerParameter, mode: Mode)
//! -> Result<Self>` and `impl Layer`, and add one arm to [`create`].

pub mod abs_val;
pub mod accuracy;
pub mod argmax;
pub mod batch_norm;
pub mod batch_reindex;
pub mod bias;
pub mod bnll;
#[cfg(test)]
mod check;
pub mod clip;
pub mod concat;
pub mod contrastive_loss;
pub mod convolution;
pub mod crop;
pub mod deconvolution;
pub mod dropout;
pub mod eltwise;
pub mod elu;
pub mod embed;
pub mod euclidean_loss;
pub mod exp;
pub mod filter;
pub mod flatten;
pub mod hdf5_output;
pub mod hinge_loss;
pub mod im2col;
pub mod infogain_loss;
pub mod inner_product;
mod labels;
pub mod log;
pub mod lrn;
pub mod lstm;
pub mod lstm_unit;
pub mod multinomial_logistic_loss;
pub mod mvn;
mod neuron;
pub mod parameter;
pub mod pooling;
pub mod power;
pub mod prelu;
mod recurrent;
pub mod reduction;
pub mod relu;
pub mod reshape;
pub mod rnn;
pub mod scale;
pub mod sigmoid;
pub mod sigmoid_cross_entropy_loss;
pub mod silence;
pub mod slice;
pub mod softmax;
pub mod softmax_loss;
pub mod split;
pub mod spp;
pub mod swish;
pub mod tanh;
pub mod threshold;
pub mod tile;
pub mod types;
mod windows;

use crate::kernels::choice::UseSparse;
use crate::kernels::crew::Crew;
use crate::proto::caffe::{LayerParameter, Phase};
use crate::random::Random;
use crate::tensor::{Layout, Shape, View, ViewMut};
use anyhow::{Result, bail};
use std::any::Any;

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

/// How the samples of a batch depend on each other in a layer. Where they do not, the net runs the
/// batch in small groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coupling {
    /// Row n of every top depends on row n of the bottoms alone.
    Free,
    /// As `Free`, except that top 0 is a mean over the batch: forward leaves the *sum* over the rows
    /// at hand, and the net divides by [`Layer::normaliser`] when all rows are in.
    /// `labels`: the bottom whose values the normaliser reads, if any.
    Mean {
        /// The bottom that the normaliser reads.
        labels: Option<usize>,
    },
    /// The layer must see the whole batch at once.
    Whole,
}

/// The layouts of pictures ([`Layout`]) in which a layer can run. It sees all its bottoms and tops in one,
/// except for what [`Layer::takes_planes`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layouts {
    /// C order only.
    Planes,
    /// C order or channels last, whichever bottom 0 has.
    Either,
    /// Channels last.
    Pixels,
}

/// What a layer has made of its parameters before a pass, to use in every group of it.
pub type Prepared = Box<dyn Any + Send + Sync>;

/// What [`Layer::prepare`] gets.
pub struct Prepare<'a, 'b> {
    /// The layer's parameters.
    pub params: &'b [View<'a>],
    /// The shapes of the bottoms.
    pub bottoms: &'b [Shape],
    /// Their layouts.
    pub layouts: &'b [Layout],
    /// The layout of top 0.
    pub top: Layout,
    /// y ← y·scale + shift for each channel of top 0, after all else.
    pub affine: Option<(Vec<f32>, Vec<f32>)>,
    /// Whether backward will follow.
    pub backward: bool,
    /// When weights that are 0 are left out.
    pub sparse: UseSparse,
    /// What was made before of other values of the same parameters: memory to use again.
    pub old: Option<Prepared>,
    /// The threads to make it with.
    pub crew: &'b Crew<'b>,
}

/// A learnable array of a layer, before it has values.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// The sizes.
    pub shape: Shape,
    /// How it starts.
    pub filler: crate::proto::caffe::FillerParameter,
    /// Whether pruning may take values from it (weights, not biases).
    pub prunable: bool,
    /// Whether it counts as learnable (BatchNorm's running statistics do not).
    pub learnable: bool,
}

impl ParamSpec {
    /// A weight: prunable and learnable.
    pub fn weight(
        shape: impl Into<Shape>,
        filler: Option<&crate::proto::caffe::FillerParameter>,
    ) -> Self {
        Self {
            shape: shape.into(),
            filler: filler.cloned().unwrap_or_default(),
            prunable: true,
            learnable: true,
        }
    }

    /// A bias: learnable, never pruned.
    pub fn bias(
        shape: impl Into<Shape>,
        filler: Option<&crate::proto::caffe::FillerParameter>,
    ) -> Self {
        Self {
            prunable: false,
            ..Self::weight(shape, filler)
        }
    }
}

/// What a layer's backward needs from its forward of the same group, and scratch space that lasts.
#[derive(Debug, Default)]
pub struct Keep {
    /// Numbers (softmax probabilities, dropout scales …); the layer sizes them.
    pub floats: Vec<f32>,
    /// Indices (pooling's arg-max …); the layer sizes them.
    pub indices: Vec<u32>,
    /// Scratch whose content does not outlive a call (im2col columns …).
    pub scratch: Vec<f32>,
    /// The states before the first step, of a layer that [`Layer::carries`] some: what the batch before has
    /// left. Empty at the start, which is the same as zeros.
    pub before: Vec<Vec<f32>>,
    /// Those after the last step, for the next batch; such a layer's forward leaves them.
    pub after: Vec<Vec<f32>>,
}

impl Keep {
    /// `n` floats of scratch with any content, reusing what is there.
    pub fn scratch(&mut self, n: usize) -> &mut [f32] {
        if self.scratch.len() < n {
            self.scratch.resize(n, 0.0);
        }
        &mut self.scratch[..n]
    }
}

/// What a forward pass gets and fills.
pub struct Forward<'a, 'b> {
    /// The layer's parameters, in order.
    pub params: &'b [View<'a>],
    /// The bottoms. Bottom 0 of an in-place layer has its shape but no data: the numbers are in top 0.
    pub bottoms: &'b [View<'a>],
    /// The tops, to be overwritten. A layer whose top's size only the data decide (Filter) sets a
    /// shape of fewer elements than planned.
    pub tops: &'b mut [ViewMut<'a>],
    /// What backward will need.
    pub keep: &'b mut Keep,
    /// What [`Layer::prepare`] made.
    pub prepared: Option<&'b Prepared>,
    /// Negative results shall become 0 (of a layer that [`Layer::fuses`]).
    pub relu: bool,
    /// The results shall be added to what is in top 0 (of such a layer).
    pub add: bool,
    /// Random numbers of this layer and iteration.
    pub random: Random,
    /// The number within the batch of the group's first sample: random indices count from it.
    pub first: usize,
    /// The threads that may share the work. The result must not depend on them.
    pub crew: &'b Crew<'b>,
    /// New values of the layer's own parameters, by their index, where forward changes them
    /// (BatchNorm's running statistics in TRAIN mode; such a layer couples the whole batch).
    pub updates: &'b mut Vec<(usize, Vec<f32>)>,
}

impl Forward<'_, '_> {
    /// For layers that work in place: top 0, holding bottom 0's numbers.
    pub fn carry(&mut self) -> &mut [f32] {
        let top = &mut *self.tops[0].data;
        if !self.bottoms[0].data.is_empty() {
            top.copy_from_slice(self.bottoms[0].data);
        }
        top
    }
}

/// What a backward pass gets and fills.
pub struct Backward<'a, 'b> {
    /// The layer's parameters.
    pub params: &'b [View<'a>],
    /// The bottoms' data. Of an in-place layer, bottom 0's data is gone (empty).
    pub bottoms: &'b [View<'a>],
    /// The tops' data.
    pub tops: &'b [View<'a>],
    /// The gradients of the tops (of a loss, its weight). Of an in-place layer, top 0's is empty: it is
    /// in bottom 0's gradient.
    pub top_diffs: &'b [View<'a>],
    /// The gradients of the bottoms, to be overwritten; `None` where nobody asks.
    pub bottom_diffs: &'b mut [Option<ViewMut<'a>>],
    /// The gradients of the parameters, to be *added to*; `None` where nobody asks.
    pub param_diffs: &'b mut [Option<&'a mut [f32]>],
    /// What forward left.
    pub keep: &'b mut Keep,
    /// What [`Layer::prepare`] made.
    pub prepared: Option<&'b Prepared>,
    /// [`Layer::normaliser`] of the whole batch.
    pub normaliser: f32,
    /// The threads that may share the work. The result must not depend on them.
    pub crew: &'b Crew<'b>,
}

impl Backward<'_, '_> {
    /// For layers that work in place: bottom 0's gradient, holding top 0's; `None` where nobody asks.
    pub fn carry(&mut self) -> Option<&mut [f32]> {
        let top = self.top_diffs[0].data;
        let diff = &mut *self.bottom_diffs[0].as_mut()?.data;
        if !top.is_empty() {
            diff.copy_from_slice(top);
        }
        Some(diff)
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

    /// How samples depend on each other. `bottoms` passed [`Layer::shapes`].
    fn coupling(&self, _bottoms: &[Shape]) -> Coupling {
        Coupling::Free
    }

    /// What the sum that a [`Coupling::Mean`] layer leaves in top 0 is divided by. `bottoms` are those
    /// of the whole batch; only the labels' data are sure to be there.
    fn normaliser(&self, _bottoms: &[View]) -> f32 {
        1.0
    }

    /// Whether top 0 may be the same buffer as bottom 0 (the prototxt decides whether it is).
    fn in_place(&self) -> bool {
        false
    }

    /// The probability with which a Dropout layer drops, to be changed between passes; other layers have none.
    fn dropout_ratio(&mut self) -> Option<&mut f32> {
        None
    }

    /// Whether backward reads bottom 0's data: a layer that works in place then does so only where no
    /// backward follows; in training the plan gives it a buffer of its own.
    fn backward_reads_bottom(&self) -> bool {
        false
    }

    /// Whether backward reads the tops' data, so that nothing may be written over them before.
    fn backward_reads_tops(&self) -> bool {
        false
    }

    /// Caffe's loss weight of top `i` where the prototxt gives none: 1 for top 0 of a loss.
    fn default_loss_weight(&self, _top: usize) -> f32 {
        0.0
    }

    /// Whether only the data decide how many rows the tops have; [`Layer::shapes`] gives the most.
    fn data_decide_rows(&self) -> bool {
        false
    }

    /// Whether a gradient can flow to bottom `i` (not to labels).
    fn propagates(&self, _bottom: usize) -> bool {
        true
    }

    /// Caffe's sentence where it stops when it is asked for the gradient of bottom `i`; `None` where it
    /// computes one, or passes over it in silence.
    fn refuses(&self, _bottom: usize) -> Option<&'static str> {
        None
    }

    /// Whether the layer has a backward at all (Accuracy has none).
    fn has_backward(&self) -> bool {
        true
    }

    /// Multiply-accumulates of one forward pass over `bottoms`.
    fn macs(&self, _bottoms: &[Shape]) -> u64 {
        0
    }

    /// The layouts in which the layer can run for bottoms that passed [`Layer::shapes`].
    fn layouts(&self, _bottoms: &[Shape]) -> Layouts {
        Layouts::Planes
    }

    /// Whether the layer, channels last, reads bottoms in C order too.
    fn takes_planes(&self) -> bool {
        false
    }

    /// Whether the layer, channels last, can write its top 0, and read its gradient, as a slice of the
    /// channels of a wider array.
    fn takes_slices(&self) -> bool {
        false
    }

    /// Whether top 0 is nothing but the channels of all bottoms, one bottom after the other.
    fn joins_channels(&self, _bottoms: &[Shape]) -> bool {
        false
    }

    /// Whether the layer can do on its results, before it stores them, what [`Layer::affine`] of another
    /// layer says, then a sum with what is there, then a ReLU.
    fn fuses(&self) -> bool {
        false
    }

    /// Whether the layer is y = x₀ + x₁.
    fn is_sum(&self, _bottoms: usize) -> bool {
        false
    }

    /// Whether the layer is y = max(x, 0).
    fn is_relu(&self) -> bool {
        false
    }

    /// Whether the layer is y = x·scale + shift for each channel, with values from its parameters alone.
    fn is_affine(&self, _bottoms: &[Shape]) -> bool {
        false
    }

    /// The scale and shift of such a layer.
    fn affine(&self, _params: &[View]) -> (Vec<f32>, Vec<f32>) {
        (Vec::new(), Vec::new())
    }

    /// What forward and backward want to have made of the parameters, once for all groups of a batch and
    /// again only when the parameters change.
    fn prepare(&self, _p: Prepare) -> Option<Prepared> {
        None
    }

    /// The name of the kernel that does the work, for `dsd time`; it can depend on the weights, as they are
    /// prepared.
    fn kernel(
        &self,
        _bottoms: &[Shape],
        _layouts: &[Layout],
        _prepared: Option<&Prepared>,
    ) -> &'static str {
        "plain"
    }

    /// What one forward needs beside tops, for the memory that is logged before a run.
    fn keep_bytes(&self, _bottoms: &[Shape]) -> usize {
        0
    }

    /// The sizes of the states that the layer hands on from one batch to the next (LSTM, RNN; else none).
    fn carries(&self, _bottoms: &[Shape]) -> Vec<usize> {
        Vec::new()
    }

    /// Computes the tops.
    fn forward(&self, f: &mut Forward) -> Result<()>;

    /// Computes the bottoms' gradients and adds to the parameters'.
    fn backward(&self, b: &mut Backward) -> Result<()>;
}

/// The layer that `param` describes. Data layers are sources of a net, not layers of it: see
/// [`crate::net::graph`].
pub fn create(param: &LayerParameter, mode: Mode) -> Result<Box<dyn Layer>> {
    Ok(match param.r#type() {
        "AbsVal" => Box::new(abs_val::AbsVal::new(param, mode)?),
        "Accuracy" => Box::new(accuracy::Accuracy::new(param, mode)?),
        "ArgMax" => Box::new(argmax::ArgMax::new(param, mode)?),
        "BatchNorm" => Box::new(batch_norm::BatchNorm::new(param, mode)?),
        "BatchReindex" => Box::new(batch_reindex::BatchReindex::new(param, mode)?),
        "Bias" => Box::new(bias::Bias::new(param, mode)?),
        "BNLL" => Box::new(bnll::Bnll::new(param, mode)?),
        "Clip" => Box::new(clip::Clip::new(param, mode)?),
        "Concat" => Box::new(concat::Concat::new(param, mode)?),
        "ContrastiveLoss" => Box::new(contrastive_loss::ContrastiveLoss::new(param, mode)?),
        "Convolution" => Box::new(convolution::Convolution::new(param, mode)?),
        "Crop" => Box::new(crop::Crop::new(param, mode)?),
        "Deconvolution" => Box::new(deconvolution::Deconvolution::new(param, mode)?),
        "Dropout" => Box::new(dropout::Dropout::new(param, mode)?),
        "Eltwise" => Box::new(eltwise::Eltwise::new(param, mode)?),
        "ELU" => Box::new(elu::Elu::new(param, mode)?),
        "Embed" => Box::new(embed::Embed::new(param, mode)?),
        "EuclideanLoss" => Box::new(euclidean_loss::EuclideanLoss::new(param, mode)?),
        "Exp" => Box::new(exp::Exp::new(param, mode)?),
        "Filter" => Box::new(filter::Filter::new(param, mode)?),
        "Flatten" => Box::new(flatten::Flatten::new(param, mode)?),
        "HingeLoss" => Box::new(hinge_loss::HingeLoss::new(param, mode)?),
        "Im2col" => Box::new(im2col::Im2col::new(param, mode)?),
        "InfogainLoss" => Box::new(infogain_loss::InfogainLoss::new(param, mode)?),
        "HDF5Output" => Box::new(hdf5_output::Hdf5Output::new(param, mode)?),
        "InnerProduct" => Box::new(inner_product::InnerProduct::new(param, mode)?),
        "Log" => Box::new(log::Log::new(param, mode)?),
        "LRN" => Box::new(lrn::Lrn::new(param, mode)?),
        "LSTM" => Box::new(lstm::Lstm::new(param, mode)?),
        "LSTMUnit" => Box::new(lstm_unit::LstmUnit::new(param, mode)?),
        "MultinomialLogisticLoss" => Box::new(
            multinomial_logistic_loss::MultinomialLogisticLoss::new(param, mode)?,
        ),
        "MVN" => Box::new(mvn::Mvn::new(param, mode)?),
        "Parameter" => Box::new(parameter::Parameter::new(param, mode)?),
        "Pooling" => Box::new(pooling::Pooling::new(param, mode)?),
        "Power" => Box::new(power::Power::new(param, mode)?),
        "PReLU" => Box::new(prelu::PReLU::new(param, mode)?),
        "Reduction" => Box::new(reduction::Reduction::new(param, mode)?),
        "ReLU" => Box::new(relu::ReLU::new(param, mode)?),
        "Reshape" => Box::new(reshape::Reshape::new(param, mode)?),
        "RNN" => Box::new(rnn::Rnn::new(param, mode)?),
        "Scale" => Box::new(scale::Scale::new(param, mode)?),
        "Sigmoid" => Box::new(sigmoid::Sigmoid::new(param, mode)?),
        "SigmoidCrossEntropyLoss" => Box::new(
            sigmoid_cross_entropy_loss::SigmoidCrossEntropyLoss::new(param, mode)?,
        ),
        "Silence" => Box::new(silence::Silence::new(param, mode)?),
        "Slice" => Box::new(slice::Slice::new(param, mode)?),
        "Softmax" => Box::new(softmax::Softmax::new(param, mode)?),
        "SoftmaxWithLoss" => Box::new(softmax_loss::SoftmaxLoss::new(param, mode)?),
        "Split" => Box::new(split::Split::new(param, mode)?),
        "SPP" => Box::new(spp::Spp::new(param, mode)?),
        "Swish" => Box::new(swish::Swish::new(param, mode)?),
        "TanH" => Box::new(tanh::TanH::new(param, mode)?),
        "Threshold" => Box::new(threshold::Threshold::new(param, mode)?),
        "Tile" => Box::new(tile::Tile::new(param, mode)?),
        "Python" => {
            bail!("layers of type Python run Python code inside Caffe and cannot be run here")
        }
        "" => bail!("the layer has no type"),
        other => bail!("{}", types::unknown(other)),
    })
}

/// Checks that a layer has `n` bottoms and gives them.
fn take<const N: usize>(bottoms: &[Shape]) -> Result<&[Shape; N]> {
    match bottoms.try_into() {
        Ok(bottoms) => Ok(bottoms),
        Err(_) => bail!(
            "it takes {N} bottom{}, but {} are named",
            if N == 1 { "" } else { "s" },
            bottoms.len()
        ),
    }
}

/// Caffe's axis number (negative counts from the end) as an index into `shape`; `name` is the
/// prototxt's word for it.
fn axis(shape: &Shape, axis: i32, name: &str) -> Result<usize> {
    match shape.axis(axis) {
        Some(axis) => Ok(axis),
        None => bail!(
            "{name} {axis} is out of range: bottom 0 has shape {shape}, {} axes",
            shape.axes()
        ),
    }
}

/// [`Coupling::Free`] unless a layer works along or across the outermost axis.
fn free_if(free: bool) -> Coupling {
    if free {
        Coupling::Free
    } else {
        Coupling::Whole
    }
}
