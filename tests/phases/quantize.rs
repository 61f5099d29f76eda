//! The quantize phase: few values, fixed codes, zeros that stay, and runs that go on to the same bits.

use super::{cut, fails, run};
use crate::common::process::assert_same;
use crate::common::{self, assert_says, small_run, state_of, weights_of, write};
use dsd::proto;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

pub(super) const SOLVER: [&str; 2] = ["--solver", "solver.prototxt"];

/// A folder whose run `p` has a dense and a sparse phase, half of the weights 0.
pub(super) fn pruned(max_iter: usize, solver: &str) -> tempfile::TempDir {
    let folder = small_run(20, max_iter, solver);
    let args = [
        "--solver",
        "solver.prototxt",
        "--out",
        "p",
        "--max_iter",
        "3",
    ];
    run(folder.path(), &[&["dense"], &args[..]].concat());
    run(
        folder.path(),
        &[&["prune", "--sparsity", "0.5"], &args[..]].concat(),
    );
    folder
}

pub(super) const PRUNED: &str = "p/sparse/small_iter_3.caffemodel";

/// The codes of each quantized layer in a state's message.
pub(super) fn codes_of(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let (state, _) = state_of(path);
    let codebooks = state.dsd.unwrap().shared;
    let of = |c: proto::caffe::DsdShared| {
        assert_eq!(c.values.len(), 1 << c.bits());
        (c.layer().to_string(), c.codes().to_vec())
    };
    codebooks.into_iter().map(of).collect()
}

#[test]
fn under_each_of_the_six_rules_layers_have_few_values_and_keep_their_zeros() {
    let rules = [
        "type: \"SGD\" regularization_type: \"L1\"",
        "type: \"Nesterov\"",
        "type: \"AdaGrad\" momentum: 0",
        "type: \"RMSProp\" rms_decay: 0.98 momentum: 0",
        "type: \"AdaDelta\" momentum: 0.95 delta: 1e-6",
        "type: \"Adam\" momentum2: 0.99 clip_gradients: 2",
    ];
    let folder = pruned(7, "");
    let before = weights_of(&folder.path().join(PRUNED));
    for (k, rule) in rules.iter().enumerate() {
        let solver = common::digits_solver(7, &format!("snapshot: 2 iter_size: 2 {rule}"));
        let solver = match rule.contains(" momentum: ") {
            true => solver.replacen("momentum: 0.9 ", "", 1),
            false => solver,
        };
        let solver = solver.replace("base_lr: 0.05", "base_lr: 0.002");
        write(folder.path(), "q.prototxt", &solver);
        let out = format!("q{k}");
        let args = [
            "quantize",
            "--solver",
            "q.prototxt",
            "--weights",
            PRUNED,
            "--out",
            &out,
        ];
        run(
            folder.path(),
            &[&args[..], &["--bits", "conv=2,ip=5"]].concat(),
        );
        let home = folder.path().join(out).join("quantize");
        let mut last = None;
        for iter in [2, 4, 6, 7] {
            let weights = weights_of(&home.join(format!("small_iter_{iter}.caffemodel")));
            let state = home.join(format!("small_iter_{iter}.solverstate"));
            let codes = codes_of(&state);
            let (_, history) = state_of(&state);
            let names: Vec<&String> = weights.keys().collect();
            for (layer, most) in [("conv", 4), ("ip", 32)] {
                let blob = format!("{layer}/0");
                let (values, codes) = (&weights[&blob], &codes[layer]);
                let distinct: HashSet<u32> = values.iter().map(|w| w.to_bits()).collect();
                assert!(
                    distinct.len() <= most && distinct.len() > most / 2,
                    "{rule}: {layer}"
                );
                for (i, w) in values.iter().enumerate() {
                    assert_eq!(*w == 0.0, before[&blob][i] == 0.0, "{rule}: {layer} {i}");
                    assert_eq!(codes[i] == 0, w.to_bits() == 0, "{rule}: {layer} {i}");
                }
                for (k, h) in history
                    .iter()
                    .enumerate()
                    .filter(|(k, _)| *names[k % 4] == blob)
                {
                    let by_code: HashSet<(u8, u32)> = codes
                        .iter()
                        .zip(h)
                        .map(|(c, h)| (*c, h.to_bits()))
                        .collect();
                    assert!(
                        by_code.len() <= most,
                        "{rule}: history {k} is not by centroid"
                    );
                    assert!(by_code.iter().all(|(c, h)| *c != 0 || *h == 0), "{rule}");
                }
            }
            assert_eq!(
                codes,
                *last.get_or_insert(codes.clone()),
                "{rule}: codes changed"
            );
            assert!(weights["ip/0"] != before["ip/0"] && weights["ip/1"] != before["ip/1"]);
        }
        let moved = weights_of(&home.join("small_iter_7.caffemodel"));
        let first = weights_of(&home.join("small_iter_2.caffemodel"));
        assert!(
            moved["conv/0"] != first["conv/0"],
            "{rule}: the centroids stand still"
        );
    }
}

