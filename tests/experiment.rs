//! `dsd experiment`, `train --control` and `compare`: shared phases once, nothing lost by a kill, and what they say.

use crate::common::{assert_says, dsd, repository, write};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const EXPERIMENT: &str = r#"
title = "Digits"
solver = "solver_dense.prototxt"
control = "C"
seeds = 2
[phase.dense]
kind = "dense"
max_iter = 40
[phase.sparse]
kind = "sparse"
sparsity = "@dsd:0.5"
max_iter = 20
[phase.redense]
kind = "redense"
max_iter = 20
[phase.plain]
kind = "dense"
base_lr = 0.003
max_iter = 20
[[arm]]
name = "C"
title = "no mask"
phases = ["dense", "plain"]
[[arm]]
name = "G50"
phases = ["dense", "sparse", "redense"]
[[arm]]
name = "S"
phases = ["dense", "sparse"]
"#;

/// A folder with an experiment on the digits.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train_val.prototxt", "solver_dense.prototxt"] {
        let text = fs::read_to_string(repository("models/digits").join(name)).unwrap();
        write(folder.path(), name, &text);
    }
    write(folder.path(), "e.toml", EXPERIMENT);
    folder
}

fn run(folder: &Path, line: &str) -> (bool, String, String) {
    let output = dsd()
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What a finished experiment found: group, arm, seed, value.
fn scores(folder: &Path) -> Vec<(String, u64, f64)> {
    let text = fs::read_to_string(folder.join("results.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let mut scores = Vec::new();
    for arm in json["groups"][0]["arms"].as_array().unwrap() {
        for score in arm["scores"].as_array().unwrap() {
            scores.push((
                arm["arm"].as_str().unwrap().to_string(),
                score["seed"].as_u64().unwrap(),
                score["value"].as_f64().unwrap(),
            ));
        }
    }
    scores
}

/// The weights that a run ended with.
fn weights(folder: &Path, run: &str, phase: &str, iter: u32) -> Vec<u8> {
    let file = format!("runs/{run}/{phase}/digits_iter_{iter}.caffemodel");
    fs::read(folder.join(file)).unwrap()
}

#[test]
fn an_experiment_that_is_killed_goes_on_to_the_same_bits() {
    let folder = folder();
    let at = folder.path();
    let (ok, table, log) = run(at, "experiment e.toml --out whole");
    assert!(ok, "{log}");
    assert!(
        table.contains("against C") && table.contains(" points "),
        "{table}"
    );
    let page = fs::read_to_string(at.join("whole/report.html")).unwrap();
    assert!(page.len() < 300_000 && page.contains("points") && page.contains("against C"));
    assert!(
        fs::read_to_string(at.join("whole/results.svg"))
            .unwrap()
            .contains("G50")
    );
    let markdown = fs::read_to_string(at.join("whole/results.md")).unwrap();
    assert!(markdown.contains("| C | no mask | 2 |"), "{markdown}");
    for moment in [300, 900] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dsd"))
            .args(["experiment", "e.toml", "--out", "killed", "--jobs", "2"])
            .current_dir(at)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (ok, again, log) = run(at, "experiment e.toml --out killed --jobs 1");
    assert!(ok, "{log}");
    assert_eq!(scores(&at.join("killed")), scores(&at.join("whole")));
    for (name, phase, iter) in [
        ("seed1/dense", "dense", 40),
        ("seed1/dense+sparse", "sparse", 20),
        ("seed2/dense+sparse+redense", "redense", 20),
        ("seed2/dense+plain", "dense", 20),
    ] {
        let [whole, killed] = ["whole", "killed"].map(|f| weights(&at.join(f), name, phase, iter));
        assert!(whole == killed, "{name} has other weights");
    }
    // A finished one only says again what it found.
    let (ok, third, log) = run(at, "experiment e.toml --out killed");
    assert!(ok && log.contains("8 runs, 8 done"), "{log}");
    assert_eq!(third, again);
}

#[test]
fn sigterm_stops_an_experiment_and_its_runs() {
    let folder = folder();
    let long = EXPERIMENT.replace("max_iter = 40", "max_iter = 100000");
    write(folder.path(), "e.toml", &long);
    let child = Command::new(env!("CARGO_BIN_EXE_dsd"))
        .args(["experiment", "e.toml", "--out", "x"])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let run = folder.path().join("x/runs/seed1/dense/metrics.jsonl");
    let started = Instant::now();
    while !run.exists() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{log}");
    assert!(log.contains("the same command goes on"), "{log}");
    let saved = fs::read_dir(folder.path().join("x/runs/seed1/dense/dense")).unwrap();
    let saved = saved
        .flatten()
        .any(|e| e.file_name().to_string_lossy().ends_with(".solverstate"));
    assert!(saved, "the run was not saved");
}

#[test]
fn what_an_experiment_cannot_do_is_said_at_once() {
    let folder = folder();
    let at = folder.path();
    let says = |line: &str, words: &str| {
        let (ok, _, log) = run(at, line);
        assert!(!ok && log.contains(words), "{line}: {log}");
    };
    says("experiment none.toml", "none.toml");
    write(
        at,
        "b.toml",
        &EXPERIMENT.replace("control = \"C\"", "control = \"Z\""),
    );
    says("experiment b.toml", "b.toml: the control is 'Z'");
    write(at, "m.toml", &format!("metric = \"recall\"\n{EXPERIMENT}"));
    says(
        "experiment m.toml --out m",
        "the metric is 'recall', but the test outputs are accuracy, loss",
    );
    write(
        at,
        "e.toml",
        &EXPERIMENT.replace("max_iter = 40", "max_iter = 30"),
    );
    says(
        "experiment e.toml --out m",
        "made with other settings than [phase.dense] has now",
    );
    // A run that fails does not take the others with it.
    let solver = fs::read_to_string(at.join("solver_dense.prototxt")).unwrap();
    write(
        at,
        "wild.prototxt",
        &solver.replace("base_lr: 0.03", "base_lr: 1e30"),
    );
    let wild = EXPERIMENT.replace(
        "[phase.plain]\n",
        "[phase.plain]\nsolver = \"wild.prototxt\"\n",
    );
    write(
        at,
        "w.toml",
        &wild
            .replace("base_lr = 0.003\n", "")
            .replace("seeds = 2", "seeds = 1"),
    );
    let (ok, table, log) = run(at, "experiment w.toml --out w");
    assert!(!ok && log.contains("1 of 4 runs failed"), "{log}");
    assert!(
        table
            .lines()
            .any(|l| l.starts_with("G50") && l.contains('%')),
        "{table}"
    );
}

#[test]
fn a_control_has_the_rates_and_lengths_and_no_mask() {
    let folder = tempfile::tempdir().unwrap();
    let line = "train --phase dsd --control --seeds 2 --max_iter 20 --out both";
    let (ok, table, log) = run(folder.path(), line);
    assert!(ok, "{log}");
    for words in ["control", "DSD", "± ", " points "] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let runs = folder.path().join("both/runs/seed2");
    let read = |name: &str| fs::read_to_string(runs.join(name)).unwrap();
    let [masked, control] = ["dense+sparse.toml", "dense+sparse-unmasked.toml"]
        .map(|n| read(n).parse::<toml::Table>().unwrap());
    let phase = |t: &toml::Table| t["phase"][0].as_table().unwrap().clone();
    let (masked, control) = (phase(&masked), phase(&control));
    assert_eq!(control["kind"].as_str(), Some("dense"));
    assert_eq!(masked["kind"].as_str(), Some("sparse"));
    for key in ["solver", "max_iter"] {
        assert_eq!(masked[key], control[key], "{key}");
    }
    // The control is dense to the end, the shared dense phase was trained once.
    let record = |name: &str| -> Value { serde_json::from_str(&read(name)).unwrap() };
    let end = record("dense+sparse-unmasked+redense-unmasked/dense/phase.json");
    assert_eq!(end["density"], 1.0);
    assert_eq!(end["base_lr"].as_f64().map(|r| r as f32), Some(0.003));
    let (ok, again, _) = run(folder.path(), line);
    assert!(ok && again == table);
    let (ok, _, log) = run(folder.path(), "train --phase dense --control --out c");
    assert!(!ok && log.contains("no phase of this run has one"), "{log}");
}

#[test]
fn a_flow_s_phases_share_its_solver_under_the_papers_rates() {
    let folder = folder();
    let flow = "solver = \"solver_dense.prototxt\"\nseed = 5\nsparsity = 0.4\n[[phase]]\nkind = \"dense\"\nmax_iter = 10\n\
                [[phase]]\nkind = \"sparse\"\nmax_iter = 8\n[[phase]]\nkind = \"redense\"\nmax_iter = 6\n";
    write(folder.path(), "flow.toml", flow);
    let (ok, table, log) = run(folder.path(), "train --flow flow.toml --control --out x");
    assert!(ok, "{log}");
    assert!(
        table.contains("with one seed, which shows nothing"),
        "{table}"
    );
    let runs = folder.path().join("x/runs/seed5");
    let phase = |name: &str| {
        let text = fs::read_to_string(runs.join(name)).unwrap();
        text.parse::<toml::Table>().unwrap()["phase"][0].clone()
    };
    let sparse = phase("dense+sparse.toml");
    assert_eq!(sparse["sparsity"].as_float(), Some(0.4));
    assert_eq!(sparse["base_lr"].as_float(), Some(0.003));
    let control = phase("dense+sparse-unmasked+redense-unmasked.toml");
    assert_eq!(control["base_lr"].as_float(), Some(0.0003));
    assert_eq!(control["max_iter"].as_integer(), Some(6));
}

#[test]
fn finished_runs_are_put_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (out, rest) in [
        ("a1", "--seed 1"),
        ("a2", "--seed 2"),
        ("b1", "--seed 1 --sparsity 0.6"),
        ("b2", "--seed 2 --sparsity 0.6"),
    ] {
        let (ok, _, log) = run(
            at,
            &format!("train --phase dsd --max_iter 20 --out {out} {rest}"),
        );
        assert!(ok, "{log}");
    }
    let (ok, table, log) = run(at, "compare a1 a2 b1 b2");
    assert!(ok, "{log}");
    let rows: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|l| !l.is_empty())
        .collect();
    assert_eq!(rows.len(), 2, "{table}");
    assert!(
        rows[1].starts_with("b1") && rows[1].contains("sparse 0.6"),
        "{table}"
    );
    assert!(table.contains(" points "), "{table}");
    let (ok, json, _) = run(at, "compare a1 b1 --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(ok);
    assert_eq!(json["groups"][0]["arms"][1]["versus"]["pairs"], 1);
    let (ok, _, log) = run(at, "compare a1 nothing");
    assert!(!ok);
    assert_says(&log, &["nothing is no folder of a run"]);
}
