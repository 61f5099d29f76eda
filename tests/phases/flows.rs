//! `--flow F.toml`: sequences of phases, whole, resumed, and refused; and the default run.

use crate::common::process::{assert_same, run, start, wait_for};
use crate::common::{
    assert_says, digits_net, dsd, error_of, folders_in, log_texts, small_run, write,
};
use std::fs;

const FLOW: &str = r#"
solver = "solver.prototxt"
sparsity = 0.5
[[phase]]
kind = "dense"
[[phase]]
kind = "sparse"
sparsity = "conv=0.25,*=0.5"
[[phase]]
kind = "redense"
max_iter = 4
[[phase]]
kind = "sparse"
[[phase]]
kind = "redense"
base_lr = 0.002
"#;

#[test]
fn a_flow_runs_every_phase_in_its_folder_and_prints_them() {
    let folder = small_run(20, 6, "snapshot: 2");
    write(folder.path(), "flow.toml", FLOW);
    let args = [
        "train",
        "--flow",
        "flow.toml",
        "--out",
        "r",
        "--metrics",
        "m.jsonl",
    ];
    let output = run(folder.path(), &args);
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .take_while(|l| !l.is_empty())
        .map(|l| l.split_whitespace().collect())
        .collect();
    let phases: Vec<&str> = rows[2..].iter().map(|r| r[0]).collect();
    assert_eq!(
        phases,
        ["dense", "sparse", "redense", "sparse-2", "redense-2"]
    );
    let iterations: Vec<&str> = rows[2..].iter().map(|r| r[2]).collect();
    assert_eq!(iterations, ["6", "6", "4", "6", "6"]);
    // conv has 72 weights, ip 1280.
    assert_eq!(
        [rows[2][1], rows[3][1], rows[5][1]],
        ["1.0000", "0.5133", "0.5000"]
    );
    let plans = [
        ["Phase sparse-2", "Phase redense-2"],
        ["Snapshotting solver state", "Optimization Done"],
    ];
    for plan in plans {
        let killed = small_run(20, 6, "snapshot: 2");
        write(killed.path(), "flow.toml", FLOW);
        for (i, text) in plan.iter().enumerate() {
            let resume: &[&str] = if i == 0 { &[] } else { &["--resume"] };
            let (mut child, mut log) = start(killed.path(), &[&args[..], resume].concat());
            assert!(wait_for(&mut log, text, 1), "no {text}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        run(killed.path(), &[&args[..], &["--resume"]].concat());
        let what = format!("{plan:?}");
        for part in [
            "r/dense",
            "r/sparse",
            "r/redense",
            "r/sparse-2",
            "r/redense-2",
            "m.jsonl",
        ] {
            assert_same(killed.path(), folder.path(), part, &what);
        }
    }
}

#[test]
fn a_flow_that_starts_sparse_takes_its_weights_and_a_fresh_metrics_file() {
    let folder = small_run(20, 4, "");
    run(
        folder.path(),
        &[
            "dense",
            "--solver",
            "solver.prototxt",
            "--out",
            "d",
            "--metrics",
            "m.jsonl",
        ],
    );
    let flow = "solver = 'solver.prototxt'\nweights = 'd/dense/small_iter_4.caffemodel'\n[[phase]]\nkind = 'sparse'\n[[phase]]\nkind = 'redense'\n";
    write(folder.path(), "flow.toml", flow);
    run(
        folder.path(),
        &[
            "train",
            "--flow",
            "flow.toml",
            "--out",
            "r",
            "--metrics",
            "m.jsonl",
        ],
    );
    let metrics = fs::read_to_string(folder.path().join("m.jsonl")).unwrap();
    assert!(!metrics.contains("\"dense\""), "{metrics}");
    assert_eq!(metrics.lines().filter(|l| l.contains("\"lr\"")).count(), 8);
}

#[test]
fn a_flow_that_makes_no_sense_is_refused_before_anything_runs() {
    let folder = small_run(20, 4, "");
    let phase = |lines: &str| format!("[[phase]]\n{lines}\n");
    let (dense, sparse) = (phase("kind = 'dense'"), phase("kind = 'sparse'"));
    let redense = phase("kind = 'redense'");
    let cases = [
        ("".to_string(), "no [[phase]]"),
        (format!("{dense}{redense}"), "no mask to lift"),
        (format!("{sparse}{dense}"), "call it redense"),
        (phase("kind = 'sparse'\nsparsity = 1.0"), "[0, 1)"),
        (
            phase("kind = 'dense'\nsparsity = 0.5"),
            "only a sparse one prunes",
        ),
        (phase("kind = 'dense'\nmax_iter = 0"), "max_iter 0"),
        (
            phase("kind = 'dense'\nmax_iter = -5"),
            "flow.toml:3:12: invalid value: integer `-5`",
        ),
        (phase("kind = 'spares'"), "spares"),
        (phase("kind = 'dense'\nmax_itr = 5"), "max_itr"),
        (
            phase("kind = 'sparse'\nsparsity = 0.6") + &phase("kind = 'sparse'\nsparsity = 0.4"),
            "only prune further",
        ),
        ("[[phase]\nkind = 'dense'".to_string(), "flow.toml:1:"),
        (
            "solver = 'none.prototxt'\n".to_string() + &dense,
            "none.prototxt",
        ),
        (dense.clone(), "has no solver"),
    ];
    for (text, words) in cases {
        write(folder.path(), "flow.toml", &text);
        let output = dsd()
            .args(["train", "--flow", "flow.toml", "--out", "r"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = error_of(&output, 1);
        assert_says(&error, &[words]);
        assert!(!folder.path().join("r").exists(), "{text}");
    }
    let missing = dsd()
        .args(["train", "--flow", "other.toml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_says(&error_of(&missing, 1), &["cannot read other.toml"]);
    let both = dsd()
        .args(["train", "--flow", "flow.toml", "--phase", "dense"])
        .output()
        .unwrap();
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn what_is_wrong_with_a_later_phase_shows_before_the_first_runs() {
    let folder = small_run(20, 4, "");
    let flow =
        "[[phase]]\nkind = 'dense'\nsolver = 'solver.prototxt'\n[[phase]]\nkind = 'sparse'\n";
    let cases = [
        ("", "phase sparse has no solver"),
        ("solver = 'none.prototxt'", "cannot read none.prototxt"),
        (
            "solver = 'solver.prototxt'\nsparsity = 'cnv=0,*=0.3'",
            "'cnv' matches no layer of net.prototxt",
        ),
    ];
    for (more, words) in cases {
        write(folder.path(), "flow.toml", &format!("{flow}{more}\n"));
        let output = dsd()
            .args(["train", "--flow", "flow.toml", "--out", "r"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_says(&error_of(&output, 1), &[words]);
        assert!(!folder.path().join("r").exists());
    }
}

#[test]
fn a_gpu_in_the_solver_is_one_warning_for_all_phases() {
    let folder = small_run(20, 1, "solver_mode: GPU device_id: 0");
    let args = [
        "train",
        "--phase",
        "dsd",
        "--solver",
        "solver.prototxt",
        "--out",
        "r",
    ];
    let output = run(folder.path(), &args);
    let lines = log_texts(&output.stderr);
    assert_eq!(
        lines
            .iter()
            .filter(|l| l.contains("no GPU backend"))
            .count(),
        1
    );
}

#[test]
fn a_killed_run_does_not_take_an_earlier_runs_phases_for_its_own() {
    let (folder, fresh) = (
        small_run(20, 6, "snapshot: 2"),
        small_run(20, 6, "snapshot: 2"),
    );
    let args = [
        "train",
        "--phase",
        "dsd",
        "--solver",
        "solver.prototxt",
        "--out",
        "r",
        "--seed",
    ];
    run(folder.path(), &[&args[..], &["1"]].concat());
    let second = [&args[..], &["2"]].concat();
    run(fresh.path(), &second);
    let (mut child, mut log) = start(folder.path(), &second);
    assert!(wait_for(&mut log, "Snapshotting solver state", 2));
    child.kill().unwrap();
    child.wait().unwrap();
    // As if it had been killed while writing.
    write(&folder.path().join("r/dense"), ".dsd-half.tmp", "half");
    run(folder.path(), &[&second[..], &["--resume"]].concat());
    for part in ["r/dense", "r/sparse", "r/redense"] {
        assert_same(folder.path(), fresh.path(), part, "after an earlier run");
    }
    assert!(!folder.path().join("r/dense/.dsd-half.tmp").exists());
    let names = folders_in(&folder.path().join("r"));
    assert_eq!(
        names,
        [
            "dense",
            "dense.old1",
            "redense",
            "redense.old1",
            "sparse",
            "sparse.old1"
        ]
    );
}

#[test]
fn a_phase_can_start_from_its_own_earlier_result() {
    let folder = small_run(20, 3, "");
    let args = ["dense", "--solver", "solver.prototxt", "--out", "r"];
    run(folder.path(), &args);
    let weights = ["--weights", "r/dense/small_iter_3.caffemodel"];
    run(folder.path(), &[&args[..], &weights].concat());
    assert_eq!(
        folders_in(&folder.path().join("r")),
        ["dense", "dense.old1"]
    );
}

#[test]
fn a_test_that_is_not_a_number_keeps_no_run_from_going_on() {
    // The test net multiplies what the training net does not, beyond any float.
    let folder = small_run(20, 2, "");
    let power = "layer { name: \"sum\" type: \"Eltwise\" bottom: \"ip\" bottom: \"ip\" top: \"sum\" \
                 include { phase: TEST } eltwise_param { coeff: 3e38 coeff: -3e38 } }\n\
                 layer { name: \"nan\" type: \"SoftmaxWithLoss\" bottom: \"sum\" bottom: \"label\" top: \"nan\" \
                 include { phase: TEST } }";
    write(folder.path(), "net.prototxt", &digits_net(20, power));
    let args = [
        "train",
        "--phase",
        "dsd",
        "--solver",
        "solver.prototxt",
        "--out",
        "r",
    ];
    let first = run(folder.path(), &args);
    let again = run(folder.path(), &[&args[..], &["--resume"]].concat());
    assert!(String::from_utf8_lossy(&first.stdout).contains("nan"));
    assert_eq!(first.stdout, again.stdout);
}
