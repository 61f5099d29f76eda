//! Weights that are no numbers any more.

use super::{dsd, error, log, write};
use crate::common::{assert_says, names_in};
use dsd::npz;
use dsd::proto::{self, binary};
use dsd::tensor::{Shape, Tensor};
use std::path::Path;

/// A loss of mean (y - 1)² / 2 with y = w·x: with a rate r the error grows by 1 - r each time.
fn folder(solver: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "net.prototxt",
        "layer { name: 'd' type: 'DummyData' top: 'x' top: 't' dummy_data_param { shape { dim: 1 dim: 1 } \
         data_filler { value: 1 } } } \
         layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 1 \
         bias_term: false } } \
         layer { name: 'l' type: 'EuclideanLoss' bottom: 'y' bottom: 't' top: 'l' }",
    );
    write(
        folder.path(),
        "solver.prototxt",
        &format!("net: 'net.prototxt' lr_policy: 'fixed' snapshot_prefix: 's' {solver}"),
    );
    folder
}

const TRAIN: [&str; 3] = ["train", "--solver", "solver.prototxt"];

#[test]
fn no_snapshot_holds_them_and_the_message_names_the_last_good_one() {
    // The error is 1e15 times larger each iteration: the loss is infinite at the third, the weights with the
    // snapshot before it are still numbers.
    let run = folder("base_lr: 1e15 max_iter: 9 snapshot: 1");
    let told = error(run.path(), &TRAIN);
    assert_says(&told, &["iteration ", "s_iter_", "newest good snapshot"]);
    for name in names_in(run.path())
        .iter()
        .filter(|n| n.ends_with("caffemodel"))
    {
        let (message, _) = proto::load_weights(&run.path().join(name)).unwrap();
        let blobs = message.layer.iter().flat_map(|l| &l.blobs);
        assert!(blobs.flat_map(|b| &b.data).all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn the_update_that_did_it_is_named() {
    // One update leaves infinity at once: the loss before it is finite.
    let run = folder("base_lr: 3e38 max_iter: 9 snapshot: 1 weight_decay: 0");
    write(
        run.path(),
        "net.prototxt",
        &std::fs::read_to_string(run.path().join("net.prototxt"))
            .unwrap()
            .replace("data_filler { value: 1 }", "data_filler { value: 3 }"),
    );
    let told = error(run.path(), &TRAIN);
    assert_says(
        &told,
        &[
            "iteration 0",
            "layer 'ip'",
            "blob 0",
            "1 of the 1",
            "no snapshot",
        ],
    );
    assert!(!names_in(run.path()).iter().any(|n| n.contains("_iter_")));
}

/// Makes the weights of a snapshot NaN.
fn spoil(path: &Path) {
    let (mut message, _) = proto::load_weights(path).unwrap();
    for blob in message.layer.iter_mut().flat_map(|l| &mut l.blobs) {
        blob.data[0] = f32::NAN;
    }
    binary::write(path, &message).unwrap();
}

#[test]
fn resume_passes_over_them() {
    let run = folder("base_lr: 0.1 max_iter: 6 snapshot: 2");
    log(run.path(), &TRAIN);
    spoil(&run.path().join("s_iter_6.caffemodel"));
    let args = [&TRAIN[..], &["--resume", "--max_iter", "8"]].concat();
    let log = log(run.path(), &args);
    let said = |words: &str| log.iter().any(|l| l.contains(words));
    assert!(
        said("Passing over ./s_iter_6.caffemodel: 1 of the 1 values"),
        "{log:?}"
    );
    assert!(said("s_iter_4.solverstate"), "{log:?}");
    // In a run folder too.
    let args = [
        "train",
        "--solver",
        "solver.prototxt",
        "--phase",
        "dense",
        "--out",
        "run",
    ];
    self::log(run.path(), &args);
    spoil(&run.path().join("run/dense/s_iter_6.caffemodel"));
    let args = [&args[..], &["--resume", "--max_iter", "8"]].concat();
    let log = self::log(run.path(), &args);
    assert!(log.iter().any(|l| l.contains("Passing over")), "{log:?}");
}

#[test]
fn given_ones_are_said_and_not_trained_from() {
    let run = folder("base_lr: 0.1 max_iter: 1");
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let array = Tensor::new(Shape::new([1, 1]), vec![value]).unwrap();
        npz::write(&run.path().join("w.npz"), [("ip:0", array.view())]).unwrap();
        let words = ["w.npz", "layer 'ip'", "blob 0", "1 of the 1"];
        let told = error(run.path(), &[&TRAIN[..], &["--weights", "w.npz"]].concat());
        assert_says(&told, &words);
        let test = [
            "test",
            "--model",
            "net.prototxt",
            "--weights",
            "w.npz",
            "--iterations",
            "1",
        ];
        assert_says(&log(run.path(), &test).join("\n"), &words);
        let out = dsd(run.path(), &["inspect", "w.npz"]).output().unwrap();
        let shown = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert_says(&shown, &["layer 'ip'", "NaN or infinite"]);
    }
}
