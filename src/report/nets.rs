//! What every command that opens a net says of it, in Caffe's lines where Caffe has them: what was built, which weights
//! it got, what its outputs are worth.

use super::number::G;
use crate::net::Net;
use crate::net::weights::LoadPlan;
use crate::{info, warn};

/// Says what a net that is built gives, and what its blobs would take in Caffe.
pub fn built(net: &Net) {
    info!("Memory required for data: {}", data_bytes(net));
    for &v in net.outputs() {
        let name = &net.graph().values[v].name;
        info!("This network produces output {name}");
    }
    info!("Network initialization done.");
}

/// Says in what numbers a net's layers multiply, and what that is worth on this processor.
pub fn precision(net: &Net) {
    info!("Precision: {}", net.precision());
    if let Some(note) = net.precision_note() {
        info!("{note}");
    }
}

/// Caffe's count: four bytes for each value of every layer's tops, with those of the Split layers that it
/// puts behind blobs which several layers read.
fn data_bytes(net: &Net) -> u128 {
    let graph = net.graph();
    let count = |v: usize| net.shape(v).count() as u128;
    let mut readers = vec![0u128; graph.values.len()];
    let mut values = 0;
    for node in &graph.nodes {
        for &v in &node.bottoms {
            readers[v] += 1;
        }
        for (k, &v) in node.tops.iter().enumerate() {
            values += count(v);
            let weighted = node.param.loss_weight.get(k).is_some_and(|w| *w != 0.0);
            readers[v] += u128::from(weighted);
        }
    }
    for (v, &n) in readers.iter().enumerate().filter(|(_, n)| **n > 1) {
        values += n * count(v);
    }
    4 * values
}

/// Says which layers got weights, which did not, and what of the file was not used.
pub fn loaded(plan: &LoadPlan, file: &str) {
    info!("Weights from {file}: {} layers loaded", plan.loaded.len());
    for name in &plan.missing {
        warn!("Layer {name} is not in {file}; it keeps its initial weights");
    }
    for name in &plan.unused {
        info!("Ignoring source layer {name}");
    }
}

/// Caffe's ` (* 1 = 0.5 loss)` behind an output with a loss weight.
pub fn loss_note(weight: f32, value: f32) -> String {
    if weight == 0.0 {
        return String::new();
    }
    format!(" (* {} = {} loss)", G(weight), G(weight * value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_has_its_weight_behind_it() {
        assert_eq!(loss_note(1.0, 0.5), " (* 1 = 0.5 loss)");
        assert_eq!(loss_note(0.5, 3.0), " (* 0.5 = 1.5 loss)");
        assert_eq!(loss_note(0.0, 0.5), "");
    }
}
