//! Folders that cannot be written, and disks that are full.

use super::{TRAIN, fails};
use crate::common::{assert_says, digits_solver, dsd, error_of, names_in, small_run, write};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn snapshots_that_cannot_be_written_are_an_error_before_the_first_iteration() {
    let folder = small_run(20, 2, "");
    write(folder.path(), "file", "");
    let output = dsd()
        .args(TRAIN)
        .args(["--out", "file/x"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_says(&error_of(&output, 1), &["file/x"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Iteration 0"));
    let solver = digits_solver(2, "").replace("\"small\"", "\"file/small\"");
    write(folder.path(), "solver.prototxt", &solver);
    let output = dsd()
        .args(TRAIN)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_says(&error_of(&output, 1), &["snapshot folder file"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Iteration 0"));
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_at_a_snapshot_leaves_no_half_of_it_and_the_run_can_go_on() {
    let solver = "snapshot: 2 type: \"Adam\"";
    let (folder, whole) = (small_run(20, 4, solver), small_run(20, 4, solver));
    let args = [
        "train",
        "--phase",
        "dense",
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
    ];
    dsd()
        .args(args)
        .current_dir(whole.path())
        .assert()
        .success();
    let size = |kind: &str| {
        let file = whole.path().join(format!("run/dense/small_iter_4.{kind}"));
        fs::metadata(file).unwrap().len()
    };
    let (weights, state) = (size("caffemodel"), size("solverstate"));
    assert!(state > weights + 1024);
    // Files may grow so large that no weights fit, or weights but no state. POSIX counts blocks of 512.
    for (limit, left) in [
        (weights - 600, &[][..]),
        (weights + 512, &["small_iter_2.caffemodel"]),
    ] {
        let script = format!("ulimit -f {} && exec \"$0\" \"$@\"", limit / 512);
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_dsd")])
            .args(args)
            .arg("--resume")
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = error_of(&output, 1);
        assert_says(
            &error,
            &["cannot write run/dense/small_iter_2.", "File too large"],
        );
        let mut names = names_in(&folder.path().join("run/dense"));
        names.retain(|n| n.contains("_iter_"));
        assert_eq!(names, left);
    }
    dsd()
        .args(args)
        .arg("--resume")
        .current_dir(folder.path())
        .assert()
        .success();
    for kind in ["caffemodel", "solverstate"] {
        let name = format!("run/dense/small_iter_4.{kind}");
        let read = |f: &Path| fs::read(f.join(&name)).unwrap();
        assert!(read(folder.path()) == read(whole.path()), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_a_run_that_writes_metrics() {
    let folder = small_run(20, 4, "");
    let args = [&TRAIN[..], &["--metrics", "/dev/full"]].concat();
    fails(
        folder.path(),
        &args,
        &["cannot write /dev/full", "No space left"],
    );
}
