//! Arguments of `plot_training_log` and `plot`.

use std::path::PathBuf;

use clap::{Args, value_parser};

/// Arguments of `plot_training_log`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct PlotTrainingLog {
    /// What is drawn over what: a number from 0 to 7, see below
    #[arg(value_name = "CHART_TYPE", value_parser = value_parser!(u8).range(0..8))]
    pub chart_type: u8,
    /// The picture to write (.svg)
    #[arg(value_name = "OUT.svg", value_parser = picture)]
    pub out: PathBuf,
    /// Logs of training runs, by Caffe or by dsd, or folders of runs; a curve each, or one for each output and test net
    #[arg(value_name = "LOG", required = true)]
    pub logs: Vec<PathBuf>,
}

/// Arguments of `plot`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Plot {
    /// Folders of runs, as `dsd train --out` writes them, and logs of Caffe or of dsd
    #[arg(value_name = "RUN|LOG", required = true)]
    pub logs: Vec<PathBuf>,
    /// The picture to write (.svg)
    #[arg(long, value_name = "F.svg", value_parser = picture, default_value = "curves.svg")]
    pub out: PathBuf,
}

pub(super) const PLOT_EXAMPLES: &str = "\
Examples:
  dsd plot run
  dsd plot run other_run --out both.svg";

fn picture(text: &str) -> Result<PathBuf, String> {
    match text.to_ascii_lowercase().ends_with(".svg") {
        true => Ok(text.into()),
        false => Err("the picture is SVG: give a name that ends with .svg".into()),
    }
}

pub(super) const EXAMPLES: &str = "\
Chart types, as those of Caffe's plot_training_log.py:
  0: Test accuracy  vs. Iters          4: Train learning rate  vs. Iters
  1: Test accuracy  vs. Seconds        5: Train learning rate  vs. Seconds
  2: Test loss  vs. Iters              6: Train loss  vs. Iters
  3: Test loss  vs. Seconds            7: Train loss  vs. Seconds

Examples:
  dsd train --solver s.prototxt 2> run.log && dsd plot_training_log 6 loss.svg run.log
  dsd plot_training_log 0 accuracy.svg before.log after.log";
