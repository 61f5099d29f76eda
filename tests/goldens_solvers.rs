//! Every solver case of `../shared/goldens/solvers` (all but the HDF5 ones): the tiny net trained 20
//! iterations by Caffe 1.0. What is printed, the weights after every iteration, snapshots and resuming
//! must be Caffe's.

use crate::common::{
    Blobs, assert_close, assert_near, between, dsd, error_of, log_texts, shared, state_of,
    weights_of, write,
};
use dsd::npz::{self, Arrays};
use dsd::proto::{NetParameter, binary, blob};
use std::fs;
use std::path::{Path, PathBuf};

/// A case's solver, changed so that it can run from `folder`: snapshots go there after every iteration.
fn solver_in(folder: &Path, goldens: &Path, case: &str) -> PathBuf {
    let text = fs::read_to_string(goldens.join(format!("{case}_solver.prototxt"))).unwrap();
    let net = format!("net: \"{}\"", goldens.join("tiny.prototxt").display());
    let lines = text.lines().filter(|l| !l.starts_with("snapshot:"));
    let text: Vec<&str> = lines.collect();
    let text = text.join("\n").replace("net: \"tiny.prototxt\"", &net);
    assert!(text.contains(&net));
    write(folder, "solver.prototxt", &(text + "\nsnapshot: 1\n"))
}

/// Trains a case in a temporary folder; gives the folder and the log.
fn train(goldens: &Path, case: &str, from: [&str; 2]) -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let solver = solver_in(folder.path(), goldens, case);
    let run = dsd()
        .args(["train", "--threads", "1", "--solver"])
        .arg(solver)
        .args([from[0].as_ref(), goldens.join(from[1]).as_os_str()])
        .current_dir(folder.path())
        .assert()
        .success();
    let lines = log_texts(&run.get_output().stderr);
    (folder, lines)
}

/// What the log says of the iterations from `first` on against the golden.
fn compare_log(case: &str, lines: &[String], golden: &Arrays, first: usize) {
    let want = |name: &str| golden[name].data[first..].iter().map(|v| f64::from(*v));
    let rates: Vec<&str> = lines
        .iter()
        .filter(|l| l.starts_with("Iteration "))
        .filter_map(|l| Some(l.split_once(", lr = ")?.1))
        .collect();
    assert_eq!(rates.len(), 20 - first, "{case}");
    for (got, want) in rates.iter().zip(&golden["printed_lr"].data[first..]) {
        // Caffe's text of this number, read as float32.
        assert_eq!(got.parse::<f32>().unwrap(), *want, "{case}: lr {got}");
    }
    let printed = lines.iter().filter(|l| l.contains(" iters), loss = "));
    let printed: Vec<&str> = printed.map(|l| l.rsplit_once("= ").unwrap().1).collect();
    let last = between(lines, "Train net output #0: loss = ", " (* 1");
    for (name, got) in [("printed_loss", printed), ("last_batch_loss", last)] {
        assert_eq!(got.len(), 20 - first, "{case}: {name}");
        for (got, want) in got.iter().zip(want(name)) {
            // The sixth digit may be rounded either way.
            assert_close(&format!("{case}: {name}"), got.parse().unwrap(), want, 1e-5);
        }
    }
}

/// The weights after every iteration from `first` on against the golden.
fn compare_weights(case: &str, folder: &Path, prefix: &str, golden: &Arrays, first: usize) {
    for iteration in first + 1..=20 {
        let weights = weights_of(&folder.join(format!("{prefix}_iter_{iteration}.caffemodel")));
        for (name, all) in golden.iter().filter(|(k, _)| k.starts_with("w/")) {
            let got = &weights[&name[2..]];
            let n = got.len();
            let want = &all.data[iteration * n..(iteration + 1) * n];
            assert_near(
                &format!("{case}: {name} after {iteration} iterations"),
                got,
                want,
                1e-5,
            );
        }
        assert_eq!(weights.len(), 4);
    }
}

/// A state's fields that Caffe knows.
fn compare_states(case: &str, got: &Path, want: &Path) {
    let ((got, got_history), (want, want_history)) = (state_of(got), state_of(want));
    assert_eq!(got.iter, want.iter, "{case}");
    assert_eq!(got.current_step, want.current_step, "{case}");
    let file = |name: Option<String>| name.unwrap().rsplit('/').next().unwrap().to_string();
    assert_eq!(file(got.learned_net), file(want.learned_net), "{case}");
    assert_eq!(got_history.len(), want_history.len(), "{case}");
    for (k, (a, b)) in got.history.iter().zip(&want.history).enumerate() {
        assert_eq!(blob::shape(a).unwrap(), blob::shape(b).unwrap());
        let name = format!("{case}: history {k}");
        // Errors of 20 iterations add up in a history that starts at 0.
        assert_near(&name, &got_history[k], &want_history[k], 1e-5);
        let greatest = |h: &[f32]| h.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off: Vec<f32> = got_history[k]
            .iter()
            .zip(&want_history[k])
            .map(|(g, w)| g - w)
            .collect();
        assert!(
            greatest(&off) <= 1e-6 * greatest(&want_history[k]).max(1.0),
            "{name}"
        );
    }
}

/// The names of the cases that have numbers and need no HDF5.
fn cases(goldens: &Path) -> Vec<String> {
    let solver = |n: &String| goldens.join(format!("{n}_solver.prototxt")).exists();
    let names = crate::common::names_in(goldens).into_iter();
    let names = names.filter_map(|n| Some(n.strip_suffix(".npz")?.to_string()));
    names.filter(solver).collect()
}

