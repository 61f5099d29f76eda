//! `dsd convert_text`, and the language model of models/charlm on what it makes: its files fit together, the flow prunes
//! recurrent weights as it says, and states are carried from batch to batch.

use crate::common::{dsd, error_of, names_in, repository, weights_of, write};
use dsd::hdf5::File;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

/// `dsd` in `folder`, with its words.
fn run(folder: &Path, words: &str) -> Output {
    let mut command = dsd();
    command.current_dir(folder).args(words.split(' '));
    command.output().unwrap()
}

fn succeed(folder: &Path, words: &str) -> String {
    let output = run(folder, words);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "dsd {words}: {log}");
    log
}

/// A text of `n` characters of 26 kinds and line ends.
fn text(n: usize) -> String {
    let character = |i: usize| match i % 31 {
        30 => '\n',
        _ => char::from(b'a' + ((i * i + i / 7) % 26) as u8),
    };
    (0..n).map(character).collect()
}

#[test]
fn a_text_becomes_three_files_and_a_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "book.txt", &text(1000));
    let log = succeed(
        folder.path(),
        "convert_text --streams 3 --steps 5 --val 0.2 --test 0.1 book.txt book",
    );
    assert!(
        log.contains("train.h5: 46 batches of 5 steps x 3 streams"),
        "{log}"
    );
    let book = folder.path().join("book");
    assert_eq!(
        names_in(&book),
        ["test.h5", "train.h5", "val.h5", "vocabulary.txt"]
    );
    let words = fs::read_to_string(book.join("vocabulary.txt")).unwrap();
    assert!(words.starts_with("\"\\n\"\n\"a\"\n"), "{words}");
    let characters: Vec<char> = text(1000).chars().collect();
    let kinds: BTreeSet<char> = characters.iter().copied().collect();
    let kinds: Vec<char> = kinds.into_iter().collect();
    assert_eq!(words.lines().count(), kinds.len());
    let number = |c: char| kinds.binary_search(&c).unwrap() as f32;
    for (name, start, rows) in [("train", 0, 230), ("val", 700, 65), ("test", 900, 30)] {
        let file = File::open(&book.join(format!("{name}.h5"))).unwrap();
        let [data, cont, label] = ["data", "cont", "label"].map(|d| file.tensor(d).unwrap());
        for array in [&data, &cont, &label] {
            assert_eq!(array.shape.dims(), [rows, 3], "{name}");
        }
        for i in 0..3 * rows {
            let at = start + i % 3 * rows + i / 3;
            assert_eq!(data.data[i], number(characters[at]), "{name} {i}");
            assert_eq!(label.data[i], number(characters[at + 1]), "{name} {i}");
            assert_eq!(cont.data[i], f32::from(u8::from(i >= 3)), "{name} {i}");
        }
    }
}

#[test]
fn texts_that_cannot_be_cut_are_told() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "book.txt", &text(1000));
    let fails = |words: &str, code| error_of(&run(folder.path(), words), code);
    let e = fails("convert_text book.txt book", 1);
    assert!(
        e.contains("book.txt: its val part has 100 characters, but one batch of 32 steps x 16 streams needs 513"),
        "{e}"
    );
    let e = fails("convert_text --val 0.5 --test 0.5 book.txt book", 2);
    assert!(e.contains("leave nothing to train on"), "{e}");
    fails("convert_text --val 1 book.txt book", 2);
    let e = fails("convert_text none.txt book", 1);
    assert!(e.contains("none.txt"), "{e}");
    assert_eq!(names_in(folder.path()), ["book.txt"]);

    let small = "convert_text --streams 2 --steps 4 book.txt";
    succeed(folder.path(), &format!("{small} book"));
    let e = fails(&format!("{small} book"), 1);
    assert!(e.contains("book exists already"), "{e}");
    write(folder.path(), "book.txt", &(text(500) + "Z" + &text(500)));
    let e = fails(&format!("{small} new --vocabulary book/vocabulary.txt"), 1);
    assert!(
        e.contains("book.txt: line 17 has 'Z', which is not in the vocabulary"),
        "{e}"
    );
    assert!(!folder.path().join("new").exists());
}

/// The folder of models/charlm with its data made of a small text.
fn charlm() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names_in(&repository("models/charlm")) {
        let from = repository("models/charlm").join(&name);
        if from.is_file() {
            fs::copy(from, folder.path().join(name)).unwrap();
        }
    }
    write(folder.path(), "book.txt", &text(9_000));
    succeed(folder.path(), "convert_text book.txt devil");
    for phase in ["dense", "sparse", "redense"] {
        let path = folder.path().join(format!("solver_{phase}.prototxt"));
        let solver = fs::read_to_string(&path).unwrap();
        fs::write(path, solver.replace("test_iter: 74", "test_iter: 1")).unwrap();
    }
    folder
}

/// The values of a blob that are not 0.
fn alive(blob: &[f32]) -> usize {
    blob.iter().filter(|v| **v != 0.0).count()
}

#[test]
fn the_flow_prunes_recurrent_weights_too_and_no_embedding() {
    let folder = charlm();
    succeed(
        folder.path(),
        "train --flow flow.toml --out run --max_iter 2",
    );
    let newest = |phase: &str| {
        let blobs = weights_of(
            &folder
                .path()
                .join(format!("run/{phase}/charlm_iter_2.caffemodel")),
        );
        let names: Vec<&str> = blobs.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "embed/0", "lstm1/0", "lstm1/1", "lstm1/2", "score/0", "score/1"
            ]
        );
        blobs
    };
    let (sparse, redense) = (newest("sparse"), newest("redense"));
    for (name, blob) in &sparse {
        let pruned = ["lstm1/0", "lstm1/2", "score/0"].contains(&name.as_str());
        match pruned {
            true => assert_eq!(
                alive(blob),
                blob.len() - (0.8 * blob.len() as f64).round() as usize,
                "{name}"
            ),
            false => assert!(alive(blob) * 10 > blob.len() * 9, "{name}"),
        }
        assert!(alive(&redense[name]) * 10 > blob.len() * 9, "{name}");
    }
    let output = run(
        folder.path(),
        "inspect run/sparse/charlm_iter_2.caffemodel --json",
    );
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let alive = alive(&sparse["lstm1/0"]) + alive(&sparse["lstm1/2"]);
    assert_eq!(said["layers"][1]["nonzero"], alive);

    // The control has the same settings and no mask.
    succeed(
        folder.path(),
        "train --flow flow_control.toml --weights run/dense/charlm_iter_2.caffemodel --out control --max_iter 2",
    );
    let control = weights_of(
        &folder
            .path()
            .join("control/redense/charlm_iter_2.caffemodel"),
    );
    assert_eq!(control["lstm1/2"].iter().filter(|v| **v == 0.0).count(), 0);
}

#[test]
fn the_net_for_use_has_the_weights_of_the_trained_one() {
    let folder = charlm();
    succeed(
        folder.path(),
        "dense --solver solver_dense.prototxt --out run --max_iter 1",
    );
    let weights = "--weights run/dense/charlm_iter_1.caffemodel";
    let log = succeed(
        folder.path(),
        &format!("test --model train_val.prototxt {weights} --source devil/test.h5 --iterations 2"),
    );
    assert!(log.contains("loss = "), "{log}");
    let output = run(
        folder.path(),
        "inspect run/dense/charlm_iter_1.caffemodel --model deploy.prototxt",
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("3 layers of deploy.prototxt find their weights here\n"),
        "{said}"
    );
}
