//! `dsd sensitivity`: what it measures is what `prune` and `test` give; it goes on where it stopped.

use crate::common::{assert_says, dsd, error_of, names_in, small_run, write};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

const WEIGHTS: &str = "small_iter_30.caffemodel";

/// A folder with a net and trained weights.
fn trained() -> TempDir {
    let folder = small_run(24, 30, "");
    succeeds(folder.path(), &["train", "--solver", "solver.prototxt"]);
    folder
}

fn run(folder: &Path, args: &[&str]) -> Output {
    dsd().args(args).current_dir(folder).output().unwrap()
}

fn succeeds(folder: &Path, args: &[&str]) -> Output {
    let output = run(folder, args);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {log}");
    output
}

/// The command on the small net, with more arguments.
fn sensitivity<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let base = [
        "sensitivity",
        "--model",
        "net.prototxt",
        "--weights",
        WEIGHTS,
    ];
    let grid = ["--densities", "0.2,0.5,0.1", "--iterations", "3"];
    [&base[..], &grid, more].concat()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The outputs that `dsd test` prints for weights.
fn tested(folder: &Path, weights: &str) -> Value {
    let args = [
        "test",
        "--model",
        "net.prototxt",
        "--iterations",
        "3",
        "--json",
        "--weights",
        weights,
    ];
    let output = succeeds(folder, &args);
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["outputs"].clone()
}

/// The weights that `prune` makes of the trained ones, without training, and their density.
fn pruned(folder: &Path, sparsity: &str, out: &str) -> (String, f64) {
    let args = [
        "prune",
        "--solver",
        "solver.prototxt",
        "--max_iter",
        "0",
        "--weights",
        WEIGHTS,
    ];
    succeeds(
        folder,
        &[&args[..], &["--sparsity", sparsity, "--out", out]].concat(),
    );
    let density = json(&folder.join(out).join("sparse/phase.json"))["density"].as_f64();
    (
        format!("{out}/sparse/small_iter_0.caffemodel"),
        density.unwrap(),
    )
}

#[test]
fn points_and_suggestion_are_what_prune_and_test_give() {
    let folder = trained();
    let path = folder.path();
    let output = succeeds(path, &sensitivity(&["--out", "s.json", "--suggest", "0.4"]));
    let record = json(&path.join("s.json"));
    assert_eq!(record["measure"], "accuracy");
    assert_eq!(record["baseline"]["outputs"], tested(path, WEIGHTS));
    let points = record["points"].as_array().unwrap();
    let names: Vec<(&str, f64)> = points
        .iter()
        .map(|p| (p["layer"].as_str().unwrap(), p["density"].as_f64().unwrap()))
        .collect();
    let layer = |name| [1.0, 0.5, 0.2, 0.1].map(|d| (name, d));
    assert_eq!(names, [layer("conv"), layer("ip")].concat());
    let (weights, _) = pruned(path, "ip=0.8", "p1");
    assert_eq!(points[6]["outputs"], tested(path, &weights));

    let suggestion = &record["suggestion"];
    for (rules, out) in [("@s.sparsity", "p2"), ("@s.json", "p3")] {
        let (weights, density) = pruned(path, rules, out);
        assert!((density - suggestion["density"].as_f64().unwrap()).abs() < 1e-12);
        assert!((density - 0.4).abs() < 1e-3, "{density}");
        assert_eq!(suggestion["check"][0]["outputs"], tested(path, &weights));
        let said = json(&path.join(out).join("sparse/phase.json"))["sparsity"].clone();
        assert!(said.as_str().unwrap().starts_with("conv=0"), "{said}");
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert_says(
        &text,
        &[
            "layer",
            "conv",
            "ip",
            "0.5",
            "every layer at 0.4",
            "suggested",
        ],
    );
    let picture = fs::read_to_string(path.join("s.svg")).unwrap();
    assert_says(
        &picture,
        &[
            "<svg ",
            ">conv</text>",
            ">ip</text>",
            "prefers-color-scheme:dark",
        ],
    );
}

#[test]
fn any_number_of_threads_and_of_sittings_writes_the_same_file() {
    let folder = trained();
    let path = folder.path();
    let all = |out: &str, more: &[&str]| {
        let args = [&["--out", out, "--suggest", "0.3", "--json"][..], more].concat();
        let output = succeeds(path, &sensitivity(&args));
        let text = fs::read_to_string(path.join(out)).unwrap();
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed, serde_json::from_str::<Value>(&text).unwrap());
        (text, String::from_utf8(output.stderr).unwrap())
    };
    let (want, log) = all("a.json", &["--threads", "1"]);
    assert_eq!(log.matches(" at density ").count(), 6, "{log}");
    assert_eq!(all("b.json", &["--threads", "3"]).0, want);

    // A first sitting with one layer, and one that was killed half way.
    succeeds(path, &sensitivity(&["--out", "c.json", "--layers", "co*"]));
    let (text, log) = all("c.json", &[]);
    assert_eq!(log.matches(" at density ").count(), 3, "{log}");
    assert_eq!(text, want);
    let mut half = json(&path.join("a.json"));
    half["suggestion"] = Value::Null;
    half["points"].as_array_mut().unwrap().truncate(2);
    write(path, "d.json", &half.to_string());
    let (text, log) = all("d.json", &[]);
    assert_says(&log, &["d.json has 2 of 7 points"]);
    assert_eq!(text, want);
    let (text, log) = all("d.json", &[]);
    assert_says(&log, &["All points are in d.json"]);
    assert_eq!(text, want);
}

