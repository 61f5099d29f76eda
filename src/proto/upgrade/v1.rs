//! V1 nets (`layers { type: CONVOLUTION blobs_lr: 1 … }`) to today's.

use anyhow::{Result, bail};

use crate::proto::caffe::param_spec;
use crate::proto::caffe::v1_layer_parameter::{DimCheckMode, LayerType};
use crate::proto::caffe::{LayerParameter, NetParameter, ParamSpec, V1LayerParameter};

/// Moves scale, mean_file, crop_size and mirror of data layers to their transform_param.
pub(super) fn move_transforms(net: &mut NetParameter, notes: &mut Vec<String>) {
    macro_rules! take {
        ($layer:expr, $param:ident) => {
            $layer.$param.as_mut().map(|p| {
                (
                    p.scale.take(),
                    p.mean_file.take(),
                    p.crop_size.take(),
                    p.mirror.take(),
                )
            })
        };
    }
    for layer in &mut net.layers {
        let taken = match layer.r#type.map(LayerType::try_from) {
            Some(Ok(LayerType::Data)) => take!(layer, data_param),
            Some(Ok(LayerType::ImageData)) => take!(layer, image_data_param),
            Some(Ok(LayerType::WindowData)) => take!(layer, window_data_param),
            _ => None,
        };
        let Some((scale, mean_file, crop_size, mirror)) = taken else {
            continue;
        };
        if scale.is_none() && mean_file.is_none() && crop_size.is_none() && mirror.is_none() {
            continue;
        }
        notes.push(format!(
            "layer `{}`: moved old data settings to transform_param",
            layer.name()
        ));
        let transform = layer.transform_param.get_or_insert_default();
        transform.scale = scale.or(transform.scale);
        transform.mean_file = mean_file.or(transform.mean_file.take());
        transform.crop_size = crop_size.or(transform.crop_size);
        transform.mirror = mirror.or(transform.mirror);
    }
}

/// Makes a `layer` of every `layers` block.
pub(super) fn convert(net: &mut NetParameter, notes: &mut Vec<String>) -> Result<()> {
    notes.push(format!(
        "converted {} layers from the V1 format (`layers`)",
        net.layers.len()
    ));
    for old in std::mem::take(&mut net.layers) {
        net.layer.push(layer(old)?);
    }
    Ok(())
}

fn layer(mut old: V1LayerParameter) -> Result<LayerParameter> {
    let mut new = LayerParameter::default();
    if let Some(number) = old.r#type {
        match LayerType::try_from(number) {
            Ok(kind) => new.r#type = Some(type_name(kind).to_owned()),
            Err(_) => bail!("layer `{}`: there is no V1 layer type {number}", old.name()),
        }
    }
    for (i, name) in std::mem::take(&mut old.param).into_iter().enumerate() {
        param(&mut new, i).name = Some(name);
    }
    for (i, &number) in old.blob_share_mode.iter().enumerate() {
        let mode = match DimCheckMode::try_from(number) {
            Ok(DimCheckMode::Strict) => param_spec::DimCheckMode::Strict,
            Ok(DimCheckMode::Permissive) => param_spec::DimCheckMode::Permissive,
            Err(_) => bail!(
                "layer `{}`: there is no blob_share_mode {number}",
                old.name()
            ),
        };
        param(&mut new, i).set_share_mode(mode);
    }
    for (i, &rate) in old.blobs_lr.iter().enumerate() {
        param(&mut new, i).lr_mult = Some(rate);
    }
    for (i, &decay) in old.weight_decay.iter().enumerate() {
        param(&mut new, i).decay_mult = Some(decay);
    }
    macro_rules! same {
        ($($field:ident)*) => { $(new.$field = old.$field;)* };
    }
    same! {
        name bottom top include exclude blobs loss_weight
        accuracy_param argmax_param concat_param contrastive_loss_param convolution_param data_param
        dropout_param dummy_data_param eltwise_param exp_param hdf5_data_param hdf5_output_param
        hinge_loss_param image_data_param infogain_loss_param inner_product_param lrn_param
        memory_data_param mvn_param pooling_param power_param relu_param sigmoid_param softmax_param
        slice_param tanh_param threshold_param window_data_param transform_param loss_param
    }
    Ok(new)
}

fn param(layer: &mut LayerParameter, i: usize) -> &mut ParamSpec {
    if layer.param.len() <= i {
        layer.param.resize_with(i + 1, ParamSpec::default);
    }
    &mut layer.param[i]
}

/// Today's name of a layer type.
fn type_name(kind: LayerType) -> &'static str {
    match kind {
        LayerType::None => "",
        LayerType::Absval => "AbsVal",
        LayerType::Accuracy => "Accuracy",
        LayerType::Argmax => "ArgMax",
        LayerType::Bnll => "BNLL",
        LayerType::Concat => "Concat",
        LayerType::ContrastiveLoss => "ContrastiveLoss",
        LayerType::Convolution => "Convolution",
        LayerType::Data => "Data",
        LayerType::Deconvolution => "Deconvolution",
        LayerType::Dropout => "Dropout",
        LayerType::DummyData => "DummyData",
        LayerType::Eltwise => "Eltwise",
        LayerType::EuclideanLoss => "EuclideanLoss",
        LayerType::Exp => "Exp",
        LayerType::Flatten => "Flatten",
        LayerType::Hdf5Data => "HDF5Data",
        LayerType::Hdf5Output => "HDF5Output",
        LayerType::HingeLoss => "HingeLoss",
        LayerType::Im2col => "Im2col",
        LayerType::ImageData => "ImageData",
        LayerType::InfogainLoss => "InfogainLoss",
        LayerType::InnerProduct => "InnerProduct",
        LayerType::Lrn => "LRN",
        LayerType::MemoryData => "MemoryData",
        LayerType::MultinomialLogisticLoss => "MultinomialLogisticLoss",
        LayerType::Mvn => "MVN",
        LayerType::Pooling => "Pooling",
        LayerType::Power => "Power",
        LayerType::Relu => "ReLU",
        LayerType::Sigmoid => "Sigmoid",
        LayerType::SigmoidCrossEntropyLoss => "SigmoidCrossEntropyLoss",
        LayerType::Silence => "Silence",
        LayerType::Slice => "Slice",
        LayerType::Softmax => "Softmax",
        LayerType::SoftmaxLoss => "SoftmaxWithLoss",
        LayerType::Split => "Split",
        LayerType::Tanh => "TanH",
        LayerType::Threshold => "Threshold",
        LayerType::WindowData => "WindowData",
    }
}
