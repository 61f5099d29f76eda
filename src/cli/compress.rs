//! Arguments of `compress` and `decompress`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, value_parser};

use super::{Numbers, count};

/// Arguments of `compress`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Compress {
    /// The folder of a model, as `dsd new` makes it, or of a run: its last weights
    #[arg(value_name = "FOLDER", conflicts_with_all = ["model", "weights"])]
    pub folder: Option<PathBuf>,
    /// The net (prototxt or a built-in name) [default: the built-in net that fits the weights; only a .net needs one]
    #[arg(long, value_name = "F")]
    pub model: Option<PathBuf>,
    /// The weights: .caffemodel, .caffemodel.h5, .npz, .dsdz or Deep Compression .net
    #[arg(long, value_name = "F", required_unless_present = "folder")]
    pub weights: Option<PathBuf>,
    /// The file to write, usually .dsdz or .net [default of a model's folder: its name with .dsdz, in it]
    #[arg(long, value_name = "F", required_unless_present = "folder")]
    pub out: Option<PathBuf>,
    /// How to write it [default: net where --out ends so, else huffman]
    #[arg(long, value_enum, ignore_case = true)]
    pub format: Option<CompressedFormat>,
    /// Let the weights of a layer share 2^N values, N from 2 to 8: N for all layers, or conv*=8,fc*=4,*=6 (first match wins)
    /// [default: huffman changes no value, net has 8 bits, 4 for fc and ip]
    #[arg(long, value_name = "N")]
    pub bits: Option<String>,
    /// Choose the bits by measured accuracy: the smallest file that loses at most P percentage points against the weights as
    /// they are; --bits then is the only choice looked at
    #[arg(long, value_name = "P", value_parser = value_parser!(f64))]
    pub max_loss: Option<f64>,
    /// For --max_loss, the data to measure on (database or list) [default: those of the net's test layers]
    #[arg(long, value_name = "VAL", requires = "max_loss")]
    pub source: Option<PathBuf>,
    /// For --max_loss, the number of batches
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count(i32::MAX as usize), requires = "max_loss")]
    pub iterations: usize,
    /// For --max_loss, also try to prune these fractions of every layer's weights, without training again
    #[arg(
        long,
        value_name = "S,S…",
        value_delimiter = ',',
        requires = "max_loss"
    )]
    pub sparsity: Vec<f64>,
    /// For --max_loss, then try one bit less for each layer by itself, the largest first, as long as that holds
    #[arg(long, requires = "max_loss")]
    pub per_layer: bool,
    /// The numbers that --max_loss is measured in.
    #[command(flatten)]
    pub numbers: Numbers,
    /// What makes the file a model.
    #[command(flatten)]
    pub pack: Pack,
    /// Of a .dsdz leave out the net and all that belongs to it, which make the file a model
    #[arg(long, conflicts_with_all = ["labels", "mean_file", "mean_value", "scale"])]
    pub weights_only: bool,
}

/// What a model in one file says beside its weights and net.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Pack {
    /// The classes' names for the .dsdz, one a line [default: of a model's folder its classes.txt]
    #[arg(long, value_name = "F")]
    pub labels: Option<PathBuf>,
    /// The mean for the .dsdz, of a net without data layers (.binaryproto, .npy)
    #[arg(long, value_name = "F", conflicts_with = "mean_value")]
    pub mean_file: Option<PathBuf>,
    /// The same as numbers: one value, or blue,green,red
    #[arg(
        long,
        value_name = "B,G,R",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub mean_value: Vec<f32>,
    /// The factor behind the mean for the .dsdz
    #[arg(long, value_name = "V", allow_hyphen_values = true)]
    pub scale: Option<f32>,
}

impl Pack {
    /// Whether anything is given.
    pub fn is_given(&self) -> bool {
        self.labels.is_some()
            || self.mean_file.is_some()
            || !self.mean_value.is_empty()
            || self.scale.is_some()
    }
}

impl Compress {
    /// The weights; empty where a folder stands for them.
    pub fn weights(&self) -> &Path {
        self.weights.as_deref().unwrap_or(Path::new(""))
    }

    /// The file to write; empty where a folder stands for it.
    pub fn out(&self) -> &Path {
        self.out.as_deref().unwrap_or(Path::new(""))
    }
}

/// A format of compressed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressedFormat {
    /// Deep Compression's published format
    Net,
    /// Our own (.dsdz): all blobs by name, Huffman codes, a check sum
    Huffman,
}

pub(super) const COMPRESS_EXAMPLES: &str = "\
Examples:
  dsd compress --weights pruned.caffemodel --out pruned.dsdz            no value changes
  dsd compress --weights pruned.caffemodel --out pruned.dsdz --bits 6
  dsd compress --weights pruned.caffemodel --out pruned.dsdz --bits 'conv1=8,conv*=6,*=4'
  dsd compress --model squeezenet_v1.0 --weights pruned.caffemodel --out pruned.net
  dsd compress --weights net.caffemodel --out net.dsdz --max_loss 1 --source val_lmdb --sparsity 0.3,0.5
  dsd compress --model deploy.prototxt --weights w.caffemodel --labels synset_words.txt --mean_value 104,117,123 --out w.dsdz

With a net (FOLDER, --model) a .dsdz is a model by itself: it has the net, what is done to pictures, the classes' names and the
record of how it came about, and dsd classify m.dsdz PICTURES and dsd test m.dsdz FOLDER need nothing beside it.

With --max_loss, 8 bits are tried first, then one less at a time until the accuracy is missed twice; without pruning and with
each --sparsity. The smallest file that holds is written, or none, with a sentence that says why. The choice has seen its pictures: report
its accuracy on others.
Biases and statistics are never changed. docs/compressed_format.md describes both formats.";

/// Arguments of `decompress`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Decompress {
    /// The net (prototxt or a built-in name) [default: the built-in net that fits the weights, where one is needed]
    #[arg(long, value_name = "F")]
    pub model: Option<PathBuf>,
    /// The weights: .dsdz, Deep Compression .net, or any other weights
    #[arg(long, value_name = "F")]
    pub weights: PathBuf,
    /// The file to write; its name's end says the format: .caffemodel (which keeps the codebooks in a field that Caffe skips),
    /// .caffemodel.h5 or .npz (arrays LAYER:K). Of a model in one file also a folder, for its net and all else in it
    #[arg(long, value_name = "F")]
    pub out: PathBuf,
}

pub(super) const DECOMPRESS_EXAMPLES: &str = "\
Examples:
  dsd decompress --weights pruned.dsdz --out pruned.caffemodel
  dsd decompress --weights squeezenet_deepcomp.net --out squeezenet.caffemodel
  dsd decompress --weights my/my.dsdz --out my_parts     net.prototxt, classes.txt, weights.caffemodel …";
