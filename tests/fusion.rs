//! What the plan fuses, writes in place or lays channels last must not show: the same net is written
//! once so that the plan does all of it, and once so that it can do nothing (every layer has blobs of
//! its own, and a second reader), and both must agree.

use crate::common::assert_near;
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Outputs, Pass};
use dsd::proto::caffe::NetParameter;
use dsd::proto::text::parse;
use dsd::random::{Purpose, Random};
use dsd::tensor::{Shape, Tensor};

/// A stem, a fire module with a Concat, a residual block, BatchNorm and Scale. `{x}` after a name is
/// where the second form has a blob of its own.
const NET: &str = r#"
layer { name: "data" type: "Input" top: "data" }
layer { name: "stem" type: "Convolution" bottom: "data" top: "stem"
  convolution_param { num_output: 16 kernel_size: 3 stride: 2 weight_filler { type: "msra" } bias_filler { type: "gaussian" std: 0.3 } } }
layer { name: "stem_relu" type: "ReLU" bottom: "stem" top: "stem{relu}" }
layer { name: "pool" type: "Pooling" bottom: "stem{relu}" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "e1" type: "Convolution" bottom: "pool" top: "e1"
  convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "msra" } bias_filler { type: "gaussian" std: 0.3 } } }
layer { name: "e1_relu" type: "ReLU" bottom: "e1" top: "e1{relu}" }
layer { name: "e3" type: "Convolution" bottom: "pool" top: "e3"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } bias_filler { type: "gaussian" std: 0.3 } } }
layer { name: "e3_relu" type: "ReLU" bottom: "e3" top: "e3{relu}" }
layer { name: "cat" type: "Concat" bottom: "e1{relu}" bottom: "e3{relu}" bottom: "pool" top: "cat" }
layer { name: "left" type: "Convolution" bottom: "cat" top: "left"
  convolution_param { num_output: 32 kernel_size: 1 bias_term: false weight_filler { type: "msra" } } }
{left}
layer { name: "right" type: "Convolution" bottom: "cat" top: "right"
  convolution_param { num_output: 32 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
{right}
layer { name: "right_relu" type: "ReLU" bottom: "right{s}" top: "right{relu}" }
layer { name: "right2" type: "Convolution" bottom: "right{relu}" top: "right2"
  convolution_param { num_output: 32 kernel_size: 1 weight_filler { type: "msra" } } }
{right2}
layer { name: "sum" type: "Eltwise" bottom: "left{s}" bottom: "right2{s}" top: "sum" }
layer { name: "sum_relu" type: "ReLU" bottom: "sum" top: "sum{relu}" }
layer { name: "mean" type: "Pooling" bottom: "sum{relu}" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "ip" type: "InnerProduct" bottom: "sum{relu}" top: "ip" inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"#;

/// BatchNorm and Scale behind layer NAME, in TEST nets.
const NORM: &str = r#"
layer { name: "NAME_bn" type: "BatchNorm" bottom: "NAME" top: "NAME{n}" }
layer { name: "NAME_scale" type: "Scale" bottom: "NAME{n}" top: "NAME{s}" scale_param { bias_term: true } }
"#;

fn net(mode: Mode, fused: bool) -> Net {
    let mut text = NET.to_string();
    for name in ["left", "right", "right2"] {
        let norm = match mode {
            Mode::Test => NORM.replace("NAME", name),
            Mode::Train => String::new(),
        };
        text = text.replace(&format!("{{{name}}}"), &norm);
    }
    let scaled = match mode {
        Mode::Test => "_s",
        Mode::Train => "",
    };
    for (mark, own) in [("{relu}", "_r"), ("{n}", "_n"), ("{s}", scaled)] {
        text = text.replace(mark, if fused { "" } else { own });
    }
    if !fused {
        // A second reader of every Concat bottom.
        text += r#"layer { name: "other" type: "Silence" bottom: "e1_r" bottom: "e3_r" }"#;
    }
    let parsed = parse::<NetParameter>(&text, "net").unwrap();
    let graph = Graph::new(&parsed, &State::new(mode)).unwrap();
    let options = Options {
        backward: mode == Mode::Train,
        gradient_targets: vec!["mean".into(), "ip".into()],
        ..Default::default()
    };
    crate::common::compute_as_asked();
    Net::new(graph, &[Shape::new([3, 3, 25, 21])], &options).unwrap()
}

fn noise(seed: u64, shape: Shape) -> Tensor {
    let random = Random::new(seed, Purpose::Layer, 0);
    let n = shape.count() as u64;
    let data = (0..n).map(|i| 2.0 * random.unit(i) - 1.0).collect();
    Tensor { shape, data }
}

/// The named blobs and gradients of a pass, and the parameters' gradients.
fn run(net: &Net, blobs: &[&str]) -> (Outputs, Vec<Tensor>, Vec<Vec<f32>>) {
    let mut weights = net.fill(3).unwrap();
    for (p, w) in net.params().iter().zip(&mut weights) {
        // Statistics and scales that are not those of a fresh net.
        if p.layer.ends_with("_bn") || p.layer.ends_with("_scale") {
            let values = noise(9, w.shape.clone()).data;
            let value = |v: f32| if p.index == 0 { v } else { 1.5 + v };
            w.data = values.into_iter().map(value).collect();
        }
    }
    let value = |name: &str| net.graph().value(name).unwrap();
    let top_diffs: Vec<(usize, Tensor)> = ["mean", "ip"]
        .map(|n| (value(n), noise(5, net.shape(value(n)).clone())))
        .into();
    let mut pass = Pass::new(1, 0);
    pass.wanted = blobs.iter().map(|b| value(b)).collect();
    pass.top_diffs = &top_diffs;
    let x = noise(4, net.shape(net.inputs()[0]).clone());
    let mut grads = net.zero_gradients();
    let outputs = if net.mode() == Mode::Train {
        net.forward_backward(&pass, &weights, &[x], &mut grads)
    } else {
        net.forward(&pass, &weights, &[x])
    };
    let outputs = outputs.unwrap();
    let tensors = pass.wanted.iter().map(|v| outputs.values[v].clone());
    let tensors = tensors.collect();
    (outputs, tensors, grads)
}

fn compare(mode: Mode) {
    let (fused, plain) = (net(mode, true), net(mode, false));
    let (_, a, da) = run(&fused, &["stem", "e1", "e3", "cat", "sum", "mean", "ip"]);
    let (_, b, db) = run(
        &plain,
        &["stem_r", "e1_r", "e3_r", "cat", "sum_r", "mean", "ip"],
    );
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert_eq!(a.shape, b.shape, "blob {i}");
        assert_near(&format!("blob {i}"), &a.data, &b.data, 1e-5);
    }
    for ((a, b), p) in da.iter().zip(&db).zip(fused.params()) {
        assert_near(&format!("gradient of {}", p.label()), a, b, 1e-5);
    }
}

#[test]
fn a_fused_training_net_computes_what_a_plain_one_does() {
    compare(Mode::Train);
}

#[test]
fn a_fused_test_net_computes_what_a_plain_one_does() {
    compare(Mode::Test);
}

#[test]
fn fusion_happens() {
    let net = net(Mode::Test, true);
    // A pass makes the kernels.
    run(&net, &[]);
    let kernel = |name: &str| {
        let i = net.graph().nodes.iter().position(|n| n.name() == name);
        net.kernel(i.unwrap())
    };
    assert_eq!(kernel("stem_relu"), "in stem");
    assert_eq!(kernel("left_bn"), "in left");
    assert_eq!(kernel("right_scale"), "in right");
    assert_eq!(kernel("right_relu"), "in right");
    assert_eq!(kernel("sum"), "in right2");
    assert_eq!(kernel("sum_relu"), "in right2");
    assert!(kernel("right2").starts_with("direct"));
}
