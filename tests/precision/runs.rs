//! Runs in bfloat16: as accurate as in float32, resumed to the bit, alike on any number of threads.

use crate::common::{
    assert_says, digits_net, digits_solver, dsd, error_of, small_run, weights_of, write,
};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

fn output(folder: &Path, args: &[&str]) -> Output {
    dsd().args(args).current_dir(folder).output().unwrap()
}

/// Runs `dsd`; its log.
fn run(folder: &Path, args: &[&str]) -> String {
    let output = output(folder, args);
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{text}");
    text
}

fn json(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap()
}

/// The test accuracy that a phase ended with.
fn accuracy(record: &Value) -> f64 {
    let outputs = record["outputs"].as_array().unwrap();
    let named = outputs.iter().find(|o| o[0] == "accuracy").unwrap();
    named[1].as_f64().unwrap()
}

#[test]
fn the_digits_are_learned_as_well_dense_and_sparse_and_masks_hold() {
    let folder = tempfile::tempdir().unwrap();
    let ends = |precision: &str| {
        let train = ["dense", "--out", precision, "--precision", precision];
        run(folder.path(), &train);
        let prune = [
            "prune",
            "--out",
            precision,
            "--precision",
            precision,
            "--sparsity",
            "0.6",
        ];
        run(folder.path(), &prune);
        let record = |phase: &str| json(folder.path(), &format!("{precision}/{phase}/phase.json"));
        let (dense, sparse) = (record("dense"), record("sparse"));
        assert_eq!(sparse["precision"], precision);
        assert!((sparse["density"].as_f64().unwrap() - 0.4).abs() < 1e-3);
        let file = sparse["weights"].as_str().unwrap();
        let path = folder.path().join(precision).join("sparse").join(file);
        for (blob, values) in weights_of(&path).iter().filter(|(k, _)| k.ends_with("/0")) {
            let zeros = values.iter().filter(|v| **v == 0.0).count();
            assert_eq!(
                zeros,
                (0.6 * values.len() as f64).round() as usize,
                "{blob}"
            );
            // The stored weights are float32.
            assert!(values.iter().any(|v| v.to_bits() & 0xffff != 0), "{blob}");
        }
        [accuracy(&dense), accuracy(&sparse)]
    };
    let (whole, half) = (ends("f32"), ends("bf16"));
    eprintln!("accuracy dense, sparse: f32 {whole:?}, bf16 {half:?}");
    for (whole, half) in whole.iter().zip(&half) {
        assert!(
            *whole > 0.9 && (whole - half).abs() < 0.02,
            "{whole} {half}"
        );
    }
}

const BF16: [&str; 2] = ["--precision", "bf16"];

#[test]
fn a_run_resumes_to_the_bit_and_only_in_its_own_precision() {
    let train = ["train", "--solver", "solver.prototxt"];
    let whole = small_run(24, 8, "snapshot: 4");
    let log = run(whole.path(), &[&train[..], &BF16].concat());
    crate::common::compute_as_asked();
    assert_says(&log, &["Precision: bf16"]);
    let slow = log.contains("it is no faster than f32");
    assert_eq!(slow, dsd::net::Precision::Bf16.amx().is_none(), "{log}");
    let again = small_run(24, 8, "snapshot: 4");
    for kind in ["caffemodel", "solverstate"] {
        let name = format!("small_iter_4.{kind}");
        fs::copy(whole.path().join(&name), again.path().join(&name)).unwrap();
    }
    let from = ["--snapshot", "small_iter_4.solverstate"];
    let refused = output(again.path(), &[&train[..], &from].concat());
    let error = error_of(&refused, 1);
    assert_says(&error, &["a run in bf16, not f32", "give --precision bf16"]);
    run(again.path(), &[&train[..], &from, &BF16].concat());
    for kind in ["caffemodel", "solverstate"] {
        let read = |folder: &Path| fs::read(folder.join(format!("small_iter_8.{kind}"))).unwrap();
        assert!(read(whole.path()) == read(again.path()), "{kind}");
    }
    let other = small_run(24, 8, "snapshot: 4");
    run(other.path(), &train);
    let file = "small_iter_8.caffemodel";
    let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
    assert!(read(whole.path()) != read(other.path()), "f32 is the same");
    let error = error_of(
        &output(other.path(), &[&train[..], &from, &BF16].concat()),
        1,
    );
    assert_says(&error, &["a run in f32, not bf16", "give --precision f32"]);
    let state = output(
        other.path(),
        &["inspect", "small_iter_8.solverstate", "--json"],
    );
    let state: Value = serde_json::from_slice(&state.stdout).unwrap();
    assert_eq!(state["precision"], "f32");
}

#[test]
fn a_run_in_a_folder_goes_on_in_the_precision_that_it_had() {
    let folder = small_run(24, 8, "snapshot: 4");
    let train = [
        "train",
        "--phase",
        "dense",
        "--solver",
        "solver.prototxt",
        "--out",
        "run",
    ];
    run(
        folder.path(),
        &[&train[..], &BF16, &["--max_iter", "4"]].concat(),
    );
    let go_on = [&train[..], &["--resume"]].concat();
    let refused = output(
        folder.path(),
        &[&go_on[..], &["--precision", "f32"]].concat(),
    );
    assert_says(
        &error_of(&refused, 2),
        &["precision: bf16 in the run, f32 now"],
    );
    assert_says(&run(folder.path(), &go_on), &["Precision: bf16"]);
    assert_eq!(
        json(folder.path(), "run/dense/phase.json")["precision"],
        "bf16"
    );
}

