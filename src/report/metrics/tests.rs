//! What a metrics file holds, and what a resumption leaves of it.

use super::*;

fn point(phase: &str, iteration: u64) -> TrainPoint<'_> {
    TrainPoint {
        iteration,
        phase,
        lr: 0.1,
        loss: 2.5,
        images_per_s: 100.0,
        density: 1.0,
    }
}

fn fill(path: &Path, points: &[(&str, u64)]) {
    let mut m = Metrics::create(path).unwrap();
    for &(phase, iteration) in points {
        m.train(&point(phase, iteration)).unwrap();
    }
}

fn stamps(path: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|l| serde_json::from_str::<Stamp>(l).unwrap())
        .map(|s| (s.phase, s.iteration))
        .collect()
}

#[test]
fn lines_hold_what_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let mut m = Metrics::create(&path).unwrap();
    m.train(&point("dense", 20)).unwrap();
    m.test(20, "dense", [("acc", 0.5), ("p", 1.0), ("p", 2.0)])
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "{\"iteration\":20,\"phase\":\"dense\",\"lr\":0.1,\"loss\":2.5,\"images_per_s\":100.0,\"density\":1.0}\n\
         {\"iteration\":20,\"phase\":\"dense\",\"outputs\":{\"acc\":0.5,\"p\":[1.0,2.0]}}\n"
    );
}

#[test]
fn a_resumed_file_is_as_if_the_run_had_never_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let all = [("dense", 0), ("dense", 10), ("sparse", 0), ("sparse", 10)];
    let cases = [
        (("dense", 10), 1),
        (("dense", 11), 2),
        (("sparse", 0), 2),
        (("sparse", 5), 3),
        (("redense", 0), 4),
    ];
    for ((phase, iteration), left) in cases {
        fill(&path, &all);
        let from = Resume {
            phase,
            nth: 0,
            iteration,
        };
        let mut m = Metrics::resume(&path, from).unwrap();
        m.train(&point(phase, iteration)).unwrap();
        let mut expected: Vec<_> = all[..left]
            .iter()
            .map(|&(p, i)| (p.to_owned(), i))
            .collect();
        expected.push((phase.to_owned(), iteration));
        assert_eq!(stamps(&path), expected);
    }
}

#[test]
fn a_phase_that_comes_twice_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let all = [("sparse", 0), ("redense", 0), ("sparse", 0), ("sparse", 9)];
    for (nth, iteration, left) in [(0, 0, 0), (0, 5, 1), (1, 0, 2), (1, 9, 3)] {
        fill(&path, &all);
        let from = Resume {
            phase: "sparse",
            nth,
            iteration,
        };
        Metrics::resume(&path, from).unwrap();
        assert_eq!(stamps(&path).len(), left, "{from:?}");
    }
}

#[test]
fn an_unfinished_last_line_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    fill(&path, &[("dense", 0)]);
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"iteration\":10,\"ph").unwrap();
    let from = Resume {
        phase: "dense",
        nth: 0,
        iteration: 50,
    };
    Metrics::resume(&path, from).unwrap();
    assert_eq!(stamps(&path), [("dense".to_owned(), 0)]);
}

#[test]
fn a_file_of_another_kind_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    let from = Resume {
        phase: "dense",
        nth: 0,
        iteration: 0,
    };
    for text in ["my notes\nare here\n", "one line"] {
        std::fs::write(&path, text).unwrap();
        let error = Metrics::resume(&path, from).unwrap_err().to_string();
        assert!(error.contains("notes.txt:1: expected"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
