//! A net that there is, made to read other pictures and to tell other classes.

use super::Pictures;
use crate::proto::caffe::{LayerParameter, NetParameter, ParamSpec};
use crate::proto::print;
use anyhow::{Result, bail};
use std::fmt::Write;

/// The learning rate of a classifier that starts from nothing, beside layers that have learned.
const NEW: f32 = 10.0;

/// A net for other pictures.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// The text of the net with data layers.
    pub train_val: String,
    /// The text of the net with an Input layer.
    pub deploy: String,
    /// The classifier's layers: what they were called, and what they are called now.
    pub renamed: Vec<(String, String)>,
}

/// The data layers of a train_val net; `sizes` are the pictures of a training batch and of a test batch, and how many
/// records a test has.
pub fn data_layers(data: &Pictures, [batch, test, records]: [usize; 3]) -> String {
    let side = data.size[1];
    let mut mean = String::new();
    for value in &data.mean {
        let _ = writeln!(mean, "    mean_value: {value}");
    }
    // A border of an eighth, and a crop at a random place.
    let moved = format!("    pad: {}\n    crop_size: {side}\n", (side / 8).max(1));
    let mirror = if data.mirror {
        "    mirror: true\n"
    } else {
        ""
    };
    let layer = |phase: &str, transform: &str, source: &str, size: usize, more: &str| {
        format!(
            "layer {{\n  name: \"data\"\n  type: \"Data\"\n  top: \"data\"\n  top: \"label\"\n  include {{ phase: {phase} }}\n  \
             transform_param {{\n{transform}{mean}    scale: 0.016\n  }}\n  data_param {{\n    source: \"{source}\"\n    \
             batch_size: {size}\n    backend: LMDB\n{more}  }}\n}}\n"
        )
    };
    let only = format!("    records: {records}\n");
    layer("TRAIN", &format!("{moved}{mirror}"), &data.train, batch, "")
        + &layer(
            "TEST",
            &format!("    crop_size: {side}\n"),
            &data.val,
            test,
            &only,
        )
}

/// The layers that tell how good the scores `bottom` are.
pub fn ends(bottom: &str, classes: usize) -> String {
    let end = |name: &str, kind: &str, more: &str| {
        format!(
            "layer {{\n  name: \"{name}\"\n  type: \"{kind}\"\n  bottom: \"{bottom}\"\n  bottom: \"label\"\n  top: \"{name}\"\n{more}}}\n"
        )
    };
    let mut text = end("loss", "SoftmaxWithLoss", "");
    text += &end("accuracy", "Accuracy", "  include { phase: TEST }\n");
    if classes > 10 {
        let five = "  include { phase: TEST }\n  accuracy_param { top_k: 5 }\n";
        text += &end("accuracy_top5", "Accuracy", five);
    }
    text
}

/// Adapts a net, given with data layers and with an Input layer, to `data`, of which it sees `crop` pixels; the last layer with
/// weights below each loss gets the classes and another name, so that it starts anew.
///
/// # Errors
/// It has no layer that classifies, or no data.
pub fn adapt(
    [train_val, deploy]: [&NetParameter; 2],
    name: &str,
    data: &Pictures,
    [batch, test, records]: [usize; 3],
    crop: usize,
) -> Result<Adapted> {
    let mut net = train_val.clone();
    let finals = classifiers(&net);
    without_relu(&mut net, &finals);
    if finals.is_empty() {
        bail!(
            "net '{}' has no classifier: expected a loss on the scores of a Convolution or InnerProduct",
            net.name()
        );
    }
    let renamed: Vec<(String, String)> = finals
        .iter()
        .map(|old| (old.clone(), format!("{old}_{name}")))
        .collect();
    net.name = Some(name.to_string());
    for layer in &mut net.layer {
        if layer.data_param.is_some() || layer.r#type() == "Data" {
            let trains = layer
                .include
                .iter()
                .any(|r| r.phase() == crate::proto::caffe::Phase::Train);
            let param = layer.data_param.get_or_insert_default();
            param.source = Some(if trains { &data.train } else { &data.val }.clone());
            param.batch_size = u32::try_from(if trains { batch } else { test }).ok();
            param.records = (!trains).then_some(records as u64);
            let transform = layer.transform_param.get_or_insert_default();
            transform.crop_size = u32::try_from(crop).ok();
            transform.mirror = (trains && data.mirror).then_some(true);
            transform.mean_file = None;
            transform.mean_value = data.mean.clone();
        }
        rename(layer, &renamed, data.classes, true);
    }
    let mut deploy = deploy.clone();
    without_relu(&mut deploy, &finals);
    deploy.name = Some(name.to_string());
    for layer in &mut deploy.layer {
        rename(layer, &renamed, data.classes, false);
    }
    Ok(Adapted {
        train_val: print(&net),
        deploy: print(&deploy),
        renamed,
    })
}

