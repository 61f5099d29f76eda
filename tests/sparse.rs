//! Leaving zeros out must not show: pruned nets compute the same with sparse kernels as with dense ones, in
//! both directions, and their training repeats bit for bit.

use crate::common::{assert_near, digits_net, digits_solver, dsd, error_of, write};
use dsd::kernels::convolution::choice::UseSparse;
use dsd::kernels::processor::Processor;
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass, Weights};
use dsd::proto::caffe::NetParameter;
use dsd::proto::text::parse;
use dsd::random::{Purpose, Random};
use dsd::solver::mask::Mask;
use dsd::tensor::{Shape, Tensor};
use std::fs;

/// A strided stem, 1 × 1 and 3 × 3 beside each other, two groups, a residual sum, an inner product.
const NET: &str = r#"
layer { name: "data" type: "Input" top: "data" }
layer { name: "stem" type: "Convolution" bottom: "data" top: "stem"
  convolution_param { num_output: 24 kernel_size: 7 stride: 2 weight_filler { type: "msra" } } }
layer { name: "stem_relu" type: "ReLU" bottom: "stem" top: "stem" }
layer { name: "e1" type: "Convolution" bottom: "stem" top: "e1"
  convolution_param { num_output: 24 kernel_size: 1 weight_filler { type: "msra" } bias_filler { type: "gaussian" std: 0.3 } } }
