//! Which numbers are rounded to bfloat16, and which are not.

use dsd::kernels::bf16::nearest;
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass, Precision, Weights};
use dsd::proto::caffe::NetParameter;
use dsd::proto::text::parse;
use dsd::random::{Purpose, Random};
use dsd::tensor::{Shape, Tensor};

fn noise(seed: u64, shape: &Shape) -> Tensor {
    let random = Random::new(seed, Purpose::Layer, 0);
    let n = shape.count() as u64;
    let data = (0..n).map(|i| 2.0 * random.unit(i) - 1.0).collect();
    let shape = shape.clone();
    Tensor { shape, data }
}

fn rounded(t: &Tensor) -> Tensor {
    let data = t.data.iter().map(|v| nearest(*v)).collect();
    let shape = t.shape.clone();
    Tensor { shape, data }
}

fn is_rounded(values: &[f32]) -> bool {
    values.iter().all(|v| v.to_bits() & 0xffff == 0)
}

fn build(text: &str, mode: Mode, shapes: &[Shape], options: Options) -> Net {
    let parsed = parse::<NetParameter>(text, "net").unwrap();
    let graph = Graph::new(&parsed, &State::new(mode)).unwrap();
    crate::common::compute_as_asked();
    Net::new(graph, shapes, &options).unwrap()
}

/// The layer's top, and the gradients of its bottom and parameters for the gradient `dy`.
fn pass(net: &Net, weights: &Weights, x: &Tensor, dy: &Tensor) -> [Vec<Vec<f32>>; 2] {
    let value = |name: &str| net.graph().value(name).unwrap();
    let given = [(value("y"), dy.clone())];
    let pass = Pass {
        wanted: vec![value("y")],
        wanted_diffs: vec![value("x")],
        top_diffs: &given,
        ..Pass::new(1, 0)
    };
    let mut grads = net.zero_gradients();
    let feed = [x.clone()];
    let outputs = net
        .forward_backward(&pass, weights, &feed, &mut grads)
        .unwrap();
    let y = outputs.values[&value("y")].data.clone();
    grads.push(y);
    [grads, vec![outputs.diffs[&value("x")].data.clone()]]
}

/// A layer alone computes from its own weights and data what it computes in float32 from rounded ones, to the bit: sums
/// are not rounded, nor is an output. The gradient that it passes down is.
#[test]
fn layers_that_multiply_do_so_with_rounded_operands_and_whole_sums() {
    for (layer, shape) in [
        (
            "Convolution' convolution_param { num_output: 24 kernel_size: 1",
            [3, 16, 9, 7],
        ),
        (
            "Convolution' convolution_param { num_output: 32 kernel_size: 3 pad: 1",
            [2, 32, 14, 14],
        ),
        (
            "Convolution' convolution_param { num_output: 16 kernel_size: 5 stride: 2",
            [2, 3, 23, 21],
        ),
        (
            "Convolution' convolution_param { num_output: 6 group: 3 kernel_size: 3",
            [2, 6, 9, 9],
        ),
        (
            "Deconvolution' convolution_param { num_output: 5 kernel_size: 3 stride: 2",
            [2, 4, 5, 6],
        ),
        (
            "InnerProduct' inner_product_param { num_output: 7",
            [5, 3, 4, 4],
        ),
        (
            "InnerProduct' inner_product_param { num_output: 70 transpose: true",
            [40, 3, 4, 4],
        ),
    ] {
        let text = format!(
            "force_backward: true layer {{ name: 'x' type: 'Input' top: 'x' }}
             layer {{ name: 'y' bottom: 'x' top: 'y' type: '{layer}
               weight_filler {{ type: 'msra' }} bias_filler {{ type: 'gaussian' std: 0.3 }} }} }}"
        );
        let net = |precision| {
            let options = Options {
                backward: true,
                gradient_targets: vec!["y".into()],
                precision,
                ..Options::default()
            };
            build(&text, Mode::Train, &[Shape::new(shape)], options)
        };
        let (whole, half) = (net(Precision::F32), net(Precision::Bf16));
        let weights = whole.fill(3).unwrap();
        let x = noise(4, &Shape::new(shape));
        let y = whole.graph().value("y").unwrap();
        let dy = noise(5, whole.shape(y));
        let operands: Weights = weights
            .iter()
            .zip(whole.params())
            .map(|(w, p)| if p.prunable { rounded(w) } else { w.clone() })
            .collect();
        let before: Vec<Tensor> = weights.iter().cloned().collect();
        let [got, dx] = pass(&half, &weights, &x, &dy);
        let [want, want_dx] = pass(&whole, &operands, &rounded(&x), &rounded(&dy));
        // In AMX's tiles sums have an order of their own.
        let tiles = Precision::Bf16.amx().is_some();
        let close = |got: &[f32], want: &[f32], by: f32| {
            let most = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let mut pairs = got.iter().zip(want);
            got.len() == want.len() && pairs.all(|(g, w)| (g - w).abs() <= by * most)
        };
        match tiles {
            true => assert!(
                got.iter().zip(&want).all(|(g, w)| close(g, w, 1e-5)),
                "{layer}"
            ),
            false => assert!(got == want, "{layer}"),
        }
        assert!(
            !is_rounded(&got[0]) && !is_rounded(got.last().unwrap()),
            "{layer}"
        );
        let want_dx: Vec<f32> = want_dx[0].iter().map(|v| nearest(*v)).collect();
        match tiles {
            // A sum that is nearly halfway may be rounded to the other neighbour.
            true => assert!(
                is_rounded(&dx[0]) && close(&dx[0], &want_dx, 1.0 / 256.0),
                "{layer}: what it passes down"
            ),
            false => assert!(dx[0] == want_dx, "{layer}: what it passes down"),
        }
        assert!(
            weights.iter().eq(&before),
            "{layer}: the weights themselves"
        );
    }
}

