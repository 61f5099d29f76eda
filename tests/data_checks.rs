//! What would be silently wrong with data is said: classes that differ, data in the order of their classes, tests
//! that count twice; and `dsd resize_and_crop_images`.

use crate::common::{assert_says, dsd, error_of, names_in, write};
use dsd::data::datum::{Channels, decode_picture};
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn picture(path: &Path, width: u32, height: u32, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = image::RgbImage::from_pixel(width, height, image::Rgb([value, 9, value / 2]));
    picture.save(path).unwrap();
}

/// Folders `train` and `val` with 20 and 6 pictures of each class, val without the class `b`.
fn folders() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (k, class) in ["a", "b", "c"].iter().enumerate() {
        for i in 0..20 {
            let name = format!("train/{class}/{i:02}.png");
            picture(&dir.path().join(name), 6, 6, (80 * k + i) as u8);
        }
        for i in (0..6).filter(|_| *class != "b") {
            let name = format!("val/{class}/{i}.png");
            picture(&dir.path().join(name), 6, 6, (80 * k + i) as u8);
        }
    }
    dir
}

fn convert(dir: &Path, args: &[&str]) {
    dsd()
        .current_dir(dir)
        .arg("convert_imageset")
        .args(args)
        .assert()
        .success();
}

/// A net on databases or folders, and a solver of 4 iterations.
fn net(dir: &Path, kind: &str, sources: [&str; 2], outputs: usize, more: &str, test_iter: usize) {
    let source = |phase: &str, source: &str, batch: usize| {
        let param = match kind {
            "Data" => {
                format!("data_param {{ source: '{source}' batch_size: {batch} backend: LMDB }}")
            }
            _ => format!("image_data_param {{ source: '{source}' batch_size: {batch} {more} }}"),
        };
        format!(
            "layer {{ name: 'data' type: '{kind}' top: 'data' top: 'label' include {{ phase: {phase} }} {param} }}\n"
        )
    };
    let text = format!(
        "{}{}layer {{ name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' inner_product_param {{ num_output: \
         {outputs} weight_filler {{ type: 'xavier' }} }} }}\n\
         layer {{ name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss' }}\n",
        source("TRAIN", sources[0], 10),
        source("TEST", sources[1], 6)
    );
    write(dir, "net.prototxt", &text);
    let solver = format!(
        "net: 'net.prototxt' test_iter: {test_iter} test_interval: 2 base_lr: 0.00001 lr_policy: 'fixed' max_iter: 4 \
         snapshot_prefix: 's'"
    );
    write(dir, "solver.prototxt", &solver);
}

fn train(dir: &Path) -> Output {
    let mut command = dsd();
    command
        .current_dir(dir)
        .args(["train", "--solver", "solver.prototxt"])
        .output()
        .unwrap()
}

/// The log of a run that must succeed.
fn log(dir: &Path) -> String {
    let output = train(dir);
    let log = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(0), "{log}");
    log
}

const ONE_CLASS: &str = "are of class 0";

#[test]
fn databases_with_other_classes_are_refused() {
    let dir = folders();
    convert(dir.path(), &["train", "train", "train_db"]);
    convert(dir.path(), &["val", "val", "val_db"]);
    net(dir.path(), "Data", ["train_db", "val_db"], 3, "", 2);
    let error = error_of(&train(dir.path()), 1);
    assert_says(
        &error,
        &[
            "train_db",
            "val_db",
            "3 and 2 classes; label 1 is 'b' in one and 'c' in the other",
            "--classes",
        ],
    );
    fs::remove_dir_all(dir.path().join("val_db")).unwrap();
    convert(dir.path(), &["--classes=train_db", "val", "val", "val_db"]);
    let log = log(dir.path());
    assert!(
        !log.contains(ONE_CLASS) && !log.contains("count twice"),
        "{log}"
    );
    // Outputs and classes.
    net(dir.path(), "Data", ["train_db", "val_db"], 2, "", 2);
    let error = error_of(&train(dir.path()), 1);
    assert_says(
        &error,
        &[
            "layer 'loss' reads 2 outputs, but",
            "has 3 classes, the last 'c'",
        ],
    );
}

