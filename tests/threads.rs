//! The number of threads changes no bit of a result.

use crate::common::{digits_net, digits_solver, dsd, repository, write};
use std::fs;
use std::path::Path;

/// Trains `net` with 1 to 64 threads, more than any test machine has; weights and states must be the same bytes.
fn trains_alike(net: &str, max_iter: usize, solver: &str, log: &str) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", net);
    write(
        folder.path(),
        "solver.prototxt",
        &digits_solver(max_iter, solver),
    );
    let train = |threads: &str| {
        let output = dsd()
            .args(["train", "--solver", "solver.prototxt", "--threads", threads])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(output.status.success(), "{text}");
        assert!(text.contains(log), "no '{log}' in: {text}");
        let read = |kind: &str| {
            let name = format!("small_iter_{max_iter}.{kind}");
            fs::read(folder.path().join(name)).unwrap()
        };
        (read("caffemodel"), read("solverstate"))
    };
    let one = train("1");
    for threads in ["2", "3", "7", "16", "33", "64"] {
        assert!(train(threads) == one, "{threads} threads differ from 1");
    }
}

#[test]
fn a_batch_in_groups_trains_alike_on_any_number_of_threads() {
    // A leaf has so many samples that its work is worth a gradient of its own.
    let log = "The batch of 50 runs in 10 groups of up to 5";
    trains_alike(&digits_net(50, ""), 8, "iter_size: 2", log);
}

#[test]
fn a_batch_smaller_than_the_groups_trains_alike() {
    trains_alike(
        &digits_net(3, ""),
        8,
        "type: \"Adam\" momentum2: 0.99",
        "in 1 groups of up to 3",
    );
}

#[test]
fn a_single_sample_trains_alike() {
    trains_alike(
        &digits_net(1, ""),
        12,
        "iter_size: 3",
        "in 1 groups of up to 1",
    );
}

#[test]
fn a_batch_that_a_softmax_over_samples_keeps_whole_trains_alike() {
    let more = r#"
layer { name: "over" type: "Softmax" bottom: "ip" top: "over" softmax_param { axis: 0 } }
layer { name: "sum" type: "Eltwise" bottom: "ip" bottom: "over" top: "sum" }
layer { name: "ip2" type: "InnerProduct" bottom: "sum" top: "ip2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }"#;
    let net = digits_net(50, more).replace(
        "bottom: \"ip\" bottom: \"label\"",
        "bottom: \"ip2\" bottom: \"label\"",
    );
    trains_alike(
        &net,
        6,
        "",
        "The batch of 50 runs whole: layer 'over' needs all samples at once",
    );
}

#[test]
fn a_batch_that_a_concat_of_samples_keeps_whole_trains_alike() {
    let more = r#"
layer { name: "both" type: "Concat" bottom: "ip" bottom: "ip" top: "both" concat_param { axis: 0 } }
layer { name: "labels" type: "Concat" bottom: "label" bottom: "label" top: "labels" concat_param { axis: 0 } }"#;
    let net = digits_net(21, more).replace(
        "bottom: \"ip\" bottom: \"label\"",
        "bottom: \"both\" bottom: \"labels\"",
    );
    trains_alike(
        &net,
        6,
        "iter_size: 2",
        "The batch of 21 runs whole: layer 'both'",
    );
}

/// Gradients and outputs of a built-in net on made-up pictures, as the bytes of the .npz.
fn run_squeezenet(folder: &Path, batch: usize, threads: &str) -> Vec<u8> {
    let text = fs::read_to_string(repository("models/squeezenet_v1.1/deploy.prototxt")).unwrap();
    let sized = text.replace("dim: 1 dim: 3", &format!("dim: {batch} dim: 3"));
    assert!(batch == 1 || sized != text);
    let net = write(folder, "net.prototxt", &sized);
    let output = dsd()
        .args([
            "run",
            "--phase",
            "train",
            "--inputs",
            "in.npz",
            "--gradients",
            "top.npz",
        ])
        .args([
            "--blobs",
            "conv1,fire5/concat,prob",
            "--outputs",
            "out.npz",
            "--threads",
            threads,
        ])
        .args(["--model".as_ref(), net.as_os_str()])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(folder.join("out.npz")).unwrap()
}

#[test]
fn the_real_net_has_the_same_outputs_and_gradients_on_any_number_of_threads() {
    use dsd::npz;
    use dsd::random::{Purpose, Random};
    use dsd::tensor::{Shape, Tensor};
    for batch in [1, 2, 5] {
        let folder = tempfile::tempdir().unwrap();
        let random = Random::new(5, Purpose::Transform, 0);
        let array = |dims: &[usize], scale: f32| {
            let shape = Shape::from(dims);
            let data = (0..shape.count() as u64).map(|i| scale * (random.unit(i) - 0.5));
            Tensor {
                data: data.collect(),
                shape,
            }
        };
        let data = array(&[batch, 3, 227, 227], 200.0);
        let top = array(&[batch, 1000, 1, 1], 1.0);
        npz::write(&folder.path().join("in.npz"), [("data", data.view())]).unwrap();
        npz::write(&folder.path().join("top.npz"), [("prob", top.view())]).unwrap();
        let one = run_squeezenet(folder.path(), batch, "1");
        for threads in ["2", "7", "33"] {
            let same = run_squeezenet(folder.path(), batch, threads) == one;
            assert!(same, "batch {batch}: {threads} threads differ from 1");
        }
    }
}
