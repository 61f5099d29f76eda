//! How the values of a quantize phase move: by the sums of their weights' gradients.

use super::quantize::{PRUNED, SOLVER, codes_of, pruned};
use super::run;
use crate::common::{self, assert_close, weights_of, write};
use dsd::proto;
use std::collections::BTreeMap;
use std::path::Path;

/// What the last update subtracted from each blob, by `LAYER/K`.
fn diffs_of(path: &Path) -> common::Blobs {
    let (message, _) = proto::load_weights(path).unwrap();
    let layers = message.layer.iter();
    let blobs = layers.flat_map(|l| {
        let name = move |k: usize| format!("{}/{k}", l.name());
        l.blobs
            .iter()
            .enumerate()
            .map(move |(k, b)| (name(k), b.diff.clone()))
    });
    blobs.collect()
}

/// A folder with the quantized weights `q/quantize/small_iter_0.caffemodel`, the update that one iteration of
/// the dense phase makes of them, and a solver for one iteration whose updates are stored.
fn twin(more: &str) -> (tempfile::TempDir, common::Blobs) {
    let folder = pruned(1, "");
    let args = [
        "quantize",
        "--bits",
        "3",
        "--max_iter",
        "0",
        "--weights",
        PRUNED,
        "--out",
        "q",
    ];
    run(folder.path(), &[&args[..], &SOLVER].concat());
    let solver = common::digits_solver(1, &format!("snapshot_diff: true {more}"));
    write(folder.path(), "one.prototxt", &solver);
    let args = ["--solver", "one.prototxt", "--weights", QUANTIZED];
    run(
        folder.path(),
        &[&["dense", "--out", "one"], &args[..]].concat(),
    );
    let dense = diffs_of(&folder.path().join("one/dense/small_iter_1.caffemodel"));
    run(
        folder.path(),
        &[&["quantize", "--bits", "3", "--out", "one"], &args[..]].concat(),
    );
    (folder, dense)
}

const QUANTIZED: &str = "q/quantize/small_iter_0.caffemodel";

/// Of a dense update, the sums by code.
fn sums(codes: &[u8], diffs: &[f32]) -> BTreeMap<u8, f64> {
    let mut sums = BTreeMap::new();
    for (c, d) in codes.iter().zip(diffs).filter(|(c, _)| **c != 0) {
        *sums.entry(*c).or_insert(0.0) += f64::from(*d);
    }
    sums
}

#[test]
fn a_centroid_moves_by_the_sum_of_what_its_weights_would_move_by() {
    // In the first iteration an update is rate · (gradient + decay), so both are summed, the L1 decay too.
    for more in ["", "regularization_type: \"L1\""] {
        let (folder, dense) = twin(more);
        let home = folder.path().join("one/quantize");
        let codes = codes_of(&home.join("small_iter_1.solverstate"));
        let model = home.join("small_iter_1.caffemodel");
        let (diffs, after) = (diffs_of(&model), weights_of(&model));
        let before = weights_of(&folder.path().join(QUANTIZED));
        // The dense solver was used before, so quantize has a hundredth of its rate.
        let part = 0.01;
        for (layer, codes) in &codes {
            let blob = format!("{layer}/0");
            let sums = sums(codes, &dense[&blob]);
            assert!(sums.len() > 4);
            for (i, code) in codes.iter().enumerate() {
                let want = sums.get(code).map_or(0.0, |s| s * part);
                let got = f64::from(diffs[&blob][i]);
                assert!(
                    (got - want).abs() <= 1e-4 * want.abs() + 1e-9,
                    "{blob} {i}: {got} {want}"
                );
                let moved = before[&blob][i] - diffs[&blob][i];
                assert_eq!(after[&blob][i].to_bits(), moved.to_bits(), "{blob} {i}");
            }
            for (d, want) in diffs[&format!("{layer}/1")]
                .iter()
                .zip(&dense[&format!("{layer}/1")])
            {
                assert!(
                    (d - want * part as f32).abs() <= 1e-5 * d.abs(),
                    "bias {d} {want}"
                );
            }
        }
    }
}

#[test]
fn clip_gradients_sees_the_gradients_of_the_centroids() {
    let folder = pruned(1, "");
    let limit = 0.5;
    let more = format!("snapshot_diff: true clip_gradients: {limit}");
    let solver = common::digits_solver(1, &more).replace("momentum: 0.9 weight_decay: 0.002", "");
    write(folder.path(), "one.prototxt", &solver);
    let args = [
        "--solver",
        "one.prototxt",
        "--weights",
        PRUNED,
        "--out",
        "q",
        "--bits",
        "3",
    ];
    let lines = run(folder.path(), &[&["quantize"], &args[..]].concat());
    let home = folder.path().join("q/quantize");
    let codes = codes_of(&home.join("small_iter_1.solverstate"));
    let diffs = diffs_of(&home.join("small_iter_1.caffemodel"));
    let mut squares = 0.0;
    for (layer, codes) in &codes {
        let each: BTreeMap<u8, f32> = codes
            .iter()
            .copied()
            .zip(diffs[&format!("{layer}/0")].iter().copied())
            .collect();
        let values = each.values().chain(&diffs[&format!("{layer}/1")]);
        squares += values.map(|d| f64::from(*d) * f64::from(*d)).sum::<f64>();
    }
    assert!(
        lines.iter().any(|l| l.contains("Gradient clipping")),
        "{lines:?}"
    );
    assert_close("norm", squares.sqrt() / 0.05, limit, 1e-4);
}
