//! Nets and solvers.

use super::{TRAIN, fails};
use crate::common::{digits_net, digits_solver, names_in, small_run, write};
use std::fs;

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = small_run(20, 2, "");
    let at = folder.path();
    fails(
        at,
        &["train", "--solver", "none.prototxt"],
        &["cannot read none.prototxt", "No such file"],
    );
    fails(
        at,
        &["train", "--solver", "."],
        &["cannot read .", "directory"],
    );
    fails(
        at,
        &[&TRAIN[..], &["--weights", "none.caffemodel"]].concat(),
        &["cannot read none.caffemodel"],
    );
    fails(
        at,
        &[&TRAIN[..], &["--snapshot", "none.solverstate"]].concat(),
        &["cannot read none.solverstate"],
    );
    fails(
        at,
        &["test", "--model", "none.prototxt", "--weights", "w"],
        &["none.prototxt: no such file", "digits"],
    );
    write(at, "binary.prototxt", "net: \"\u{0}\u{1}\"");
    fs::write(at.join("latin.prototxt"), b"net: \"\xe9\"").unwrap();
    fails(
        at,
        &["train", "--solver", "latin.prototxt"],
        &["latin.prototxt: net: ", "No such file"],
    );
    let solver = digits_solver(2, "").replace("net.prototxt", "other.prototxt");
    write(at, "solver.prototxt", &solver);
    fails(
        at,
        &TRAIN,
        &["solver.prototxt", "cannot read other.prototxt"],
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let secret = write(at, "secret.prototxt", "");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
        // Root reads everything.
        if fs::read(&secret).is_err() {
            fails(
                at,
                &["train", "--solver", "secret.prototxt"],
                &["secret.prototxt", "ermission denied"],
            );
        }
    }
    assert!(!names_in(at).iter().any(|n| n.starts_with("small_iter")));
}

#[test]
fn a_misspelt_field_is_shown_with_its_place_and_the_right_word() {
    let folder = small_run(20, 2, "base_lrr: 0.1");
    let lines = fs::read_to_string(folder.path().join("solver.prototxt")).unwrap();
    let line = lines
        .lines()
        .position(|l| l.starts_with("base_lrr"))
        .unwrap()
        + 1;
    fails(
        folder.path(),
        &TRAIN,
        &[
            &format!("solver.prototxt:{line}:1: "),
            "base_lrr",
            "did you mean",
            "base_lr",
        ],
    );
    write(folder.path(), "solver.prototxt", &digits_solver(2, ""));
    let net = digits_net(20, "").replace("kernel_size: 3", "kernal_size: 3");
    let line = net.lines().position(|l| l.contains("kernal_size")).unwrap();
    let column = net.lines().nth(line).unwrap().find("kernal_size").unwrap() + 1;
    write(folder.path(), "net.prototxt", &net);
    let place = format!("net.prototxt:{}:{column}: ", line + 1);
    fails(
        folder.path(),
        &TRAIN,
        &[&place, "kernal_size", "did you mean", "kernel_size"],
    );
}

#[test]
fn a_solver_that_makes_no_sense_is_refused() {
    let cases = [
        (
            "lr_policy: \"step\"",
            "lr_policy: \"stepp\"",
            "unknown lr_policy \"stepp\"",
        ),
        ("stepsize: 5", "", "stepsize > 0"),
        (
            "momentum: 0.9",
            "momentum: 0.9 type: \"SDG\"",
            "unknown solver type \"SDG\"",
        ),
        (
            "momentum: 0.9",
            "momentum: 0.9 type: \"AdaGrad\"",
            "has no momentum",
        ),
        ("test_interval: 4", "", "test_interval > 0"),
        ("net: \"net.prototxt\"", "", "no net"),
        (
            "momentum: 0.9",
            "momentum: 0.9 iter_size: 0",
            "iter_size must be positive",
        ),
        (
            "momentum: 0.9",
            "momentum: 0.9 regularization_type: \"L3\"",
            "L3",
        ),
    ];
    for (from, to, words) in cases {
        let folder = small_run(20, 2, "");
        let solver = digits_solver(2, "");
        assert!(solver.contains(from));
        write(folder.path(), "solver.prototxt", &solver.replace(from, to));
        fails(folder.path(), &TRAIN, &["solver.prototxt", words]);
    }
}

#[test]
fn a_net_that_does_not_hold_together_is_refused_with_layer_and_line() {
    let relu = "layer { name: \"more\" type: \"ReLU\" bottom: \"ip\" top: \"more\" }";
    let cases = [
        (
            relu.replace("\"ip\"", "\"ipp\""),
            &["unknown bottom 'ipp'", "did you mean 'ip'"][..],
        ),
        (
            relu.replace("\"ip\"", "\"nothing\""),
            &["unknown bottom 'nothing'"],
        ),
        (
            relu.replace("\"ip\"", "\"loss\""),
            &["made only later, by layer 'loss'"],
        ),
        (relu.replace("ReLU", "ReLu"), &["unknown layer type 'ReLu'"]),
        (
            relu.replace("type: \"ReLU\"", ""),
            &["the layer has no type"],
        ),
        (
            relu.replace("top: \"more\"", "top: \"pool\""),
            &["top 'pool' is already made by layer 'drop'"],
        ),
        (
            relu.replace("top: \"more\"", "top: \"a\" top: \"b\""),
            &["1 tops here, but 2 are named"],
        ),
        (
            relu.replace("ReLU\"", "Eltwise\" bottom: \"pool\""),
            &["20 10 (200)", "20 8 4 4 (2560)"],
        ),
        (relu.replace("ReLU\"", "Python\""), &["Python"]),
    ];
    for (layer, words) in cases {
        let folder = small_run(20, 2, "");
        let net = digits_net(20, &layer);
        let line = net.lines().position(|l| l.contains("\"more\"")).unwrap() + 1;
        write(folder.path(), "net.prototxt", &net);
        let place = format!("net.prototxt:{line}: layer 'more'");
        fails(folder.path(), &TRAIN, &[&[&place[..]], words].concat());
    }
}

#[test]
fn a_loss_that_is_not_finite_names_iteration_and_layer() {
    let folder = small_run(20, 50, "");
    let solver = digits_solver(50, "").replace("base_lr: 0.05", "base_lr: 1e15");
    write(folder.path(), "solver.prototxt", &solver);
    let net = fs::read_to_string(folder.path().join("net.prototxt")).unwrap();
    let line = net.lines().position(|l| l.contains("\"ip\" type")).unwrap() + 1;
    let place = format!("net.prototxt:{line}: layer 'ip': its output 'ip' is not finite");
    fails(
        folder.path(),
        &TRAIN,
        &["iteration ", "the loss is ", &place, "learning rate"],
    );
    assert_eq!(names_in(folder.path()), ["net.prototxt", "solver.prototxt"]);
}
