//! LSTM and RNN go on from the batch before.

use super::{case, dsd, log, values, write};
use crate::common::process::assert_same;
use dsd::layers::Mode;
use dsd::net::carried::Carried;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass, Weights};
use dsd::npz;
use dsd::proto::caffe::NetParameter;
use dsd::proto::text::parse;
use dsd::random::{Purpose, Random};
use dsd::tensor::{Shape, Tensor};
use std::path::Path;

/// 12 steps, as divided into batches of 1, 2, 3, 4, 6.
const STEPS: usize = 12;
const INPUT: usize = 3;
const OUTPUT: usize = 2;

fn net(kind: &str, steps: usize, streams: usize) -> Net {
    let text = format!(
        "layer {{ name: 'd' type: 'Input' top: 'x' top: 'c' input_param {{ \
           shape {{ dim: {steps} dim: {streams} dim: {INPUT} }} shape {{ dim: {steps} dim: {streams} }} }} }} \
         layer {{ name: 'l' type: '{kind}' bottom: 'x' bottom: 'c' top: 'y' recurrent_param {{ \
           num_output: {OUTPUT} weight_filler {{ type: 'gaussian' std: 1 }} bias_filler {{ type: 'gaussian' std: 1 }} }} }}"
    );
    let parsed = parse::<NetParameter>(&text, "test").unwrap();
    let graph = Graph::new(&parsed, &State::new(Mode::Test)).unwrap();
    let shapes = [
        Shape::new([steps, streams, INPUT]),
        Shape::new([steps, streams]),
    ];
    Net::new(graph, &shapes, &Options::default()).unwrap()
}

/// y of all steps, computed in batches of `steps`.
fn outputs(kind: &str, steps: usize, streams: usize, x: &[f32], cont: &[f32]) -> Vec<f32> {
    let net = net(kind, steps, streams);
    let weights: Weights = net.fill(5).unwrap();
    let mut carried = Carried::default();
    let mut y = Vec::new();
    let (x, cont) = (
        x.chunks(steps * streams * INPUT),
        cont.chunks(steps * streams),
    );
    for (x, cont) in x.zip(cont) {
        let batch = [
            Tensor::new(Shape::new([steps, streams, INPUT]), x.to_vec()).unwrap(),
            Tensor::new(Shape::new([steps, streams]), cont.to_vec()).unwrap(),
        ];
        let pass = Pass {
            carried: Some(&carried),
            ..Pass::new(1, 0)
        };
        let mut outputs = net.forward(&pass, &weights, &batch).unwrap();
        carried.take(&mut outputs);
        y.extend(&outputs.values[&net.outputs()[0]].data);
    }
    y
}

/// Where sequences begin: cont of step t and stream n.
type Pattern = fn(usize, usize) -> bool;

#[test]
fn batches_of_any_length_are_one_sequence() {
    let patterns: [(&str, Pattern); 6] = [
        ("one sequence", |t, _| t == 0),
        ("never a beginning", |_, _| false),
        ("a new one each step", |_, _| true),
        ("at the edge of batches", |t, _| t % 4 == 0),
        ("inside batches", |t, _| t == 5 || t == 7),
        ("each stream its own", |t, n| t == 3 * n + 1),
    ];
    let random = Random::new(3, Purpose::Layer, 0);
    let mut count = 0;
    for kind in ["LSTM", "RNN"] {
        for streams in [1, 3] {
            let x: Vec<f32> = (0..(STEPS * streams * INPUT) as u64)
                .map(|i| random.normal(i))
                .collect();
            for (name, begins) in patterns {
                let at = |i: usize| f32::from(u8::from(!begins(i / streams, i % streams)));
                let cont: Vec<f32> = (0..STEPS * streams).map(at).collect();
                let whole = outputs(kind, STEPS, streams, &x, &cont);
                for steps in [1, 2, 3, 4, 6] {
                    let parts = outputs(kind, steps, streams, &x, &cont);
                    for (a, b) in parts.iter().zip(&whole) {
                        assert!(
                            (a - b).abs() < 1e-5,
                            "{kind}, {streams} streams, {name}, batches of {steps}: {a} for {b}"
                        );
                    }
                    count += 1;
                }
            }
        }
    }
    println!("{count} recurrent cases");
    assert_eq!(count, 2 * 2 * 6 * 5);
}

#[test]
fn caffes_case_02_goes_on_from_the_last_batch() {
    let Some(folder) = case("02_recurrent_state_lost_between_batches") else {
        return;
    };
    let args = "test --model net.prototxt --weights w.npz --iterations 3";
    let log = log(folder.path(), &args.split(' ').collect::<Vec<_>>());
    for (i, want) in [-0.110_684_69, -0.083_409_156, -0.019_793_04]
        .into_iter()
        .enumerate()
    {
        let got = values(&log, i, "y")[0];
        assert!((got - want as f32).abs() < 1e-6, "batch {i}: {got}");
    }
    // And so does extract_features, also with more batches than records.
    let args = "extract_features w.npz net.prototxt y y.npz 5 npz";
    self::log(folder.path(), &args.split(' ').collect::<Vec<_>>());
    let y = &npz::read(&folder.path().join("y.npz")).unwrap()["y"];
    assert!((y.data[2] + 0.019_793_04).abs() < 1e-6, "{:?}", y.data);
    // Record 0 comes again, with cont 0: it forgets.
    assert!((y.data[3] - y.data[0]).abs() < 1e-6, "{:?}", y.data);
}

