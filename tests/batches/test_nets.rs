//! Test nets, their intervals, and what a run shows, by Caffe's solver.

use super::{error, log, values, weights, write};
use crate::common::{assert_says, lmdb};
use std::path::Path;

/// A net whose output y is its one weight times the label of each record, 0, 1, 2, 0, …
fn net(phase: &str, batch: usize, name: &str) -> String {
    let rule = match phase {
        "" => String::new(),
        p => format!("include {{ {p} }}"),
    };
    format!(
        "layer {{ name: 'd' type: 'Data' top: 'x' top: 't' {rule} data_param {{ source: 'db' batch_size: {batch} \
         backend: LMDB }} }} \
         layer {{ name: 'r' type: 'Reshape' bottom: 't' top: 'v' {rule} reshape_param {{ shape {{ dim: 0 dim: 1 }} }} }} \
         layer {{ name: 'w' type: 'InnerProduct' bottom: 'v' top: '{name}' {rule} inner_product_param {{ num_output: 1 \
         bias_term: false weight_filler {{ value: 2 }} }} }} "
    )
}

const LOSS: &str = "layer { name: 'z' type: 'DummyData' top: 'z' dummy_data_param { shape { dim: 1 dim: 1 } } \
    include { phase: TRAIN } } \
    layer { name: 'l' type: 'EuclideanLoss' bottom: 'y' bottom: 'z' top: 'l' include { phase: TRAIN } }";

/// A folder with the database of 5 records of the labels 0, 1, 2, 0, 1 and a solver of `text`.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    lmdb::write(&folder.path().join("db"), &lmdb::pictures(5));
    write(
        folder.path(),
        "solver.prototxt",
        &format!("{text} base_lr: 0 lr_policy: 'fixed' snapshot_prefix: 's'"),
    );
    folder
}

fn train(folder: &Path) -> Vec<String> {
    log(folder, &["train", "--solver", "solver.prototxt"])
}

/// The iterations of the tests of net `k`.
fn tests(log: &[String], k: usize) -> Vec<usize> {
    let end = format!(", Testing net (#{k})");
    let at = |l: &String| {
        l.strip_prefix("Iteration ")?
            .strip_suffix(&end)?
            .parse()
            .ok()
    };
    log.iter().filter_map(at).collect()
}

/// Value `k` of the `per` that output `name` has, test by test.
fn outputs(log: &[String], (k, per): (usize, usize), name: &str) -> Vec<f32> {
    let middle = format!(": {name} = ");
    let value = |l: &String| {
        let rest = l.strip_prefix("    Test net output #")?;
        rest.split_once(&middle)?.1.parse().ok()
    };
    let all: Vec<f32> = log.iter().filter_map(value).collect();
    all.chunks(per).map(|test| test[k]).collect()
}

#[test]
fn each_test_net_has_its_own_iterations_and_all_have_the_training_weights() {
    let run = folder(
        "train_net: 'train.prototxt' test_net: 'a.prototxt' test_net: 'b.prototxt' test_iter: 1 test_iter: 3 \
         test_interval: 2 max_iter: 4",
    );
    write(run.path(), "train.prototxt", &(net("", 1, "y") + LOSS));
    write(run.path(), "a.prototxt", &net("", 2, "ya"));
    write(run.path(), "b.prototxt", &net("", 1, "yb"));
    let log = train(run.path());
    assert_eq!(
        (tests(&log, 0), tests(&log, 1)),
        (vec![0, 2, 4], vec![0, 2, 4])
    );
    // Batches of 2 of the labels 0, 1, 2, 0, 1 without end, each a test.
    assert_eq!(outputs(&log, (0, 2), "ya"), [0.0, 4.0, 2.0]);
    assert_eq!(outputs(&log, (1, 2), "ya"), [2.0, 0.0, 0.0]);
    // The mean over three batches of one.
    let mean = |labels: [f32; 3]| 2.0 * labels.iter().sum::<f32>() / 3.0;
    let want = [
        mean([0.0, 1.0, 2.0]),
        mean([0.0, 1.0, 0.0]),
        mean([1.0, 2.0, 0.0]),
    ];
    for (got, want) in outputs(&log, (0, 1), "yb").iter().zip(want) {
        assert!((got - want).abs() < 1e-5, "{got} for {want}");
    }
}

