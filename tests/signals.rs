//! What signals, a closed pipe and the clock do to a training run.

#![cfg(unix)]

use crate::common::process::{assert_same, run, signal, start, wait_for};
use crate::common::{folders_in, names_in, small_run, write};
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
    let solver = crate::common::digits_solver(10, "").replace("test_iter: 2 test_interval: 4", "");
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
    assert_eq!(folders_in(&folder.path().join("run")), ["dense"]);
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

#[test]
fn sigterm_and_sigusr1_save_and_stop_with_their_own_codes() {
    for (name, code) in [("TERM", 143), ("USR1", 128 + signal_hook::consts::SIGUSR1)] {
        for more in [&[][..], &["--phase", "dsd", "--out", "run"]] {
            let folder = quiet_folder();
            let (mut child, mut log) = long_run(folder.path(), more);
            signal(&child, name);
            assert!(wait_for(&mut log, "Optimization stopped early.", 1));
            assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
            let home = match more.is_empty() {
                true => folder.path().to_path_buf(),
                false => folder.path().join("run/dense"),
            };
            assert_eq!(states(&home).len(), 1, "{name}");
        }
    }
}

#[test]
fn a_closed_pipe_saves_and_stops() {
    let folder = quiet_folder();
    let (mut child, log) = long_run(folder.path(), &["--phase", "dense", "--out", "run"]);
    drop(log);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let [iteration] = states(&folder.path().join("run/dense"))[..] else {
        panic!("{:?}", names_in(&folder.path().join("run/dense")));
    };
    let text = std::fs::read_to_string(folder.path().join("run/log.txt")).unwrap();
    assert!(text.contains("Optimization stopped early."), "{text}");
    let length = (iteration + 2).to_string();
    let more = ["--out", "run", "--resume", "--max_iter", &length];
    run(folder.path(), &[&["train"][..], &more].concat());
}

#[test]
fn the_clock_saves_a_run_that_says_nothing_and_keeps_the_newest() {
    let folder = quiet_folder();
    let minutes = ["--snapshot_minutes", "0.001"];
    let (mut child, mut log) = long_run(folder.path(), &minutes);
    assert!(wait_for(&mut log, STATE, 3));
    child.kill().unwrap();
    child.wait().unwrap();
    let left = states(folder.path());
    assert!((1..=2).contains(&left.len()), "{left:?}");
    let newest = *left.iter().max().unwrap();
    // It goes on from there, and its last snapshot is the run's own.
    let length = (newest + 50).to_string();
    let args = [
        "train",
        "--solver",
        "solver.prototxt",
        "--resume",
        "--max_iter",
        &length,
    ];
    run(folder.path(), &[&args[..], &minutes].concat());
    let left = states(folder.path());
    assert!(left.contains(&(newest + 50)) && left.len() <= 3, "{left:?}");
    let whole = quiet_folder();
    let args = [
        "train",
        "--solver",
        "solver.prototxt",
        "--max_iter",
        &length,
    ];
    run(whole.path(), &args);
    assert_eq!(states(whole.path()), [newest + 50]);
    let name = format!("small_iter_{length}.solverstate");
    assert_same(folder.path(), whole.path(), &name, "saved by the clock");
}

#[test]
fn a_snapshot_that_the_user_asked_for_is_never_removed() {
    let folder = quiet_folder();
    let solver =
        crate::common::digits_solver(10, "snapshot: 50").replace("display: 1", "display: 10");
    let solver = solver.replace("test_iter: 2 test_interval: 4", "");
    write(folder.path(), "solver.prototxt", &solver);
    let args = ["train", "--solver", "solver.prototxt", "--max_iter", "400"];
    run(
        folder.path(),
        &[&args[..], &["--snapshot_minutes", "0.0001"]].concat(),
    );
    let left = states(folder.path());
    for own in [50, 100, 150, 200, 250, 300, 350, 400] {
        assert!(left.contains(&own), "{left:?}");
    }
    assert!(left.len() <= 9, "{left:?}");
    let quiet = quiet_folder();
    write(quiet.path(), "solver.prototxt", &solver);
    run(quiet.path(), &args);
    assert_eq!(states(quiet.path()).len(), 8);
}
