//! Runs on a server: how they stand (`dsd status`), which snapshots stay (`--keep`), what they will take of the disk, and the
//! pictures of their curves.

#![cfg(unix)]

use crate::common::process::{assert_same, run, signal, start, wait_for};
use crate::common::{assert_says, dsd, error_of, names_in, small_run};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TRAIN: [&str; 6] = [
    "train",
    "--solver",
    "solver.prototxt",
    "--out",
    "run",
    "--resume",
];

/// The rows of `dsd status --json`.
fn stands(folder: &Path, runs: &[&str]) -> Vec<Value> {
    let output = run(folder, &[&["status", "--json"], runs].concat());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["runs"].as_array().unwrap().clone()
}

/// The iterations of the snapshots in a folder that are whole.
fn snapshots(folder: &Path) -> Vec<u64> {
    let names = names_in(folder);
    let state = |name: &String| {
        let iter = name
            .strip_prefix("small_iter_")?
            .strip_suffix(".solverstate")?;
        names
            .contains(&format!("small_iter_{iter}.caffemodel"))
            .then(|| iter.parse().unwrap())
    };
    let mut found: Vec<u64> = names.iter().filter_map(state).collect();
    found.sort_unstable();
    found
}

#[test]
fn status_tells_a_running_a_stopped_and_a_finished_run_apart() {
    let folder = small_run(16, 1_000_000, "");
    let (mut child, mut log) = start(folder.path(), &TRAIN);
    assert!(wait_for(&mut log, "Iteration 6,", 1));
    let row = &stands(folder.path(), &["run"])[0];
    assert_eq!(
        (&row["state"], &row["phase"]),
        (&"running".into(), &"dense".into()),
        "{row}"
    );
    assert_eq!(row["process"], child.id(), "{row}");
    assert_eq!(row["max_iter"], 1_000_000, "{row}");
    assert!(
        row["iteration"].as_u64() >= Some(5) && row["seconds_left"].as_f64() > Some(0.0),
        "{row}"
    );
    assert!(
        row["outputs"]["accuracy"].is_number() && row["disk_bytes"].as_u64() > Some(0),
        "{row}"
    );

    // A number that another process has now is not this run's.
    signal(&child, "TERM");
    while wait_for(&mut log, "\n", 1) {}
    assert_eq!(child.wait().unwrap().code(), Some(143));
    fs::write(
        folder.path().join("run/.lock"),
        format!("{}\n", std::process::id()),
    )
    .unwrap();
    let row = &stands(folder.path(), &["run"])[0];
    assert_eq!(
        (&row["state"], &row["process"]),
        (&"stopped".into(), &Value::Null),
        "{row}"
    );
    let text = run(folder.path(), &["status", "run"]).stdout;
    assert_says(
        &String::from_utf8(text).unwrap(),
        &["stopped", "--resume goes on with it"],
    );

    let done = row["iteration"].as_u64().unwrap() + 2;
    run(
        folder.path(),
        &[&TRAIN[..], &["--max_iter", &done.to_string()]].concat(),
    );
    let row = &stands(folder.path(), &["run"])[0];
    assert_eq!(
        (&row["state"], &row["iteration"]),
        (&"done".into(), &done.into()),
        "{row}"
    );
    assert_eq!(row["seconds_left"], Value::Null);
}

