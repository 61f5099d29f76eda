//! The files that Caffe's users bring, against Caffe's own (`../shared/goldens`, and small ones in
//! `tests/data`), and damaged ones of every kind.

mod damaged;
mod hdf5;
mod hdf5_layers;
mod leveldb;
mod upgrade;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// A folder of `../shared/goldens`, if it is there.
fn goldens(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/goldens")
        .join(folder);
    if !path.is_dir() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

/// A file of `tests/data`.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// `dsd`, working in `folder`.
fn dsd(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("dsd").unwrap();
    command.current_dir(folder).args(["--threads", "1"]);
    command
}

/// Runs `dsd`, which must succeed; its log.
fn run(folder: &Path, args: &[&str]) -> String {
    let output = dsd(folder).args(args).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {log}");
    log
}

/// Runs `dsd`, which must fail with exit code 1 and one line; that line.
fn fail(folder: &Path, args: &[&str]) -> String {
    let output = dsd(folder).args(args).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {log}");
    assert!(!log.contains("panicked"), "{args:?}: {log}");
    let errors: Vec<&str> = log.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{args:?}: {log}");
    errors[0].to_string()
}

/// Copies files, and folders of files, of one folder to another.
fn copy(from: &Path, names: &[&str], to: &Path) {
    for name in names {
        let (source, target) = (from.join(name), to.join(name));
        if source.is_dir() {
            fs::create_dir(&target).unwrap();
            for entry in fs::read_dir(&source).unwrap() {
                let name = entry.unwrap().file_name();
                fs::write(target.join(&name), fs::read(source.join(&name)).unwrap()).unwrap();
            }
        } else {
            fs::write(target, fs::read(source).unwrap()).unwrap();
        }
    }
}

/// The relative L2 distance of two lists of numbers.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let pairs = a.iter().zip(b);
    let apart: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    let size: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    (apart / size.max(1e-30)).sqrt()
}
