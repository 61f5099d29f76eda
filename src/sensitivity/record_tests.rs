//! Records: what is written comes back, and what does not belong is refused.

use super::*;
use crate::sensitivity::subject::tests::subject;

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
