//! Arguments of `sensitivity`.

use std::path::PathBuf;

use clap::{Args, value_parser};

use super::{NetState, Numbers, count};

/// Arguments of `sensitivity`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Sensitivity {
    /// The net (prototxt or a built-in name) [default: the built-in net that fits the weights]
    #[arg(long, value_name = "F")]
    pub model: Option<PathBuf>,
    /// The weights: .caffemodel, .caffemodel.h5, Deep Compression .net or .npz
    #[arg(long, value_name = "F", value_delimiter = ',', required = true)]
    pub weights: Vec<PathBuf>,
    /// The densities (the fractions of a layer's weights that stay) to measure; a layer's own comes with
    /// them
    #[arg(
        long,
        value_name = "D,D…",
        value_delimiter = ',',
        default_value = "0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2,0.1,0.05"
    )]
    pub densities: Vec<f64>,
    /// The number of batches
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count(i32::MAX as usize))]
    pub iterations: usize,
    /// Another data source (database or list) for the data layers
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// Only the layers of these names; * and ? are wildcards [default: all that can be pruned]
    #[arg(long, value_name = "A,B…", value_delimiter = ',')]
    pub layers: Vec<String>,
    /// The file for the results; one of the same net, weights and data is gone on with
    #[arg(long, value_name = "F.json", default_value = "sensitivity.json")]
    pub out: PathBuf,
    /// The file for the picture [default: --out's name with .svg]
    #[arg(long, value_name = "F.svg")]
    pub svg: Option<PathBuf>,
    /// Propose a density for every layer, this one over all together, at the least predicted loss; its rules
    /// go to --out's name with .sparsity, for `train --sparsity @F.sparsity`
    #[arg(long, value_name = "D", value_parser = value_parser!(f64))]
    pub suggest: Option<f64>,
    /// Print the results as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// The numbers.
    #[command(flatten)]
    pub numbers: Numbers,
    /// Level and stages.
    #[command(flatten)]
    pub state: NetState,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd sensitivity --weights dsd_run/dense/digits_iter_600.caffemodel --out digits.json
  dsd sensitivity --model train_val.prototxt --weights w.caffemodel --source val_lmdb --densities 0.8,0.6,0.4,0.2
  dsd sensitivity --weights w.caffemodel --suggest 0.33 --out s.json
  dsd prune --solver solver.prototxt --weights w.caffemodel --sparsity @s.sparsity";
