//! Every layer type in place and not, behind and before every other, in testing and in training.

use crate::layouts::elements::{INPUTS, all, layer};
use crate::layouts::twins::{Written, compare};
use dsd::layers::Mode;

/// What makes the blob that the pair reads: channels last, in C order as it comes, and a slice of channels.
const STEMS: [(&str, &str); 2] = [
    (
        "b",
        r#"layer { name: "stem" type: "Convolution" bottom: "x" top: "b"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
"#,
    ),
    ("x", ""),
];

/// The types before and behind which everything is tried in place and not, each by itself.
const HUBS: [&str; 5] = [
    "\"Convolution\"",
    "\"InnerProduct\"",
    "\"Concat\"",
    "\"Pooling\"",
    "\"Eltwise\"",
];

/// Combinations compared, and those that no net can have (a loss before a picture's layer …).
#[derive(Default)]
struct Tally {
    compared: usize,
    impossible: usize,
    failures: Vec<String>,
}

fn pair(stem: (&str, &str), elements: [&str; 2], in_place: [bool; 2], tally: &mut Tally) {
    let (bottom, stem) = stem;
    let first = if in_place[0] { bottom } else { "c" };
    let second = if in_place[1] { first } else { "d" };
    let head = INPUTS.to_string() + stem;
    let text = head.clone()
        + &layer(elements[0], "one", bottom, first)
        + &layer(elements[1], "two", first, second);
    let plain =
        head + &layer(elements[0], "one", bottom, "c") + &layer(elements[1], "two", "c", "d");
    for mode in [Mode::Test, Mode::Train] {
        let net = Written {
            text: &text,
            names: &[(second, "d")],
        };
        let plain = Written {
            text: &plain,
            names: &[],
        };
        match compare(net, plain, mode) {
            Ok(true) => tally.compared += 1,
            Ok(false) => tally.impossible += 1,
            Err(e) => tally.failures.push(e),
        }
    }
}

#[test]
fn every_layer_behind_and_before_every_other_equals_its_plain_twin() {
    let mut tally = Tally::default();
    let hub = |e: &str| HUBS.iter().any(|h| e.starts_with(&format!("type: {h}")));
    for one in all() {
        for two in all() {
            pair(STEMS[0], [one, two], [true, true], &mut tally);
            if hub(one) || hub(two) {
                for in_place in [[false, false], [true, false], [false, true]] {
                    pair(STEMS[0], [one, two], in_place, &mut tally);
                }
                pair(STEMS[1], [one, two], [false, true], &mut tally);
            }
        }
    }
    println!(
        "{} combinations equal their plain twins; {} are no nets",
        tally.compared, tally.impossible
    );
    let first = tally.failures.iter().take(12).cloned().collect::<Vec<_>>();
    assert!(
        tally.failures.is_empty(),
        "{} differ, the first of them:\n{}",
        tally.failures.len(),
        first.join("\n")
    );
    assert!(tally.compared > 8000, "only {} compared", tally.compared);
}
