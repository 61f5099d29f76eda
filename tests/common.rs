//! What the integration tests share: running `dsd`, reading what it wrote, and comparing numbers.

#[cfg(unix)]
pub mod process;

pub mod lmdb;

use assert_cmd::Command;
use dsd::kernels::simd::Isa;
use dsd::proto::{self, SolverState, binary, blob};
use dsd::weights_file::Stored;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

/// The program under test; a run that hangs is stopped.
pub fn dsd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dsd"));
    command.timeout(Duration::from_secs(300));
    command
}

/// A file or folder of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file or folder of ../shared; where it is absent, says that the test skips.
pub fn shared(path: &str) -> Option<PathBuf> {
    let full = repository("../shared").join(path);
    if !full.exists() {
        eprintln!("skipped: {} is absent", full.display());
        return None;
    }
    Some(full)
}

/// Numbers by the name `LAYER/K`.
pub type Blobs = BTreeMap<String, Vec<f32>>;

/// The weights of a caffemodel.
pub fn weights_of(path: &Path) -> Blobs {
    let (message, _) = proto::load_weights(path).unwrap();
    named(&Stored::from_message(&message, "").unwrap())
}

/// The blobs of weights read by the library.
pub fn named(stored: &Stored) -> Blobs {
    let mut blobs = Blobs::new();
    for layer in &stored.layers {
        for (k, blob) in layer.blobs.iter().enumerate() {
            blobs.insert(format!("{}/{k}", layer.name), blob.data.clone());
        }
    }
    blobs
}

/// A solver state, and the numbers of its history.
pub fn state_of(path: &Path) -> (SolverState, Vec<Vec<f32>>) {
    let state = binary::read_solverstate(path).unwrap();
    let values = |b| blob::values(b).unwrap().into_owned();
    let history = state.history.iter().map(values).collect();
    (state, history)
}

/// The L2 distance of `got` from `want`, relative to the norm of `want`.
pub fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "other sizes");
    let square = |v: f64| v * v;
    let off: f64 = got
        .iter()
        .zip(want)
        .map(|(g, w)| square(f64::from(*g) - f64::from(*w)))
        .sum();
    let norm: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    if off == 0.0 {
        0.0
    } else {
        (off / norm.max(1e-30)).sqrt()
    }
}

/// Asserts that `got` is within a relative L2 distance of `want`.
pub fn assert_near(name: &str, got: &[f32], want: &[f32], limit: f64) {
    let off = distance(got, want);
    // Also fails where `off` is NaN.
    assert!(
        off <= limit,
        "{name}: off by {off:e} relative, not {limit:e}"
    );
}

/// Asserts that one number is within a relative distance of another.
pub fn assert_close(name: &str, got: f64, want: f64, limit: f64) {
    let off = (got - want).abs();
    assert!(
        off <= limit * want.abs(),
        "{name}: {got} is not within {limit:e} of {want}"
    );
}

/// The log lines of a run without their glog prefixes.
pub fn log_texts(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8(stderr.to_vec()).unwrap();
    text.lines()
        .map(|l| l.split_once("] ").map_or(l, |(_, t)| t).to_string())
        .collect()
}

/// What stands between `before` and `after` in the log lines that have both.
pub fn between<'a>(lines: &'a [String], before: &str, after: &str) -> Vec<&'a str> {
    let part = |l: &'a String| Some(l.split_once(before)?.1.split_once(after)?.0);
    lines.iter().filter_map(part).collect()
}

/// Asserts that a run failed as the contract says: the exit code, no panic, exactly one line
/// `error: …`, which comes last; gives that line.
pub fn error_of(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|l| l.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    if code == 1 {
        assert_eq!(stderr.lines().last(), Some(errors[0]), "{stderr}");
    }
    errors[0].to_string()
}

/// Asserts that a text has every one of some words.
pub fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
}

/// Writes a file in `folder` and gives its path.
pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// The names in a folder, hidden ones too, sorted.
pub fn names_in(folder: &Path) -> Vec<String> {
    let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

/// The names of the folders in a folder, hidden ones too, sorted.
pub fn folders_in(folder: &Path) -> Vec<String> {
    let mut names = names_in(folder);
    names.retain(|n| folder.join(n).is_dir());
    names
}

/// A small net on the embedded digits that uses every source of randomness: crop, mirror, dropout.
/// `more` goes in before the loss, which reads `ip`.
pub fn digits_net(batch: usize, more: &str) -> String {
    format!(
        r#"
name: "small"
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TRAIN }}
  transform_param {{ scale: 0.0625 crop_size: 7 mirror: true }}
  data_param {{ source: "builtin:digits_train" batch_size: {batch} backend: LMDB }} }}
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TEST }}
  transform_param {{ scale: 0.0625 crop_size: 7 }}
  data_param {{ source: "builtin:digits_test" batch_size: 50 backend: LMDB }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 8 kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
layer {{ name: "drop" type: "Dropout" bottom: "pool" top: "pool" dropout_param {{ dropout_ratio: 0.3 }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param {{ num_output: 10 weight_filler {{ type: "xavier" }} }} }}
{more}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include {{ phase: TEST }} }}
"#
    )
}

/// A solver for `net.prototxt` beside it: SGD with momentum and decay, every point shown, a test every
/// 4 iterations; `more` comes last.
pub fn digits_solver(max_iter: usize, more: &str) -> String {
    format!(
        r#"
net: "net.prototxt"
test_iter: 2 test_interval: 4
base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 5
momentum: 0.9 weight_decay: 0.002
max_iter: {max_iter} display: 1 average_loss: 4
snapshot_prefix: "small" random_seed: 7
{more}
"#
    )
}

/// A temporary folder with `net.prototxt` and `solver.prototxt`.
pub fn small_run(batch: usize, max_iter: usize, solver: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", &digits_net(batch, ""));
    write(
        folder.path(),
        "solver.prototxt",
        &digits_solver(max_iter, solver),
    );
    folder
}

/// Makes nets of this process compute with the instruction set that `DSD_ISA` asks for, as `dsd` itself does.
pub fn compute_as_asked() {
    if let Some(name) = std::env::var_os("DSD_ISA") {
        Isa::asked(&name).unwrap().choose();
    }
}
