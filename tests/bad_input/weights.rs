//! Weights and solver states.

use super::{TRAIN, fails};
use crate::common::{digits_net, dsd, names_in, repository, small_run, state_of, write};
use dsd::layers::Mode;
use dsd::models;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options};
use dsd::npz;
use dsd::proto::{DsdMask, binary};
use dsd::tensor::{Shape, Tensor};
use std::fs;

/// A folder with trained weights and a state, of iteration 2.
fn trained() -> tempfile::TempDir {
    let folder = small_run(20, 2, "");
    dsd()
        .args(TRAIN)
        .current_dir(folder.path())
        .assert()
        .success();
    folder
}

#[test]
fn truncated_weights_and_states_are_refused() {
    let folder = trained();
    let at = folder.path();
    for kind in ["caffemodel", "solverstate"] {
        let bytes = fs::read(at.join(format!("small_iter_2.{kind}"))).unwrap();
        let flag = ["--weights", "--snapshot"][usize::from(kind == "solverstate")];
        let file = format!("cut.{kind}");
        for keep in [0, 1, bytes.len() / 3, bytes.len() - 1] {
            fs::write(at.join(&file), &bytes[..keep]).unwrap();
            let before = names_in(at);
            fails(at, &[&TRAIN[..], &[flag, &file]].concat(), &[&file]);
            assert_eq!(names_in(at), before);
        }
        fs::remove_file(at.join(&file)).unwrap();
    }
    dsd()
        .args([
            "export",
            "--weights",
            "small_iter_2.caffemodel",
            "--out",
            "w.npz",
        ])
        .current_dir(at)
        .assert()
        .success();
    let bytes = fs::read(at.join("w.npz")).unwrap();
    fs::write(at.join("w.npz"), &bytes[..bytes.len() - 40]).unwrap();
    fails(
        at,
        &[&TRAIN[..], &["--weights", "w.npz"]].concat(),
        &["w.npz"],
    );
}

#[test]
fn weights_of_another_shape_or_net_are_refused_with_the_reason() {
    let folder = trained();
    let at = folder.path();
    let weights = [&TRAIN[..], &["--weights", "small_iter_2.caffemodel"]].concat();
    let net = digits_net(20, "");
    write(
        at,
        "net.prototxt",
        &net.replace("num_output: 8", "num_output: 9"),
    );
    fails(
        at,
        &weights,
        &[
            "small_iter_2.caffemodel",
            "blob 0 of layer 'conv'",
            "8 1 3 3 (72)",
            "9 1 3 3 (81)",
        ],
    );
    write(
        at,
        "net.prototxt",
        &net.replace("\"conv\"", "\"c\"").replace("\"ip\"", "\"i\""),
    );
    fails(at, &weights, &["no layer name matches", "conv, ip", "c, i"]);
    // A state of another net.
    write(
        at,
        "net.prototxt",
        &net.replace("num_output: 10", "num_output: 11"),
    );
    fails(
        at,
        &[&TRAIN[..], &["--snapshot", "small_iter_2.solverstate"]].concat(),
        &["layer 'ip'", "11 128 (1408)"],
    );
}

#[test]
fn swapped_weights_and_states_are_recognised() {
    let folder = trained();
    let at = folder.path();
    let given = [&TRAIN[..], &["--snapshot", "small_iter_2.caffemodel"]].concat();
    fails(
        at,
        &given,
        &[
            "small_iter_2.caffemodel",
            "is a caffemodel",
            "not a solver state",
            "--weights",
        ],
    );
    let given = [&TRAIN[..], &["--weights", "small_iter_2.solverstate"]].concat();
    fails(
        at,
        &given,
        &["small_iter_2.solverstate", "not a caffemodel"],
    );
    fs::remove_file(at.join("small_iter_2.caffemodel")).unwrap();
    let given = [&TRAIN[..], &["--snapshot", "small_iter_2.solverstate"]].concat();
    fails(
        at,
        &given,
        &[
            "small_iter_2.solverstate",
            "its weights small_iter_2.caffemodel",
        ],
    );
}

#[test]
fn a_state_that_contradicts_itself_does_no_harm() {
    let folder = trained();
    let at = folder.path();
    let (mut state, _) = state_of(&at.join("small_iter_2.solverstate"));
    let own = state.dsd.as_mut().unwrap();
    own.phase_start = Some(u64::MAX);
    own.recent_losses = vec![f32::NAN; 9];
    binary::write(&at.join("odd.solverstate"), &state).unwrap();
    let args = ["--snapshot", "odd.solverstate", "--max_iter", "8"];
    let run = dsd().args(TRAIN).args(args).current_dir(at).assert();
    run.success();
    let own = state.dsd.as_mut().unwrap();
    own.masks = vec![DsdMask {
        layer: Some("ip".into()),
        blob: Some(0),
        count: Some(u64::MAX),
        bits: Some(vec![0]),
    }];
    binary::write(&at.join("odd.solverstate"), &state).unwrap();
    let odd = [&TRAIN[..], &args].concat();
    fails(at, &odd, &["odd.solverstate", "mask of layer 'ip'"]);
    state.dsd = None;
    state.iter = Some(-4);
    binary::write(&at.join("odd.solverstate"), &state).unwrap();
    dsd().args(&odd).current_dir(at).assert().success();
}

#[test]
fn weights_with_the_other_naming_of_squeezenet_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let builtin = models::find("squeezenet_v1.1").unwrap();
    let deploy = builtin.deploy(models::Family::Original).unwrap();
    let graph = Graph::new(&deploy, &State::new(Mode::Test)).unwrap();
    let shapes = models::input_shapes(&graph).unwrap();
    let net = Net::new(graph, &shapes, &Options::default()).unwrap();
    let stored = net.to_stored(&net.fill(1).unwrap());
    let arrays = stored.layers.iter().flat_map(|l| {
        let named = l.blobs.iter().enumerate();
        named.map(|(k, b)| (format!("{}:{k}", l.name), b.view()))
    });
    npz::write(&folder.path().join("w.npz"), arrays).unwrap();
    let picture = Tensor::zeros(Shape::new([1, 3, 227, 227]));
    let inputs = [("data", picture.view())];
    npz::write(&folder.path().join("in.npz"), inputs).unwrap();
    let model = repository("models/squeezenet_v1.1/deploy.prototxt");
    let model = model.display().to_string();
    let args = ["run", "--model", &model, "--weights", "w.npz"];
    let files = ["--inputs", "in.npz", "--outputs", "out.npz"];
    let words = [
        "w.npz: only conv1 of its layers match",
        "two naming families",
        "fire2/squeeze1x1",
    ];
    fails(folder.path(), &[&args[..], &files].concat(), &words);
    assert_eq!(names_in(folder.path()), ["in.npz", "w.npz"]);
}