/// Gives a classifier's layer its name and outputs, and with `trains` the rates of a layer that starts anew.
fn rename(layer: &mut LayerParameter, renamed: &[(String, String)], classes: usize, trains: bool) {
    let Some((_, new)) = renamed.iter().find(|(old, _)| old == layer.name()) else {
        return;
    };
    layer.name = Some(new.clone());
    let classes = u32::try_from(classes).ok();
    if let Some(param) = &mut layer.convolution_param {
        param.num_output = classes;
    }
    if let Some(param) = &mut layer.inner_product_param {
        param.num_output = classes;
    }
    if !trains {
        return;
    }
    if layer.param.is_empty() {
        layer.param = vec![ParamSpec::default(); 2];
    }
    for spec in &mut layer.param {
        spec.lr_mult = Some(spec.lr_mult() * NEW);
    }
}

/// Takes away what cuts off a classifier's negative scores: a new one, which learns fast, may have no others after a few
/// updates, and would then learn nothing more.
fn without_relu(net: &mut NetParameter, finals: &[String]) {
    let of_finals = net
        .layer
        .iter()
        .filter(|l| finals.contains(&l.name().to_string()));
    let tops: Vec<String> = of_finals.flat_map(|l| l.top.clone()).collect();
    let cuts = |l: &LayerParameter| {
        l.r#type() == "ReLU" && l.bottom == l.top && l.top.iter().any(|t| tops.contains(t))
    };
    net.layer.retain(|l| !cuts(l));
}

/// The names of the last layers with weights below each loss.
fn classifiers(net: &NetParameter) -> Vec<String> {
    let mut found = Vec::new();
    let losses = net.layer.iter().enumerate();
    for (i, loss) in losses.filter(|(_, l)| l.r#type() == "SoftmaxWithLoss") {
        let mut blob = loss.bottom.first().cloned().unwrap_or_default();
        for layer in net.layer[..i].iter().rev() {
            if !layer.top.contains(&blob) {
                continue;
            }
            if matches!(layer.r#type(), "Convolution" | "InnerProduct") {
                if !found.contains(&layer.name().to_string()) {
                    found.push(layer.name().to_string());
                }
                break;
            }
            blob = layer.bottom.first().cloned().unwrap_or_default();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Mode;
    use crate::models::{BUILTIN, DEFAULT, Family, input_shapes};
    use crate::net::graph::{Graph, State};
    use crate::net::{Net, Options};
    use crate::proto::parse;

    #[test]
    fn every_built_in_net_gets_other_classes() {
        let data = Pictures {
            train: "my_train_lmdb".into(),
            val: "my_val_lmdb".into(),
            size: [3, 256, 256],
            mean: vec![1.0, 2.0, 3.0],
            mirror: true,
            classes: 5,
        };
        for net in BUILTIN.iter().filter(|b| b.name != DEFAULT) {
            let [long, short] = [
                net.train_val(Family::Original).unwrap().message,
                net.deploy(Family::Original).unwrap().message,
            ];
            let made = adapt([&long, &short], "my", &data, [4, 10, 40], 224).unwrap();
            assert!(!made.renamed.is_empty());
            assert!(
                made.train_val.contains("my_train_lmdb") && made.train_val.contains("records: 40")
            );
            let parsed = parse(&made.deploy, "deploy.prototxt").unwrap();
            let graph = Graph::new(&parsed, &State::new(Mode::Test)).unwrap();
            let shapes = input_shapes(&graph).unwrap();
            let built = Net::new(graph, &shapes, &Options::default()).unwrap();
            let scores = built.outputs()[0];
            assert_eq!(built.shape(scores).count_from(1), 5, "{}", net.name);
            let layers = parse::<NetParameter>(&made.train_val, "t")
                .unwrap()
                .message
                .layer;
            for (_, new) in &made.renamed {
                let layer = layers.iter().find(|l| l.name() == new).unwrap();
                assert!(
                    layer.param.iter().all(|p| p.lr_mult() >= NEW),
                    "{}",
                    net.name
                );
            }
        }
    }
}
