//! Caffe's rules of nets, tried through the program: a layer's own phase, gradients that no layer has, two
//! layers of one name, shared parameters, blobs that the data size, windows larger than pictures. The
//! folders of ../shared/cases are run where they are there.

use crate::common::{assert_says, dsd, error_of, names_in, shared, weights_of, write};
use dsd::npz::{self, Arrays};
use dsd::tensor::{Shape, Tensor};
use std::fs;
use std::path::Path;
use std::process::Output;

fn array(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(Shape::from(shape), data.to_vec()).unwrap()
}

fn save(folder: &Path, name: &str, arrays: &[(&str, Tensor)]) {
    let views = arrays.iter().map(|(n, t)| (*n, t.view()));
    npz::write(&folder.join(name), views).unwrap();
}

/// `dsd` in `folder`, with its words.
fn run(folder: &Path, words: &str) -> Output {
    dsd()
        .current_dir(folder)
        .args(words.split(' '))
        .output()
        .unwrap()
}

/// The arrays of o.npz that `dsd run --model net.prototxt --outputs o.npz` and more words write.
fn outputs(folder: &Path, words: &str) -> Arrays {
    let all = format!("run --model net.prototxt --outputs o.npz {words}");
    let output = run(folder, &all);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    npz::read(&folder.join("o.npz")).unwrap()
}

/// The error of that command.
fn fails(folder: &Path, words: &str) -> String {
    let all = format!("run --model net.prototxt --outputs o.npz {words}");
    error_of(&run(folder, &all), 1)
}

/// A copy of a folder of the cases of ../shared to work in.
fn case(name: &str) -> Option<tempfile::TempDir> {
    let from = shared(&format!("cases/caffe/{name}"))?;
    let folder = tempfile::tempdir().unwrap();
    for file in names_in(&from) {
        fs::copy(from.join(&file), folder.path().join(&file)).unwrap();
    }
    Some(folder)
}

#[test]
fn a_convolution_without_spatial_axes_needs_no_kernel() {
    let Some(folder) = case("05_convolution_without_spatial_axes") else {
        return;
    };
    let arrays = outputs(folder.path(), "--inputs i.npz --weights w.npz");
    assert_eq!(arrays["y"], array(&[2, 2], &[3.0; 4]));
}

const FILTER: &str = r#"
layer { name: "i" type: "Input" top: "x" top: "s" input_param { shape { dim: 3 dim: 2 } shape { dim: 3 } } }
layer { name: "f" type: "Filter" bottom: "x" bottom: "s" top: "y" }
layer { name: "p" type: "Power" bottom: "y" top: "z" power_param { scale: 3 } }
"#;

#[test]
fn a_gradient_has_the_shape_that_the_data_give_its_blob() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "net.prototxt", FILTER);
    let x = array(&[3, 2], &[1.0; 6]);
    let s = array(&[3], &[0.0, 1.0, 0.0]);
    save(path, "i.npz", &[("x", x), ("s", s)]);
    save(path, "g.npz", &[("z", array(&[1, 2], &[5.0, 6.0]))]);
    let arrays = outputs(path, "--inputs i.npz --blobs x,y,z --gradients g.npz");
    let through = [0.0, 0.0, 15.0, 18.0, 0.0, 0.0];
    assert_eq!(arrays["grad:x"], array(&[3, 2], &through));
    assert_eq!(arrays["grad:y"], array(&[1, 2], &[15.0, 18.0]));
    save(path, "full.npz", &[("z", array(&[3, 2], &[1.0; 6]))]);
    let e = fails(path, "--inputs i.npz --gradients full.npz");
    assert_says(&e, &["blob 'z'", "3 2 (6)", "1 2 (2)"]);
    let Some(folder) = case("06_filter_top_gradient") else {
        return;
    };
    let words = "--inputs i.npz --blobs x,y --gradients g.npz";
    let arrays = outputs(folder.path(), words);
    let through = [0.0, 0.0, 5.0, 6.0, 0.0, 0.0];
    assert_eq!(arrays["grad:x"], array(&[3, 2], &through));
}

