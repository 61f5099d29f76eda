//! What a metrics file holds, and what a resumption leaves of it.

use super::*;

fn densities() -> Densities {
    vec![("conv".to_owned(), 1.0), ("ip".to_owned(), 0.5)]
}

fn train(m: &mut Metrics, iteration: u64) {
    let point = TrainPoint {
        iteration,
        lr: 0.1,
        loss: 2.5,
        images_per_s: 100.0,
        waited: 0.25,
        density: 0.75,
        densities: &densities(),
    };
    m.train(&point).unwrap();
}

fn fill(path: &Path, points: &[(&str, u64)]) {
    let _ = fs::remove_file(path);
    for &(phase, iteration) in points {
        let mut m = Metrics::of(phase, 0);
        m.resume(path, 1000).unwrap();
        train(&mut m, iteration);
    }
}

fn resume(path: &Path, phase: &str, iteration: u64) -> Result<Metrics> {
    let mut m = Metrics::of(phase, 0);
    m.resume(path, iteration)?;
    Ok(m)
}

fn stamps(path: &Path) -> Vec<(String, u64)> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|l| serde_json::from_str::<Stamp>(l).unwrap())
        .map(|s| (s.phase, s.iteration))
        .collect()
}

#[test]
fn lines_hold_what_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let mut m = Metrics::of("redense-2", 1200);
    m.create(&path).unwrap();
    train(&mut m, 20);
    let values = [("acc", 0.5), ("p", 1.0), ("p", 2.0)];
    m.test(20, &densities(), values).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let both = |key: &str| [&lines[0][key], &lines[1][key]].map(Value::to_string);
    assert_eq!(both("iteration"), ["20", "20"]);
    assert_eq!(both("global_iteration"), ["1220", "1220"]);
    assert_eq!(both("phase"), ["\"redense-2\"", "\"redense-2\""]);
    assert_eq!(both("densities"), ["{\"conv\":1.0,\"ip\":0.5}"; 2]);
    assert_eq!(both("lr"), ["0.1", "null"]);
    assert_eq!(both("loss"), ["2.5", "null"]);
    assert_eq!(both("images_per_s"), ["100.0", "null"]);
    assert_eq!(both("waited"), ["0.25", "null"]);
    assert_eq!(both("density"), ["0.75", "null"]);
    let outputs = "{\"acc\":0.5,\"p\":[1.0,2.0]}";
    assert_eq!(both("outputs"), ["null", outputs]);
    for line in &lines {
        let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
        let ago = jiff::Timestamp::now().as_second() - time.as_second();
        assert!((0..60).contains(&ago), "{time}");
    }
}

#[test]
fn a_resumed_file_is_as_if_the_run_had_never_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let all = [
        ("dense", 0),
        ("dense", 10),
        ("sparse", 0),
        ("sparse", 10),
        ("sparse-2", 0),
    ];
    let cases = [
        (("dense", 10), [0, 2, 3, 4].as_slice()),
        (("dense", 11), &[0, 1, 2, 3, 4]),
        (("sparse", 0), &[0, 1, 4]),
        (("sparse", 5), &[0, 1, 2, 4]),
        (("sparse-2", 0), &[0, 1, 2, 3]),
        (("redense", 0), &[0, 1, 2, 3, 4]),
    ];
    for ((phase, iteration), left) in cases {
        fill(&path, &all);
        train(&mut resume(&path, phase, iteration).unwrap(), iteration);
        let left = left.iter().map(|&k| (all[k].0.to_owned(), all[k].1));
        let mut expected: Vec<_> = left.collect();
        expected.push((phase.to_owned(), iteration));
        assert_eq!(stamps(&path), expected);
    }
}

#[test]
fn another_runs_file_is_kept_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    for (phase, olds) in [("dense", 0), ("sparse", 1), ("redense", 2)] {
        let mut m = Metrics::of(phase, 0);
        m.create(&path).unwrap();
        train(&mut m, 7);
        assert_eq!(stamps(&path), [(phase.to_owned(), 7)]);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), olds + 1);
    }
    let first = stamps(&dir.path().join("m.jsonl.old1"));
    assert_eq!(first, [("dense".to_owned(), 7)]);
    let second = stamps(&dir.path().join("m.jsonl.old2"));
    assert_eq!(second, [("sparse".to_owned(), 7)]);
}

#[test]
fn the_lines_of_a_phase_go_where_its_folder_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a"), dir.path().join("b"));
    fill(&from, &[("dense", 0), ("sparse", 0), ("dense", 5)]);
    fill(&to, &[("dense", 1)]);
    move_phase(&from, "dense", &to).unwrap();
    move_phase(&from, "redense", &to).unwrap();
    move_phase(&dir.path().join("none"), "dense", &to).unwrap();
    assert_eq!(stamps(&from), [("sparse".to_owned(), 0)]);
    let dense = |n| ("dense".to_owned(), n);
    assert_eq!(stamps(&to), [dense(1), dense(0), dense(5)]);
}

#[test]
fn an_unfinished_last_line_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    fill(&path, &[("dense", 0)]);
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"iteration\":10,\"ph").unwrap();
    resume(&path, "dense", 50).unwrap();
    assert_eq!(stamps(&path), [("dense".to_owned(), 0)]);
}

#[test]
fn a_file_of_another_kind_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    for text in ["my notes\nare here\n", "one line"] {
        fs::write(&path, text).unwrap();
        let mut fresh = Metrics::of("dense", 0);
        let errors = [
            resume(&path, "dense", 0).unwrap_err(),
            fresh.create(&path).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains("notes.txt:1: expected"));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