#[test]
fn resumed_runs_have_the_same_bits_with_any_number_of_threads_in_both_formats() {
    let adam = "type: \"Adam\" momentum2: 0.99 snapshot: 2";
    for (format, more) in [("", ""), ("snapshot_format: HDF5", ".h5")] {
        let folder = pruned(7, "");
        let solver = common::digits_solver(7, &format!("{adam} {format}"));
        write(
            folder.path(),
            "q.prototxt",
            &solver.replace("base_lr: 0.05", "base_lr: 0.002"),
        );
        let args = [
            "quantize",
            "--solver",
            "q.prototxt",
            "--weights",
            PRUNED,
            "--bits",
            "conv=3,*=4",
        ];
        let run_in = |out: &str, more: &[&str]| {
            let own = ["--out", out, "--scale_dropout"];
            run(folder.path(), &[&args[..], &own, more].concat())
        };
        run_in("one", &["--threads", "1"]);
        run_in("two", &["--threads", "2"]);
        let same = |what: &str| {
            let (one, two) = (folder.path().join("one"), folder.path().join("two"));
            for iter in [4, 6, 7] {
                let model = format!("quantize/small_iter_{iter}.caffemodel{more}");
                assert!(
                    fs::read(one.join(&model)).unwrap() == fs::read(two.join(&model)).unwrap(),
                    "{what}: {model}"
                );
            }
        };
        same("threads");
        cut(&folder.path().join("two/quantize"), 4);
        run_in("two", &["--threads", "1", "--resume"]);
        same("resumed");
        // The states name their folder; the last of both runs, in the same folder, are the same bytes.
        let kept = folder.path().join("kept");
        fs::rename(folder.path().join("two"), &kept).unwrap();
        run_in("two", &["--threads", "2"]);
        assert_same(
            &kept,
            &folder.path().join("two"),
            "quantize",
            "whole folder",
        );
    }
}

#[test]
fn codes_are_kept_apart_where_two_values_meet() {
    let folder = pruned(4, "snapshot: 2");
    let args = ["quantize", "--bits", "2", "--weights", PRUNED, "--out", "q"];
    run(folder.path(), &[&args[..], &SOLVER].concat());
    let home = folder.path().join("q/quantize");
    cut(&home, 2);
    // Two centroids of ip meet: in the state and in the weights.
    let path = home.join("small_iter_2.solverstate");
    let (mut state, _) = state_of(&path);
    let book = &mut state.dsd.as_mut().unwrap().shared[1];
    book.values[2] = book.values[1];
    let (codes, values) = (book.codes().to_vec(), book.values.clone());
    proto::binary::write(&path, &state).unwrap();
    let model = home.join("small_iter_2.caffemodel");
    let (mut message, _) = proto::load_weights(&model).unwrap();
    let ip = message.layer.iter_mut().find(|l| l.name() == "ip").unwrap();
    let of = |code: &u8| values[usize::from(*code)];
    ip.blobs[0].data = codes.iter().map(of).collect();
    proto::binary::write(&model, &message).unwrap();
    run(folder.path(), &[&args[..], &SOLVER, &["--resume"]].concat());
    let after = weights_of(&home.join("small_iter_4.caffemodel"));
    let value = |k: u8| after["ip/0"][codes.iter().position(|c| *c == k).unwrap()];
    assert!(value(1) != value(2), "they stayed one");
    assert_eq!(
        codes_of(&home.join("small_iter_4.solverstate"))["ip"],
        codes
    );
    // With other weights beside it, a state is refused.
    cut(&home, 2);
    fs::copy(folder.path().join(PRUNED), &model).unwrap();
    let error = fails(
        folder.path(),
        &[&args[..], &SOLVER, &["--resume"]].concat(),
        1,
    );
    assert_says(
        &error,
        &["by its codebook weight", "'conv'", "different snapshots"],
    );
    state.dsd.as_mut().unwrap().shared[0].codes = Some(vec![4; 72]);
    proto::binary::write(&path, &state).unwrap();
    let error = fails(
        folder.path(),
        &[&args[..], &SOLVER, &["--resume"]].concat(),
        1,
    );
    assert_says(
        &error,
        &["codebook of layer 'conv' is damaged", "beyond its 4 values"],
    );
}

