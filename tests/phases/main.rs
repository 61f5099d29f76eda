//! Dense, sparse and redense, alone, in turn and in flows.

#[path = "../common/mod.rs"]
mod common;
mod default_run;
#[cfg(unix)]
mod flows;
mod redense;
mod sparse;

use common::{dsd, error_of, log_texts};
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