#[test]
fn phases_of_a_flow_have_a_precision_each() {
    let folder = small_run(24, 3, "");
    let flow = "solver = 'solver.prototxt'\nprecision = 'bf16'\n[[phase]]\nkind = 'dense'\n\
                [[phase]]\nkind = 'sparse'\nsparsity = 0.5\nprecision = 'f32'\n\
                [[phase]]\nkind = 'redense'\n[[phase]]\nkind = 'quantize'\nbits = 4\n";
    write(folder.path(), "flow.toml", flow);
    run(
        folder.path(),
        &["train", "--flow", "flow.toml", "--out", "run"],
    );
    for (phase, precision) in [
        ("dense", "bf16"),
        ("sparse", "f32"),
        ("redense", "bf16"),
        ("quantize", "bf16"),
    ] {
        let record = json(folder.path(), &format!("run/{phase}/phase.json"));
        assert_eq!(record["precision"], precision, "{phase}");
    }
    let shown = output(folder.path(), &["inspect", "flow.toml", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["phases"][1]["precision"], "f32");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let more = r#"
layer { name: "norm" type: "BatchNorm" bottom: "ip" top: "norm" }
layer { name: "over" type: "Softmax" bottom: "norm" top: "over" softmax_param { axis: 0 } }
layer { name: "sum" type: "Eltwise" bottom: "ip" bottom: "over" top: "sum" }"#;
    let whole = digits_net(50, more).replace(
        "bottom: \"ip\" bottom: \"label\"",
        "bottom: \"sum\" bottom: \"label\"",
    );
    for net in [digits_net(50, ""), whole] {
        write(folder.path(), "net.prototxt", &net);
        write(folder.path(), "solver.prototxt", &digits_solver(6, ""));
        let ends = |threads: &str| {
            let train = ["train", "--solver", "solver.prototxt", "--threads", threads];
            run(folder.path(), &[&train[..], &BF16].concat());
            let read =
                |kind: &str| fs::read(folder.path().join(format!("small_iter_6.{kind}"))).unwrap();
            let (weights, state) = (read("caffemodel"), read("solverstate"));
            let test = ["test", "--json", "--iterations", "2", "--threads", threads];
            let of = [
                "--model",
                "net.prototxt",
                "--weights",
                "small_iter_6.caffemodel",
            ];
            let test = output(folder.path(), &[&test[..], &of, &BF16].concat());
            let scores: Value = serde_json::from_slice(&test.stdout).unwrap();
            (weights, state, scores["outputs"].to_string())
        };
        let one = ends("1");
        for threads in ["2", "3", "7"] {
            assert!(ends(threads) == one, "{threads} threads differ from 1");
        }
    }
}

#[test]
fn every_command_tells_the_precision() {
    let folder = small_run(24, 2, "");
    run(folder.path(), &["train", "--solver", "solver.prototxt"]);
    let of = [
        "--model",
        "net.prototxt",
        "--weights",
        "small_iter_2.caffemodel",
    ];
    let says = |args: &[&str]| {
        let shown = output(folder.path(), &[args, &BF16].concat());
        let log = String::from_utf8_lossy(&shown.stderr).to_string();
        assert!(
            shown.status.success() && log.contains("Precision: bf16"),
            "{log}"
        );
        serde_json::from_slice::<Value>(&shown.stdout).unwrap_or_default()
    };
    let time = says(&[&["time", "--iterations", "1", "--json"][..], &of].concat());
    assert_eq!(time["precision"], "bf16");
    let curve = [
        "sensitivity",
        "--iterations",
        "1",
        "--densities",
        "0.5",
        "--json",
    ];
    let curve = says(&[&curve[..], &of].concat());
    assert_eq!(curve["subject"]["precision"], "bf16");
    let other = ["sensitivity", "--iterations", "1", "--densities", "0.5"];
    let refused = output(folder.path(), &[&other[..], &of].concat());
    let text = String::from_utf8_lossy(&refused.stderr).to_string();
    assert!(!refused.status.success(), "{text}");
    assert_says(&text, &["--precision is bf16, here f32"]);
    let net = [
        "small_iter_2.caffemodel",
        "net.prototxt",
        "pool",
        "f.npz",
        "1",
        "npz",
    ];
    says(&[&["extract_features"][..], &net].concat());
    let blobs = dsd::npz::read(&folder.path().join("f.npz")).unwrap();
    assert!(blobs["pool"].data.iter().all(|v| v.to_bits() & 0xffff == 0));
    let device = output(folder.path(), &["device_query"]);
    let device = String::from_utf8_lossy(&device.stdout).to_string();
    assert_says(
        &device,
        &["bfloat16:", "amx_tile", "amx_bf16", "avx512_bf16"],
    );
}
