//! Records: what is written comes back, and what does not belong is refused.

use super::*;

fn subject() -> Subject {
    Subject {
        net: "net.prototxt".into(),
        net_crc: "1".into(),
        weights: vec!["w".into()],
        weights_crc: "2".into(),
        source: None,
        data_crc: "3".into(),
        batch: 50,
        iterations: 2,
    }
}

fn score(accuracy: f32, loss: f32) -> Score {
    let outputs = [("accuracy", accuracy), ("each", 0.1), ("each", f32::NAN)];
    Score {
        outputs: outputs.map(|(n, v)| (n.to_string(), v)).to_vec(),
        loss,
    }
}

fn measure() -> Measure {
    Measure {
        name: "accuracy".into(),
        index: Some(0),
        loss: true,
    }
}

#[test]
fn a_record_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.json");
    assert!(Record::read(&path).unwrap().is_none());
    let layers = [
        Prunable::made_up("a", 100, 70),
        Prunable::made_up("b", 7, 7),
    ];
    let mut points = Points::new(Some(score(0.9, 0.3)));
    points.insert(&layers, 0, 0.5, score(0.1 + 0.2, f32::NAN));
    points.insert(&layers, 1, 1.0 / 3.0, score(0.7, 1.0e-20));
    let record = |points: &Points| {
        let rows = points.rows(&layers, &[0, 1], &[0.5, 1.0 / 3.0]);
        Record::new(
            subject(),
            &measure(),
            &layers,
            points.baseline.as_ref(),
            rows,
            None,
        )
    };
    record(&points).write(&path).unwrap();
    let text = files::read_text(&path).unwrap();
    let read = Record::read(&path).unwrap().unwrap();
    let again = read.points(&path, &subject(), &layers).unwrap();
    let loss = again.get(&layers, 1, 1.0 / 3.0).unwrap().loss;
    assert_eq!(loss.to_bits(), 1.0e-20f32.to_bits());
    record(&again).write(&path).unwrap();
    assert_eq!(files::read_text(&path).unwrap(), text);

    let other = [Prunable::made_up("a", 100, 70)];
    let error = read.points(&path, &subject(), &other).unwrap_err();
    assert!(error.to_string().contains("layer 'b'"), "{error}");
}

#[test]
fn another_subject_is_refused_by_what_differs() {
    let differences = |change: &dyn Fn(&mut Subject)| {
        let mut other = subject();
        change(&mut other);
        subject().differences(&other).join("; ")
    };
    assert_eq!(differences(&|_| ()), "");
    assert_eq!(
        differences(&|s| s.net = "elsewhere/net.prototxt".into()),
        ""
    );
    let said = differences(&|s| {
        s.weights_crc = "9".into();
        s.weights = vec!["v".into()];
    });
    assert_eq!(said, "the weights file is v, here w");
    let said = differences(&|s| s.weights_crc = "9".into());
    assert_eq!(said, "the weights file (w) has changed since");
    let said = differences(&|s| s.iterations = 5);
    assert_eq!(said, "--iterations is 5, here 2");
    let said = differences(&|s| s.source = Some("/db".into()));
    assert_eq!(said, "the data source is /db, here the net's own");
    let said = differences(&|s| s.data_crc = "8".into());
    assert_eq!(said, "the data source (the net's own) has changed since");
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.json");
    for text in ["", "{}", "[1]", r#"{"format": "dsd sensitivity 1"}"#] {
        std::fs::write(&path, text).unwrap();
        let error = format!("{:#}", Record::read(&path).unwrap_err());
        assert!(
            error.contains("s.json: not a record") && error.contains("--out"),
            "{error}"
        );
    }
}
