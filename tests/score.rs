//! `dsd classify --score`, `dsd test` on a folder of classes, and `dsd compress --max_loss`, with the digits net.

use crate::common::{assert_says, dsd, error_of, log_texts, repository, write};
use image::GrayImage;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The names of the digits' folders, which sort otherwise than they count.
const NAMES: [&str; 10] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
];

/// Weights of a short run, and the first 100 test digits as pictures, `digits/CLASS/N.png`; made once.
fn made() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let output = run("train --phase dense --max_iter 400 --out {}/run", at);
        assert!(output.status.success());
        let trained = at.join("run/dense/digits_iter_400.caffemodel");
        fs::copy(trained, at.join("w.caffemodel")).unwrap();
        pictures(&at.join("digits"), |digit| NAMES[digit].into());
        write(at, "names.txt", &(NAMES.join("\n") + "\n"));
        folder
    });
    folder.path()
}

fn pictures(at: &Path, name: impl Fn(usize) -> String) {
    let root = repository("src/data/digits");
    let mosaic = image::open(root.join("mosaic.png")).unwrap().into_luma8();
    let labels = fs::read_to_string(root.join("labels.txt")).unwrap();
    let labels: Vec<usize> = labels
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|b| usize::from(b - b'0'))
        .collect();
    for n in 1437..1537u32 {
        let (x, y) = (n % 43 * 8, n / 43 * 8);
        let picture = GrayImage::from_fn(8, 8, |i, j| *mosaic.get_pixel(x + i, y + j));
        let class = at.join(name(labels[n as usize]));
        fs::create_dir_all(&class).unwrap();
        picture.save(class.join(format!("{n}.png"))).unwrap();
    }
}

