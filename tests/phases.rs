//! Dense, sparse, redense and quantize, alone, in turn and in flows.

#[cfg(unix)]
mod centroids;
mod default_run;
#[cfg(unix)]
mod flows;
#[cfg(unix)]
mod gradual;
#[cfg(unix)]
mod masks;
#[cfg(unix)]
mod quantize;
mod redense;
#[cfg(unix)]
mod schedules;
mod sparse;

use crate::common::{dsd, error_of, log_texts};
use std::path::Path;

/// Runs `dsd` to a good end; its log.
fn run(folder: &Path, args: &[&str]) -> Vec<String> {
    let output = dsd().args(args).current_dir(folder).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {log}");
    log_texts(&output.stderr)
}

/// Runs `dsd`, which must fail with this exit code; its error.
fn fails(folder: &Path, args: &[&str], code: i32) -> String {
    let output = dsd().args(args).current_dir(folder).output().unwrap();
    error_of(&output, code)
}

/// Takes a phase's folder back to its snapshot at `iter`, as if the run had been killed after it.
fn cut(home: &Path, iter: u64) {
    for name in crate::common::names_in(home) {
        let number = name.split_once("_iter_").map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
        if number.is_none_or(|n| n > iter) {
            std::fs::remove_file(home.join(name)).unwrap();
        }
    }
}