#[test]
fn status_says_why_a_run_failed_and_which_folder_is_none() {
    let folder = small_run(16, 50, "clip_gradients: -1");
    let solver = fs::read_to_string(folder.path().join("solver.prototxt")).unwrap();
    fs::write(
        folder.path().join("solver.prototxt"),
        solver.replace("base_lr: 0.05", "base_lr: 1e30"),
    )
    .unwrap();
    let output = dsd()
        .args(TRAIN)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let why = error_of(&output, 1);
    let row = &stands(folder.path(), &["run"])[0];
    assert_eq!(row["state"], "failed", "{row}");
    assert_eq!(format!("error: {}", row["error"].as_str().unwrap()), why);

    let status = |args: &[&str]| {
        let output = dsd()
            .arg("status")
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (
            error_of(&output, 1),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_says(&status(&["nowhere"]).0, &["nowhere: no such folder"]);
    assert_says(&status(&["run/dense"]).0, &["run/dense: ", "one above"]);
    assert_says(
        &status(&["."]).0,
        &["no run is here, but in folders below it", "./run"],
    );
    // What is a run is shown all the same.
    let (error, table) = status(&["run", "nowhere"]);
    assert_says(&table, &["failed"]);
    assert_says(&error, &["nowhere"]);
}

#[test]
fn keep_leaves_the_newest_snapshots_of_the_interval_and_a_kill_changes_nothing() {
    let folder = small_run(16, 23, "snapshot: 5");
    let args = [&TRAIN[..], &["--keep", "2"]].concat();
    let log = run(folder.path(), &args);
    let log = String::from_utf8(log.stderr).unwrap();
    assert_says(
        &log,
        &["Disk: up to ", " for 4 snapshots in run", "are free"],
    );
    let home = folder.path().join("run/dense");
    assert_eq!(snapshots(&home), [15, 20, 23]);
    assert!(folder.path().join("run/curves.svg").is_file());

    // Stopped by a kill, with a snapshot that is not whole and one too many.
    let killed = small_run(16, 23, "snapshot: 5");
    run(killed.path(), &[&args[..], &["--max_iter", "12"]].concat());
    let dense = killed.path().join("run/dense");
    assert_eq!(snapshots(&dense), [5, 10, 12]);
    for ending in ["caffemodel", "solverstate"] {
        fs::remove_file(dense.join(format!("small_iter_12.{ending}"))).unwrap();
    }
    fs::remove_file(dense.join("small_iter_10.caffemodel")).unwrap();
    // --keep is in the run's record.
    run(killed.path(), &[&TRAIN[..], &["--max_iter", "23"]].concat());
    assert_eq!(snapshots(&dense), [15, 20, 23]);
    let parts = names_in(&dense)
        .into_iter()
        .filter(|n| n.starts_with("small_iter_"));
    assert_eq!(parts.count(), 6, "what the kill left is gone");
    for ending in ["caffemodel", "solverstate"] {
        assert_same(
            &home,
            &dense,
            &format!("small_iter_23.{ending}"),
            "after a kill, with --keep",
        );
    }
}

#[test]
fn without_keep_all_snapshots_stay_and_zero_is_refused() {
    let folder = small_run(16, 12, "snapshot: 3");
    run(folder.path(), &["train", "--solver", "solver.prototxt"]);
    assert_eq!(snapshots(folder.path()), [3, 6, 9, 12]);
    run(
        folder.path(),
        &["train", "--solver", "solver.prototxt", "--keep", "1"],
    );
    assert_eq!(snapshots(folder.path()), [12]);
    let zero = dsd().args(["train", "--keep", "0"]).output().unwrap();
    error_of(&zero, 2);
}

#[test]
fn curves_are_drawn_of_runs_and_logs_alike() {
    let folder = small_run(16, 12, "");
    let log = run(
        folder.path(),
        &[
            "train",
            "--solver",
            "solver.prototxt",
            "--phase",
            "dsd",
            "--out",
            "run",
        ],
    );
    fs::write(folder.path().join("caffe.INFO"), log.stderr).unwrap();
    let drawn = fs::read_to_string(folder.path().join("run/curves.svg")).unwrap();
    assert_says(
        &drawn,
        &[
            "<title>Loss</title>",
            "<title>Test accuracy</title>",
            "<title>Learning rate</title>",
        ],
    );
    run(
        folder.path(),
        &["plot", "run", "caffe.INFO", "--out", "both.svg"],
    );
    let both = fs::read_to_string(folder.path().join("both.svg")).unwrap();
    assert_says(
        &both,
        &["run test accuracy", "caffe.INFO test accuracy", "run rate"],
    );
    run(
        folder.path(),
        &["plot_training_log", "6", "loss.svg", "run", "caffe.INFO"],
    );
    assert!(folder.path().join("loss.svg").is_file());

    let plot = |args: &[&str], code| {
        let output = dsd()
            .arg("plot")
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        error_of(&output, code)
    };
    assert_says(
        &plot(&["run/dense"], 1),
        &["run/dense: no run is here: expected log.txt"],
    );
    assert_says(&plot(&["nowhere"], 1), &["nowhere"]);
    assert_says(&plot(&["net.prototxt"], 1), &["no log line says 'Solving"]);
    plot(&["run", "--out", "x.png"], 2);
}

#[test]
fn a_terminal_that_goes_away_does_not_end_the_run() {
    let folder = small_run(16, 1_000_000, "");
    let command = format!("{} {}", env!("CARGO_BIN_EXE_dsd"), TRAIN.join(" "));
    let terminal = Command::new("script")
        .args(["-qfc", &command, "/dev/null"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut terminal) = terminal else {
        eprintln!("skipped: no program 'script' here, which gives a terminal");
        return;
    };
    let log = || fs::read_to_string(folder.path().join("run/log.txt")).unwrap_or_default();
    let wait = |what: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait(&|| log().contains("Iteration 6,"));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    // SIGHUP: it saves and goes on, with a bar that nobody sees.
    wait(&|| log().contains("Snapshotting solver state"));
    let seen = log().lines().count();
    wait(&|| log().lines().count() > seen + 40);
    let row = &stands(folder.path(), &["run"])[0];
    assert_eq!(row["state"], "running", "{row}");
    let kill = format!("kill -TERM {}", row["process"]);
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    wait(&|| stands(folder.path(), &["run"])[0]["state"] == "stopped");
}
