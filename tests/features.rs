//! `dsd compute_image_mean` and `dsd extract_features`. The mean and the database of the tiny net were made by
//! Caffe's tools (1.0, commit 9b89154).

use assert_cmd::Command;
use dsd::data::leveldb::Leveldb;
use dsd::data::lmdb::Lmdb;
use dsd::data::records::Records;
use dsd::npz;
use dsd::proto::Datum;
use predicates::str::contains;
use std::fs;
use std::path::{Path, PathBuf};

fn dsd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dsd"))
}

fn goldens() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens");
    if !path.is_dir() {
        eprintln!("skipped: no {}", path.display());
    }
    path.is_dir().then_some(path)
}

#[test]
fn the_mean_is_that_of_caffe() {
    let Some(goldens) = goldens() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("mean.binaryproto");
    for threads in ["1", "3"] {
        dsd()
            .args([
                "compute_image_mean",
                "-backend",
                "lmdb",
                "-threads",
                threads,
            ])
            .arg(goldens.join("formats/tiny_from_png_lmdb"))
            .arg(&out)
            .assert()
            .success()
            .stderr(contains("] Processed 40 files.\n"))
            .stderr(contains("] Number of channels: 3\n"))
            .stderr(contains("] mean_value channel [2]: "));
        let caffes = fs::read(goldens.join("formats/tiny_mean.binaryproto")).unwrap();
        assert!(fs::read(&out).unwrap() == caffes);
    }
    // Of files in a database the same, for PNG is exact.
    dsd()
        .arg("compute-image-mean")
        .arg(goldens.join("formats/png_enc_lmdb"))
        .arg(&out)
        .assert()
        .success();
    let caffes = fs::read(goldens.join("formats/tiny_mean.binaryproto")).unwrap();
    assert!(fs::read(&out).unwrap() == caffes);
}

#[test]
fn what_is_no_database_is_told() {
    let dir = tempfile::tempdir().unwrap();
    dsd()
        .arg("compute_image_mean")
        .arg(dir.path())
        .assert()
        .code(1)
        .stderr(contains("no file data.mdb"));
    dsd().arg("compute_image_mean").assert().code(2);
}

/// `extract_features` on the tiny net and its database.
fn extract(goldens: &Path, dir: &Path, args: &[&str]) -> assert_cmd::assert::Assert {
    let weights = goldens.join("solvers/tiny_init.caffemodel");
    let model = goldens.join("solvers/tiny.prototxt");
    dsd()
        .current_dir(dir)
        .arg("extract_features")
        .args([weights, model])
        .args(args)
        .assert()
}

#[test]
fn features_are_the_blobs_of_the_net_in_both_forms() {
    let Some(goldens) = goldens() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    extract(
        &goldens,
        dir,
        &["pool,ip,label", "pool_db,ip_db,label_db", "3", "lmdb"],
    )
    .success()
    .stderr(contains(
        "] Extracted features of 24 query images for feature blob ip\n",
    ))
    .stderr(contains("] Successfully extracted the features!\n"));
    extract(
        &goldens,
        dir,
        &["pool,ip,label,loss", "all.npz", "3", "npz"],
    )
    .success();
    let arrays = npz::read(&dir.join("all.npz")).unwrap();
    assert_eq!(arrays["pool"].shape.dims(), [24, 4, 5, 5]);
    assert_eq!(arrays["loss"].shape.dims(), [3]);
    // The net's own data, as the labels show.
    let mut data = Lmdb::open(&goldens.join("solvers/tiny_lmdb")).unwrap();
    for (name, size) in [
        ("pool", [4, 5, 5]),
        ("ip", [10, 1, 1]),
        ("label", [1, 1, 1]),
    ] {
        let mut lmdb = Lmdb::open(&dir.join(format!("{name}_db"))).unwrap();
        assert_eq!(lmdb.count(), 24);
        let rows = arrays[name]
            .data
            .chunks_exact(size.iter().product::<i32>() as usize);
        for (number, row) in (0..).zip(rows) {
            let mut datum = Datum::default();
            lmdb.read(number, &mut datum).unwrap();
            assert_eq!(lmdb.key(), format!("{number:010}"));
            assert_eq!([datum.channels(), datum.height(), datum.width()], size);
            assert_eq!(datum.float_data, row);
            if name == "label" {
                data.read(number, &mut datum).unwrap();
                assert_eq!(row, [datum.label() as f32]);
            }
        }
    }
    extract(&goldens, dir, &["ip", "ip_leveldb", "3", "leveldb"]).success();
    let mut leveldb = Leveldb::open(&dir.join("ip_leveldb")).unwrap();
    assert_eq!(leveldb.count(), 24);
    for (number, row) in (0..).zip(arrays["ip"].data.chunks_exact(10)) {
        let mut datum = Datum::default();
        leveldb.read(number, &mut datum).unwrap();
        assert_eq!(leveldb.key(), format!("{number:010}"));
        assert_eq!(datum.float_data, row);
    }
    // `dsd run` gives the same numbers for the first batch.
    dsd()
        .current_dir(dir)
        .args(["run", "-blobs", "ip", "-outputs", "run.npz", "-weights"])
        .arg(goldens.join("solvers/tiny_init.caffemodel"))
        .arg("-model")
        .arg(goldens.join("solvers/tiny.prototxt"))
        .assert()
        .success();
    let first = &npz::read(&dir.join("run.npz")).unwrap()["ip"];
    assert_eq!(first.data, arrays["ip"].data[..80]);
}

#[test]
fn wrong_names_and_numbers_are_told_and_leave_nothing() {
    let Some(goldens) = goldens() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    extract(&goldens, dir, &["ip,nose", "a,b", "1", "lmdb"])
        .code(1)
        .stderr(contains("no blob 'nose'; it has data, label"));
    extract(&goldens, dir, &["ip,pool", "a", "1", "lmdb"])
        .code(2)
        .stderr(contains("expected as many outputs as blobs"));
    extract(&goldens, dir, &["ip", "a", "0", "lmdb"]).code(2);
    extract(&goldens, dir, &["ip", "none/a", "1", "lmdb"])
        .code(1)
        .stderr(contains("none is no folder"));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
}
