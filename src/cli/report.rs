//! Arguments of `report` and `watch`.

use std::path::PathBuf;

use clap::Args;

use super::count;

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Report {
    /// The folders of the runs, as `dsd train --out` writes them, or of models, as `dsd new` does; several are put side by
    /// side
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "F.html", default_value = "report.html")]
    pub out: PathBuf,
    /// The names of the classes, one a line [default: the classes.txt of the test data or beside the net, if there
    /// is one]
    #[arg(long, value_name = "F")]
    pub labels: Option<PathBuf>,
    /// The most batches of test data to look for mistakes in [default: as many as the run's own tests, and no more
    /// than have 10000 pictures]
    #[arg(long, value_name = "N", value_parser = count(i32::MAX as usize))]
    pub iterations: Option<usize>,
    /// Do not run the nets on their test data: the page then has no confusion matrix and no mistakes
    #[arg(long, conflicts_with = "iterations")]
    pub quick: bool,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd report run --out r.html
  dsd report run other_run --out both.html";

/// Arguments of `watch`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Watch {
    /// The folder of the run
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Show it once and end [default where stdout is no terminal]
    #[arg(long)]
    pub once: bool,
}

pub(super) const WATCH_EXAMPLES: &str = "\
Examples:
  dsd watch run
  dsd watch run --once";