/// Two layers `fc` with weights of `one` and `two` outputs, and a loss.
fn twins(one: usize, two: usize) -> String {
    format!(
        r#"
layer {{ name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {{ shape {{ dim: 2 dim: 3 }} shape {{ dim: 2 dim: {two} }}
  data_filler {{ value: 1 }} data_filler {{ value: 2 }} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "a" inner_product_param {{ num_output: {one} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "fc" type: "ReLU" bottom: "a" top: "a" relu_param {{ negative_slope: 0.5 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "a" top: "b" inner_product_param {{ num_output: {two} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "l" type: "EuclideanLoss" bottom: "b" bottom: "t" top: "l" }}
"#
    )
}

const TWIN_SOLVER: &str = "net: 'net.prototxt' max_iter: MAX base_lr: 0.05 momentum: 0.9 lr_policy: 'fixed' \
                           snapshot_prefix: 's' random_seed: 3 snapshot: 2";

fn all_blobs(path: &Path) -> Vec<Vec<f32>> {
    let (message, _) = dsd::proto::load_weights(path).unwrap();
    let values = |b| dsd::proto::blob::values(b).unwrap().into_owned();
    let blobs = message.layer.iter().flat_map(|l| &l.blobs);
    blobs.map(values).collect()
}

#[test]
fn two_layers_of_one_name_train_and_resume() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "net.prototxt", &twins(4, 2));
    write(path, "solver.prototxt", &TWIN_SOLVER.replace("MAX", "4"));
    let trained = run(path, "train --solver solver.prototxt");
    assert!(trained.status.success(), "{trained:?}");
    // The file has both, as Caffe writes them.
    let whole = all_blobs(&path.join("s_iter_4.caffemodel"));
    let sizes: Vec<usize> = whole.iter().map(Vec::len).collect();
    assert_eq!(sizes, [12, 4, 8, 2]);
    fs::remove_file(path.join("s_iter_4.caffemodel")).unwrap();
    let words = "train --solver solver.prototxt --snapshot s_iter_2.solverstate";
    let resumed = run(path, words);
    assert!(resumed.status.success(), "{resumed:?}");
    assert_eq!(all_blobs(&path.join("s_iter_4.caffemodel")), whole);
    // Given as weights, both belong to the first layer of the name, as in Caffe: here they do not fit.
    let e = fails(path, "--weights s_iter_4.caffemodel");
    assert_says(&e, &["layer 'fc'", "2 4 (8)", "4 3 (12)"]);
}

#[test]
fn weights_go_to_the_first_layer_of_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "net.prototxt", &twins(3, 3));
    write(path, "solver.prototxt", &TWIN_SOLVER.replace("MAX", "1"));
    let trained = run(path, "train --solver solver.prototxt");
    assert!(trained.status.success(), "{trained:?}");
    let file = path.join("s_iter_1.caffemodel");
    let [_, _, w, b] = &all_blobs(&file)[..] else {
        panic!("{:?}", weights_of(&file).keys());
    };
    let arrays = outputs(path, "--weights s_iter_1.caffemodel --blobs a");
    // The last of the name in the file is what the first in the net has then.
    let line = |o: usize| {
        let y = w[o * 3..][..3].iter().sum::<f32>() + b[o];
        if y > 0.0 { y } else { 0.5 * y }
    };
    for (o, y) in arrays["a"].data[..3].iter().enumerate() {
        assert!((y - line(o)).abs() < 1e-5, "{y} {}", line(o));
    }
    if let Some(folder) = case("07_two_weight_layers_of_one_name") {
        let arrays = outputs(folder.path(), "--inputs i.npz");
        assert_eq!(arrays["a"].shape, Shape::new([2, 2]));
        assert_eq!(arrays["b"].shape, Shape::new([2, 1]));
    }
}

#[test]
fn a_layers_own_phase_counts() {
    let net = r#"
layer { name: "i" type: "Input" top: "x" input_param { shape { dim: 1 dim: 8 } } }
layer { name: "d" type: "Dropout" bottom: "x" top: "y" phase: OWN }
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save(path, "i.npz", &[("x", array(&[1, 8], &[1.0; 8]))]);
    for (own, phase, passes) in [
        ("phase: TEST", "train", true),
        ("phase: TRAIN", "test", false),
        ("", "train", false),
        ("", "test", true),
    ] {
        write(path, "net.prototxt", &net.replace("phase: OWN", own));
        let arrays = outputs(path, &format!("--inputs i.npz --phase {phase}"));
        assert_eq!(arrays["y"].data == [1.0; 8], passes, "'{own}' in {phase}");
    }
    // BatchNorm in a net for training takes the statistics that it has.
    let norm = r#"
layer { name: "i" type: "Input" top: "x" input_param { shape { dim: 2 dim: 1 } } }
layer { name: "n" type: "BatchNorm" bottom: "x" top: "y" phase: TEST batch_norm_param { eps: 0 } }
"#;
    write(path, "net.prototxt", norm);
    save(path, "i.npz", &[("x", array(&[2, 1], &[2.0, 8.0]))]);
    let stats = [("n:0", 1.0), ("n:1", 4.0), ("n:2", 1.0)];
    let stats = stats.map(|(n, v)| (n, array(&[1], &[v])));
    save(path, "w.npz", &stats);
    let words = "--inputs i.npz --weights w.npz --phase train";
    assert_eq!(outputs(path, words)["y"].data, [0.5, 3.5]);
    if let Some(folder) = case("08_phase_of_a_layer_ignored") {
        let arrays = outputs(folder.path(), "--inputs i.npz --phase train");
        assert_eq!(arrays["y"].data, [1.0; 8]);
    }
}

#[test]
fn a_shared_parameter_has_its_gradient_under_every_layer() {
    let Some(folder) = case("15_shared_parameter_gradient") else {
        return;
    };
    let arrays = outputs(
        folder.path(),
        "--inputs i.npz --weights w.npz --gradients g.npz",
    );
    for name in ["grad:p:0", "grad:q:0"] {
        assert_eq!(arrays[name], array(&[2, 2], &[2.0; 4]), "{name}");
    }
}

/// What makes the other bottoms, all of it by layers that learn, then the layer that has no gradient for one
/// of them, and its sentence.
const REFUSALS: [(&str, &str, &str); 14] = [
    (
        T,
        "type: 'SoftmaxWithLoss' bottom: 'y' bottom: 't'",
        "SoftmaxWithLoss Layer cannot backpropagate to label inputs",
    ),
    (
        Y2,
        "type: 'SigmoidCrossEntropyLoss' bottom: 'y' bottom: 'y2'",
        "SigmoidCrossEntropyLoss Layer cannot backpropagate to label inputs",
    ),
    (
        T,
        "type: 'HingeLoss' bottom: 'y' bottom: 't'",
        "HingeLoss Layer cannot backpropagate to label inputs",
    ),
    (
        T,
        "type: 'MultinomialLogisticLoss' bottom: 'y' bottom: 't'",
        "MultinomialLogisticLoss Layer cannot backpropagate to label inputs",
    ),
    (
        T,
        "type: 'InfogainLoss' bottom: 'y' bottom: 't' bottom: 'eye'",
        "InfogainLoss Layer cannot backpropagate to label inputs",
    ),
    (
        "layer { name: 'p' type: 'Parameter' top: 'h' parameter_param { shape { dim: 1 dim: 1 dim: 3 dim: 3 } } }",
        "type: 'InfogainLoss' bottom: 'y' bottom: 'label' bottom: 'h'",
        "InfogainLoss Layer cannot backpropagate to infogain inputs",
    ),
    (
        T,
        "type: 'Filter' bottom: 'y' bottom: 't' loss_weight: 1",
        "Filter Layer cannot backpropagate to filter index inputs",
    ),
    (
        T1,
        "type: 'BatchReindex' bottom: 'y' bottom: 't1' loss_weight: 1",
        "Cannot backprop to index",
    ),
    (
        T,
        "type: 'Embed' bottom: 't' embed_param { num_output: 2 input_dim: 3 } loss_weight: 1",
        "Can't backpropagate to EmbedLayer input",
    ),
    (
        STEPS,
        "type: 'LSTM' bottom: 'y3' bottom: 'y' recurrent_param { num_output: 2 } loss_weight: 1",
        "Cannot backpropagate to sequence indicators",
    ),
    (
        STEPS,
        "type: 'RNN' bottom: 'y3' bottom: 'y' recurrent_param { num_output: 2 } loss_weight: 1",
        "Cannot backpropagate to sequence indicators",
    ),
    (
        "",
        "type: 'ArgMax' bottom: 'y' loss_weight: 1",
        "Not Implemented Yet",
    ),
    (
        "",
        "type: 'Threshold' bottom: 'y' loss_weight: 1",
        "Not Implemented Yet",
    ),
    (
        "",
        "type: 'Accuracy' bottom: 'y' bottom: 'label' loss_weight: 1",
        "Not Implemented Yet",
    ),
];

const T: &str = "layer { name: 'b' type: 'InnerProduct' bottom: 'x' top: 't' inner_product_param { num_output: 1 } }";

const T1: &str = "layer { name: 'b' type: 'InnerProduct' bottom: 'x' top: 't' inner_product_param { num_output: 1 } }
layer { name: 'r' type: 'Reshape' bottom: 't' top: 't1' reshape_param { shape { dim: 2 } } }";

const Y2: &str = "layer { name: 'b' type: 'InnerProduct' bottom: 'x' top: 'y2' inner_product_param { num_output: 3 } }";

const STEPS: &str = "layer { name: 'b' type: 'InnerProduct' bottom: 'x' top: 'y2' inner_product_param { num_output: 6 } }
layer { name: 'r' type: 'Reshape' bottom: 'y2' top: 'y3' reshape_param { shape { dim: 2 dim: 3 dim: 2 } } }";

/// What is there for all of them: `y` comes from a layer that learns.
const BASE: &str = r#"
layer { name: 'd' type: 'DummyData' top: 'x' top: 'label' top: 'eye' dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 } shape { dim: 1 dim: 1 dim: 3 dim: 3 }
  data_filler { value: 1 } data_filler { value: 0 } data_filler { value: 1 } } }
layer { name: 'a' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 3 } }
layer { name: 'unused' type: 'Silence' bottom: 'label' bottom: 'eye' }
"#;

#[test]
fn gradients_that_a_layer_does_not_have_stop_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let solver =
        "net: 'net.prototxt' max_iter: 1 base_lr: 0.1 lr_policy: 'fixed' snapshot_prefix: 's'";
    write(path, "solver.prototxt", solver);
    for (more, layer, sentence) in REFUSALS {
        let net = format!("{BASE}{more}\nlayer {{ name: 'last' {layer} top: 'l' }}\n");
        write(path, "net.prototxt", &net);
        let e = error_of(&run(path, "train -solver solver.prototxt"), 1);
        assert_says(&e, &["layer 'last'", sentence]);
        // Testing goes on.
        let tested = run(path, "run --model net.prototxt --outputs o.npz");
        assert!(tested.status.success(), "{net}\n{tested:?}");
    }
    // Nothing learns below the labels, or the net says that nothing goes there.
    let fine = format!("{BASE}{T}")
        + "layer { name: 'l' type: 'SoftmaxWithLoss' bottom: 'y' bottom: 't' top: 'l'
             propagate_down: true propagate_down: false }";
    write(path, "net.prototxt", &fine);
    let trained = run(path, "train -solver solver.prototxt");
    assert!(trained.status.success(), "{trained:?}");
    if let Some(folder) = case("16_gradient_into_labels") {
        let e = error_of(&run(folder.path(), "train -solver solver.prototxt"), 1);
        assert_says(&e, &["layer 'l'", "cannot backpropagate to label inputs"]);
    }
}