/// Runs `dsd` with a line whose `{}` is a folder.
fn run(line: &str, folder: &Path) -> Output {
    let line = line.replace("{}", folder.to_str().unwrap());
    dsd().args(line.split_whitespace()).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

const SCORE: &str = "classify {}/digits --weights {}/w.caffemodel --score --labels {}/names.txt";

#[test]
fn a_folder_of_classes_is_scored_in_tables_json_and_csv() {
    let at = made();
    let own = tempfile::tempdir().unwrap();
    let csv = own.path().join("a.csv");
    let line = format!("{SCORE} --csv {}", csv.display());
    let tables = text(&run(&line, at));
    assert_says(
        &tables,
        &[
            "accuracy",
            "top-1",
            "top-5",
            "of",
            "by class:",
            "mistaken most for",
            "rows: what pictures are",
        ],
    );
    let json: Value = serde_json::from_str(&text(&run(&format!("{SCORE} --json"), at))).unwrap();
    let right = json["right"].as_u64().unwrap();
    assert!((80..=100).contains(&right), "{right}");
    assert_eq!(json["pictures"], 100);
    assert_eq!(json["accuracy"].as_f64().unwrap(), right as f64 / 100.0);
    assert!(json["top5"].as_f64() >= json["accuracy"].as_f64());
    assert_eq!(json["names"][3], "three");
    let matrix = json["confusion"].as_array().unwrap();
    let cell = |i: usize, j: usize| matrix[i][j].as_u64().unwrap();
    assert_eq!((0..10).map(|i| cell(i, i)).sum::<u64>(), right);
    assert_eq!((0..100).map(|n| cell(n / 10, n % 10)).sum::<u64>(), 100);
    for class in json["classes"].as_array().unwrap() {
        let c = class["class"].as_u64().unwrap() as usize;
        let row: u64 = (0..10).map(|j| cell(c, j)).sum();
        assert_eq!(class["pictures"].as_u64(), Some(row));
        assert_eq!(class["right"].as_u64(), Some(cell(c, c)));
    }
    let mistakes = json["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len() as u64, 100 - right);
    let sure: Vec<f64> = mistakes
        .iter()
        .map(|m| m["probability"].as_f64().unwrap())
        .collect();
    assert!(sure.is_sorted_by(|a, b| a >= b));
    assert!(mistakes.iter().all(|m| m["said"] != m["right"]));
    let rows = fs::read_to_string(csv).unwrap();
    let rows: Vec<Vec<&str>> = rows.lines().map(|l| l.split(',').collect()).collect();
    assert_eq!(rows[0], ["file", "class", "predicted", "probability"]);
    assert_eq!(rows.len(), 101);
    let same = rows[1..].iter().filter(|r| r[1] == r[2]).count();
    assert_eq!(same as u64, right);
    assert!(
        rows[1..]
            .iter()
            .all(|r| r[0].contains(&format!("/{}/", r[1])))
    );
}

#[test]
fn test_scores_folders_and_keeps_caffes_lines_for_all_else() {
    let at = made();
    let scored = text(&run(SCORE, at));
    for line in [
        "test {}/digits --weights {}/w.caffemodel --labels {}/names.txt",
        "test --weights {}/w.caffemodel --labels {}/names.txt --source {}/digits",
    ] {
        assert_eq!(text(&run(line, at)), scored, "{line}");
    }
    let output = run("test --weights {}/w.caffemodel --iterations 1", at);
    assert_eq!(text(&output), "");
    let log = log_texts(&output.stderr).join("\n");
    assert_says(&log, &["Batch 0, accuracy = ", "Running for 1 iterations."]);
    let error = error_of(&run("test --weights {}/w.caffemodel --csv {}/a.csv", at), 2);
    assert_says(&error, &["--labels and --csv are for a folder of classes"]);
    // An ImageData layer reads such folders itself.
    let own = tempfile::tempdir().unwrap();
    let net = fs::read_to_string(repository("models/digits/train_val.prototxt")).unwrap();
    let from = net.find("source: \"builtin:digits_test\"").unwrap();
    let (head, tail) = net.split_at(from);
    let layer = head.rfind("data_param").unwrap();
    let end = tail.find('}').unwrap();
    let layer_type = head[..layer].rfind("\"Data\"").unwrap();
    let net = format!(
        "{}\"ImageData\"{}image_data_param {{ source: \"none\" batch_size: 10 is_color: false }}{}",
        &head[..layer_type],
        &head[layer_type + 6..layer],
        &tail[end + 1..]
    );
    write(own.path(), "net.prototxt", &net);
    let line = format!(
        "test --model {}/net.prototxt --weights {{}}/w.caffemodel --source {{}}/digits --iterations 1",
        own.path().display()
    );
    let output = run(&line, at);
    assert_eq!(text(&output), "");
    assert_says(
        &log_texts(&output.stderr).join("\n"),
        &["Batch 0, accuracy = "],
    );
}

#[test]
fn folders_without_names_are_numbered_and_misfits_are_told() {
    let at = made();
    let own = tempfile::tempdir().unwrap();
    let digits = own.path().join("d");
    pictures(&digits, |digit| digit.to_string());
    let weights = at.join("w.caffemodel");
    let line = format!("classify {{}}/d --score --weights {}", weights.display());
    let json: Value =
        serde_json::from_str(&text(&run(&format!("{line} --json"), own.path()))).unwrap();
    assert!(json["right"].as_u64().unwrap() >= 80);
    write(&digits, "notes.txt", "no picture");
    fs::write(digits.join("3/broken.png"), "no picture either").unwrap();
    let output = run(&line, own.path());
    assert_says(
        &error_of(&output, 1),
        &["1 of 101 pictures could not be read"],
    );
    assert_says(&String::from_utf8_lossy(&output.stdout), &["top-1"]);
    assert_says(
        &log_texts(&output.stderr).join("\n"),
        &["d: left out 1 files", "broken.png: its picture cannot be"],
    );
    fs::remove_dir_all(digits.join("3")).unwrap();
    let error = error_of(&run(&line, own.path()), 1);
    assert_says(
        &error,
        &["has 9 folders, but the net has 10 classes: give --labels"],
    );
    let names = format!("{line} --labels {}", at.join("names.txt").display());
    let error = error_of(&run(&names, own.path()), 1);
    assert_says(&error, &["the folder '0' is no class of", "names.txt"]);
    let error = error_of(&run(&format!("{line} {{}}/d"), own.path()), 2);
    assert_says(&error, &["--score takes one folder"]);
    let error = error_of(&run(&format!("{line} --oversample"), own.path()), 2);
    assert_says(&error, &["--score does not go with what is classify.py's"]);
    let error = error_of(&run(&line.replace("{}/d", "{}/none"), own.path()), 1);
    assert_says(&error, &["none: expected a folder"]);
    error_of(
        &run("classify x.png --weights w --csv a.csv", own.path()),
        2,
    );
}

#[test]
fn missing_weights_of_a_built_in_net_are_told_with_their_address() {
    let own = tempfile::tempdir().unwrap();
    for line in [
        "test --weights {}/bvlc_alexnet.caffemodel",
        "test --model alexnet --weights {}/w.caffemodel",
    ] {
        let error = error_of(&run(line, own.path()), 1);
        assert_says(
            &error,
            &[
                "no such file",
                "for alexnet",
                "dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
            ],
        );
    }
    let error = error_of(&run("test --weights {}/mine.caffemodel", own.path()), 1);
    assert!(!error.contains("published"), "{error}");
}

fn bytes(path: PathBuf) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn the_smallest_file_that_holds_the_accuracy_is_written() {
    let at = made();
    let own = tempfile::tempdir().unwrap();
    let out = own.path().join("w.dsdz");
    let line = format!(
        "compress --weights {{}}/w.caffemodel --out {} --iterations 2",
        out.display()
    );
    let table = text(&run(&format!("{line} --max_loss 2"), at));
    assert_says(
        &table,
        &[
            "dense (float32)",
            "shared values (",
            "coded (the file)",
            "points lost",
            "ms a picture",
            "memory",
            "the smallest that holds",
        ],
    );
    let plain = bytes(out.clone());
    assert!(3 * plain < bytes(at.join("w.caffemodel")), "{plain}");
    let accuracy = |weights: &Path| {
        let line = format!("test --weights {} --iterations 2 --json", weights.display());
        let json: Value = serde_json::from_str(&text(&run(&line, at))).unwrap();
        json["outputs"]["accuracy"].as_f64().unwrap()
    };
    let lost = accuracy(&at.join("w.caffemodel")) - accuracy(&out);
    assert!(lost <= 0.02 + 1e-6, "{lost}");
    // More may only be smaller.
    let table = text(&run(
        &format!("{line} --max_loss 10 --sparsity 0.3,0.1 --per_layer"),
        at,
    ));
    assert!(bytes(out.clone()) <= plain, "{table}");
    let lost = accuracy(&at.join("w.caffemodel")) - accuracy(&out);
    assert!(lost <= 0.1 + 1e-6, "{lost}");
}

#[test]
fn where_nothing_holds_nothing_is_written() {
    let at = made();
    let own = tempfile::tempdir().unwrap();
    let out = own.path().join("w.dsdz");
    let line = format!(
        "compress --weights {{}}/w.caffemodel --out {} --iterations 2",
        out.display()
    );
    let error = error_of(&run(&format!("{line} --max_loss 0 --bits 2"), at), 1);
    assert_says(
        &error,
        &[
            "no choice loses at most 0 points of accuracy",
            "2 bits",
            "nothing is written",
        ],
    );
    let error = error_of(
        &run(&format!("{line} --max_loss 1 --source {{}}/none"), at),
        1,
    );
    assert_says(&error, &["none"]);
    for (more, said) in [
        ("--max_loss -1", "must lie in 0 to 100"),
        ("--max_loss 1 --sparsity 1", "--sparsity: 1 must lie in"),
        ("--source x", "--max_loss"),
        ("--max_loss x", "x"),
    ] {
        let output = run(&format!("{line} {more}"), at);
        let log = String::from_utf8_lossy(&output.stderr).to_string();
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.contains(said), "{more}: {log}");
    }
    assert!(!out.exists());
    let line = format!(
        "compress --weights {{}}/w.caffemodel --out {} --bits 4",
        out.display()
    );
    let output = run(&line, at);
    assert!(out.exists());
    assert_says(
        &log_texts(&output.stderr).join("\n"),
        &["the accuracy was not checked"],
    );
}