/// In-place layers, slices of a Concat, a sum, several readers, pooling, an autoencoder's loss on the data.
const NET: &str = r#"
layer { name: "data" type: "Input" top: "data" top: "label" }
layer { name: "scaled" type: "Power" bottom: "data" top: "scaled" power_param { scale: 0.3 shift: 0.01 } }
layer { name: "stem" type: "Convolution" bottom: "scaled" top: "stem"
  convolution_param { num_output: 16 kernel_size: 3 stride: 2 weight_filler { type: "msra" } } }
layer { name: "norm" type: "BatchNorm" bottom: "stem" top: "stem" }
layer { name: "scale" type: "Scale" bottom: "stem" top: "stem" scale_param { bias_term: true filler { value: 1.1 } } }
layer { name: "relu" type: "ReLU" bottom: "stem" top: "stem" }
layer { name: "mean" type: "Pooling" bottom: "stem" top: "mean" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "e1" type: "Convolution" bottom: "mean" top: "e1"
  convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "e3" type: "Convolution" bottom: "mean" top: "e3"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "cat" type: "Concat" bottom: "e1" bottom: "e3" top: "cat" }
layer { name: "right" type: "Convolution" bottom: "cat" top: "right"
  convolution_param { num_output: 24 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "cat" bottom: "right" top: "sum" }
layer { name: "sum_relu" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "max" type: "Pooling" bottom: "sum" top: "max" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "max" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "back" type: "InnerProduct" bottom: "ip" top: "back"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "pairs" type: "InnerProduct" bottom: "data" top: "pairs"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "both" type: "Eltwise" bottom: "pairs" bottom: "ip" top: "both" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "both" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "both" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "best" type: "ArgMax" bottom: "both" top: "best" include { phase: TEST } }
"#;

fn shapes() -> [Shape; 2] {
    [Shape::new([6, 3, 25, 21]), Shape::new([6])]
}

fn feed() -> [Tensor; 2] {
    let [x, labels] = shapes();
    let data = vec![3.0, 1.0, 4.0, 1.0, 5.0, 9.0];
    [
        noise(4, &x),
        Tensor {
            shape: labels,
            data,
        },
    ]
}

#[test]
fn what_passes_between_layers_is_rounded_and_nothing_else() {
    for (mode, every_blob) in [
        (Mode::Train, true),
        (Mode::Test, true),
        (Mode::Train, false),
        (Mode::Test, false),
    ] {
        let options = Options {
            backward: mode == Mode::Train,
            every_blob,
            precision: Precision::Bf16,
            ..Options::default()
        };
        let net = build(NET, mode, &shapes(), options);
        let weights = net.fill(3).unwrap();
        let all: Vec<usize> = (0..net.graph().values.len()).collect();
        let shown = |v: &usize| {
            let name = net.graph().values[*v].name.as_str();
            every_blob || !matches!(name, "cat" | "right" | "e1" | "e3" | "sum")
        };
        let pass = Pass {
            wanted: all.iter().copied().filter(shown).collect(),
            wanted_diffs: if mode == Mode::Train { all } else { Vec::new() },
            ..Pass::new(1, 0)
        };
        let feed = feed();
        let mut grads = net.zero_gradients();
        let outputs = match mode {
            Mode::Train => net.forward_backward(&pass, &weights, &feed, &mut grads),
            Mode::Test => net.forward(&pass, &weights, &feed),
        };
        let outputs = outputs.unwrap();
        let name = |v: &usize| net.graph().values[*v].name.as_str();
        for (v, tensor) in &outputs.values {
            let whole = match name(v) {
                // Read by several, of which one does not multiply; "both" by a loss and an accuracy alone.
                "data" | "label" | "loss" | "accuracy" | "best" | "back" | "both" => true,
                "scaled" => every_blob,
                _ => false,
            };
            let kept = !whole
                || !is_rounded(&tensor.data)
                || matches!(name(v), "label" | "accuracy" | "best");
            assert!(whole || is_rounded(&tensor.data), "{mode:?} {}", name(v));
            assert!(kept, "{mode:?} {} is rounded", name(v));
            if name(v) == "data" {
                assert_eq!(tensor.data, feed[0].data);
            }
        }
        for (v, tensor) in outputs.diffs.iter().filter(|(v, _)| name(v) != "loss") {
            assert!(is_rounded(&tensor.data), "the gradient of {}", name(v));
        }
        for (p, grad) in net.params().iter().zip(&grads) {
            let learns = mode == Mode::Train && !matches!(&p.layer[..], "norm" | "back");
            assert!(!learns || !is_rounded(grad), "{} is rounded", p.label());
        }
    }
}

/// Fused or not, cut or whole, lazily fed or not: near the same numbers, as bfloat16 goes.
#[test]
fn a_plain_net_computes_about_the_same() {
    for mode in [Mode::Train, Mode::Test] {
        let run = |precision, plain| {
            let options = Options {
                backward: mode == Mode::Train,
                precision,
                plain,
                ..Options::default()
            };
            let net = build(NET, mode, &shapes(), options);
            let weights = net.fill(3).unwrap();
            let both = net.graph().value("both").unwrap();
            let mut pass = Pass::new(1, 0);
            pass.wanted = vec![both];
            let outputs = net.forward(&pass, &weights, &feed()).unwrap();
            outputs.values[&both].data.clone()
        };
        let want = run(Precision::F32, false);
        for plain in [false, true] {
            let off = crate::common::distance(&run(Precision::Bf16, plain), &want);
            assert!(off > 1e-5 && off < 1e-2, "{mode:?} plain {plain}: {off:e}");
        }
    }
}

/// Recurrent layers multiply their own states.
#[test]
fn recurrent_layers_round_what_they_multiply_inside() {
    for kind in ["LSTM", "RNN"] {
        let text = format!(
            "force_backward: true layer {{ name: 'x' type: 'Input' top: 'x' top: 'cont' }}
             layer {{ name: 'y' bottom: 'x' bottom: 'cont' top: 'y' type: '{kind}'
               recurrent_param {{ num_output: 12 weight_filler {{ type: 'gaussian' std: 0.4 }} }} }}"
        );
        let shapes = [Shape::new([9, 4, 10]), Shape::new([9, 4])];
        let run = |precision| {
            let options = Options {
                backward: true,
                gradient_targets: vec!["y".into()],
                precision,
                ..Options::default()
            };
            let net = build(&text, Mode::Train, &shapes, options);
            let weights = net.fill(3).unwrap();
            let y = net.graph().value("y").unwrap();
            let given = [(y, noise(5, net.shape(y)))];
            let pass = Pass {
                top_diffs: &given,
                ..Pass::new(1, 0)
            };
            let mut cont = noise(1, &shapes[1]);
            let ends = cont.data.iter_mut();
            ends.for_each(|c| *c = if *c < -0.7 { 0.0 } else { 1.0 });
            let feed = [noise(4, &shapes[0]), cont];
            let mut all = net.zero_gradients();
            let outputs = net
                .forward_backward(&pass, &weights, &feed, &mut all)
                .unwrap();
            all.push(outputs.values[&y].data.clone());
            all.concat()
        };
        let off = crate::common::distance(&run(Precision::Bf16), &run(Precision::F32));
        assert!(off > 1e-4 && off < 2e-2, "{kind}: {off:e}");
    }
}
