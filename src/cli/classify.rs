//! Arguments of `classify`.

use std::path::PathBuf;

use clap::Args;

use super::{NetState, count};

/// Arguments of `classify`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Classify {
    /// Pictures (JPEG, PNG) and folders of them
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// The net (prototxt or a built-in name) [default: the built-in net that fits the weights]
    #[arg(long, value_name = "F")]
    pub model: Option<PathBuf>,
    /// The weights: .caffemodel, .caffemodel.h5, .npz, .dsdz or Deep Compression .net
    #[arg(long, value_name = "F", value_delimiter = ',', required = true)]
    pub weights: Vec<PathBuf>,
    /// The classes' names, one a line, as in synset_words.txt
    #[arg(long, value_name = "F")]
    pub labels: Option<PathBuf>,
    /// How many classes to tell of each picture
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = count(1_000_000))]
    pub top: usize,
    /// The mean picture (.binaryproto) to subtract; of another size than the pictures, its mean by channel
    #[arg(long, value_name = "F", conflicts_with = "mean_value")]
    pub mean_file: Option<PathBuf>,
    /// The mean to subtract: one value, or blue,green,red
    #[arg(
        long,
        value_name = "B,G,R",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub mean_value: Vec<f32>,
    /// Resize pictures to N x N before the centre is cropped
    /// [default: what the net says, 256 for crops from 200 to 256, without a crop the net's input]
    #[arg(long, value_name = "N", value_parser = count(16384))]
    pub resize: Option<usize>,
    /// Multiply by this after the mean is subtracted [default: the net's]
    #[arg(long, value_name = "V", allow_hyphen_values = true)]
    pub scale: Option<f32>,
    /// Print the result as one JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// Level and stages.
    #[command(flatten)]
    pub state: NetState,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd classify cat.jpg --weights squeezenet.caffemodel --labels synset_words.txt
  dsd classify photos/ --model train_val.prototxt --weights w.caffemodel --top 1 --json
  dsd classify cat.jpg --model deploy.prototxt --weights w.caffemodel --mean_value 104,117,123 --resize 256

The preprocessing is that of the net's TEST data layer, and printed. A deploy net has none: its pictures are
resized to its input, as Caffe's classification example does; give the mean that it was trained with.";
