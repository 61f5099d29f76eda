//! Sparsity that rises: along a schedule, from phase to phase; and dropout that follows it.

use super::{cut, fails, run};
use crate::common::process::assert_same;
use crate::common::{assert_says, names_in, small_run, state_of, weights_of, write};
use std::fs;
use std::path::Path;

/// Which weights are 0.
fn zeros(weights: &[f32]) -> Vec<bool> {
    weights.iter().map(|w| *w == 0.0).collect()
}

/// A folder with the sparse weights from which the schedules start: half of conv is 0, a fifth of ip.
fn start(max_iter: usize) -> tempfile::TempDir {
    let folder = small_run(20, max_iter, "snapshot: 1");
    let args = [
        "--solver",
        "solver.prototxt",
        "--out",
        "p",
        "--max_iter",
        "2",
    ];
    run(folder.path(), &[&["dense"], &args[..]].concat());
    run(
        folder.path(),
        &[&["prune", "--sparsity", "conv=0.5,ip=0.2"], &args[..]].concat(),
    );
    folder
}

const ARGS: [&str; 13] = [
    "prune",
    "--solver",
    "solver.prototxt",
    "--weights",
    "p/sparse/small_iter_2.caffemodel",
    "--sparsity",
    "conv=0.25,ip=0.9",
    "--schedule",
    "cubic",
    "--prune_every",
    "3",
    "--prune_until",
    "7",
];

#[test]
fn the_sparsity_follows_the_cubic_curve_and_masks_are_nested() {
    let folder = start(10);
    run(
        folder.path(),
        &[&ARGS[..], &["--out", "g", "--metrics", "m.jsonl"]].concat(),
    );
    let home = folder.path().join("g/sparse");
    let mut before = weights_of(&folder.path().join("p/sparse/small_iter_2.caffemodel"));
    let mut steps = 0;
    for iter in 1..=10 {
        let now = weights_of(&home.join(format!("small_iter_{iter}.caffemodel")));
        // The masks of the last iteration, which changed at 0, 3, 6 and 7.
        let t: f64 = [7, 6, 3, 0].into_iter().find(|t| *t < iter).unwrap().into();
        let n = 1280.0;
        let want = (0.9 * n + (0.2 - 0.9) * n * (1.0 - t / 7.0).powi(3)).round() as usize;
        let got = zeros(&now["ip/0"]);
        assert_eq!(got.iter().filter(|z| **z).count(), want, "iteration {iter}");
        // conv has more zeros than wanted already; it keeps them.
        assert_eq!(
            zeros(&now["conv/0"]),
            zeros(&before["conv/0"]),
            "iteration {iter}"
        );
        let earlier = zeros(&before["ip/0"]);
        steps += usize::from(earlier != got);
        assert!(
            earlier.iter().zip(&got).all(|(e, g)| !e || *g),
            "iteration {iter}"
        );
        let (_, history) = state_of(&home.join(format!("small_iter_{iter}.solverstate")));
        let ip = history.iter().find(|h| h.len() == 1280).unwrap();
        assert!(ip.iter().zip(&got).all(|(h, z)| !z || h.to_bits() == 0));
        before = now;
    }
    assert_eq!(steps, 3);
    let metrics = fs::read_to_string(folder.path().join("m.jsonl")).unwrap();
    let density =
        |l: &str| serde_json::from_str::<serde_json::Value>(l).unwrap()["density"].as_f64();
    let densities: Vec<f64> = metrics.lines().filter_map(density).collect();
    assert_eq!(densities.len(), 10);
    assert!(densities.windows(2).all(|d| d[1] <= d[0]), "{densities:?}");
    // (36 + 128) of 1,352 weights, printed as measured.
    assert!(
        (densities[9] - 164.0 / 1352.0).abs() < 1e-6,
        "{densities:?}"
    );
}

