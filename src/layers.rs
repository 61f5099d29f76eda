//! The layers: one file a type (those that compute each element from itself alone share `neuron.rs`), and the one
//! match from a type's name to its layer.
//!
//! A layer is what the prototxt says and nothing more: it holds no weights and no run-time state, so
//! that many groups of samples can pass through it at once. Weights live in the net's parameters; what
//! backward needs from forward lives in the group's [`Keep`]; what is made of the weights, in a [`Kernel`].
//!
//! **To add a layer**: write `src/layers/NAME.rs` with `pub fn new(param: &LayerParameter, mode: Mode)
//! -> Result<Self>` and `impl Layer`, and add one arm to [`create`].

pub mod accuracy;
pub mod argmax;
pub mod axpy;
pub mod batch_norm;
pub mod batch_reindex;
pub mod bias;
mod call;
#[cfg(test)]
mod check;
pub mod concat;
pub mod contrastive_loss;
pub mod convolution;
pub mod crop;
pub mod deconvolution;
pub mod dropout;
pub mod eltwise;
pub mod embed;
pub mod euclidean_loss;
mod facts;
pub mod filter;
pub mod flatten;
pub mod hdf5_output;
pub mod hinge_loss;
pub mod im2col;
pub mod infogain_loss;
pub mod inner_product;
mod kernel;
mod labels;
mod layer;
mod loss;
pub mod lrn;
pub mod lstm;
pub mod lstm_unit;
pub mod multinomial_logistic_loss;
pub mod mvn;
pub mod neuron;
pub mod normalize;
pub mod parameter;
pub mod permute;
pub mod pooling;
mod precision;
pub mod prelu;
mod recurrent;
pub mod reduction;
pub mod reshape;
pub mod rnn;
pub mod roi_pooling;
pub mod scale;
pub mod shuffle_channel;
pub mod sigmoid_cross_entropy_loss;
pub mod silence;
pub mod slice;
pub mod smooth_l1_loss;
pub mod softmax;
pub mod softmax_loss;
pub mod split;
pub mod spp;
pub mod tile;
pub mod types;
mod windows;

pub use call::{Backward, Forward, Keep};
pub use facts::{Coupling, Facts, Halves, Layouts, Role};
pub use kernel::{Kernel, Lower};
pub use layer::{Layer, Mode, ParamSpec};
pub use precision::Precision;

use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// The layer that `param` describes. Data layers are sources of a net, not layers of it: see
/// [`crate::net::graph`].
pub fn create(param: &LayerParameter, mode: Mode) -> Result<Box<dyn Layer>> {
    Ok(match param.r#type() {
        "AbsVal" | "BNLL" | "Clip" | "ELU" | "Exp" | "Log" | "Power" | "ReLU" | "Sigmoid"
        | "Swish" | "TanH" | "Threshold" => Box::new(neuron::Neuron::new(param)?),
        "Accuracy" => Box::new(accuracy::Accuracy::new(param, mode)?),
        "ArgMax" => Box::new(argmax::ArgMax::new(param, mode)?),
        "Axpy" => Box::new(axpy::Axpy::new(param, mode)?),
        "BatchNorm" => Box::new(batch_norm::BatchNorm::new(param, mode)?),
        "BatchReindex" => Box::new(batch_reindex::BatchReindex::new(param, mode)?),
        "Bias" => Box::new(bias::Bias::new(param, mode)?),
        "Concat" => Box::new(concat::Concat::new(param, mode)?),
        "ContrastiveLoss" => Box::new(contrastive_loss::ContrastiveLoss::new(param, mode)?),
        "Convolution" => Box::new(convolution::Convolution::new(param, mode)?),
        "Crop" => Box::new(crop::Crop::new(param, mode)?),
        "Deconvolution" => Box::new(deconvolution::Deconvolution::new(param, mode)?),
        "Dropout" => Box::new(dropout::Dropout::new(param, mode)?),
        "Eltwise" => Box::new(eltwise::Eltwise::new(param, mode)?),
        "Embed" => Box::new(embed::Embed::new(param, mode)?),
        "EuclideanLoss" => Box::new(euclidean_loss::EuclideanLoss::new(param, mode)?),
        "Filter" => Box::new(filter::Filter::new(param, mode)?),
        "Flatten" => Box::new(flatten::Flatten::new(param, mode)?),
        "HingeLoss" => Box::new(hinge_loss::HingeLoss::new(param, mode)?),
        "Im2col" => Box::new(im2col::Im2col::new(param, mode)?),
        "InfogainLoss" => Box::new(infogain_loss::InfogainLoss::new(param, mode)?),
        "HDF5Output" => Box::new(hdf5_output::Hdf5Output::new(param, mode)?),
        "InnerProduct" => Box::new(inner_product::InnerProduct::new(param, mode)?),
        "LRN" => Box::new(lrn::Lrn::new(param, mode)?),
        "LSTM" => Box::new(lstm::Lstm::new(param, mode)?),
        "LSTMUnit" => Box::new(lstm_unit::LstmUnit::new(param, mode)?),
        "MultinomialLogisticLoss" => Box::new(
            multinomial_logistic_loss::MultinomialLogisticLoss::new(param, mode)?,
        ),
        "MVN" => Box::new(mvn::Mvn::new(param, mode)?),
        "Normalize" => Box::new(normalize::Normalize::new(param, mode)?),
        "Parameter" => Box::new(parameter::Parameter::new(param, mode)?),
        "Permute" => Box::new(permute::Permute::new(param, mode)?),
        "Pooling" => Box::new(pooling::Pooling::new(param, mode)?),
        "PReLU" => Box::new(prelu::PReLU::new(param, mode)?),
        "Reduction" => Box::new(reduction::Reduction::new(param, mode)?),
        "Reshape" => Box::new(reshape::Reshape::new(param, mode)?),
        "RNN" => Box::new(rnn::Rnn::new(param, mode)?),
        "ROIPooling" => Box::new(roi_pooling::RoiPooling::new(param, mode)?),
        "Scale" => Box::new(scale::Scale::new(param, mode)?),
        "ShuffleChannel" => Box::new(shuffle_channel::ShuffleChannel::new(param, mode)?),
        "SigmoidCrossEntropyLoss" => Box::new(
            sigmoid_cross_entropy_loss::SigmoidCrossEntropyLoss::new(param, mode)?,
        ),
        "Silence" => Box::new(silence::Silence::new(param, mode)?),
        "Slice" => Box::new(slice::Slice::new(param, mode)?),
        "SmoothL1Loss" => Box::new(smooth_l1_loss::SmoothL1Loss::new(param, mode)?),
        "Softmax" => Box::new(softmax::Softmax::new(param, mode)?),
        "SoftmaxWithLoss" => Box::new(softmax_loss::SoftmaxLoss::new(param, mode)?),
        "Split" => Box::new(split::Split::new(param, mode)?),
        "SPP" => Box::new(spp::Spp::new(param, mode)?),
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