#[test]
fn quantize_takes_the_last_phase_of_the_run_and_a_hundredth_of_its_rate() {
    let folder = small_run(20, 3, "");
    let args = ["--solver", "solver.prototxt", "--out", "r"];
    let error = fails(folder.path(), &[&["quantize"], &args[..]].concat(), 1);
    assert_says(
        &error,
        &[
            "quantize phase has no weights",
            "redense or sparse or dense",
            "--weights",
        ],
    );
    for (before, from) in [
        ("dense", "dense"),
        ("prune", "sparse"),
        ("redense", "redense"),
    ] {
        run(folder.path(), &[&[before], &args[..]].concat());
        let lines = run(
            folder.path(),
            &[&["train", "--phase", "quantize"], &args[..]].concat(),
        );
        let said =
            |text: &str| assert!(lines.iter().any(|l| l.contains(text)), "{text}: {lines:?}");
        said(&format!("Finetuning from r/{from}/small_iter_3.caffemodel"));
        said("Iteration 0, lr = 0.0005");
        said("Quantizing ip: 6 bits");
    }
    let record = fs::read_to_string(folder.path().join("r/quantize/phase.json")).unwrap();
    assert!(record.contains("\"bits\": \"6\""), "{record}");
    let inspect = |what: &str| {
        let args = ["inspect", what, "--json"];
        let output = common::dsd()
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let state = inspect("r/quantize/small_iter_3.solverstate");
    assert_eq!(state["phase"], "quantize");
    let conv = &state["codebooks"][0];
    assert_eq!((&conv["layer"], &conv["bits"]), (&"conv".into(), &6.into()));
    assert_eq!(conv["count"], 72);
    assert_eq!(inspect("r")["phases"][3]["bits"], "6");
}

#[test]
fn a_state_of_caffe_gets_codebooks_of_its_weights() {
    let folder = pruned(4, "snapshot: 2");
    let args = ["quantize", "--bits", "3", "--out", "q"];
    run(
        folder.path(),
        &[&args[..], &SOLVER, &["--weights", PRUNED]].concat(),
    );
    let home = folder.path().join("q/quantize");
    let (mut state, _) = state_of(&home.join("small_iter_2.solverstate"));
    state.dsd = None;
    proto::binary::write(&home.join("caffe_iter_2.solverstate"), &state).unwrap();
    let from = ["--snapshot", "q/quantize/caffe_iter_2.solverstate"];
    let lines = run(folder.path(), &[&args[..], &SOLVER, &from].concat());
    assert!(
        lines.iter().any(|l| l.contains("holds no codebooks")),
        "{lines:?}"
    );
    let distinct: HashSet<u32> = weights_of(&home.join("small_iter_4.caffemodel"))["ip/0"]
        .iter()
        .map(|w| w.to_bits())
        .collect();
    assert!(distinct.len() <= 8);
}

#[test]
fn bits_that_make_no_sense_are_refused() {
    let folder = small_run(20, 2, "");
    let run = |args: &[&str], code: i32, words: &[&str]| {
        let error = fails(folder.path(), &[args, &SOLVER].concat(), code);
        assert_says(&error, words);
    };
    run(&["quantize", "--bits", "9"], 2, &["--bits", "2 to 8"]);
    run(
        &["quantize", "--bits", "six"],
        2,
        &["--bits", "not a whole number"],
    );
    run(
        &["train", "--phase", "dsd", "--bits", "6"],
        2,
        &["no phase of this run is quantize"],
    );
    run(
        &["train", "--bits", "6"],
        2,
        &["--bits", "no phase of this run is quantize"],
    );
    run(
        &["quantize", "--sparsity", "0.5", "--out", "r"],
        2,
        &["no phase of this run is sparse"],
    );
    write(folder.path(), "w.npz", "");
    let weights = ["--weights", "w.npz", "--out", "r", "--bits", "cnv=6"];
    run(
        &[&["quantize"], &weights[..]].concat(),
        1,
        &["'cnv' matches no layer of net.prototxt"],
    );
    let flow = "solver = 'solver.prototxt'\n[[phase]]\nkind = 'quantize'\nbits = 'conv=4'\n[[phase]]\nkind = 'quantize'\nbits = 5\n";
    write(folder.path(), "flow.toml", flow);
    let error = fails(folder.path(), &["train", "--flow", "flow.toml"], 1);
    assert_says(
        &error,
        &["phase quantize-2", "'conv' has 4 bits before and 5 now"],
    );
}

#[test]
fn a_flow_may_quantize_twice_and_its_table_shows_it() {
    let folder = small_run(20, 3, "");
    let flow = "solver = 'solver.prototxt'\n[[phase]]\nkind = 'dense'\n[[phase]]\nkind = 'sparse'\nsparsity = 0.5\n\
                [[phase]]\nkind = 'quantize'\nbits = 4\n[[phase]]\nkind = 'quantize'\nbits = 3\n";
    write(folder.path(), "flow.toml", flow);
    let args = [
        "train",
        "--flow",
        "flow.toml",
        "--out",
        "r",
        "--metrics",
        "m.jsonl",
    ];
    let output = common::process::run(folder.path(), &args);
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|l| !l.is_empty())
        .map(|l| l.split_whitespace().collect())
        .collect();
    let cells: Vec<(&str, &str)> = rows.iter().map(|r| (r[0], r[1])).collect();
    assert_eq!(
        cells,
        [
            ("dense", "1.0000"),
            ("sparse", "0.5000"),
            ("quantize", "0.5000"),
            ("quantize-2", "0.5000")
        ]
    );
    let metrics = fs::read_to_string(folder.path().join("m.jsonl")).unwrap();
    assert!(metrics.contains("\"phase\":\"quantize\""), "{metrics}");
}
