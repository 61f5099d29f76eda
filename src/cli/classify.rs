//! Arguments of `classify`.

use std::path::PathBuf;

use clap::Args;

use super::{NetState, Numbers, Pycaffe, count};

/// Arguments of `classify`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Classify {
    /// Pictures and folders of them, after a model (its folder or its one file, .dsdz), where neither --model nor --weights says
    /// which; or .npy arrays (height x width x channels, red, green, blue from 0 to 1); as the
    /// last one OUTPUT.npy, where the net's predictions go as classify.py writes them
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// The net (prototxt or a built-in name) [default: the built-in net that fits the weights]
    #[arg(long, value_name = "F", alias = "model_def")]
    pub model: Option<PathBuf>,
    /// The weights: .caffemodel, .caffemodel.h5, .npz, .dsdz or Deep Compression .net
    #[arg(
        long,
        value_name = "F",
        value_delimiter = ',',
        alias = "pretrained_model"
    )]
    pub weights: Vec<PathBuf>,
    /// The classes' names, one a line, as in synset_words.txt [default: ImageNet's, of a net of 1000 classes]
    #[arg(long, value_name = "F")]
    pub labels: Option<PathBuf>,
    /// Tell how right the net is on one folder with a folder of pictures for each class: accuracy, over all and by class,
    /// which classes are taken for which, and the worst mistakes. The folders' classes are those of their names in --labels,
    /// in the folder's classes.txt, in ImageNet's (names or WordNet numbers); else the folders are numbered by name
    #[arg(long)]
    pub score: bool,
    /// With --score, write a row a picture: file, class, what the net says, and its probability
    #[arg(long, value_name = "F", requires = "score")]
    pub csv: Option<PathBuf>,
    /// How many classes to tell of each picture
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = count(1_000_000))]
    pub top: usize,
    /// The mean picture (.binaryproto, .npy) to subtract; of another size than the pictures, its mean by channel
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
    /// Average the predictions over ten crops: corners, centre, and their mirror pictures. With OUTPUT.npy that is the
    /// default
    #[arg(long, conflicts_with = "center_only")]
    pub oversample: bool,
    /// Only the centre of each picture
    #[arg(long)]
    pub center_only: bool,
    /// As classify.py's: resize pictures to this before they are cropped
    /// [default: 256,256 for OUTPUT.npy and for ten crops, else the net's input]
    #[arg(long, value_name = "H,W", value_delimiter = ',', value_parser = count(16384))]
    pub images_dim: Vec<usize>,
    /// Of folders, take the files right in them that end so [default: all pictures; for OUTPUT.npy jpg]
    #[arg(long, value_name = "EXT")]
    pub ext: Option<String>,
    /// pycaffe's preprocessing.
    #[command(flatten)]
    pub pycaffe: Pycaffe,
    /// Print the result as one JSON object on stdout
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
  dsd classify cat.jpg --weights squeezenet.caffemodel --labels synset_words.txt
  dsd classify photos/ --model train_val.prototxt --weights w.caffemodel --top 1 --json
  dsd classify imagenet_val/ --weights squeezenet.caffemodel --score   imagenet_val/tabby/1.jpg, imagenet_val/tench/2.jpg …
  dsd classify cat.jpg --model deploy.prototxt --weights w.caffemodel --mean_value 104,117,123 --resize 256
  dsd classify photos/ out.npy --model_def deploy.prototxt --pretrained_model w.caffemodel --mean_file mean.npy --ext jpg

Without --labels, a net of 1000 classes has ImageNet's names.
With OUTPUT.npy, an .npy picture, or one of --oversample, --images_dim, --raw_scale, --channel_swap and --input_scale,
all is as in Caffe's python/classify.py, whose pictures are numbers from 0 to 1 and resized by scikit-image.
The preprocessing is that of the net's TEST data layer, and printed. A deploy net has none: its pictures are
resized to its input, as Caffe's classification example does; give the mean that it was trained with.";