#[test]
fn gradients_behind_a_layer_without_backward_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let net = r#"
layer { name: "i" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "h" type: "Threshold" bottom: "x" top: "y" }
layer { name: "p" type: "InnerProduct" bottom: "y" top: "z" inner_product_param { num_output: 1 } }
"#;
    write(path, "net.prototxt", net);
    save(path, "i.npz", &[("x", array(&[1, 2], &[1.0, -1.0]))]);
    save(path, "g.npz", &[("z", array(&[1, 1], &[1.0]))]);
    save(path, "y.npz", &[("y", array(&[1, 2], &[1.0, 1.0]))]);
    let arrays = outputs(path, "--inputs i.npz --gradients g.npz");
    assert_eq!(arrays["grad:p:0"].data, [1.0, 0.0]);
    let e = fails(path, "--inputs i.npz --gradients g.npz --blobs x");
    assert_says(&e, &["layer 'h'", "Not Implemented Yet", "blob 'x'"]);
    let e = fails(path, "--inputs i.npz --gradients y.npz");
    assert_says(&e, &["layer 'h'", "Not Implemented Yet"]);
}

#[test]
fn a_top_named_twice_is_an_error() {
    let net = r#"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "s" type: "Split" bottom: "x" TOPS }
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save(path, "i.npz", &[("x", array(&[1, 3], &[1.0; 3]))]);
    for tops in [
        "top: 'a' top: 'a'",
        "top: 'x' top: 'b' top: 'x'",
        "top: 'x' top: 'x'",
    ] {
        write(path, "net.prototxt", &net.replace("TOPS", tops));
        let e = fails(path, "--inputs i.npz");
        assert_says(&e, &["net.prototxt:3", "layer 's'", "named twice"]);
    }
    if let Some(file) = shared("cases/files/one_top_twice.prototxt") {
        fs::copy(file, path.join("net.prototxt")).unwrap();
        let e = fails(path, "--inputs i.npz");
        assert_says(&e, &["layer 's'", "top 'a' is named twice"]);
    }
}