#[test]
fn a_file_of_something_else_is_refused_and_stays() {
    let folder = trained();
    let path = folder.path();
    succeeds(path, &sensitivity(&["--out", "s.json", "--layers", "ip"]));
    let before = fs::read(path.join("s.json")).unwrap();
    let says = |args: &[&str], words: &[&str]| {
        let error = error_of(&run(path, args), 1);
        assert_says(&error, &["s.json", "--out"]);
        assert_says(&error, words);
        assert_eq!(fs::read(path.join("s.json")).unwrap(), before);
    };
    let args = sensitivity(&["--out", "s.json", "--iterations", "2"]);
    says(&args, &["--iterations is 3, here 2"]);
    let (weights, _) = pruned(path, "0.5", "p");
    let args = sensitivity(&["--out", "s.json", "--weights", &weights]);
    says(
        &args,
        &["the weights file is small_iter_30.caffemodel, here small_iter_30.caffemodel,p/sparse"],
    );
    let args = sensitivity(&["--out", "s.json", "--source", "builtin:digits_train"]);
    says(
        &args,
        &["the data source is the net's own, here builtin:digits_train"],
    );
    let net = fs::read_to_string(path.join("net.prototxt")).unwrap();
    write(path, "net.prototxt", &net.replace("0.0625", "0.0626"));
    says(
        &sensitivity(&["--out", "s.json"]),
        &["the net (net.prototxt) has changed"],
    );
}

#[test]
fn wrong_arguments_are_usage_errors_before_any_work() {
    let folder = trained();
    let path = folder.path();
    for (more, words) in [
        (
            &["--densities", "0"][..],
            &["--densities: 0 ", "(0, 1]"][..],
        ),
        (&["--densities", "0.5,1.5"], &["1.5"]),
        (&["--suggest", "2"], &["--suggest: 2 "]),
        (&["--suggest", "1"], &["density 1.0000 already"]),
        (&["--suggest", "0.01"], &["0.0999 is left", "--densities"]),
        (&["--layers", "conv,fc*"], &["'fc*'", "conv, ip"]),
        (&["--out", "s.svg"], &["s.svg"]),
    ] {
        let error = error_of(&run(path, &sensitivity(more)), 2);
        assert_says(&error, words);
    }
    let error = error_of(&run(path, &sensitivity(&["--out", "none/s.json"])), 1);
    assert_says(&error, &["none/s.json", "folder does not exist"]);
    let left = names_in(path);
    assert!(
        !left
            .iter()
            .any(|n| n.ends_with(".json") || n.ends_with(".svg")),
        "{left:?}"
    );
}

#[cfg(unix)]
#[test]
fn sigint_saves_and_ends_with_130() {
    use crate::common::process::{signal, start, wait_for};
    let folder = trained();
    let path = folder.path();
    // More than is kept in memory.
    let args = sensitivity(&["--out", "s.json", "--iterations", "300000"]);
    let (mut child, mut log) = start(path, &args);
    assert!(wait_for(&mut log, "are read anew", 1));
    signal(&child, "INT");
    assert!(wait_for(
        &mut log,
        "Stopped; what was measured is in s.json",
        1
    ));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(
        json(&path.join("s.json"))["points"],
        Value::Array(Vec::new())
    );
}
