//! A run that is killed at any moment and then resumed writes the bytes that the uninterrupted run
//! writes: weights, solver state, metrics, records.

#![cfg(unix)]

use crate::common::process::{assert_same, run, start, wait_for};
use crate::common::{between, folders_in, small_run};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// When to kill a run.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// At the k-th log line that contains this text.
    Line(&'static str, usize),
    /// After so many milliseconds.
    After(u64),
}

/// Runs `dsd` and kills it at that moment, if it lives so long.
fn kill_at(folder: &Path, args: &[&str], moment: Moment) {
    let (mut child, mut log) = start(folder, args);
    match moment {
        Moment::Line(text, k) => {
            assert!(wait_for(&mut log, text, k), "no {text}");
        }
        Moment::After(ms) => std::thread::sleep(Duration::from_millis(ms)),
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs `args` whole in one folder, and in others killed at those moments (each list in one folder)
/// and resumed; all `parts` must agree.
fn killed_and_resumed(
    args: &[&str],
    parts: &[&str],
    plans: &[&[Moment]],
    prepare: &dyn Fn() -> tempfile::TempDir,
) {
    let whole = prepare();
    run(whole.path(), args);
    let resume = [args, &["--resume"]].concat();
    for plan in plans {
        let folder = prepare();
        for (i, moment) in plan.iter().enumerate() {
            kill_at(folder.path(), if i == 0 { args } else { &resume }, *moment);
        }
        run(folder.path(), &resume);
        for part in parts {
            assert_same(folder.path(), whole.path(), part, &format!("{plan:?}"));
        }
    }
}

const WEIGHTS: &str = "Snapshotting to";
const STATE: &str = "Snapshotting solver state";

/// A folder with solver and net; iter_size 2 and an average over 4 losses span the snapshots.
fn folder() -> tempfile::TempDir {
    small_run(24, 10, "snapshot: 3 iter_size: 2")
}

#[test]
fn a_killed_dense_phase_resumes_to_the_same_bytes() {
    let args = [
        "train",
        "--phase",
        "dense",
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
        "--metrics",
        "m.jsonl",
    ];
    let plans: [&[Moment]; 5] = [
        &[Moment::Line(WEIGHTS, 1)],
        &[Moment::Line(STATE, 2)],
        &[
            Moment::Line("Iteration 5,", 1),
            Moment::Line(STATE, 1),
            Moment::Line(WEIGHTS, 1),
        ],
        &[Moment::Line("Optimization Done", 1)],
        &[Moment::After(3), Moment::After(20), Moment::After(35)],
    ];
    killed_and_resumed(&args, &["run/dense", "m.jsonl"], &plans, &folder);
}

/// A folder with the dense weights that the other phases start from.
fn with_dense() -> tempfile::TempDir {
    let folder = folder();
    run(
        folder.path(),
        &[
            "dense",
            "--solver",
            "solver.prototxt",
            "--max_iter",
            "2",
            "--out",
            "before",
        ],
    );
    folder
}

const DENSE: &str = "before/dense/small_iter_2.caffemodel";

#[test]
fn a_killed_sparse_phase_resumes_to_the_same_bytes() {
    let args = [
        "prune",
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
        "--weights",
        DENSE,
        "--sparsity",
        "conv=0.25,*=0.6",
        "--metrics",
        "m.jsonl",
    ];
    let plans: [&[Moment]; 3] = [
        &[Moment::Line(WEIGHTS, 2)],
        &[Moment::Line(STATE, 1), Moment::Line("Iteration 7,", 1)],
        &[
            Moment::After(12),
            Moment::Line("Testing net", 2),
            Moment::After(27),
        ],
    ];
    killed_and_resumed(&args, &["run/sparse", "m.jsonl"], &plans, &with_dense);
}

#[test]
fn a_killed_gradual_or_quantize_phase_resumes_to_the_same_bytes() {
    let shared = [
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
        "--weights",
        DENSE,
        "--metrics",
        "m.jsonl",
        "--scale_dropout",
    ];
    let gradual = [
        "prune",
        "--sparsity",
        "conv=0.25,*=0.8",
        "--schedule",
        "cubic",
        "--prune_every",
        "2",
        "--prune_until",
        "7",
    ];
    let quantize = ["quantize", "--bits", "conv=3,*=4"];
    let plans: [&[Moment]; 2] = [
        &[Moment::Line(STATE, 1), Moment::Line("Iteration 7,", 1)],
        &[
            Moment::After(12),
            Moment::Line(WEIGHTS, 2),
            Moment::After(27),
        ],
    ];
    for (own, part) in [
        (&gradual[..], "run/sparse"),
        (&quantize[..], "run/quantize"),
    ] {
        let args = [own, &shared[..]].concat();
        killed_and_resumed(&args, &[part, "m.jsonl"], &plans, &with_dense);
    }
}

#[test]
fn a_killed_redense_phase_resumes_to_the_same_bytes() {
    let args = [
        "redense",
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
        "--weights",
        DENSE,
    ];
    let plans: [&[Moment]; 2] = [
        &[
            Moment::Line(STATE, 1),
            Moment::Line(STATE, 1),
            Moment::Line(STATE, 1),
        ],
        &[Moment::After(17), Moment::After(31), Moment::After(9)],
    ];
    killed_and_resumed(&args, &["run/redense"], &plans, &with_dense);
}

#[test]
fn a_killed_run_of_all_phases_resumes_to_the_same_bytes() {
    let args = [
        "train",
        "--phase",
        "dsd",
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
        "--metrics",
        "m.jsonl",
        "--sparsity",
        "0.5",
    ];
    let parts = ["run/dense", "run/sparse", "run/redense", "m.jsonl"];
    let plans: [&[Moment]; 5] = [
        &[
            Moment::Line(STATE, 4),
            Moment::Line("Phase sparse", 1),
            Moment::Line("Pruning", 2),
        ],
        &[
            Moment::Line("Optimization Done", 1),
            Moment::Line(WEIGHTS, 2),
            Moment::Line(STATE, 3),
        ],
        &[
            Moment::Line("Optimization Done", 2),
            Moment::Line("Phase redense", 1),
            Moment::Line("Iteration 2,", 1),
        ],
        &[Moment::Line("Optimization Done", 3)],
        &[
            Moment::After(40),
            Moment::After(45),
            Moment::After(50),
            Moment::After(55),
            Moment::After(60),
        ],
    ];
    killed_and_resumed(&args, &parts, &plans, &folder);
}

#[test]
fn resuming_a_run_that_is_done_changes_nothing_and_prints_its_table() {
    let folder = folder();
    let args = [
        "train",
        "--phase",
        "dsd",
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
        "--metrics",
        "m.jsonl",
    ];
    let first = run(folder.path(), &args);
    let metrics = fs::read(folder.path().join("m.jsonl")).unwrap();
    let again = run(folder.path(), &[&args[..], &["--resume"]].concat());
    assert_eq!(
        String::from_utf8_lossy(&again.stdout),
        String::from_utf8_lossy(&first.stdout)
    );
    assert_eq!(fs::read(folder.path().join("m.jsonl")).unwrap(), metrics);
    assert_eq!(
        folders_in(&folder.path().join("run")),
        ["dense", "redense", "sparse"]
    );
}

#[test]
fn a_snapshot_goes_on_as_in_caffe() {
    let (whole, part) = (folder(), folder());
    let args = ["train", "-solver", "solver.prototxt", "-metrics", "m.jsonl"];
    run(whole.path(), &args);
    kill_at(part.path(), &args, Moment::Line("Iteration 7,", 1));
    let state = ["-snapshot", "small_iter_6.solverstate"];
    let output = run(part.path(), &[&args[..], &state].concat());
    let lines = crate::common::log_texts(&output.stderr);
    assert_eq!(between(&lines, "Iteration ", ", lr = ")[0], "6");
    for name in [
        "small_iter_9.solverstate",
        "small_iter_10.caffemodel",
        "small_iter_10.solverstate",
        "m.jsonl",
    ] {
        assert_same(part.path(), whole.path(), name, "--snapshot");
    }
}
