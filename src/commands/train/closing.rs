//! The last lines of a run of several phases: whether its test can tell them apart, and what could.

use crate::commands::run_folder::Record;
use crate::statistics::binomial_error;
use std::path::Path;

/// What the first and the last phase's accuracies say; `None` where there is nothing to compare.
pub(super) fn said(records: &[Record], out: &Path) -> Option<String> {
    let [first, .., last] = records else {
        return None;
    };
    let accuracy = |r: &Record| {
        let found = r
            .outputs
            .iter()
            .find(|(name, _)| name.starts_with("accuracy"));
        found.map(|(name, value)| (name.clone(), f64::from(*value)))
    };
    let ((name, before), (_, after)) = (accuracy(first)?, accuracy(last)?);
    let tested = last.tested.filter(|n| *n > 0)?;
    // Both nets see the same pictures, which makes the difference surer than this says, and never less sure.
    let error = binomial_error(before, tested).hypot(binomial_error(after, tested));
    let difference = after - before;
    let side = if difference < 0.0 { "below" } else { "above" };
    let verdict = if difference.abs() > 2.0 * error {
        "more than these pictures give by chance, but one run says nothing of other seeds"
    } else {
        "no difference that so few pictures can show"
    };
    let (first, last) = (&first.phase, &last.phase);
    let control = if records.iter().any(|r| r.sparsity.is_some()) {
        "--control trains the same schedule without a mask beside it, --seeds 5 with five seeds; "
    } else {
        ""
    };
    Some(format!(
        "{name}: {last} is {:.2} points {side} {first}, standard error {:.2} on {tested} test pictures: {verdict}.\n\
         {control}dsd report {} --out report.html draws the run.",
        100.0 * difference.abs(),
        100.0 * error,
        out.display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(phase: &str, accuracy: f32, tested: Option<u64>) -> Record {
        Record {
            phase: phase.to_string(),
            outputs: vec![
                ("accuracy".to_string(), accuracy),
                ("loss".to_string(), 0.1),
            ],
            sparsity: (phase == "sparse").then(|| "@dsd".to_string()),
            tested,
            ..Record::default()
        }
    }

    #[test]
    fn a_few_hundred_pictures_cannot_tell_phases_apart() {
        let out = Path::new("run");
        let phases = |last: f32| {
            let first = record("dense", 0.975, Some(360));
            let records = [
                first,
                record("sparse", 0.97, Some(360)),
                record("redense", last, Some(360)),
            ];
            said(&records, out).unwrap()
        };
        let text = phases(0.972);
        assert!(
            text.contains("redense is 0.30 points below dense, standard error 1.20 on 360"),
            "{text}"
        );
        assert!(
            text.contains("no difference") && text.contains("--control"),
            "{text}"
        );
        assert!(phases(0.9).contains("more than these pictures give by chance"));
    }

    #[test]
    fn without_two_phases_or_a_test_nothing_is_said() {
        let out = Path::new("run");
        assert_eq!(said(&[record("dense", 0.9, Some(10))], out), None);
        let untested = [record("dense", 0.9, None), record("redense", 0.9, None)];
        assert_eq!(said(&untested, out), None);
        let plain = [
            record("dense", 0.9, Some(10)),
            record("dense-2", 0.9, Some(10)),
        ];
        assert!(!said(&plain, out).unwrap().contains("--control"));
    }
}
