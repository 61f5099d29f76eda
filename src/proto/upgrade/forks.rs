//! Fields of forks that say in their own words what BVLC's Caffe can say.

use anyhow::{Result, ensure};

use crate::proto::caffe::NetParameter;
use crate::proto::caffe::pooling_parameter::RoundMode;

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