layer { name: "e3" type: "Convolution" bottom: "stem" top: "e3"
  convolution_param { num_output: 40 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "cat" type: "Concat" bottom: "e1" bottom: "e3" top: "cat" }
layer { name: "relu" type: "ReLU" bottom: "cat" top: "cat" }
layer { name: "deep" type: "Convolution" bottom: "cat" top: "deep"
  convolution_param { num_output: 64 group: 2 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "deep" bottom: "cat" top: "sum" }
layer { name: "sum_relu" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "ip" type: "InnerProduct" bottom: "sum" top: "ip"
  inner_product_param { num_output: 150 weight_filler { type: "xavier" } bias_filler { type: "gaussian" std: 0.3 } } }
"#;

fn net(batch: usize, mode: Mode, sparse: UseSparse) -> Net {
    let parsed = parse::<NetParameter>(NET, "net").unwrap();
    let graph = Graph::new(&parsed, &State::new(mode)).unwrap();
    let options = Options {
        backward: mode == Mode::Train,
        gradient_targets: vec!["ip".into()],
        sparse,
        ..Default::default()
    };
    crate::common::compute_as_asked();
    Net::new(graph, &[Shape::new([batch, 3, 31, 29])], &options).unwrap()
}

fn noise(seed: u64, shape: Shape) -> Tensor {
    let random = Random::new(seed, Purpose::Layer, 0);
    let n = shape.count() as u64;
    let data = (0..n).map(|i| 2.0 * random.unit(i) - 1.0).collect();
    Tensor { shape, data }
}

/// Weights of which four fifths are 0; those of inner products take 15 values beside.
fn pruned(net: &Net) -> Weights {
    let mut weights = net.fill(3).unwrap();
    for (p, w) in net.params().iter().zip(&mut weights) {
        if p.prunable {
            Mask::prune_smallest(&w.data, w.data.len() * 4 / 5).apply(&mut w.data);
        }
        if p.layer == "ip" && p.prunable {
            let most = w.data.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let value = |w: &f32| (w / most * 7.0).round() / 7.0 * most;
            w.data = w.data.iter().map(value).collect();
        }
    }
    weights
}

fn kernel(net: &Net, name: &str) -> String {
    let mut nodes = net.graph().nodes.iter();
    net.kernel(nodes.position(|n| n.name() == name).unwrap())
}

/// The output, and in training the gradients of the parameters.
fn run(net: &Net, weights: &Weights) -> Vec<Vec<f32>> {
    let ip = net.graph().value("ip").unwrap();
    let top_diffs = [(ip, noise(5, net.shape(ip).clone()))];
    let mut pass = Pass::new(1, 0);
    pass.wanted = vec![ip];
    pass.top_diffs = &top_diffs;
    let x = noise(4, net.shape(net.inputs()[0]).clone());
    let mut all = net.zero_gradients();
    let outputs = match net.mode() {
        Mode::Train => net.forward_backward(&pass, weights, &[x], &mut all),
        Mode::Test => net.forward(&pass, weights, &[x]),
    };
    all.push(outputs.unwrap().values[&ip].data.clone());
    all
}

#[test]
fn a_pruned_net_computes_the_same_without_its_zeros() {
    for (batch, mode) in [(1, Mode::Test), (9, Mode::Test), (9, Mode::Train)] {
        let (thin, dense) = (
            net(batch, mode, UseSparse::Always),
            net(batch, mode, UseSparse::Never),
        );
        let weights = pruned(&dense);
        let (a, b) = (run(&thin, &weights), run(&dense, &weights));
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            assert_near(&format!("{mode:?} batch {batch}, array {i}"), a, b, 1e-5);
        }
        for layer in ["stem", "e1", "e3", "deep"] {
            assert!(kernel(&thin, layer).starts_with("sparse"), "{layer}");
            assert!(!kernel(&dense, layer).starts_with("sparse"), "{layer}");
        }
        let ip = kernel(&thin, "ip");
        assert_eq!(ip.starts_with("coded"), batch == 1, "{ip}");
        assert!(run(&thin, &weights) == a, "the second pass is another");
    }
}

#[test]
fn the_choice_is_of_sizes_and_density() {
    for set in Processor::ALL {
        // Whatever this machine is: the choice is that of such processors.
        let net = net(1, Mode::Test, UseSparse::AutoFor(set));
        let mut weights = pruned(&net);
        run(&net, &weights);
        assert!(kernel(&net, "e3").starts_with("sparse"), "{set:?}");
        for (p, w) in net.params().iter().zip(&mut weights) {
            if p.prunable {
                w.data.fill(0.5);
            }
        }
        run(&net, &weights);
        for layer in ["stem", "e1", "e3", "deep"] {
            let kernel = kernel(&net, layer);
            assert!(!kernel.starts_with("sparse"), "{set:?}, {layer}");
        }
    }
}

#[test]
fn a_sparse_phase_repeats_and_resumes_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", &digits_net(20, ""));
    write(
        folder.path(),
        "solver.prototxt",
        &digits_solver(6, "snapshot: 3"),
    );
    let run = |args: &[&str]| {
        let output = dsd()
            .args(args)
            .args(["--solver", "solver.prototxt"])
            .env("DSD_SPARSE", "always")
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(output.status.success(), "{text}");
    };
    let read = |out: &str| {
        let name = format!("{out}/sparse/small_iter_6.caffemodel");
        fs::read(folder.path().join(name)).unwrap()
    };
    run(&["dense", "--out", "a"]);
    let weights = "a/dense/small_iter_6.caffemodel";
    let sparse = ["prune", "--sparsity", "0.8", "--weights", weights];
    run(&[&sparse[..], &["--out", "b", "--threads", "1"]].concat());
    run(&[&sparse[..], &["--out", "c", "--threads", "3"]].concat());
    assert!(read("b") == read("c"), "threads");
    for kind in ["caffemodel", "solverstate"] {
        fs::remove_file(folder.path().join(format!("c/sparse/small_iter_6.{kind}"))).unwrap();
    }
    run(&[&sparse[..], &["--out", "c", "--resume"]].concat());
    assert!(read("b") == read("c"), "resumed");
}

#[test]
fn a_wrong_dsd_sparse_is_refused() {
    let output = dsd()
        .args(["device_query"])
        .env("DSD_SPARSE", "sometimes")
        .output()
        .unwrap();
    let text = error_of(&output, 2);
    assert!(text.contains("auto, never or always"), "{text}");
}