#[test]
fn test_iter_must_be_given_for_each() {
    let run = folder(
        "train_net: 'train.prototxt' test_net: 'a.prototxt' test_net: 'a.prototxt' test_iter: 1 test_interval: 2 \
         max_iter: 4",
    );
    write(run.path(), "train.prototxt", &(net("", 1, "y") + LOSS));
    write(run.path(), "a.prototxt", &net("", 2, "ya"));
    let told = error(run.path(), &["train", "--solver", "solver.prototxt"]);
    assert_says(&told, &["test_iter"]);
}

#[test]
fn tests_come_at_their_interval() {
    for (settings, wanted) in [
        ("test_interval: 2 max_iter: 5", vec![0, 2, 4]),
        ("test_interval: 2 max_iter: 4", vec![0, 2, 4]),
        (
            "test_interval: 3 max_iter: 6 test_initialization: false",
            vec![3, 6],
        ),
        (
            "test_interval: 9 max_iter: 4 test_initialization: false",
            vec![],
        ),
        ("test_interval: 9 max_iter: 4", vec![0]),
        ("test_interval: 1 max_iter: 2", vec![0, 1, 2]),
    ] {
        let run = folder(&format!("net: 'net.prototxt' test_iter: 1 {settings}"));
        let text = net("phase: TRAIN", 1, "y") + LOSS + &net("phase: TEST", 1, "y");
        write(run.path(), "net.prototxt", &text);
        assert_eq!(tests(&train(run.path()), 0), wanted, "{settings}");
    }
}

#[test]
fn a_test_goes_on_where_the_last_one_stopped() {
    let run = folder("net: 'net.prototxt' test_iter: 2 test_interval: 1 max_iter: 3");
    let text = net("phase: TRAIN", 1, "y") + LOSS + &net("phase: TEST", 1, "y");
    write(run.path(), "net.prototxt", &text);
    // Labels 0 1 | 2 0 | 1 0 | 1 2, twice their mean.
    assert_eq!(
        outputs(&train(run.path()), (0, 1), "y"),
        [1.0, 2.0, 1.0, 3.0]
    );
}

#[test]
fn stages_choose_the_layers_of_a_test_net() {
    let run = folder(
        "net: 'net.prototxt' test_state { stage: 'one' } test_state { stage: 'two' level: 1 } test_iter: 1 test_iter: 1 \
         test_interval: 5 max_iter: 1",
    );
    let text = net("phase: TRAIN", 1, "y")
        + LOSS
        + &net("phase: TEST stage: 'one'", 2, "y1")
        + &net("phase: TEST stage: 'two' min_level: 1", 1, "y2");
    write(run.path(), "net.prototxt", &text);
    let log = train(run.path());
    assert_eq!(outputs(&log, (1, 2), "y1"), [2.0]);
    assert_eq!(outputs(&log, (0, 1), "y2"), [0.0]);
}

#[test]
fn the_test_loss_is_shown_when_asked() {
    let text = net("phase: TRAIN", 1, "y") + LOSS + &net("phase: TEST", 5, "y");
    let loss = "layer { name: 'z2' type: 'DummyData' top: 'z' dummy_data_param { shape { dim: 5 dim: 1 } } include { \
        phase: TEST } } layer { name: 'l' type: 'EuclideanLoss' bottom: 'y' bottom: 'z' top: 'l' include { phase: TEST } }";
    for (asked, lines) in [("test_compute_loss: true", 1), ("", 0)] {
        let run = folder(&format!(
            "net: 'net.prototxt' test_iter: 1 test_interval: 9 max_iter: 1 {asked}"
        ));
        write(run.path(), "net.prototxt", &(text.clone() + loss));
        let log = train(run.path());
        let shown: Vec<&String> = log
            .iter()
            .filter(|l| l.starts_with("Test loss: "))
            .collect();
        assert_eq!(shown.len(), lines);
        // (0 + 4 + 16 + 0 + 4) / 2 / 5
        assert!(shown.iter().all(|l| *l == "Test loss: 2.4"), "{shown:?}");
        let note = "    Test net output #0: l = 2.4 (* 1 = 2.4 loss)";
        assert!(log.contains(&note.to_string()), "{log:?}");
    }
}

