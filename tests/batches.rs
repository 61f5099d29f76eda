//! What goes from batch to batch and from run to run: recurrent states, shapes that change, memory that is not there,
//! weights that blow up, debug_info, test nets and the order of data, as Caffe documents them.

#![cfg(unix)]

mod blown_up;
mod debug_info;
mod memory;
mod order;
mod recurrent;
mod sizes;
mod test_nets;

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A copy of one of Caffe's cases; `None` where they are absent.
fn case(name: &str) -> Option<TempDir> {
    let from = crate::common::shared(&format!("cases/caffe/{name}"))?;
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = folder.path().join(file.file_name());
        if file.path().is_file() {
            std::fs::write(to, std::fs::read(file.path()).unwrap()).unwrap();
        }
    }
    Some(folder)
}

/// `dsd` in a folder.
fn dsd(folder: &Path, args: &[&str]) -> Command {
    let mut command = crate::common::dsd();
    command.current_dir(folder).args(args);
    command
}

/// The log of a run that must succeed, without glog's prefixes.
fn log(folder: &Path, args: &[&str]) -> Vec<String> {
    let output = dsd(folder, args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}");
    crate::common::log_texts(&output.stderr)
}

/// The error line of a run that must fail with code 1, without a signal.
fn error(folder: &Path, args: &[&str]) -> String {
    crate::common::error_of(&dsd(folder, args).output().unwrap(), 1)
}

/// The values of the lines `Batch I, NAME = V` of batch `i`.
fn values(log: &[String], i: usize, name: &str) -> Vec<f32> {
    let head = format!("Batch {i}, {name} = ");
    let value = |l: &String| l.strip_prefix(&head)?.parse().ok();
    log.iter().filter_map(value).collect()
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    crate::common::write(folder, name, text)
}

/// Writes `w.npz` of arrays by name, all numbers 0.5; a test needs weights, be it of a layer that is not there.
fn weights(folder: &Path, arrays: &[(&str, &[usize])]) {
    let tensor = |&(name, dims): &(&str, &[usize])| {
        let shape = dsd::tensor::Shape::from(dims);
        let data = vec![0.5; shape.count()];
        (name.to_string(), dsd::tensor::Tensor { shape, data })
    };
    let arrays: Vec<_> = arrays.iter().map(tensor).collect();
    let views = arrays.iter().map(|(n, t)| (n.as_str(), t.view()));
    dsd::npz::write(&folder.join("w.npz"), views).unwrap();
}
