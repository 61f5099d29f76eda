//! What a run records of itself, and that it goes on from that alone.

#![cfg(unix)]

use crate::common::process::{assert_same, run, signal, start, wait_for};
use crate::common::{assert_says, digits_net, digits_solver, dsd, error_of, folders_in, log_texts};
use crate::common::{names_in, small_run, write};
use serde_json::Value;
use std::fs;
use std::path::Path;

const STATE: &str = "Snapshotting solver state";

/// A run of all phases that saves every 3 iterations of 10.
fn folder() -> tempfile::TempDir {
    small_run(24, 10, "snapshot: 3")
}

const DSD: [&str; 7] = [
    "train",
    "--phase",
    "dsd",
    "--solver",
    "solver.prototxt",
    "--out",
    "run",
];

/// Runs `args` in a folder and kills it at the k-th line with this text.
fn kill_at(folder: &Path, args: &[&str], text: &str, k: usize) {
    let (mut child, mut log) = start(folder, args);
    assert!(wait_for(&mut log, text, k), "no {text}");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn lines_of(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn a_run_goes_on_with_nothing_but_its_folder() {
    let whole = folder();
    let more = [
        "--sparsity",
        "conv=0.25,*=0.5",
        "--seed",
        "9",
        "--metrics",
        "m.jsonl",
    ];
    let args = [&DSD[..], &more].concat();
    run(whole.path(), &args);
    for (text, k) in [
        (STATE, 1),
        ("Phase sparse", 1),
        (STATE, 6),
        ("Phase redense", 1),
    ] {
        let folder = folder();
        kill_at(folder.path(), &args, text, k);
        // What the files were is in the run's own copies.
        if text == STATE {
            for name in ["solver.prototxt", "net.prototxt"] {
                fs::remove_file(folder.path().join(name)).unwrap();
            }
        }
        run(folder.path(), &["train", "--out", "run", "--resume"]);
        for part in [
            "run/dense",
            "run/sparse",
            "run/redense",
            "run/metrics.jsonl",
            "m.jsonl",
        ] {
            assert_same(folder.path(), whole.path(), part, &format!("{text} {k}"));
        }
    }
}

#[test]
fn a_run_of_a_flow_or_of_the_built_in_net_goes_on_too_and_from_another_folder() {
    let flow = "solver = 'solver.prototxt'\n[[phase]]\nkind = 'dense'\n[[phase]]\nkind = 'sparse'\nsparsity = 0.5\n\
                schedule = 'cubic'\nprune_every = 2\nprune_until = 7\n[[phase]]\nkind = 'quantize'\nbits = 3\n";
    let whole = folder();
    write(whole.path(), "flow.toml", flow);
    let args = ["train", "--flow", "flow.toml", "--out", "run"];
    run(whole.path(), &args);
    let part = folder();
    write(part.path(), "flow.toml", flow);
    kill_at(part.path(), &args, STATE, 6);
    fs::remove_file(part.path().join("flow.toml")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let out = part.path().join("run").display().to_string();
    run(other.path(), &["train", "--out", &out, "--resume"]);
    assert!(names_in(other.path()).is_empty());
    for name in [
        "dense/small_iter_10",
        "sparse/small_iter_10",
        "quantize/small_iter_10",
    ] {
        let name = format!("run/{name}.caffemodel");
        assert_same(part.path(), whole.path(), &name, "from another folder");
    }

    let (whole, part) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let args = ["train", "--max_iter", "30", "--snapshot_minutes", "0"];
    run(whole.path(), &args);
    kill_at(part.path(), &args, "Phase redense", 1);
    run(part.path(), &["train", "--resume"]);
    for phase in ["dsd_run/dense", "dsd_run/sparse", "dsd_run/redense"] {
        assert_same(part.path(), whole.path(), phase, "built in");
    }
}

#[test]
fn what_would_make_it_another_phase_is_refused_and_named_with_both_values() {
    let folder = folder();
    let more = ["--sparsity", "conv=0.25,*=0.5", "--seed", "9"];
    kill_at(folder.path(), &[&DSD[..], &more].concat(), STATE, 6);
    let before = fs::read(folder.path().join("run/sparse/phase.json")).unwrap();
    let solver = |text: &str| {
        write(folder.path(), "other.prototxt", text);
        ["--solver", "other.prototxt"]
    };
    let plain = digits_solver(10, "snapshot: 3");
    let net = digits_net(24, "").replace("num_output: 8", "num_output: 9");
    write(folder.path(), "other_net.prototxt", &net);
    let with = |from: &str, to: &str| {
        assert!(plain.contains(from));
        plain.replace(from, to)
    };
    let says = |flags: &[&str], words: &[&str]| {
        let args = [&["train", "--out", "run", "--resume"], flags].concat();
        let output = dsd()
            .args(&args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_says(&error_of(&output, 2), words);
        assert_eq!(
            fs::read(folder.path().join("run/sparse/phase.json")).unwrap(),
            before
        );
    };
    says(
        &["--sparsity", "0.6"],
        &[
            "sparse phase in run/sparse",
            "sparsity: conv=0.25,*=0.5 in the run, 0.6 now",
        ],
    );
    says(
        &["--schedule", "cubic", "--prune_until", "5"],
        &["schedule: once in the run, cubic now"],
    );
    says(&["--seed", "8"], &["seed: 9 in the run, 8 now"]);
    says(
        &["--scale_dropout"],
        &["scale_dropout: false in the run, true now"],
    );
    says(&["--weights", "w.caffemodel"], &[]);
    says(
        &solver(&with("momentum: 0.9", "momentum: 0.5")),
        &["momentum: 0.9 in the run, 0.5 now", "dense phase"],
    );
    says(
        &solver(&format!("{plain} type: 'Adam'")),
        &["type: \"SGD\" in the run, \"Adam\" now"],
    );
    says(
        &solver(&format!("{plain} iter_size: 3")),
        &["iter_size: 1 in the run, 3 now"],
    );
    says(
        &solver(&with("net.prototxt", "other_net.prototxt")),
        &[
            "layer 'conv'",
            "num_output: 8 in the run, num_output: 9 now",
        ],
    );
    // The same said otherwise is no change.
    let same = format!("{plain} type: 'SGD' iter_size: 1");
    let args = [
        "train",
        "--out",
        "run",
        "--resume",
        "--sparsity",
        " conv=0.250,*=0.50",
    ];
    run(folder.path(), &[&args[..], &solver(&same)].concat());
}

#[test]
fn bits_and_a_gradual_schedule_cannot_change_either() {
    let folder = folder();
    let out = ["--solver", "solver.prototxt", "--out", "run"];
    run(folder.path(), &[&["dense"], &out[..]].concat());
    let gradual = [
        "prune",
        "--schedule",
        "cubic",
        "--prune_every",
        "2",
        "--prune_until",
        "7",
    ];
    kill_at(folder.path(), &[&gradual[..], &out].concat(), STATE, 2);
    let fails = |args: &[&str], words: &[&str]| {
        let args = [args, &["--out", "run", "--resume"]].concat();
        let output = dsd()
            .args(&args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_says(&error_of(&output, 2), words);
    };
    fails(
        &["prune", "--schedule", "cubic", "--prune_every", "3"],
        &["prune_every: 2 in the run, 3 now"],
    );
    fails(
        &["prune", "--schedule", "cubic", "--prune_until", "6"],
        &["prune_until: 7 in the run, 6 now"],
    );
    fails(
        &["prune", "--schedule", "once"],
        &["schedule: cubic, every 2 until 7 in the run, once now"],
    );
    run(folder.path(), &["prune", "--out", "run", "--resume"]);
    kill_at(
        folder.path(),
        &[&["quantize", "--bits", "4"], &out[..]].concat(),
        STATE,
        2,
    );
    fails(&["quantize", "--bits", "3"], &["bits: 4 in the run, 3 now"]);
    run(folder.path(), &["train", "--out", "run", "--resume"]);
    assert_eq!(
        json(&folder.path().join("run/quantize/phase.json"))["bits"],
        "4"
    );
}

#[test]
fn a_longer_run_and_another_rate_are_taken_and_recorded() {
    let folder = folder();
    let args = ["dense", "--solver", "solver.prototxt", "--out", "run"];
    run(folder.path(), &args);
    let record = || json(&folder.path().join("run/dense/phase.json"));
    assert_eq!(
        (&record()["max_iter"], &record()["iterations"]),
        (&10.into(), &10.into())
    );
    run(
        folder.path(),
        &["train", "--out", "run", "--resume", "--max_iter", "14"],
    );
    assert_eq!(
        (&record()["max_iter"], &record()["iterations"]),
        (&14.into(), &14.into())
    );
    let solver = digits_solver(17, "snapshot: 3").replace("base_lr: 0.05", "base_lr: 0.02");
    write(folder.path(), "solver.prototxt", &solver);
    let output = run(folder.path(), &[&args[..], &["--resume"]].concat());
    let lines = log_texts(&output.stderr);
    let said = "base_lr was 0.05 so far and is 0.02 from here on";
    assert!(lines.iter().any(|l| l == said), "{lines:?}");
    assert_eq!(
        (&record()["max_iter"], &record()["iterations"]),
        (&17.into(), &17.into())
    );
    assert!((record()["base_lr"].as_f64().unwrap() - 0.02).abs() < 1e-8);
    let copy = fs::read_to_string(folder.path().join("run/dense/solver.prototxt")).unwrap();
    assert_says(&copy, &["base_lr: 0.02", "max_iter: 17"]);
}

#[test]
fn a_longer_first_phase_makes_the_later_ones_anew() {
    let folder = folder();
    run(folder.path(), &DSD);
    run(
        folder.path(),
        &["train", "--out", "run", "--resume", "--max_iter", "13"],
    );
    let names = folders_in(&folder.path().join("run"));
    assert_eq!(
        names,
        ["dense", "redense", "redense.old1", "sparse", "sparse.old1"]
    );
    let whole = small_run(24, 13, "snapshot: 3");
    run(whole.path(), &DSD);
    let model = "run/redense/small_iter_13.caffemodel";
    assert_same(folder.path(), whole.path(), model, "longer");
    // The course of the phases moved aside went with them.
    let points = |name: &str| lines_of(&folder.path().join("run").join(name));
    assert!(
        points("sparse.old1/metrics.jsonl")
            .iter()
            .all(|l| l["phase"] == "sparse")
    );
    let sparse = points("metrics.jsonl");
    let sparse = sparse
        .iter()
        .filter(|l| l["phase"] == "sparse" && l["lr"].is_number());
    assert_eq!(sparse.count(), 13);
}

#[test]
fn a_phase_records_how_it_was_made() {
    let folder = folder();
    run(folder.path(), &DSD);
    let home = folder.path().join("run/sparse");
    let record = json(&home.join("phase.json"));
    assert_eq!(record["version"], env!("CARGO_PKG_VERSION"));
    let command = record["command"].as_array().unwrap();
    assert!(command.iter().skip(1).eq(DSD.iter()), "{command:?}");
    assert_eq!(
        (&record["seed"], &record["sparsity"]),
        (&7.into(), &"@dsd".into())
    );
    assert_eq!(
        (&record["before"], &record["max_iter"]),
        (&10.into(), &10.into())
    );
    assert_eq!(record["from"][0], "run/dense/small_iter_10.caffemodel");
    assert_eq!(record["densities"]["conv"], 1.0);
    assert_eq!(record["densities"]["ip"], 0.7);
    // The copies are a run of their own.
    let again = tempfile::tempdir().unwrap();
    for name in ["solver.prototxt", "net.prototxt"] {
        fs::copy(home.join(name), again.path().join(name)).unwrap();
    }
    run(
        again.path(),
        &["dense", "--solver", "solver.prototxt", "--out", "run"],
    );
    let model = "run/dense/small_iter_10.caffemodel";
    assert_same(again.path(), folder.path(), model, "from the copies");
    let whole = json(&folder.path().join("run/run.json"));
    assert_eq!(
        (&whole["phase"], &whole["settings"]["solver"]),
        (&"dsd".into(), &DSD[4].into())
    );
    assert_eq!(whole["sittings"].as_array().unwrap().len(), 1);
    run(folder.path(), &["train", "--out", "run", "--resume"]);
    let whole = json(&folder.path().join("run/run.json"));
    assert_eq!(whole["sittings"].as_array().unwrap().len(), 2);
}

#[test]
fn every_run_has_its_course_and_its_log() {
    let folder = folder();
    let output = run(folder.path(), &DSD);
    let points = lines_of(&folder.path().join("run/metrics.jsonl"));
    for point in &points {
        for key in [
            "iteration",
            "global_iteration",
            "phase",
            "time",
            "densities",
        ] {
            assert!(!point[key].is_null(), "{key}: {point}");
        }
    }
    let global = |phase: &str| {
        let of = points.iter().find(|p| p["phase"] == phase);
        of.unwrap()["global_iteration"].as_u64().unwrap()
    };
    assert_eq!(["dense", "sparse", "redense"].map(global), [0, 10, 20]);
    let sparse = points.iter().find(|p| p["phase"] == "sparse").unwrap();
    assert_eq!(
        sparse["densities"],
        serde_json::json!({"conv": 1.0, "ip": 0.7})
    );
    let log = fs::read(folder.path().join("run/log.txt")).unwrap();
    let (log, printed) = (log_texts(&log), log_texts(&output.stderr));
    let tail = &printed[printed.len() - log.len()..];
    assert!(log == tail, "{log:?}");
    assert!(log.iter().any(|l| l.starts_with("Iteration 3, lr = ")));
    assert!(
        log.iter()
            .any(|l| l.starts_with("Time left: about ") && l.contains("whole run"))
    );

    // A phase that comes twice has names of its own; alone, each phase adds to the file.
    let flow = "solver = 'solver.prototxt'\n".to_string()
        + &["dense", "sparse", "redense", "sparse", "redense"]
            .map(|k| format!("[[phase]]\nkind = '{k}'\n"))
            .concat();
    write(folder.path(), "flow.toml", &flow);
    run(
        folder.path(),
        &[
            "train",
            "--flow",
            "flow.toml",
            "--out",
            "f",
            "--metrics",
            "m.jsonl",
        ],
    );
    let course = fs::read(folder.path().join("f/metrics.jsonl")).unwrap();
    assert_eq!(course, fs::read(folder.path().join("m.jsonl")).unwrap());
    let points = lines_of(&folder.path().join("m.jsonl"));
    let last = points.last().unwrap();
    assert_eq!(
        (&last["phase"], &last["global_iteration"]),
        (&"redense-2".into(), &50.into())
    );
    run(
        folder.path(),
        &["quantize", "--solver", "solver.prototxt", "--out", "f"],
    );
    let both = fs::read(folder.path().join("f/metrics.jsonl")).unwrap();
    assert!(both.starts_with(&course) && both.len() > course.len());
    // Another run's file is kept.
    let alone = [
        "train",
        "--solver",
        "solver.prototxt",
        "--metrics",
        "m.jsonl",
    ];
    run(folder.path(), &alone);
    assert_eq!(
        fs::read(folder.path().join("m.jsonl.old1")).unwrap(),
        course
    );
}

#[test]
fn a_second_run_into_a_folder_is_refused_while_the_first_lives() {
    let folder = small_run(24, 1_000_000, "snapshot: 3");
    let (mut child, mut log) = start(folder.path(), &DSD);
    assert!(wait_for(&mut log, STATE, 1));
    for more in [&["--resume"][..], &[], &["--seed", "3"]] {
        let args = [&DSD[..], more].concat();
        let output = dsd()
            .args(&args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let number = format!("(process {})", child.id());
        assert_says(
            &error_of(&output, 2),
            &["run: another dsd", &number, "another --out"],
        );
    }
    assert_eq!(folders_in(&folder.path().join("run")), ["dense"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut child, mut log) = start(folder.path(), &["train", "--out", "run", "--resume"]);
    assert!(wait_for(&mut log, STATE, 1), "a dead process blocks");
    signal(&child, "INT");
    child.wait().unwrap();
}

#[test]
fn a_dry_run_says_what_each_phase_needs_and_writes_nothing() {
    let folder = small_run(24, 20, "snapshot: 4");
    let before = names_in(folder.path());
    let output = run(folder.path(), &[&DSD[..], &["--dry_run"]].concat());
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let head = [
        "phase",
        "iterations",
        "base_lr",
        "sparsity",
        "density",
        "time",
        "disk",
        "memory",
    ];
    assert_eq!(rows[0], head);
    assert_eq!(rows[2][..4], ["dense", "20", "0.05", "1.0000"], "{table}");
    // ip has 1,280 weights, conv 72.
    assert_eq!(
        rows[3][..5],
        ["sparse", "20", "0.005", "@dsd", "0.7160"],
        "{table}"
    );
    assert_eq!(
        rows[4][..4],
        ["redense", "20", "0.0005", "1.0000"],
        "{table}"
    );
    assert_eq!(rows[5][0], "all");
    assert_eq!(names_in(folder.path()), before);
    // A phase alone that has nothing to start from yet, and Caffe's own train.
    let alone = ["prune", "--solver", "solver.prototxt", "--dry_run"];
    assert_says(
        &String::from_utf8(run(folder.path(), &alone).stdout).unwrap(),
        &["sparse", "@dsd"],
    );
    let caffe = ["train", "--solver", "solver.prototxt", "--dry_run"];
    assert_says(
        &String::from_utf8(run(folder.path(), &caffe).stdout).unwrap(),
        &["dense"],
    );
    assert_eq!(names_in(folder.path()), before);
    // Of a run that goes on, the rest counts.
    kill_at(folder.path(), &DSD, STATE, 3);
    let rest = run(
        folder.path(),
        &["train", "--out", "run", "--resume", "--dry_run"],
    );
    let rest = String::from_utf8(rest.stdout).unwrap();
    let dense: Vec<&str> = rest.lines().nth(2).unwrap().split_whitespace().collect();
    // The line of the third state comes before the state itself, which the kill may prevent.
    assert!(dense[1].parse::<u64>().unwrap() <= 12, "{rest}");
}

#[test]
fn a_range_test_finds_a_rate_and_leaves_a_curve() {
    let folder = tempfile::tempdir().unwrap();
    let test = |threads: &str| {
        let args = ["train", "--find_lr=60", "--threads", threads];
        String::from_utf8(run(folder.path(), &args).stdout).unwrap()
    };
    let text = test("1");
    assert_eq!(text, test("2"));
    let line = text.lines().find_map(|l| l.strip_prefix("base_lr: "));
    let rate = line.and_then(|l| l.split_whitespace().next()).unwrap();
    // The digits' net is known to learn with rates from a hundredth to a fifth.
    let rate: f64 = rate.parse().unwrap();
    assert!((0.01..=0.2).contains(&rate), "{text}");
    assert_says(&text, &["is least at", "find_lr.svg"]);
    assert_eq!(names_in(folder.path()), ["find_lr.svg"]);
    let picture = fs::read_to_string(folder.path().join("find_lr.svg")).unwrap();
    assert_says(&picture, &["<svg", "learning rate", "loss"]);
    let refused = |args: &[&str]| {
        let output = dsd().args(args).current_dir(folder.path()).output();
        error_of(&output.unwrap(), 2)
    };
    assert_says(&refused(&["train", "--find_lr=19"]), &["19", "20"]);
    assert_says(
        &refused(&["train", "--find_lr", "--control"]),
        &["--find_lr"],
    );
}

#[test]
fn nothing_to_go_on_with_is_said() {
    let folder = folder();
    let output = dsd()
        .args(["train", "--out", "typo", "--resume"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_says(
        &error_of(&output, 1),
        &["typo: there is no run to go on with"],
    );
    assert!(!folder.path().join("typo").exists());
    // A script that always says --resume starts like this.
    run(folder.path(), &[&DSD[..], &["--resume"]].concat());
}
