//! `.caffemodel.h5` and `.solverstate.h5`.

use std::fs;
use std::path::Path;

use dsd::solver::snapshot;
use dsd::weights_file;
use dsd::weights_file::Stored;

use crate::formats::{copy, distance, goldens, run};

fn weights(path: &Path) -> Stored {
    weights_file::read_named(path, &fs::read(path).unwrap()).unwrap()
}

/// Checks two weights files and gives how far they are apart at most.
fn apart(a: &Path, b: &Path) -> f64 {
    let (a, b) = (weights(a), weights(b));
    assert_eq!(a.layers.len(), b.layers.len());
    let mut most = 0f64;
    for layer in &a.layers {
        let other = b.layer(&layer.name).unwrap();
        for (x, y) in layer.blobs.iter().zip(&other.blobs) {
            assert_eq!(x.shape, y.shape, "{}", layer.name);
            most = most.max(distance(&x.data, &y.data));
        }
    }
    most
}

/// Checks two solver states and gives how far their histories are apart at most.
fn states_apart(a: &Path, b: &Path) -> f64 {
    let (a, b) = (snapshot::read(a).unwrap(), snapshot::read(b).unwrap());
    assert_eq!((a.iter, a.current_step), (b.iter, b.current_step));
    assert_eq!(a.history.len(), b.history.len());
    let pairs = a.history.iter().zip(&b.history);
    pairs
        .map(|(x, y)| {
            assert_eq!(x.shape, y.shape);
            distance(&x.data, &y.data)
        })
        .fold(0.0, f64::max)
}

#[test]
fn caffes_hdf5_snapshots_hold_what_its_binary_ones_do() {
    let Some(folder) = goldens("solvers") else {
        return;
    };
    for n in [10, 20] {
        let (h5, binary) = (format!("sgd_l2_h5_iter_{n}"), format!("sgd_l2_iter_{n}"));
        let of = |name: &str| folder.join(name);
        assert_eq!(
            apart(
                &of(&format!("{h5}.caffemodel.h5")),
                &of(&format!("{binary}.caffemodel"))
            ),
            0.0
        );
        let state = of(&format!("{h5}.solverstate.h5"));
        assert_eq!(
            states_apart(&state, &of(&format!("{binary}.solverstate"))),
            0.0
        );
        let state = snapshot::read(&state).unwrap();
        assert_eq!(state.learned_net, format!("{h5}.caffemodel.h5"));
        assert!(state.own.is_none());
    }
}

#[test]
fn a_run_with_hdf5_snapshots_is_caffes() {
    let Some(goldens) = goldens("solvers") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let names = [
        "tiny.prototxt",
        "tiny_init.caffemodel",
        "tiny_lmdb",
        "sgd_l2_h5_solver.prototxt",
    ];
    copy(&goldens, &names, at);
    let log = run(
        at,
        &[
            "train",
            "--solver=sgd_l2_h5_solver.prototxt",
            "--weights=tiny_init.caffemodel",
        ],
    );
    for line in [
        "] Snapshotting to HDF5 file sgd_l2_h5_iter_10.caffemodel.h5\n",
        "] Snapshotting solver state to HDF5 file sgd_l2_h5_iter_10.solverstate.h5\n",
    ] {
        assert!(log.contains(line), "{log}");
    }
    for n in [10, 20] {
        let name = format!("sgd_l2_h5_iter_{n}.caffemodel.h5");
        let far = apart(&at.join(&name), &goldens.join(&name));
        assert!(far < 1e-5, "{name}: {far}");
        let name = format!("sgd_l2_h5_iter_{n}.solverstate.h5");
        let far = states_apart(&at.join(&name), &goldens.join(&name));
        assert!(far < 1e-5, "{name}: {far}");
    }
}