#[test]
fn more_outputs_than_classes_and_tests_that_begin_again_are_said() {
    let dir = folders();
    convert(dir.path(), &["train", "train", "train_db"]);
    convert(dir.path(), &["--classes=train_db", "val", "val", "val_db"]);
    net(dir.path(), "Data", ["train_db", "val_db"], 50, "", 3);
    let log = log(dir.path());
    assert_says(
        &log,
        &[
            "Layer loss reads 50 outputs, but train_db has only 3 classes",
            "A test takes 18 samples (3 batches of 6), but val_db has 12",
            "with 2 iterations each counts once",
        ],
    );
    assert_eq!(log.matches("A test takes").count(), 1, "{log}");
}

#[test]
fn data_in_the_order_of_their_classes_are_said_once() {
    let dir = folders();
    convert(dir.path(), &["--noshuffle", "train", "train", "train_db"]);
    net(dir.path(), "Data", ["train_db", "train_db"], 3, "", 2);
    let said = log(dir.path());
    assert_eq!(said.matches(ONE_CLASS).count(), 1, "{said}");
    assert_says(
        &said,
        &["All 10 samples of the batch from train_db are of class 0 (a)"],
    );
    // Folders are shuffled unless told otherwise.
    net(dir.path(), "ImageData", ["train", "train"], 3, "", 2);
    let said = log(dir.path());
    assert!(!said.contains(ONE_CLASS), "{said}");
    net(
        dir.path(),
        "ImageData",
        ["train", "train"],
        3,
        "shuffle: false",
        2,
    );
    let said = log(dir.path());
    assert!(said.contains(ONE_CLASS), "{said}");
    // A class list in the folder of the test's pictures keeps the labels.
    net(dir.path(), "ImageData", ["train", "val"], 3, "", 2);
    let error = error_of(&train(dir.path()), 1);
    assert_says(&error, &["3 and 2 classes", "classes.txt"]);
    write(&dir.path().join("val"), "classes.txt", "a\nb\nc\n");
    log(dir.path());
}

#[test]
fn pictures_are_resized_and_cropped_into_the_same_tree() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    picture(&at("in/a/wide.png"), 40, 20, 100);
    picture(&at("in/b/c/tall.jpg"), 10, 30, 50);
    picture(&at("in/small.BMP"), 4, 4, 7);
    fs::write(at("in/b/broken.png"), "text").unwrap();
    let run = |args: &[&str]| {
        let mut command = dsd();
        command
            .current_dir(dir.path())
            .arg("resize_and_crop_images")
            .args(args)
            .output()
            .unwrap()
    };
    let output = run(&[
        "--input_folder=in",
        "--output_folder=in/out",
        "-output_side_length",
        "16",
    ]);
    let log = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert_says(
        &log,
        &[
            "in/b/broken.png: its picture cannot be decoded",
            "Processed 3 files.",
        ],
    );
    for name in ["a/wide.png", "b/c/tall.jpg", "small.BMP"] {
        let file = fs::read(at("in/out").join(name)).unwrap();
        let dims = decode_picture(&file, Channels::Color, &mut Vec::new()).unwrap();
        assert_eq!(dims, [3, 16, 16], "{name}");
    }
    assert!(!at("in/out/b/broken.png").exists());
    // Results below the pictures are not taken for pictures.
    let output = run(&[
        "--input_folder=in",
        "--output_folder=in/out",
        "--output_side_length=8",
    ]);
    assert_says(
        &String::from_utf8_lossy(&output.stderr),
        &["A total of 4 images."],
    );
    write(dir.path(), "list.txt", "a/wide.png 3\n/b/c/tall.jpg\n");
    let output = run(&[
        "--input_folder",
        "in",
        "--output_folder=o2",
        "--input=list.txt",
        "--image_lib=opencv",
    ]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(names_in(&at("o2")), ["a", "b"]);
    for (args, code, wanted) in [
        (
            &["--input_folder=in", "--output_folder=in"][..],
            2,
            "would be overwritten",
        ),
        (&["--output_folder=o3"], 2, "--input_folder"),
        (
            &["--input_folder=none", "--output_folder=o3"],
            1,
            "none is no folder",
        ),
    ] {
        assert_says(&error_of(&run(args), code), &[wanted]);
    }
    write(dir.path(), "list.txt", "../x.png\n");
    let error = error_of(
        &run(&[
            "--input_folder=in",
            "--output_folder=o3",
            "--input=list.txt",
        ]),
        1,
    );
    assert_says(
        &error,
        &["list.txt:1: expected a path below the input folder"],
    );
}
