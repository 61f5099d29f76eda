//! Arguments of `status`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Status {
    /// The folders of runs, as `dsd train --out` writes them, or of experiments
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Print it as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd status run
  dsd status run other_run --json";
