//! `dsd train` without arguments, from data to table.

use crate::common::{dsd, log_texts, names_in};

#[test]
fn the_default_run_ends_each_phase_above_97_percent_and_prints_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let output = dsd()
        .args(["train", "--metrics", "m.jsonl"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .take_while(|l| !l.is_empty())
        .map(|l| l.split_whitespace().collect())
        .collect();
    for word in [
        "phase",
        "density",
        "iterations",
        "loss",
        "accuracy",
        "time",
        "weights",
    ] {
        assert!(rows[0].contains(&word), "{table}");
    }
    let phases: Vec<&str> = rows[2..].iter().map(|r| r[0]).collect();
    assert_eq!(phases, ["dense", "sparse", "redense"], "{table}");
    for row in &rows[2..] {
        assert!(row[4].parse::<f64>().unwrap() >= 0.97, "{table}");
    }
    assert_eq!((rows[2][1], rows[3][1]), ("1.0000", "0.7068"), "{table}");
    assert_eq!(names_in(folder.path()), ["dsd_run", "m.jsonl"]);

    // The result is scored without naming its net; the score is the table's.
    let weights = rows[4].last().unwrap();
    let score = dsd()
        .args(["test", "--iterations", "10", "--weights", weights])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let lines = log_texts(&score.stderr);
    assert!(
        lines.contains(&format!("accuracy = {}", rows[4][4])),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|l| l.contains("built-in net digits")),
        "{lines:?}"
    );
}
