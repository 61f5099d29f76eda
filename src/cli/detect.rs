//! Arguments of `detect`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{NetState, Pycaffe};

/// Arguments of `detect`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Detect {
    /// The windows: a .csv with the columns filename, xmin, ymin, xmax, ymax
    #[arg(value_name = "INPUT.csv")]
    pub input: PathBuf,
    /// The file to write: .csv, or .h5 with the arrays filename, window and prediction
    #[arg(value_name = "OUTPUT")]
    pub output: PathBuf,
    /// The net (prototxt or a built-in name) [default: the built-in net that fits the weights]
    #[arg(long, value_name = "F", alias = "model_def")]
    pub model: Option<PathBuf>,
    /// The weights: .caffemodel, .caffemodel.h5, .npz, .dsdz or Deep Compression .net
    #[arg(
        long,
        value_name = "F",
        value_delimiter = ',',
        required = true,
        alias = "pretrained_model"
    )]
    pub weights: Vec<PathBuf>,
    /// Where the windows come from
    #[arg(long, value_enum, default_value = "list")]
    pub crop_mode: CropMode,
    /// Pixels of the net's input at each side that show what surrounds the window
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub context_pad: usize,
    /// The mean (.npy or .binaryproto) to subtract: its mean by channel; empty for none
    #[arg(long, value_name = "F")]
    pub mean_file: Option<PathBuf>,
    /// pycaffe's preprocessing.
    #[command(flatten)]
    pub pycaffe: Pycaffe,
    /// Level and stages.
    #[command(flatten)]
    pub state: NetState,
}

/// Where windows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum CropMode {
    /// The list in the input
    List,
    /// A search by a MATLAB program, which is not part of this one
    SelectiveSearch,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd detect windows.csv scores.csv --model deploy.prototxt --weights w.caffemodel --mean_file mean.npy
  dsd detect windows.csv scores.h5 --crop_mode list --context_pad 0 --weights squeezenet.caffemodel

As Caffe's python/detect.py: every window is cut out with its surroundings, warped to the net's input and scored.";