#[test]
fn a_run_goes_on_from_caffes_hdf5_state() {
    let Some(goldens) = goldens("solvers") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let names = [
        "tiny.prototxt",
        "tiny_lmdb",
        "sgd_l2_h5_resume_solver.prototxt",
        "sgd_l2_h5_iter_10.caffemodel.h5",
        "sgd_l2_h5_iter_10.solverstate.h5",
    ];
    copy(&goldens, &names, at);
    run(
        at,
        &[
            "train",
            "--solver=sgd_l2_h5_resume_solver.prototxt",
            "--snapshot=sgd_l2_h5_iter_10.solverstate.h5",
        ],
    );
    let name = "sgd_l2_h5r_iter_20.caffemodel.h5";
    let far = apart(&at.join(name), &goldens.join(name));
    assert!(far < 1e-5, "{far}");
    let name = "sgd_l2_h5r_iter_20.solverstate.h5";
    let far = states_apart(&at.join(name), &goldens.join(name));
    assert!(far < 1e-5, "{far}");
}

const NET: &str = "name: 'two'
layer { name: 'data' type: 'Data' top: 'data' top: 'label'
  data_param { source: 'builtin:digits_train' batch_size: 8 } transform_param { scale: 0.1 } }
layer { name: 'a' type: 'InnerProduct' bottom: 'data' top: 'a' param { name: 'w' } param { name: 'b' }
  inner_product_param { num_output: 10 weight_filler { type: 'xavier' } } }
layer { name: 'twin/a' type: 'InnerProduct' bottom: 'data' top: 'c' param { name: 'w' } param { name: 'd' }
  inner_product_param { num_output: 10 } }
layer { name: 'sum' type: 'Eltwise' bottom: 'a' bottom: 'c' top: 'sum' }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'sum' bottom: 'label' top: 'loss' }";

const SOLVER: &str = "net: 'net.prototxt' base_lr: 0.01 lr_policy: 'step' gamma: 0.5 stepsize: 3 momentum: 0.9
type: 'Adam' max_iter: 8 snapshot: 4 snapshot_prefix: 'run/x' snapshot_format: HDF5 snapshot_diff: true";

#[test]
fn a_pruned_run_resumes_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("net.prototxt"), NET).unwrap();
    fs::write(at.join("solver.prototxt"), SOLVER).unwrap();
    let common = ["--solver=solver.prototxt", "--seed=5"];
    run(at, &[&["dense", "--out=start"], &common[..]].concat());
    let weights_in = "--weights=start/dense/x_iter_8.caffemodel.h5";
    let sparse = |out: &str, more: &[&str]| {
        let out = format!("--out={out}");
        let args = ["prune", &out, weights_in, "--sparsity=0.5"];
        run(at, &[&args[..], &common[..], more].concat())
    };
    sparse("whole", &[]);
    sparse("parts", &["--max_iter=4"]);
    let log = sparse("parts", &["--resume"]);
    assert!(log.contains("x_iter_4.solverstate.h5"), "{log}");
    for name in ["x_iter_8.caffemodel.h5", "x_iter_8.solverstate.h5"] {
        let file = |run: &str| at.join(run).join("sparse").join(name);
        if name.contains("model") {
            assert_eq!(
                fs::read(file("whole")).unwrap(),
                fs::read(file("parts")).unwrap()
            );
        } else {
            let (a, b) = (
                snapshot::read(&file("whole")).unwrap(),
                snapshot::read(&file("parts")).unwrap(),
            );
            assert_eq!((&a.history, &a.own), (&b.history, &b.own));
            assert!(!a.own.unwrap().masks.is_empty());
        }
    }
    // What is shared is stored once, with its owner; the updates of every layer are there.
    let file = dsd::hdf5::File::open(&at.join("whole/sparse/x_iter_8.caffemodel.h5")).unwrap();
    let mut paths = file.list("").unwrap();
    paths.sort();
    assert_eq!(
        paths,
        [
            "data/a/0",
            "data/a/1",
            "data/twin/a/1",
            "diff/a/0",
            "diff/a/1",
            "diff/twin/a/0",
            "diff/twin/a/1"
        ]
    );
    let zeros = file.tensor("data/a/0").unwrap().data;
    assert_eq!(zeros.iter().filter(|&&w| w == 0.0).count() * 2, zeros.len());
}

#[test]
fn names_that_hdf5_cannot_store_are_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("net.prototxt"), NET.replace("twin/a", "twin//a")).unwrap();
    fs::write(at.join("solver.prototxt"), SOLVER).unwrap();
    let error = crate::formats::fail(at, &["train", "--solver=solver.prototxt"]);
    assert!(
        error.contains("'twin//a'") && error.contains("HDF5"),
        "{error}"
    );
}