#[test]
fn a_gradual_phase_resumes_from_every_snapshot_to_the_same_bytes() {
    let folder = start(10);
    let args = [&ARGS[..], &["--out", "g", "--scale_dropout"]].concat();
    run(folder.path(), &args);
    let whole = folder.path().join("whole");
    fs::rename(folder.path().join("g"), &whole).unwrap();
    for iter in [1, 3, 5, 7] {
        run(folder.path(), &[&args[..], &["--threads", "2"]].concat());
        cut(&folder.path().join("g/sparse"), iter);
        run(
            folder.path(),
            &[&args[..], &["--resume", "--threads", "1"]].concat(),
        );
        assert_same(
            &folder.path().join("g"),
            &whole,
            "sparse",
            &format!("from {iter}"),
        );
    }
    let record = fs::read_to_string(whole.join("sparse/phase.json")).unwrap();
    assert_says(
        &record,
        &["ip=0.9", "\"schedule\": \"cubic, every 3 until 7\""],
    );
    let output = super::dsd()
        .args(["inspect", "whole/sparse/small_iter_3.solverstate"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_says(&text, &["cubic, every 3 until 7", "scale_dropout"]);
}

#[test]
fn sparse_phases_in_a_row_have_nested_masks_by_layer() {
    let folder = small_run(20, 4, "");
    let phase = |lines: &str| format!("[[phase]]\nkind = {lines}\n");
    let flow = "solver = 'solver.prototxt'\n".to_string()
        + &phase("'dense'")
        + &phase("'sparse'\nsparsity = 'conv=0.25,*=0.5'")
        + &phase("'sparse'\nsparsity = 'conv=0.25,*=0.7'")
        + &phase("'sparse'\nsparsity = 0.9\nschedule = 'cubic'");
    write(folder.path(), "flow.toml", &flow);
    run(
        folder.path(),
        &["train", "--flow", "flow.toml", "--out", "r"],
    );
    let weights = |name: &str| {
        let path = folder
            .path()
            .join("r")
            .join(name)
            .join("small_iter_4.caffemodel");
        weights_of(&path)
    };
    let phases = [weights("sparse"), weights("sparse-2"), weights("sparse-3")];
    for (blob, sparsities) in [("conv/0", [0.25, 0.25, 0.9]), ("ip/0", [0.5, 0.7, 0.9])] {
        let masks = phases.each_ref().map(|w| zeros(&w[blob]));
        for (mask, s) in masks.iter().zip(sparsities) {
            let want = (s * mask.len() as f64).round() as usize;
            assert_eq!(mask.iter().filter(|z| **z).count(), want, "{blob}");
        }
        for pair in masks.windows(2) {
            assert!(
                pair[0].iter().zip(&pair[1]).all(|(a, b)| !a || *b),
                "{blob}"
            );
        }
    }
    let flow = "solver = 'solver.prototxt'\n".to_string()
        + &phase("'sparse'\nsparsity = 'conv=0.25,*=0.5'")
        + &phase("'sparse'\nsparsity = 'conv=0.5,*=0.4'");
    write(folder.path(), "flow.toml", &flow);
    let error = fails(
        folder.path(),
        &["train", "--flow", "flow.toml", "--out", "s"],
        1,
    );
    assert_says(
        &error,
        &[
            "phase sparse-2",
            "prunes 0.4 of layer",
            "only prune further",
        ],
    );
}

/// A net whose dropout, after conv, has this ratio; 3/4 of conv and half of ip will be pruned.
fn dropout_run(folder: &Path, ratio: &str, out: &str, more: &[&str]) -> Vec<String> {
    let net = crate::common::digits_net(20, "");
    write(
        folder,
        "net.prototxt",
        &net.replace("dropout_ratio: 0.3", &format!("dropout_ratio: {ratio}")),
    );
    let args = [
        "prune",
        "--solver",
        "solver.prototxt",
        "--out",
        out,
        "--weights",
    ];
    let from = [
        "p/sparse/small_iter_2.caffemodel",
        "--sparsity",
        "conv=0.75,*=0.5",
    ];
    run(folder, &[&args[..], &from, more].concat())
}

#[test]
fn dropout_follows_the_density_of_the_layer_before_it() {
    let folder = start(5);
    // A quarter of conv is alive: 0.3·√0.25 = 0.15.
    let lines = dropout_run(folder.path(), "0.3", "scaled", &["--scale_dropout"]);
    let said = "Dropout drop: ratio 0.15 of 0.3, for conv has density 0.2500";
    assert!(lines.iter().any(|l| l == said), "{lines:?}");
    dropout_run(folder.path(), "0.15", "by_hand", &[]);
    dropout_run(folder.path(), "0.3", "plain", &[]);
    let of = |out: &str| {
        weights_of(
            &folder
                .path()
                .join(out)
                .join("sparse/small_iter_5.caffemodel"),
        )
    };
    assert!(of("scaled") == of("by_hand"), "not the ratio of the paper");
    assert!(of("scaled") != of("plain"));
    // In the files the net's own ratio stays.
    let home = folder.path().join("scaled/sparse");
    assert!(names_in(&home).contains(&"small_iter_5.caffemodel".to_string()));
    let (message, _) = dsd::proto::load_weights(&home.join("small_iter_5.caffemodel")).unwrap();
    let drop = message.layer.iter().find(|l| l.name() == "drop").unwrap();
    assert_eq!(drop.dropout_param.unwrap().dropout_ratio(), 0.3);
    // In a quantize phase the weights that are 0 count.
    let args = [
        "quantize",
        "--solver",
        "solver.prototxt",
        "--out",
        "scaled",
        "--scale_dropout",
    ];
    let lines = run(folder.path(), &args);
    assert!(lines.iter().any(|l| l == said), "{lines:?}");
    // A schedule takes it along.
    let gradual = [
        "--schedule",
        "cubic",
        "--prune_every",
        "1",
        "--prune_until",
        "3",
        "--scale_dropout",
    ];
    let lines = dropout_run(folder.path(), "0.3", "gradual", &gradual);
    let ratios: Vec<&String> = lines
        .iter()
        .filter(|l| l.starts_with("Dropout drop"))
        .collect();
    assert_eq!(ratios.len(), 4, "{ratios:?}");
    assert_eq!(ratios[3], said);
}

#[test]
fn schedules_that_make_no_sense_are_refused() {
    let folder = small_run(20, 5, "");
    let says = |args: &[&str], code: i32, words: &[&str]| {
        let error = fails(
            folder.path(),
            &[args, &["--solver", "solver.prototxt"]].concat(),
            code,
        );
        assert_says(&error, words);
    };
    says(
        &["prune", "--prune_every", "3"],
        2,
        &["--prune_every", "--schedule cubic"],
    );
    says(
        &["dense", "--schedule", "cubic"],
        2,
        &["--schedule", "no phase of this run is sparse"],
    );
    says(
        &["redense", "--scale_dropout"],
        2,
        &["no phase of this run is sparse or quantize"],
    );
    says(
        &["train", "--scale_dropout"],
        2,
        &["no phase of this run is sparse or quantize"],
    );
    let late = [
        "train",
        "--phase",
        "dsd",
        "--schedule",
        "cubic",
        "--prune_until",
        "5",
    ];
    says(&late, 1, &["phase sparse: prune_until is 5", "below 5"]);
    assert_eq!(names_in(folder.path()), ["net.prototxt", "solver.prototxt"]);
}
