//! Input that is missing, damaged or makes no sense, and disks that are full: one clear error with the
//! right exit code, no panic, and nothing half-written.

mod data;
mod disk;
mod nets;
mod weights;

use crate::common::{assert_says, dsd, error_of};
use std::path::Path;

/// A run in a folder of [`common::small_run`].
pub const TRAIN: [&str; 3] = ["train", "--solver", "solver.prototxt"];

/// Runs `dsd`, which must fail with an error that has these words.
pub fn fails(folder: &Path, args: &[&str], words: &[&str]) {
    let output = dsd().args(args).current_dir(folder).output().unwrap();
    assert_says(&error_of(&output, 1), words);
}