type File = (
    &'static str,
    &'static str,
    &'static [usize],
    &'static str,
    &'static [usize],
);

/// Files of ../shared/cases/files that run, with the shape of their input and of an output.
const FILES: [File; 4] = [
    (
        "conv_prelu_inplace",
        "data",
        &[1, 3, 12, 12],
        "c",
        &[1, 10, 10, 10],
    ),
    (
        "conv_Bias_inplace",
        "data",
        &[1, 3, 12, 12],
        "c",
        &[1, 10, 10, 10],
    ),
    (
        "pool_window_larger",
        "data",
        &[1, 1, 1, 1],
        "p",
        &[1, 1, 1, 1],
    ),
    (
        "two_bottoms_of_two_layouts",
        "a",
        &[1, 3, 8, 8],
        "yb",
        &[1, 8, 8, 8],
    ),
];

#[test]
fn nets_that_once_broke_run() {
    for (name, input, shape, output, want) in FILES {
        let Some(file) = shared(&format!("cases/files/{name}.prototxt")) else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::copy(file, path.join("net.prototxt")).unwrap();
        let count = Shape::from(shape).count();
        save(path, "i.npz", &[(input, array(shape, &vec![0.5; count]))]);
        let arrays = outputs(path, "--inputs i.npz");
        assert_eq!(arrays[output].shape.dims(), want, "{name}");
        if name == "pool_window_larger" {
            assert_eq!(arrays["p"].data, [0.5]);
        }
        let seconds = run(path, "time --model net.prototxt --iterations 1");
        assert!(seconds.status.success(), "{name}: {seconds:?}");
    }
}