#[test]
fn every_rule_and_policy_trains_as_in_caffe() {
    let Some(goldens) = shared("goldens/solvers") else {
        return;
    };
    let cases = cases(&goldens);
    assert_eq!(cases.len(), 16, "{cases:?}");
    for case in &cases {
        let golden = npz::read(&goldens.join(format!("{case}.npz"))).unwrap();
        let (folder, lines) = train(&goldens, case, ["--weights", "tiny_init.caffemodel"]);
        compare_log(case, &lines, &golden, 0);
        compare_weights(case, folder.path(), case, &golden, 0);
        for iteration in [10, 20] {
            let name = format!("{case}_iter_{iteration}.solverstate");
            if goldens.join(&name).exists() {
                compare_states(case, &folder.path().join(&name), &goldens.join(&name));
            }
        }
        // The golden's last weights once more, and as Caffe's own file has them.
        let last = format!("{case}_iter_20.caffemodel");
        let (got, want) = (
            weights_of(&folder.path().join(&last)),
            weights_of(&goldens.join(&last)),
        );
        assert_all_near(case, &got, &want);
    }
}

fn assert_all_near(case: &str, got: &Blobs, want: &Blobs) {
    assert!(got.keys().eq(want.keys()), "{case}: other blobs");
    for (name, want) in want {
        assert_near(&format!("{case}: {name}"), &got[name], want, 1e-5);
    }
}

#[test]
fn training_goes_on_from_caffes_own_state() {
    let Some(goldens) = shared("goldens/solvers") else {
        return;
    };
    let golden = npz::read(&goldens.join("sgd_l2.npz")).unwrap();
    let from = ["--snapshot", "sgd_l2_iter_10.solverstate"];
    let (folder, lines) = train(&goldens, "resume", from);
    compare_log("resume", &lines, &golden, 10);
    compare_weights("resume", folder.path(), "sgd_l2_resumed", &golden, 10);
    let name = |kind: &str| format!("sgd_l2_resumed_iter_20.{kind}");
    let own = |kind: &str| folder.path().join(name(kind));
    compare_states(
        "resume",
        &own("solverstate"),
        &goldens.join(name("solverstate")),
    );
    assert_all_near(
        "resume",
        &weights_of(&own("caffemodel")),
        &weights_of(&goldens.join(name("caffemodel"))),
    );
}

#[test]
fn training_goes_on_from_our_own_state_to_the_same_bits() {
    let Some(goldens) = shared("goldens/solvers") else {
        return;
    };
    for case in ["sgd_l2", "adam", "sgd_avgloss", "lr_step"] {
        let (whole, _) = train(&goldens, case, ["--weights", "tiny_init.caffemodel"]);
        let last = |kind: &str| whole.path().join(format!("{case}_iter_20.{kind}"));
        let files = [last("caffemodel"), last("solverstate")];
        let before: Vec<Vec<u8>> = files.iter().map(|f| fs::read(f).unwrap()).collect();
        files.iter().for_each(|f| fs::remove_file(f).unwrap());
        let state = format!("{case}_iter_10.solverstate");
        dsd()
            .args(["train", "--solver", "solver.prototxt", "--snapshot", &state])
            .current_dir(whole.path())
            .assert()
            .success();
        let after: Vec<Vec<u8>> = files.iter().map(|f| fs::read(f).unwrap()).collect();
        assert!(before == after, "{case}");
    }
}

#[test]
fn a_state_for_another_rule_is_refused() {
    let Some(goldens) = shared("goldens/solvers") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let solver = solver_in(folder.path(), &goldens, "adam");
    let output = dsd()
        .arg("train")
        .args(["--solver".as_ref(), solver.as_os_str()])
        .arg("--snapshot")
        .arg(goldens.join("sgd_l2_iter_10.solverstate"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = error_of(&output, 1);
    crate::common::assert_says(
        &error,
        &["sgd_l2_iter_10.solverstate", "4 history blobs", "Adam"],
    );
}

/// Names, types, bottoms, tops and shapes: what Caffe needs to know a layer by.
fn outline(net: &NetParameter) -> Vec<String> {
    let shapes = |l: &dsd::proto::LayerParameter| -> Vec<Vec<usize>> {
        l.blobs.iter().map(|b| blob::shape(b).unwrap()).collect()
    };
    net.layer
        .iter()
        .map(|l| {
            format!(
                "{} {} {:?} {:?} {:?} phase {:?}",
                l.name(),
                l.r#type(),
                l.bottom,
                l.top,
                shapes(l),
                l.phase()
            )
        })
        .collect()
}

#[test]
fn a_written_caffemodel_holds_the_layers_that_caffes_does() {
    let Some(goldens) = shared("goldens/solvers") else {
        return;
    };
    let (folder, _) = train(&goldens, "sgd_l2", ["--weights", "tiny_init.caffemodel"]);
    let name = "sgd_l2_iter_20.caffemodel";
    let got = binary::read_caffemodel(&folder.path().join(name)).unwrap();
    let want = binary::read_caffemodel(&goldens.join(name)).unwrap();
    assert_eq!(got.name, want.name);
    assert_eq!(outline(&got), outline(&want));
    // Our reader also reads Caffe's own in every respect.
    for (got, want) in got.layer.iter().zip(&want.layer) {
        let mut stripped = [got.clone(), want.clone()];
        stripped.iter_mut().for_each(|l| l.blobs.clear());
        assert_eq!(stripped[0], stripped[1], "layer '{}'", got.name());
    }
}
