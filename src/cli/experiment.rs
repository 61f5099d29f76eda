//! Arguments of `experiment` and `compare`.

use std::path::PathBuf;

use clap::{Args, value_parser};

/// Arguments of `experiment`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Experiment {
    /// The experiment (TOML): arms, each a list of phases, times seeds, in groups of data
    #[arg(value_name = "E.toml")]
    pub file: PathBuf,
    /// The folder for its runs, table and page; the same command goes on with what is there
    #[arg(long, value_name = "DIR", default_value = "dsd_experiment")]
    pub out: PathBuf,
    /// How many runs at once, each with a part of the threads [default: one a thread]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub jobs: Option<u64>,
    /// Another data source (database or list) for the training nets
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// Of the snapshots at a solver's interval keep only the newest N of each run, and its last [default: all]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub keep: Option<u64>,
    /// Print the runs and their lengths, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd experiment experiment.toml --out exp
  dsd experiment experiment.toml --dry_run
  dsd experiment experiment.toml --out exp --json > results.json";

/// Arguments of `compare`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Compare {
    /// Folders of runs, as `train --out` writes them; runs that differ in nothing but the seed count as one
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub runs: Vec<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) const COMPARE_EXAMPLES: &str = "\
Examples:
  dsd compare run_a run_b
  dsd compare dsd_seed1 dsd_seed2 control_seed1 control_seed2 --json";
