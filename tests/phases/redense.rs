//! What the redense phase starts from; learning rates; what is missing without the phase before.

use super::{fails, run};
use crate::common::{
    self, assert_says, folders_in, names_in, small_run, state_of, weights_of, write,
};

#[test]
fn redense_starts_from_the_sparse_weights_with_no_mask_and_no_history() {
    let folder = small_run(20, 6, "snapshot: 3");
    let args = ["--solver", "solver.prototxt", "--out", "r"];
    run(folder.path(), &[&["dense"], &args[..]].concat());
    run(
        folder.path(),
        &[&["prune", "--sparsity", "0.5"], &args[..]].concat(),
    );
    run(
        folder.path(),
        &[&["redense", "--max_iter", "0"], &args[..]].concat(),
    );
    let file = |name: &str| folder.path().join("r").join(name);
    let sparse = weights_of(&file("sparse/small_iter_6.caffemodel"));
    assert!(weights_of(&file("redense/small_iter_0.caffemodel")) == sparse);
    let (state, history) = state_of(&file("redense/small_iter_0.solverstate"));
    assert!(history.iter().flatten().all(|h| *h == 0.0));
    assert!(state.dsd.unwrap().masks.is_empty());
    run(folder.path(), &[&["redense"], &args[..]].concat());
    let after = weights_of(&file("redense/small_iter_3.caffemodel"));
    let back = after["ip/0"].iter().zip(&sparse["ip/0"]);
    assert!(back.filter(|(a, s)| **s == 0.0 && **a != 0.0).count() > 100);
    // The earlier run of the phase was moved aside.
    assert!(file("redense.old1/small_iter_0.caffemodel").exists());
}

/// The first rate that each phase printed.
fn rates(lines: &[String]) -> Vec<&str> {
    let first = |l: &&String| l.starts_with("Iteration 0, lr = ");
    lines.iter().filter(first).map(|l| &l[18..]).collect()
}

#[test]
fn phases_with_one_solver_have_the_papers_rates_and_a_solver_of_ones_own_its_own() {
    let folder = small_run(20, 2, "");
    let own = common::digits_solver(2, "").replace("base_lr: 0.05", "base_lr: 0.02");
    write(folder.path(), "own.prototxt", &own);
    let args = ["--solver", "solver.prototxt", "--out", "r"];
    let lines = run(
        folder.path(),
        &[&["train", "--phase", "dsd"], &args[..]].concat(),
    );
    assert_eq!(rates(&lines), ["0.05", "0.005", "0.0005"]);
    let lines = run(folder.path(), &[&["redense"], &args[..]].concat());
    assert_eq!(rates(&lines), ["0.0005"]);
    let said = "base_lr 0.0005 (a hundredth of the solver's 0.05), in r/redense";
    assert!(lines.iter().any(|l| l.contains(said)), "{lines:?}");
    // Phase by phase, too; with a sparse solver of its own and weights from elsewhere, the rates are that solver's.
    let weights = ["--weights", "r/dense/small_iter_2.caffemodel"];
    let lines = run(folder.path(), &[&["prune"], &args[..]].concat());
    assert_eq!(rates(&lines), ["0.005"]);
    let elsewhere = ["--solver", "own.prototxt", "--out", "e"];
    let lines = run(
        folder.path(),
        &[&["prune"], &elsewhere[..], &weights].concat(),
    );
    assert_eq!(rates(&lines), ["0.02"]);
    let lines = run(folder.path(), &[&["redense"], &elsewhere[..]].concat());
    assert_eq!(rates(&lines), ["0.002"]);
    let lines = run(
        folder.path(),
        &["redense", "--solver", "own.prototxt", "--out", "r"],
    );
    assert_eq!(rates(&lines), ["0.02"]);
    let flow = "solver = 'solver.prototxt'\n[[phase]]\nkind = 'dense'\n[[phase]]\nkind = 'sparse'\nbase_lr = 0.03\n\
                [[phase]]\nkind = 'redense'\n[[phase]]\nkind = 'sparse'\n[[phase]]\nkind = 'redense'\nsolver = 'own.prototxt'\n";
    write(folder.path(), "flow.toml", flow);
    let lines = run(
        folder.path(),
        &["train", "--flow", "flow.toml", "--out", "f"],
    );
    assert_eq!(rates(&lines), ["0.05", "0.03", "0.0005", "0.005", "0.02"]);
    let names = folders_in(&folder.path().join("f"));
    assert_eq!(
        names,
        ["dense", "redense", "redense-2", "sparse", "sparse-2"]
    );
}

#[test]
fn pruning_without_a_dense_result_says_what_is_missing() {
    let folder = small_run(20, 2, "");
    let error = fails(
        folder.path(),
        &["prune", "--solver", "solver.prototxt", "--out", "r"],
        1,
    );
    assert_says(
        &error,
        &[
            "sparse phase has no weights",
            "r/dense",
            "--weights",
            "run the dense phase first",
        ],
    );
    let error = fails(folder.path(), &["redense", "--out", "r"], 1);
    assert_says(
        &error,
        &["redense phase has no weights", "r/sparse", "--weights"],
    );
    let error = fails(folder.path(), &["train", "--phase", "sparse"], 1);
    assert_says(&error, &["dsd_run/dense"]);
    assert_eq!(names_in(folder.path()), ["net.prototxt", "solver.prototxt"]);
}
