//! The published SqueezeNet on real photographs in bfloat16, against float32.

use crate::common::{distance, dsd, log_texts, repository, shared};
use dsd::data;
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass, Precision};
use dsd::proto::load_net;
use dsd::tensor::{Shape, Tensor};
use dsd::weights_file;
use std::path::{Path, PathBuf};

const FOLDER: &str = "models/squeezenet_v1.0";

/// The weights and the photographs.
fn files() -> Option<(PathBuf, PathBuf)> {
    let weights = shared("data/squeezenet_deepcomp.net")?;
    Some((weights, shared("data/imagenet250_lmdb")?))
}

#[test]
fn photographs_score_within_four_tenths_of_a_point() {
    let Some((weights, source)) = files() else {
        return;
    };
    crate::common::compute_as_asked();
    let run = |precision: &str| {
        let output = dsd()
            .args([
                "test",
                "--iterations",
                "5",
                "--json",
                "--precision",
                precision,
            ])
            .arg("--model")
            .arg(repository(FOLDER).join("train_val.prototxt"))
            .args(["--weights".as_ref(), weights.as_os_str()])
            .args(["--source".as_ref(), source.as_os_str()])
            .assert()
            .success();
        let output = output.get_output();
        let lines = log_texts(&output.stderr);
        assert!(
            lines
                .iter()
                .any(|l| *l == format!("Precision: {precision}"))
        );
        let slow = lines.iter().any(|l| l.contains("no faster than f32"));
        let tiles = Precision::Bf16.amx().is_some();
        assert_eq!(slow, precision == "bf16" && !tiles);
        let memory = lines
            .iter()
            .find_map(|l| l.strip_prefix("Memory required: "));
        let memory = memory.unwrap().to_string();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["precision"], precision);
        let score = |name: &str| json["outputs"][name].as_f64().unwrap();
        let scores = [
            score("accuracy_top1"),
            score("accuracy_top5"),
            score("loss"),
        ];
        eprintln!("{precision}: top-1, top-5, loss {scores:?}");
        (scores, memory)
    };
    let (whole, memory) = run("f32");
    let (half, same) = run("bf16");
    assert!(
        (whole[0] - half[0]).abs() <= 0.004 + 1e-9,
        "{whole:?} {half:?}"
    );
    assert!(
        (whole[1] - half[1]).abs() <= 0.008 + 1e-9,
        "{whole:?} {half:?}"
    );
    assert!(
        (whole[2] / half[2] - 1.0).abs() < 1e-2,
        "{whole:?} {half:?}"
    );
    // With AMX activations lie in bfloat16.
    assert_eq!(memory == same, Precision::Bf16.amx().is_none());
}

/// The first eight photographs.
fn photographs(source: &Path) -> Vec<Tensor> {
    let (mut parsed, _) = load_net(&repository(FOLDER).join("train_val.prototxt")).unwrap();
    for layer in &mut parsed.message.layer {
        if let Some(data) = &mut layer.data_param {
            data.batch_size = Some(8);
        }
    }
    let graph = Graph::new(&parsed, &State::new(Mode::Test)).unwrap();
    let options = data::Options {
        mode: Mode::Test,
        seed: 1,
        source: Some(source.display().to_string()),
        resolve: &|name| name.into(),
        skip_bad: false,
        warn: &|text| eprintln!("{text}"),
    };
    let mut source = data::open(&graph.nodes[0].param, &options).unwrap();
    let mut feed: Vec<Tensor> = source.shapes().into_iter().map(Tensor::zeros).collect();
    source.read(0, &mut feed).unwrap();
    feed
}

/// The weights of a pass.
#[derive(Clone, Copy)]
enum Start<'a> {
    /// As the net's fillers make them.
    Filled,
    /// The published ones.
    Trained(&'a Path),
    /// The published ones, rounded.
    Rounded(&'a Path),
}

/// A blob of the net, and the gradients of its parameters if it is built to train.
fn pass(
    file: &str,
    blob: &str,
    feed: &[Tensor],
    start: Start,
    precision: Precision,
) -> [Vec<Vec<f32>>; 2] {
    let (parsed, _) = load_net(&repository(FOLDER).join(file)).unwrap();
    let mode = if feed.len() == 2 {
        Mode::Train
    } else {
        Mode::Test
    };
    let graph = Graph::new(&parsed, &State::new(mode)).unwrap();
    let shapes: Vec<Shape> = feed.iter().map(|t| t.shape.clone()).collect();
    let options = Options {
        backward: mode == Mode::Train,
        precision,
        ..Options::default()
    };
    crate::common::compute_as_asked();
    let net = Net::new(graph, &shapes, &options).unwrap();
    let mut values = net.fill(1).unwrap();
    if let Start::Trained(weights) | Start::Rounded(weights) = start {
        let stored = weights_file::read(weights, &net).unwrap();
        net.load(&mut values, &stored).unwrap();
    }
    if let Start::Rounded(_) = start {
        let numbers = values.iter_mut().flat_map(|w| &mut w.data);
        numbers.for_each(|w| *w = rounded(*w));
    }
    let blob = net.graph().value(blob).unwrap();
    let mut pass = Pass::new(1, 0);
    pass.wanted = vec![blob];
    let mut grads = net.zero_gradients();
    let outputs = match mode {
        Mode::Train => net.forward_backward(&pass, &values, &feed, &mut grads),
        Mode::Test => net.forward(&pass, &values, &feed),
    };
    let outputs = outputs.unwrap();
    [vec![outputs.values[&blob].data.clone()], grads]
}

/// The nearest bfloat16; ties go to the even one.
fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

#[test]
fn outputs_and_gradients_stay_near_those_of_float32() {
    let Some((weights, source)) = files() else {
        return;
    };
    let feed = photographs(&source);
    let off = |file: &str, blob: &str, feed: &[Tensor], start: [Start; 2], precision| {
        let [y, dw] = pass(file, blob, feed, start[0], precision);
        let [want, want_dw] = pass(file, blob, feed, start[1], Precision::F32);
        let all = distance(&dw.concat(), &want_dw.concat());
        let y = distance(&y[0], &want[0]);
        eprintln!("{file} {blob}: {y:.2e}; gradients {all:.2e}");
        (y, all)
    };
    let trained = [Start::Trained(&weights); 2];
    let half = Precision::Bf16;
    let (prob, _) = off("deploy.prototxt", "prob", &feed[..1], trained, half);
    assert!(prob < 1e-2, "prob: {prob:e}");
    let training = "train_val.prototxt";
    let (scores, gradients) = off(training, "pool_final", &feed, [Start::Filled; 2], half);
    assert!(scores < 1e-2, "scores: {scores:e}");
    assert!(gradients < 3e-2, "gradients: {gradients:e}");
    let (scores, gradients) = off(training, "pool_final", &feed, trained, half);
    assert!(scores < 1e-2, "scores: {scores:e}");
    // A trained net's gradients are small differences, and its ReLUs and maxima change their minds: in float32 they
    // move as far when nothing but the weights is rounded.
    let weights = [Start::Rounded(&weights), Start::Trained(&weights)];
    let (_, inherent) = off(training, "pool_final", &feed, weights, Precision::F32);
    assert!(
        gradients < 1.5 * inherent,
        "gradients: {gradients:e}, of rounded weights alone {inherent:e}"
    );
}
