//! BatchNorm in a net: nobody learns its statistics, layers can share them, and blocks that work in
//! place compute what blocks with buffers of their own compute.

use crate::common::{dsd, log_texts, write};
use anyhow::Result;
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Outputs, Pass, Weights};
use dsd::proto::caffe::NetParameter;
use dsd::proto::text::parse;
use dsd::tensor::{Shape, Tensor};

fn shape() -> Shape {
    Shape::new([3, 2, 2, 3])
}

/// The net of an input `x` and some layers, for training.
fn net(layers: &str) -> Result<Net> {
    let text = format!(
        "layer {{ name: 'x' type: 'Input' top: 'x' input_param {{ shape {{ dim: 3 dim: 2 dim: 2 dim: 3 }} }} }} {layers}"
    );
    let graph = Graph::new(
        &parse::<NetParameter>(&text, "net")?,
        &State::new(Mode::Train),
    )?;
    let options = Options {
        backward: true,
        force_backward: true,
        every_blob: true,
        gradient_targets: Vec::new(),
        ..Default::default()
    };
    crate::common::compute_as_asked();
    Net::new(graph, &[shape()], &options)
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 37 + 11) % 23) as f32 / 11.0 - 1.0)
        .collect()
}

/// A pass forward and backward, and the gradients.
fn run(net: &Net, weights: &Weights) -> Result<(Outputs, Vec<Vec<f32>>)> {
    let x = Tensor {
        shape: shape(),
        data: numbers(shape().count()),
    };
    let mut pass = Pass::new(1, 0);
    pass.wanted_diffs = net.inputs().to_vec();
    let mut grads = net.zero_gradients();
    let outputs = net.forward_backward(&pass, weights, &[x], &mut grads)?;
    Ok((outputs, grads))
}

fn norm(blocks: &str) -> String {
    format!("layer {{ name: 'n' type: 'BatchNorm' bottom: 'x' top: 'y' {blocks} }}")
}

#[test]
fn statistics_have_no_rates() -> Result<()> {
    let fixed = "param { lr_mult: 0 }";
    // Old nets have three blocks, whatever they say.
    for blocks in [
        String::new(),
        fixed.into(),
        fixed.repeat(3),
        "param {} ".repeat(3),
    ] {
        let net = net(&norm(&blocks))?;
        for p in net.params() {
            assert_eq!((p.lr_mult, p.decay_mult, p.learnable), (0.0, 0.0, false));
        }
    }
    let e = net(&norm("param { lr_mult: 2 }")).err();
    let e = format!("{:#}", e.expect("a rate of 2 should not pass"));
    assert!(e.contains("'n'") && e.contains("lr_mult 2"), "{e}");
    Ok(())
}

#[test]
fn shared_statistics_see_both_layers() -> Result<()> {
    let names = "param { name: 'a' } param { name: 'b' } param { name: 'c' }";
    let net = net(&format!(
        "layer {{ name: 'n' type: 'BatchNorm' bottom: 'x' top: 'y' {names} }}
         layer {{ name: 'm' type: 'BatchNorm' bottom: 'x' top: 'z' {names} }}"
    ))?;
    let mut weights = net.fill(1)?;
    let (outputs, _) = run(&net, &weights)?;
    for (id, values) in outputs.updates {
        weights[id].data = values;
    }
    // Each forward fades the weight by 0.999 and adds 1.
    assert_eq!(weights[2].data, [0.999f32 + 1.0]);
    Ok(())
}

#[test]
fn in_place_blocks_compute_the_same() -> Result<()> {
    let layers = |tops: [&str; 6]| {
        let mut text = String::new();
        let mut bottom = "x";
        let types = [
            "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: 'xavier' } }",
            "type: 'BatchNorm'",
            "type: 'Scale' scale_param { bias_term: true filler { value: -1.5 } bias_filler { value: 0.3 } }",
            "type: 'PReLU'",
            "type: 'Bias' bias_param { filler { value: 0.1 } }",
            "type: 'Swish'",
        ];
        for (i, (top, what)) in tops.iter().zip(types).enumerate() {
            text += &format!("layer {{ name: 'l{i}' bottom: '{bottom}' top: '{top}' {what} }}\n");
            bottom = top;
        }
        text + &format!(
            "layer {{ name: 'loss' type: 'EuclideanLoss' bottom: '{bottom}' bottom: 'x' top: 'loss' }}"
        )
    };
    let (apart, together) = (
        net(&layers(["a", "b", "c", "d", "e", "f"]))?,
        net(&layers(["a"; 6]))?,
    );
    assert!(together.workspace_bytes(1) < apart.workspace_bytes(1));
    let weights = apart.fill(3)?;
    let (one, one_grads) = run(&apart, &weights)?;
    let (two, two_grads) = run(&together, &weights)?;
    assert_eq!(one.loss, two.loss);
    assert_eq!(one.updates, two.updates);
    assert_eq!(one_grads, two_grads);
    let diffs = |o: Outputs| o.diffs.into_values().collect::<Vec<_>>();
    assert_eq!(diffs(one), diffs(two));
    assert!(one_grads[0].iter().any(|g| *g != 0.0));
    Ok(())
}

/// A net of two classes with a BatchNorm, an accuracy and data of its own.
const TRAINED: &str = "
layer { name: 'd' type: 'DummyData' top: 'x' top: 'label' dummy_data_param {
  shape { dim: 4 dim: 2 dim: 3 dim: 3 } shape { dim: 4 }
  data_filler { type: 'gaussian' std: 1e3 } data_filler { type: 'constant' value: 1 } } }
layer { name: 'bn' type: 'BatchNorm' bottom: 'x' top: 'y' batch_norm_param { eps: 1e-38 } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'y' top: 'z'
  inner_product_param { num_output: 2 weight_filler { type: 'xavier' } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'z' bottom: 'label' top: 'loss' include { phase: TRAIN } }
layer { name: 'accuracy' type: 'Accuracy' bottom: 'z' bottom: 'label' top: 'accuracy' include { phase: TEST } }
";

#[test]
fn before_training_there_are_no_statistics_to_test_with() {
    let folder = tempfile::tempdir().unwrap();
    let net = write(folder.path(), "net.prototxt", TRAINED);
    let solver = "net: 'net.prototxt' base_lr: 0.01 lr_policy: 'fixed' max_iter: 2 display: 1 test_iter: 1 \
                  test_interval: 2 snapshot_prefix: 'w' random_seed: 1";
    let solver = write(folder.path(), "solver.prototxt", solver);
    let mut train = dsd();
    train.arg("train").arg("--solver").arg(&solver);
    let output = train.current_dir(folder.path()).assert();
    let lines = log_texts(&output.success().get_output().stderr);
    let at = |text: &str| lines.iter().position(|l| l.contains(text));
    let left_out = at("No test: layer 'bn' (BatchNorm) has no statistics");
    assert!(left_out.is_some(), "{lines:?}");
    assert!(
        left_out < at("Test net output #0: accuracy = "),
        "{lines:?}"
    );
    for phase in ["test", "train"] {
        let time = ["time", "--iterations", "1", "--phase", phase, "--model"];
        let output = dsd().args(time).arg(&net).assert().success();
        let lines = log_texts(&output.get_output().stderr);
        let said = lines.iter().any(|l| l.contains("a variance of 1 here"));
        assert_eq!(said, phase == "test", "{lines:?}");
    }
}
