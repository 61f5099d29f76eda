//! V0 nets, whose layers keep all settings in one flat `layer { … }` message, to V1.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::proto::caffe::pooling_parameter;
use crate::proto::caffe::v1_layer_parameter::LayerType;
use crate::proto::caffe::{NetParameter, V0LayerParameter, V1LayerParameter};

/// Makes V1 of every V0 layer; for each layer that remains, its index before (padding layers go away).
pub(super) fn convert(
    net: &mut NetParameter,
    notes: &mut Vec<String>,
) -> Result<Vec<Option<usize>>> {
    notes.push(format!(
        "converted {} layers from the V0 format (`layer` in `layers`)",
        net.layers.len()
    ));
    let origins = merge_padding(net)?;
    for connection in &mut net.layers {
        if let Some(old) = connection.layer.take() {
            let (bottom, top) = (
                std::mem::take(&mut connection.bottom),
                std::mem::take(&mut connection.top),
            );
            *connection = V1LayerParameter {
                bottom,
                top,
                ..layer(old, notes)?
            };
        }
    }
    Ok(origins)
}

/// Gives the pad of each padding layer to the convolutions and poolings above it, and drops the layer.
fn merge_padding(net: &mut NetParameter) -> Result<Vec<Option<usize>>> {
    let is_padding =
        |l: &V1LayerParameter| l.layer.as_ref().is_some_and(|v0| v0.r#type() == "padding");
    // What each layer after a padding layer gets: the bottom of that, and its pad.
    let mut padded: Vec<Option<(String, u32)>> = Vec::with_capacity(net.layers.len());
    // The layer that made each blob last; none for an input.
    let mut maker: HashMap<&str, Option<usize>> = HashMap::new();
    maker.extend(net.input.iter().map(|blob| (blob.as_str(), None)));
    for (i, connection) in net.layers.iter().enumerate() {
        let v0 = connection.layer.as_ref();
        let (name, kind) = v0.map_or(("", ""), |v0| (v0.name(), v0.r#type()));
        let mut merged = None;
        for blob in &connection.bottom {
            let Some(&source) = maker.get(blob.as_str()) else {
                bail!("layer `{name}`: no layer above makes its bottom `{blob}`");
            };
            let Some(source) = source.map(|s| &net.layers[s]).filter(|l| is_padding(l)) else {
                continue;
            };
            if !matches!(kind, "conv" | "pool") {
                bail!(
                    "layer `{name}`: only conv and pool can follow a padding layer, not `{kind}`"
                );
            }
            let [bottom] = source.bottom.as_slice() else {
                bail!("layer `{name}`: the padding layer before it must have one bottom");
            };
            if connection.bottom.len() != 1 || source.top.len() != 1 {
                bail!(
                    "layer `{name}`: it must have one bottom, and the padding layer before it one top"
                );
            }
            merged = Some((
                bottom.clone(),
                source.layer.as_ref().map_or(0, V0LayerParameter::pad),
            ));
        }
        maker.extend(connection.top.iter().map(|blob| (blob.as_str(), Some(i))));
        padded.push(merged);
    }

    let mut origins = Vec::new();
    for (i, (mut connection, merged)) in std::mem::take(&mut net.layers)
        .into_iter()
        .zip(padded)
        .enumerate()
    {
        if is_padding(&connection) {
            continue;
        }
        if let (Some((bottom, pad)), Some(layer)) = (merged, &mut connection.layer) {
            connection.bottom = vec![bottom];
            layer.pad = Some(pad);
        }
        net.layers.push(connection);
        origins.push(Some(i));
    }
    Ok(origins)
}

fn layer(old: V0LayerParameter, notes: &mut Vec<String>) -> Result<V1LayerParameter> {
    let mut new = V1LayerParameter::default();
    let kind = old.r#type().to_owned();
    let kind = kind.as_str();
    let name = old.name().to_owned();
    if old.r#type.is_some() {
        let Some(found) = layer_type(kind) else {
            bail!("layer `{name}`: there is no V0 layer type `{kind}`");
        };
        new.set_type(found);
    }
    // `give!(field: "type" => param.field, …)`: a value goes where its layer type keeps it, or is dropped.
    macro_rules! give {
        ($field:ident: $($types:pat => $param:ident.$target:ident),+) => {
            if let Some(value) = old.$field {
                match kind {
                    $($types => new.$param.get_or_insert_default().$target = wrap!($param $target value),)+
                    _ => notes.push(dropped(&name, kind, stringify!($field))),
                }
            }
        };
    }
    // Convolution has these once for every spatial axis.
    macro_rules! wrap {
        (convolution_param pad $value:ident) => {
            vec![$value]
        };
        (convolution_param kernel_size $value:ident) => {
            vec![$value]
        };
        (convolution_param stride $value:ident) => {
            vec![$value]
        };
        ($param:ident $target:ident $value:ident) => {
            Some($value)
        };
    }
    give!(num_output: "conv" => convolution_param.num_output, "innerproduct" => inner_product_param.num_output);
    give!(biasterm: "conv" => convolution_param.bias_term, "innerproduct" => inner_product_param.bias_term);
    give!(weight_filler: "conv" => convolution_param.weight_filler, "innerproduct" => inner_product_param.weight_filler);
    give!(bias_filler: "conv" => convolution_param.bias_filler, "innerproduct" => inner_product_param.bias_filler);
    give!(pad: "conv" => convolution_param.pad, "pool" => pooling_param.pad);
    give!(kernelsize: "conv" => convolution_param.kernel_size, "pool" => pooling_param.kernel_size);
    give!(group: "conv" => convolution_param.group);
    give!(stride: "conv" => convolution_param.stride, "pool" => pooling_param.stride);
    // Both enums number their values alike.
    if let Some(number) = old.pool
        && pooling_parameter::PoolMethod::try_from(number).is_err()
    {
        bail!("layer `{name}`: there is no pool method {number}");
    }
    give!(pool: "pool" => pooling_param.pool);
    give!(dropout_ratio: "dropout" => dropout_param.dropout_ratio);
    give!(local_size: "lrn" => lrn_param.local_size);
    give!(alpha: "lrn" => lrn_param.alpha);
    give!(beta: "lrn" => lrn_param.beta);
    give!(k: "lrn" => lrn_param.k);
    give!(source: "data" => data_param.source, "hdf5_data" => hdf5_data_param.source,
        "images" => image_data_param.source, "window_data" => window_data_param.source,
        "infogain_loss" => infogain_loss_param.source);
    if old.scale.is_some()
        || old.meanfile.is_some()
        || old.cropsize.is_some()
        || old.mirror.is_some()
    {
        let transform = new.transform_param.get_or_insert_default();
        transform.scale = old.scale;
        transform.mean_file = old.meanfile;
        transform.crop_size = old.cropsize;
        transform.mirror = old.mirror;
    }
    give!(batchsize: "data" => data_param.batch_size, "hdf5_data" => hdf5_data_param.batch_size,
        "images" => image_data_param.batch_size, "window_data" => window_data_param.batch_size);
    give!(rand_skip: "data" => data_param.rand_skip, "images" => image_data_param.rand_skip);
    give!(shuffle_images: "images" => image_data_param.shuffle);
    for (field, size) in [("new_height", old.new_height), ("new_width", old.new_width)] {
        let Some(size) = size else { continue };
        let Ok(size) = u32::try_from(size) else {
            bail!("layer `{name}`: {field} is {size}, below zero");
        };
        if kind != "images" {
            notes.push(dropped(&name, kind, field));
            continue;
        }
        let param = new.image_data_param.get_or_insert_default();
        match field {
            "new_height" => param.new_height = Some(size),
            _ => param.new_width = Some(size),
        }
    }
    give!(concat_dim: "concat" => concat_param.concat_dim);
    give!(det_fg_threshold: "window_data" => window_data_param.fg_threshold);
    give!(det_bg_threshold: "window_data" => window_data_param.bg_threshold);
    give!(det_fg_fraction: "window_data" => window_data_param.fg_fraction);
    give!(det_context_pad: "window_data" => window_data_param.context_pad);
    give!(det_crop_mode: "window_data" => window_data_param.crop_mode);
    if let Some(output) = old.hdf5_output_param {
        match kind {
            "hdf5_output" => new.hdf5_output_param = Some(output),
            _ => notes.push(dropped(&name, kind, "hdf5_output_param")),
        }
    }
    new.name = old.name;
    new.blobs = old.blobs;
    new.blobs_lr = old.blobs_lr;
    new.weight_decay = old.weight_decay;
    Ok(new)
}

fn dropped(name: &str, kind: &str, field: &str) -> String {
    format!("layer `{name}`: dropped `{field}`, which a V0 layer of type `{kind}` does not have")
}

fn layer_type(name: &str) -> Option<LayerType> {
    Some(match name {
        "accuracy" => LayerType::Accuracy,
        "bnll" => LayerType::Bnll,
        "concat" => LayerType::Concat,
        "conv" => LayerType::Convolution,
        "data" => LayerType::Data,
        "dropout" => LayerType::Dropout,
        "euclidean_loss" => LayerType::EuclideanLoss,
        "flatten" => LayerType::Flatten,
        "hdf5_data" => LayerType::Hdf5Data,
        "hdf5_output" => LayerType::Hdf5Output,
        "im2col" => LayerType::Im2col,
        "images" => LayerType::ImageData,
        "infogain_loss" => LayerType::InfogainLoss,
        "innerproduct" => LayerType::InnerProduct,
        "lrn" => LayerType::Lrn,
        "multinomial_logistic_loss" => LayerType::MultinomialLogisticLoss,
        "pool" => LayerType::Pooling,
        "relu" => LayerType::Relu,
        "sigmoid" => LayerType::Sigmoid,
        "softmax" => LayerType::Softmax,
        "softmax_loss" => LayerType::SoftmaxLoss,
        "split" => LayerType::Split,
        "tanh" => LayerType::Tanh,
        "window_data" => LayerType::WindowData,
        _ => return None,
    })
}
