//! Fields and types of forks that say in their own words what BVLC's Caffe can say.

use anyhow::{Result, ensure};

use crate::proto::caffe::pooling_parameter::RoundMode;
use crate::proto::caffe::{ClipParameter, NetParameter};

/// Turns `ceil_mode`, of the SSD family and others, into `round_mode`.
pub(super) fn round_modes(net: &mut NetParameter, notes: &mut Vec<String>) -> Result<()> {
    for layer in &mut net.layer {
        let Some(pooling) = &mut layer.pooling_param else {
            continue;
        };
        let Some(ceil) = pooling.ceil_mode.take() else {
            continue;
        };
        let mode = if ceil {
            RoundMode::Ceil
        } else {
            RoundMode::Floor
        };
        ensure!(
            pooling.round_mode.is_none_or(|given| given == mode as i32),
            "layer `{}`: pooling_param has ceil_mode: {ceil} and a round_mode that says the opposite; keep one",
            layer.name.as_deref().unwrap_or_default()
        );
        if !ceil && pooling.round_mode.is_none() {
            notes.push(format!(
                "layer `{}`: converted ceil_mode: false to round_mode: FLOOR",
                layer.name.as_deref().unwrap_or_default()
            ));
        }
        pooling.round_mode = pooling.round_mode.or((!ceil).then_some(mode as i32));
    }
    Ok(())
}

/// Turns the types of forks that are a layer of Caffe's with fixed settings into that layer: a depthwise
/// convolution has a group a channel, and ReLU6 clips.
pub(super) fn types(net: &mut NetParameter, notes: &mut Vec<String>) {
    for layer in &mut net.layer {
        let became = match layer.r#type() {
            "ConvolutionDepthwise" | "ConvolutionDepthWise" | "DepthwiseConvolution" => {
                let param = layer.convolution_param.get_or_insert_default();
                // Without a group there are as many outputs as channels.
                let group = *param.group.get_or_insert(param.num_output.unwrap_or(1));
                ("Convolution", format!(" with group: {group}"))
            }
            "ReLU6" => {
                let (min, max) = (0.0, 6.0);
                layer.clip_param = Some(ClipParameter { min, max });
                ("Clip", " from 0 to 6".to_owned())
            }
            _ => continue,
        };
        notes.push(format!(
            "layer `{}`: converted {} to {}{}",
            layer.name(),
            layer.r#type(),
            became.0,
            became.1
        ));
        layer.r#type = Some(became.0.to_owned());
    }
}
