//! Whole nets: gradients against differences of the loss, and a batch cut into groups against its
//! samples one by one.

use crate::common::{assert_close, assert_near};
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass, Weights};
use dsd::proto::{NetParameter, Parsed, parse};
use dsd::random::{Purpose, Random};
use dsd::tensor::{Shape, Tensor};

/// A blob that three layers read (`conv`), layers in place, a parameter that two layers share, sums
/// and products, and two losses with weights. `{whole}` takes a layer that keeps the batch whole.
const NET: &str = r#"
name: "tangled"
layer { name: "data" type: "Input" top: "data" top: "label" }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" } bias_filler { type: "constant" value: 0.1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.8 } }
layer { name: "a" type: "Convolution" bottom: "conv" top: "a" param { name: "shared" } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu_a" type: "ReLU" bottom: "a" top: "a" relu_param { negative_slope: 0.75 } }
layer { name: "b" type: "Convolution" bottom: "conv" top: "b" param { name: "shared" } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" bottom: "conv" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: -0.5 coeff: 0.7 } }
layer { name: "product" type: "Eltwise" bottom: "b" bottom: "sum" top: "product" eltwise_param { operation: PROD } }
layer { name: "cat" type: "Concat" bottom: "sum" bottom: "product" bottom: "sum" top: "cat" }
layer { name: "relu_cat" type: "ReLU" bottom: "cat" top: "cat" relu_param { negative_slope: 0.7 } }
{whole}
layer { name: "max" type: "Pooling" bottom: "cat" top: "max" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "mean" type: "Pooling" bottom: "cat" top: "mean" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "flat" type: "Flatten" bottom: "mean" top: "flat" }
layer { name: "ip" type: "InnerProduct" bottom: "max" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "ip2" type: "InnerProduct" bottom: "flat" top: "ip2" param { lr_mult: 1 } param { lr_mult: 0 }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "all" type: "Eltwise" bottom: "ip" bottom: "ip2" top: "all" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "all" bottom: "label" top: "loss" loss_weight: 0.6 }
layer { name: "other" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "other" loss_weight: 1.5
  loss_param { ignore_label: 3 } }
"#;

const SIZES: [usize; 4] = [1, 2, 6, 6];

fn net(batch: usize, whole: &str) -> Net {
    let parsed: Parsed<NetParameter> = parse(&NET.replace("{whole}", whole), "net").unwrap();
    let graph = Graph::new(&parsed, &State::new(Mode::Train)).unwrap();
    let shapes = [Shape::new(SIZES).with_rows(batch), Shape::new([batch])];
    let options = Options {
        backward: true,
        force_backward: true,
        ..Default::default()
    };
    crate::common::compute_as_asked();
    Net::new(graph, &shapes, &options).unwrap()
}

/// Pictures and labels; among the labels is the one that a loss ignores.
fn batch(rows: usize) -> Vec<Tensor> {
    let random = Random::new(11, Purpose::Transform, 0);
    let shape = Shape::new(SIZES).with_rows(rows);
    let data = (0..shape.count() as u64).map(|i| 2.0 * random.unit(i) - 1.0);
    let labels = (0..rows as u64).map(|i| random.below(1_000_000 + i, 5) as f32);
    vec![
        Tensor {
            data: data.collect(),
            shape,
        },
        Tensor {
            data: labels.collect(),
            shape: Shape::new([rows]),
        },
    ]
}

fn loss(net: &Net, weights: &Weights, feed: &[Tensor]) -> f64 {
    f64::from(net.forward(&Pass::new(1, 0), weights, &feed).unwrap().loss)
}

/// Gradients of the parameters and of the data.
fn gradients(net: &Net, weights: &Weights, feed: &[Tensor]) -> (Vec<Vec<f32>>, Tensor) {
    let mut pass = Pass::new(1, 0);
    pass.wanted_diffs = vec![net.inputs()[0]];
    let mut grads = net.zero_gradients();
    let mut outputs = net
        .forward_backward(&pass, weights, &feed, &mut grads)
        .unwrap();
    (grads, outputs.diffs.remove(&net.inputs()[0]).unwrap())
}

/// Asserts that a gradient fits a slope, but for the rounding of the losses and the kinks.
fn assert_slope(name: &str, gradient: f64, slope: f64) {
    let off = (gradient - slope).abs();
    let limit = 5e-3 * slope.abs() + 5e-4;
    assert!(off <= limit, "{name}: gradient {gradient}, slope {slope}");
}

#[test]
fn gradients_of_a_tangled_net_are_the_slopes_of_its_loss() {
    let net = net(20, "");
    let (weights, feed) = (net.fill(3).unwrap(), batch(20));
    // conv, a (its weights shared with b), b's bias, ip, ip2.
    let labels: Vec<String> = net.params().iter().map(|p| p.label()).collect();
    assert_eq!(
        labels,
        [
            "conv:0", "conv:1", "a:0", "a:1", "b:1", "ip:0", "ip:1", "ip2:0", "ip2:1"
        ]
    );
    let (grads, data_diff) = gradients(&net, &weights, &feed);
    let random = Random::new(12, Purpose::Transform, 0);
    // The slope along random directions, near the gradient so that it stands out of the rounding; the
    // steps are short, and the slopes of the ReLUs near 1, because of the kinks.
    let mix = |gradient: &[f32], stream: u64| -> Vec<f32> {
        let noise = random.branch(stream);
        let size = gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        let mixed = gradient.iter().enumerate();
        let mixed: Vec<f32> = mixed
            .map(|(i, g)| g + size * (noise.unit(i as u64) - 0.5))
            .collect();
        let norm = mixed.iter().map(|d| d * d).sum::<f32>().sqrt();
        mixed.iter().map(|d| d / norm).collect()
    };
    let moved = |values: &[f32], direction: &[f32], step: f32| -> Vec<f32> {
        values
            .iter()
            .zip(direction)
            .map(|(v, d)| v + step * d)
            .collect()
    };
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    const STEP: f32 = 5e-4;
    for (id, label) in labels.iter().enumerate() {
        for stream in 0..4 {
            let direction = mix(&grads[id], 10 * id as u64 + stream);
            let at = |step: f32| {
                let mut w = weights.clone();
                w[id].data = moved(&w[id].data, &direction, step);
                loss(&net, &w, &feed)
            };
            let slope = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
            assert_slope(label, dot(&grads[id], &direction), slope);
        }
    }
    for stream in 0..4 {
        let direction = mix(&data_diff.data, 1000 + stream);
        let at = |step: f32| {
            let mut f = feed.clone();
            f[0].data = moved(&f[0].data, &direction, step);
            loss(&net, &weights, &f)
        };
        let slope = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
        assert_slope("data", dot(&data_diff.data, &direction), slope);
    }
}

/// Row `i` of every array of a batch.
fn row(feed: &[Tensor], i: usize) -> Vec<Tensor> {
    let part = |t: &Tensor| {
        let each = t.shape.count_from(1);
        let shape = t.shape.with_rows(1);
        Tensor {
            shape,
            data: t.data[i * each..(i + 1) * each].to_vec(),
        }
    };
    feed.iter().map(part).collect()
}

#[test]
fn a_batch_in_groups_has_the_gradients_of_its_samples_one_by_one() {
    let (grouped, single) = (net(20, ""), net(1, ""));
    assert_eq!(grouped.cut(), (10, 2, None));
    let (weights, feed) = (grouped.fill(3).unwrap(), batch(20));
    let (grads, data_diff) = gradients(&grouped, &weights, &feed);
    // One by one, each loss must be divided by the batch's own count: 20, and the labels not ignored.
    let valid = feed[1].data.iter().filter(|l| **l != 3.0).count();
    assert!(valid < 20 && valid > 10);
    let mut sums: Vec<Vec<f64>> = grads.iter().map(|g| vec![0.0; g.len()]).collect();
    let mut data_diffs: Vec<f32> = Vec::new();
    let mut losses = 0.0;
    let value = |name: &str| single.graph().value(name).unwrap();
    for i in 0..20 {
        let one = |v: f32| Tensor {
            shape: Shape::default(),
            data: vec![v],
        };
        // In place of the loss weights.
        let tops = [
            (value("loss"), one(0.6 / 20.0)),
            (value("other"), one(1.5 / valid as f32)),
        ];
        let mut pass = Pass::new(1, 0);
        pass.top_diffs = &tops;
        pass.wanted = tops.iter().map(|t| t.0).collect();
        pass.wanted_diffs = vec![single.inputs()[0]];
        let mut own = single.zero_gradients();
        let outputs = single
            .forward_backward(&pass, &weights, &row(&feed, i), &mut own)
            .unwrap();
        for (sum, own) in sums.iter_mut().zip(&own) {
            sum.iter_mut()
                .zip(own)
                .for_each(|(s, g)| *s += f64::from(*g));
        }
        data_diffs.extend(&outputs.diffs[&single.inputs()[0]].data);
        for (v, weight) in &tops {
            losses += f64::from(outputs.values[v].data[0] * weight.data[0]);
        }
    }
    assert_close("loss", loss(&grouped, &weights, &feed), losses, 1e-5);
    for ((param, grad), sum) in grouped.params().iter().zip(&grads).zip(&sums) {
        let sum: Vec<f32> = sum.iter().map(|s| *s as f32).collect();
        assert_near(&param.label(), grad, &sum, 1e-5);
    }
    assert_near("data", &data_diff.data, &data_diffs, 1e-5);
}

#[test]
fn a_batch_in_groups_has_the_gradients_of_the_batch_run_whole() {
    // A softmax over the samples, whose output adds nothing to the losses.
    let whole = r#"
layer { name: "over" type: "Softmax" bottom: "cat" top: "over" softmax_param { axis: 0 } }
layer { name: "none" type: "Eltwise" bottom: "over" bottom: "cat" top: "none" eltwise_param { coeff: 0 coeff: 1 } }"#;
    let (grouped, whole) = (net(20, ""), net(20, whole));
    assert_eq!(whole.cut(), (1, 20, Some("over")));
    let (weights, feed) = (grouped.fill(3).unwrap(), batch(20));
    let (grads, data_diff) = gradients(&grouped, &weights, &feed);
    let (want, want_diff) = gradients(&whole, &weights, &feed);
    for ((param, grad), want) in grouped.params().iter().zip(&grads).zip(&want) {
        assert_near(&param.label(), grad, want, 1e-5);
    }
    assert_near("data", &data_diff.data, &want_diff.data, 1e-5);
}

#[test]
fn a_parameter_that_does_not_learn_gets_no_gradient() {
    let parsed: Parsed<NetParameter> = parse(&NET.replace("{whole}", ""), "net").unwrap();
    let graph = Graph::new(&parsed, &State::new(Mode::Train)).unwrap();
    let shapes = [Shape::new(SIZES).with_rows(4), Shape::new([4])];
    let options = Options {
        backward: true,
        ..Default::default()
    };
    crate::common::compute_as_asked();
    let net = Net::new(graph, &shapes, &options).unwrap();
    let frozen = net
        .params()
        .iter()
        .position(|p| p.label() == "ip2:1")
        .unwrap();
    let empty: Vec<usize> = net
        .zero_gradients()
        .iter()
        .enumerate()
        .filter(|(_, g)| g.is_empty())
        .map(|(id, _)| id)
        .collect();
    assert_eq!(empty, [frozen]);
}
