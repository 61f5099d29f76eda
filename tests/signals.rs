//! What SIGINT and SIGHUP do to a training run.

#![cfg(unix)]

mod common;

use common::process::{assert_same, run, signal, start, wait_for};
use common::{names_in, small_run, write};
use std::io::BufReader;
use std::path::Path;
use std::process::{Child, ChildStderr};

const STATE: &str = "Snapshotting solver state";

/// A run that goes on for long, at a known iteration.
fn long_run(folder: &Path, more: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let args = [
        "train",
        "--solver",
        "solver.prototxt",
        "--max_iter",
        "1000000",
    ];
    let (child, mut log) = start(folder, &[&args[..], more].concat());
    assert!(wait_for(&mut log, "Iteration 2,", 1));
    (child, log)
}

/// A folder whose runs save nothing by themselves and test never.
fn quiet_folder() -> tempfile::TempDir {
    let folder = small_run(24, 10, "");
    let solver = common::digits_solver(10, "").replace("test_iter: 2 test_interval: 4", "");
    write(folder.path(), "solver.prototxt", &solver);
    folder
}

/// The iterations of the solver states in a folder.
fn states(folder: &Path) -> Vec<u64> {
    let iteration = |n: String| {
        let n = n
            .strip_prefix("small_iter_")?
            .strip_suffix(".solverstate")?
            .parse()
            .ok()?;
        Some(n)
    };
    names_in(folder).into_iter().filter_map(iteration).collect()
}

#[test]
fn sigint_saves_a_snapshot_ends_with_130_and_resumes_to_the_same_bytes() {
    let folder = quiet_folder();
    let (mut child, mut log) = long_run(folder.path(), &[]);
    signal(&child, "INT");
    assert!(wait_for(&mut log, "Optimization stopped early.", 1));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let [iteration] = states(folder.path())[..] else {
        panic!("{:?}", names_in(folder.path()));
    };
    let length = (iteration + 3).to_string();
    let args = [
        "train",
        "--solver",
        "solver.prototxt",
        "--max_iter",
        &length,
    ];
    run(folder.path(), &[&args[..], &["--resume"]].concat());
    let whole = quiet_folder();
    run(whole.path(), &args);
    for kind in ["caffemodel", "solverstate"] {
        let name = format!("small_iter_{length}.{kind}");
        assert_same(folder.path(), whole.path(), &name, "after SIGINT");
    }
}

#[test]
fn sigint_in_a_phase_says_how_to_go_on() {
    let folder = quiet_folder();
    let (mut child, mut log) = long_run(folder.path(), &["--phase", "dsd", "--out", "run"]);
    signal(&child, "INT");
    assert!(wait_for(
        &mut log,
        "the same command with --resume goes on",
        1
    ));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(states(&folder.path().join("run/dense")).len(), 1);
    assert_eq!(names_in(&folder.path().join("run")), ["dense"]);
}

#[test]
fn sighup_saves_a_snapshot_and_goes_on() {
    let folder = quiet_folder();
    let (mut child, mut log) = long_run(folder.path(), &[]);
    signal(&child, "HUP");
    assert!(wait_for(&mut log, STATE, 1));
    assert!(wait_for(&mut log, "Iteration ", 3));
    assert_eq!(states(folder.path()).len(), 1);
    signal(&child, "INT");
    assert!(wait_for(&mut log, "Optimization stopped early.", 1));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(states(folder.path()).len(), 2);
}

#[test]
fn the_effects_of_signals_can_be_chosen() {
    let folder = quiet_folder();
    let effects = ["--sigint_effect", "none", "--sighup_effect", "stop"];
    let (mut child, mut log) = long_run(folder.path(), &effects);
    signal(&child, "INT");
    assert!(wait_for(&mut log, "Iteration ", 20));
    assert!(states(folder.path()).is_empty());
    signal(&child, "HUP");
    assert!(wait_for(&mut log, "Optimization stopped early.", 1));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(states(folder.path()).len(), 1);

    let folder = quiet_folder();
    let (mut child, mut log) = long_run(folder.path(), &["-sigint_effect=snapshot"]);
    signal(&child, "INT");
    assert!(wait_for(&mut log, STATE, 1));
    assert!(wait_for(&mut log, "Iteration ", 3));
    assert_eq!(states(folder.path()).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
}