#[test]
fn the_loss_shown_is_a_mean_over_average_loss() {
    // Losses of the labels 0, 1, 2, 0, 1, 0: (2 label)² / 2.
    let losses: [f32; 6] = [0.0, 2.0, 8.0, 0.0, 2.0, 0.0];
    for window in [1usize, 2, 3, 9] {
        let run = folder(&format!(
            "net: 'net.prototxt' max_iter: 6 display: 1 average_loss: {window}"
        ));
        write(run.path(), "net.prototxt", &(net("", 1, "y") + LOSS));
        let log = train(run.path());
        for i in 0..6 {
            let last = &losses[(i + 1usize).saturating_sub(window)..=i];
            let want = last.iter().sum::<f32>() / last.len() as f32;
            let head = format!("Iteration {i} (");
            let line = log.iter().find(|l| l.starts_with(&head)).unwrap();
            let got: f32 = line.rsplit_once("loss = ").unwrap().1.parse().unwrap();
            assert!(
                (got - want).abs() < 1e-4,
                "window {window}, iteration {i}: {got} for {want}"
            );
        }
    }
}

#[test]
fn display_and_iter_size() {
    for (display, shown) in [(0, 0), (1, 4), (2, 2), (3, 2), (9, 1)] {
        let run = folder(&format!(
            "net: 'net.prototxt' max_iter: 4 display: {display} iter_size: 2"
        ));
        write(run.path(), "net.prototxt", &(net("", 1, "y") + LOSS));
        let log = train(run.path());
        let lines: Vec<&String> = log
            .iter()
            .filter(|l| l.contains(" iters), loss = "))
            .collect();
        assert_eq!(lines.len(), shown, "display {display}");
        if shown > 0 {
            // The mean of the two batches of the labels 0 and 1.
            assert!(lines[0].ends_with("loss = 1"), "{}", lines[0]);
        }
    }
}

#[test]
fn the_weights_that_a_test_sees_are_the_trained_ones() {
    // One step of rate 1 on label 1: w = 2 - 2 = 0, and the test sees it.
    let run = folder("net: 'net.prototxt' test_iter: 1 test_interval: 1 max_iter: 2");
    write(
        run.path(),
        "solver.prototxt",
        "net: 'net.prototxt' test_iter: 1 test_interval: 1 max_iter: 2 base_lr: 0.25 lr_policy: 'fixed'",
    );
    let text = net("phase: TRAIN", 2, "y") + LOSS + &net("phase: TEST", 5, "y");
    let text = text.replace("dim: 1 dim: 1 } } include", "dim: 2 dim: 1 } } include");
    write(run.path(), "net.prototxt", &text);
    let log = train(run.path());
    // The labels of the batches are 0 1 and 2 0; the gradient is w·Σlabel²/2: 2 → 1.75 → 0.875.
    let at = |w: f32| (1..3).map(|k| w * k as f32).collect::<Vec<_>>();
    assert_eq!(
        [outputs(&log, (1, 5), "y"), outputs(&log, (2, 5), "y")],
        [
            vec![at(2.0)[0], at(1.75)[0], at(0.875)[0]],
            vec![at(2.0)[1], at(1.75)[1], at(0.875)[1]]
        ]
    );
}

#[test]
fn a_test_of_weights_prints_each_batch_and_the_mean() {
    let run = folder("");
    write(run.path(), "net.prototxt", &net("", 1, "y"));
    weights(run.path(), &[("w:0", &[1, 1])]);
    let args = "test --model net.prototxt --weights w.npz --iterations 4".split(' ');
    let args: Vec<&str> = args.collect();
    let log = log(run.path(), &args);
    let all: Vec<f32> = (0..4).flat_map(|i| values(&log, i, "y")).collect();
    assert_eq!(all, [0.0, 0.5, 1.0, 0.0]);
    assert!(log.contains(&"y = 0.375".to_string()), "{log:?}");
}
