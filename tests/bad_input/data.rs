//! Data sets that are not there, not whole or not as they should be.

use crate::common::lmdb::{change, pictures, write as write_lmdb};
use crate::common::{assert_says, dsd, error_of, log_texts, names_in, repository, write};
use std::fs;
use std::path::Path;
use std::process::Output;

/// A net on the LMDB `db` with three classes, in `folder` with its solver.
fn files(folder: &Path, batch: usize) {
    let net = format!(
        r#"name: "three"
layer {{ name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ scale: 0.004 }} data_param {{ source: "db" batch_size: {batch} backend: LMDB }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"#
    );
    write(folder, "net.prototxt", &net);
    let solver = "net: \"net.prototxt\" base_lr: 0.01 lr_policy: \"fixed\" max_iter: 6 display: 1 snapshot_prefix: \"s\"\n";
    write(folder, "solver.prototxt", solver);
}

/// A folder with those files and a database.
fn folder(records: &[(String, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), 4);
    write_lmdb(&folder.path().join("db"), records);
    folder
}

fn train(folder: &Path) -> Output {
    dsd()
        .args(["train", "--solver", "solver.prototxt"])
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Trains, which must fail with these words and leave nothing behind.
fn refuses(folder: &Path, words: &[&str]) {
    let before = names_in(folder);
    assert_says(&error_of(&train(folder), 1), words);
    assert_eq!(names_in(folder), before);
}

const LAYER: &str = "net.prototxt:2: layer 'data'";

#[test]
fn a_database_that_is_missing_is_named_with_its_layer() {
    let folder = folder(&[]);
    fs::remove_dir_all(folder.path().join("db")).unwrap();
    refuses(folder.path(), &[LAYER, "database db", "No such file"]);
    fs::create_dir(folder.path().join("db")).unwrap();
    refuses(folder.path(), &[LAYER, "not an LMDB database", "data.mdb"]);
    fs::remove_dir(folder.path().join("db")).unwrap();
    write(folder.path(), "db", "a list?");
    refuses(folder.path(), &[LAYER, "db is a file"]);
    // --source is named in its place.
    let output = dsd()
        .args(["train", "--solver", "solver.prototxt", "--source", "other"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_says(&error_of(&output, 1), &["database other", "No such file"]);
}

#[test]
fn a_database_without_records_is_said_to_be_empty() {
    refuses(folder(&[]).path(), &[LAYER, "empty database", "no records"]);
}

#[test]
fn a_truncated_database_is_an_error_and_no_bus_error() {
    for keep in [0, 100, 4096, 9000] {
        let folder = folder(&pictures(100));
        let file = folder.path().join("db/data.mdb");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..keep]).unwrap();
        refuses(folder.path(), &[LAYER, "db"]);
    }
}

#[test]
fn a_broken_record_is_named_by_its_key() {
    let mut records = pictures(20);
    records[9].1 = b"no datum at all".to_vec();
    let folder = folder(&records);
    refuses(
        folder.path(),
        &[
            "iteration 2",
            "record '00000009_p9.png' of db",
            "not a Datum",
        ],
    );
    // Too few bytes for its size.
    let mut records = pictures(20);
    change(&mut records, 6, |d| d.data = Some(vec![1; 15]));
    let folder = self::folder(&records);
    refuses(
        folder.path(),
        &[
            "iteration 1",
            "'00000006_p6.png'",
            "expected 16 bytes",
            "found 15",
        ],
    );
    // Another size than the first.
    let mut records = pictures(20);
    change(&mut records, 5, |d| {
        d.height = Some(8);
        d.data = Some(vec![1; 32]);
    });
    let folder = self::folder(&records);
    refuses(
        folder.path(),
        &["'00000005_p5.png'", "expected 1 x 4 x 4", "found 1 x 8 x 4"],
    );
    // The first record is read before training.
    let mut records = pictures(20);
    records[0].1 = vec![];
    let folder = self::folder(&records);
    refuses(folder.path(), &[LAYER, "'00000000_p0.png'"]);
}

#[test]
fn a_picture_that_does_not_decode_is_named_by_its_key() {
    let png = fs::read(repository("src/data/digits/mosaic.png")).unwrap();
    for bytes in [
        b"GIF89a: no picture".to_vec(),
        png[..png.len() / 2].to_vec(),
        vec![],
    ] {
        let mut records = pictures(20);
        change(&mut records, 7, |d| {
            d.encoded = Some(true);
            d.data = Some(bytes.clone());
        });
        let folder = folder(&records);
        refuses(folder.path(), &["'00000007_p7.png' of db", "picture"]);
    }
}

#[test]
fn a_label_outside_the_classes_is_named_with_its_sample() {
    for label in [3, -1, i32::MAX] {
        let mut records = pictures(20);
        change(&mut records, 6, |d| d.label = Some(label));
        let folder = folder(&records);
        refuses(
            folder.path(),
            &[
                "net.prototxt:6: layer 'loss'",
                "sample 2",
                "3 classes, from 0",
            ],
        );
    }
}

/// The printed losses.
fn losses(output: &Output) -> Vec<String> {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = log_texts(&output.stderr);
    let found = lines.iter().filter(|l| l.contains("Train net output"));
    found.cloned().collect()
}

#[test]
fn a_batch_larger_than_the_data_set_wraps() {
    let small = folder(&pictures(5));
    files(small.path(), 12);
    // 5 records again and again.
    let long: Vec<(String, Vec<u8>)> = (0..60)
        .map(|i| (format!("{i:08}"), pictures(5)[i % 5].1.clone()))
        .collect();
    let long = folder(&long);
    files(long.path(), 12);
    let got = losses(&train(small.path()));
    assert_eq!(got.len(), 6);
    assert_eq!(got, losses(&train(long.path())));
    let read = |f: &Path| fs::read(f.join("s_iter_6.caffemodel")).unwrap();
    assert!(read(small.path()) == read(long.path()));
}

#[test]
fn testing_names_a_broken_record_too() {
    let mut records = pictures(20);
    records[9].1 = b"no datum at all".to_vec();
    let folder = folder(&records);
    let output = dsd()
        .args([
            "test",
            "--model",
            "net.prototxt",
            "--weights",
            "w.npz",
            "--iterations",
            "5",
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_says(&error_of(&output, 1), &["cannot read w.npz"]);
    let export = [("ip:0", vec![3usize, 16]), ("ip:1", vec![3])];
    let arrays: Vec<_> = export
        .iter()
        .map(|(n, d)| {
            (
                *n,
                dsd::tensor::Tensor::zeros(dsd::tensor::Shape::new(d.clone())),
            )
        })
        .collect();
    let views = arrays.iter().map(|(n, t)| (*n, t.view()));
    dsd::npz::write(&folder.path().join("w.npz"), views).unwrap();
    let output = dsd()
        .args([
            "test",
            "--model",
            "net.prototxt",
            "--weights",
            "w.npz",
            "--iterations",
            "5",
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_says(&error_of(&output, 1), &["record '00000009_p9.png' of db"]);
}
