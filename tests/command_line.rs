//! What the program accepts, prints and exits with.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::{contains, is_match};

fn dsd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dsd"))
}

fn shared(file: &str) -> Option<String> {
    let path = format!("{}/../shared/{file}", env!("CARGO_MANIFEST_DIR"));
    let there = std::path::Path::new(&path).exists();
    if !there {
        eprintln!("skipped: no {path}");
    }
    there.then_some(path)
}

#[test]
fn version_and_help_exit_with_0_and_go_to_stdout() {
    dsd()
        .arg("--version")
        .assert()
        .success()
        .stdout(contains("dsd "));
    dsd()
        .arg("-help")
        .assert()
        .success()
        .stdout(contains("Examples:"));
    for command in [
        "train",
        "dense",
        "prune",
        "redense",
        "test",
        "time",
        "run",
        "inspect",
        "export",
        "classify",
        "draw",
        "parse_log",
        "device_query",
        "sensitivity",
    ] {
        dsd()
            .args([command, "-h"])
            .assert()
            .success()
            .stdout(contains(format!("Usage: dsd {command}")));
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_why() {
    dsd().assert().code(2);
    dsd()
        .arg("trian")
        .assert()
        .code(2)
        .stderr(contains("'train'"));
    dsd()
        .args(["train", "-solvr=s"])
        .assert()
        .code(2)
        .stderr(contains("--solver"));
    dsd()
        .args(["test", "--iterations=five", "-weights", "w"])
        .assert()
        .code(2)
        .stderr(contains("five"));
    dsd()
        .args(["train", "-snapshot", "a", "-weights", "b"])
        .assert()
        .code(2)
        .stderr(contains("cannot be used with"));
}

#[test]
fn caffes_device_query_describes_the_processor() {
    let out = dsd().args(["device_query", "-gpu", "0"]).assert().success();
    out.stdout(contains("Features found:").and(contains("Threads used:")))
        .stderr(contains("no GPU backend, running on CPU"));
}

#[test]
fn device_query_says_how_many_threads_and_why() {
    let says = |variables: &[(&str, &str)], more: &[&str], line: &str| {
        let mut command = dsd();
        command.arg("device_query").args(more);
        command.envs(variables.iter().copied());
        command.assert().success().stdout(is_match(line).unwrap());
    };
    says(
        &[],
        &[],
        r"(?m)^Threads used: +\d+ \([^()]+; (each|not) pinned[^()]*\)$",
    );
    says(
        &[],
        &["--threads", "3"],
        r"(?m)^Threads used: +3 \(--threads; ",
    );
    says(
        &[("PMI_SIZE", "2")],
        &[],
        r"(?m)^Threads used: .*; not pinned: .*\)$",
    );
}

#[test]
fn dsd_isa_chooses_the_kernels_or_is_refused_before_any_work() {
    let out = dsd()
        .env("DSD_ISA", "portable")
        .arg("device_query")
        .assert();
    let forced = is_match("(?m)^Kernels: +portable \\(DSD_ISA asks for it").unwrap();
    out.success().stdout(forced);
    for command in [&["device_query"][..], &["inspect", "no/such.net"]] {
        dsd()
            .env("DSD_ISA", "nonsense")
            .args(command)
            .assert()
            .code(2)
            .stdout("")
            .stderr(is_match("^error: [^\n]*nonsense[^\n]*portable, avx2 or avx512\n$").unwrap());
    }
}

#[test]
fn time_prints_caffes_lines_and_a_table_or_json() {
    let time = |more: &[&str]| {
        let mut command = dsd();
        command.args([
            "time",
            "-model",
            "digits",
            "-iterations",
            "2",
            "-threads",
            "2",
        ]);
        command.args(more).assert().success()
    };
    let peak = r"Peak: [0-9.]+ GFLOP/s on one thread, [0-9.]+ on 2 \((portable|avx2|avx512)\)\n";
    let lines = contains("Average Forward pass: ").and(contains("*** Benchmark ends ***"));
    let head = is_match("^layer +type +forward ms +backward ms .* kernel\n").unwrap();
    time(&[])
        .stderr(lines.and(is_match(peak).unwrap()))
        .stdout(head.and(is_match("\ntotal +[0-9.]+ .*\n$").unwrap()));
    let out = time(&["-phase", "TEST", "-json"]).get_output().clone();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    for key in ["forward_ms", "backward_ms", "batch", "layers", "isa"] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json["threads"], 2);
    assert!(json["peak_gflops"].as_f64().unwrap() > 0.0);
    let layers = json["layers"].as_array().unwrap();
    assert!(layers.iter().any(|l| l["percent_of_peak"].is_number()));
}

#[test]
fn a_failure_exits_with_1_and_is_one_line_that_names_the_file() {
    dsd()
        .args(["inspect", "no/such.net"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(is_match("^error: cannot read no/such.net: [^\n]*\n$").unwrap());
    dsd()
        .args(["inspect", "Cargo.toml", "--json"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("error: Cargo.toml: expected").and(contains("panicked").not()));
}

#[test]
fn a_gpu_is_accepted_with_one_warning_line_in_glogs_form() {
    let warning = r"^W\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \w+\.rs:\d+\] no GPU backend, running on CPU\nerror: [^\n]*\n$";
    for gpu in [&["-gpu", "0"][..], &["--gpu=all"]] {
        dsd()
            .args(["inspect", "no/such.net"])
            .args(gpu)
            .assert()
            .code(1)
            .stderr(is_match(warning).unwrap());
    }
    dsd()
        .args(["inspect", "no/such.net", "-gpu", ""])
        .assert()
        .stderr(contains("GPU").not());
    dsd()
        .args(["inspect", "no/such.net", "-gpu", "0", "-minloglevel=2"])
        .assert()
        .stderr(contains("GPU").not());
}

#[test]
fn the_published_compressed_squeezenet_is_described() {
    let Some(path) = shared("data/squeezenet_deepcomp.net") else {
        return;
    };
    let plain = dsd().args(["inspect", &path]).assert().success();
    plain.stdout(contains(
        "1,244,448 weights without biases, 415,921 nonzero, density 0.33422",
    ));
    for json in ["--json", "-json=true"] {
        let out = dsd().args(["inspect", &path, json]).assert().success();
        let object: serde_json::Value = serde_json::from_slice(&out.get_output().stdout).unwrap();
        assert_eq!(object["layers"].as_array().unwrap().len(), 26);
        assert_eq!(object["layers"][0]["name"], "conv1");
        assert_eq!(
            object["layers"][0]["shapes"],
            serde_json::json!([[96, 3, 7, 7], [96]])
        );
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::Stdio;
    let Some(path) = shared("data/squeezenet_deepcomp.net") else {
        return;
    };
    // The read end is closed before anything is printed.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_dsd"))
        .args(["inspect", &path])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(
        (run.status.code(), run.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}