#[test]
fn caffes_case_04_is_one_step() {
    let Some(folder) = case("04_lstmunit_unknown") else {
        return;
    };
    let args = "run --model net.prototxt --inputs i.npz --outputs o.npz";
    log(folder.path(), &args.split(' ').collect::<Vec<_>>());
    let out = npz::read(&folder.path().join("o.npz")).unwrap();
    // The case's own figures are of rounded factors: 0.556772 and 0.369595.
    assert!(out["cn"].data.iter().all(|v| (v - 0.556_77).abs() < 1e-6));
    assert!(out["h"].data.iter().all(|v| (v - 0.369_606).abs() < 1e-6));
}

/// A net that learns to add up what it saw, and tests itself on other numbers; cont is mostly 1.
fn training(folder: &Path, more: &str) {
    write(
        folder,
        "net.prototxt",
        "layer { name: 'd' type: 'DummyData' top: 'x' top: 't' dummy_data_param { shape { dim: 2 dim: 3 dim: 2 } \
           shape { dim: 2 dim: 3 dim: 1 } data_filler { type: 'gaussian' } data_filler { type: 'gaussian' } } } \
         layer { name: 'c' type: 'DummyData' top: 'c' dummy_data_param { shape { dim: 2 dim: 3 } \
           data_filler { value: 1 } } } \
         layer { name: 'l' type: 'LSTM' bottom: 'x' bottom: 'c' top: 'h' recurrent_param { num_output: 4 \
           weight_filler { type: 'gaussian' std: 0.3 } } } \
         layer { name: 'r' type: 'RNN' bottom: 'h' bottom: 'c' top: 'r' recurrent_param { num_output: 3 \
           weight_filler { type: 'gaussian' std: 0.3 } } } \
         layer { name: 'ip' type: 'InnerProduct' bottom: 'r' top: 'y' inner_product_param { num_output: 1 axis: 2 \
           weight_filler { type: 'gaussian' std: 0.3 } } } \
         layer { name: 'loss' type: 'EuclideanLoss' bottom: 'y' bottom: 't' top: 'loss' }",
    );
    write(
        folder,
        "solver.prototxt",
        &format!(
            "net: 'net.prototxt' test_iter: 2 test_interval: 3 base_lr: 0.1 lr_policy: 'fixed' momentum: 0.9 \
             iter_size: 2 display: 1 average_loss: 3 snapshot: 4 random_seed: 3 snapshot_prefix: 's' {more}"
        ),
    );
}

fn train(folder: &Path, args: &[&str]) {
    let head = ["train", "--solver", "solver.prototxt"];
    dsd(folder, &[&head[..], args].concat()).assert().success();
}

#[test]
fn a_resumed_run_has_the_states_of_the_whole() {
    for format in ["", "snapshot_format: HDF5"] {
        let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&whole, &cut] {
            training(folder.path(), format);
        }
        train(whole.path(), &["--max_iter", "12"]);
        train(cut.path(), &["--max_iter", "8"]);
        train(cut.path(), &["--max_iter", "12", "--resume"]);
        let ending = if format.is_empty() { "" } else { ".h5" };
        for file in ["caffemodel", "solverstate"] {
            let name = format!("s_iter_12.{file}{ending}");
            assert_same(cut.path(), whole.path(), &name, format);
        }
    }
}

#[test]
fn the_states_matter() {
    // Without them the resumed run would be another: an older state that has none gives other weights.
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&whole, &cut] {
        training(folder.path(), "");
    }
    train(whole.path(), &["--max_iter", "12"]);
    train(cut.path(), &["--max_iter", "8"]);
    let path = cut.path().join("s_iter_8.solverstate");
    let mut state = dsd::proto::binary::read_solverstate(&path).unwrap();
    let own = state.dsd.as_mut().unwrap();
    // Two recurrent layers in the training net and two in the test net.
    assert_eq!(own.carried.len(), 4);
    own.carried.clear();
    dsd::proto::binary::write(&path, &state).unwrap();
    train(cut.path(), &["--max_iter", "12", "--resume"]);
    let bytes = |f: &Path| std::fs::read(f.join("s_iter_12.caffemodel")).unwrap();
    assert!(bytes(cut.path()) != bytes(whole.path()));
}

#[test]
fn states_of_another_net_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    training(folder.path(), "");
    train(folder.path(), &["--max_iter", "4"]);
    let path = folder.path().join("s_iter_4.solverstate");
    let mut state = dsd::proto::binary::read_solverstate(&path).unwrap();
    let own = state.dsd.as_mut().unwrap();
    own.carried[0].states[0].values.pop();
    dsd::proto::binary::write(&path, &state).unwrap();
    let args = ["train", "--solver", "solver.prototxt", "--resume"];
    let told = super::error(folder.path(), &args);
    crate::common::assert_says(&told, &["s_iter_4.solverstate", "layer 'l'", "recurrent"]);
}
