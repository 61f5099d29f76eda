//! Arguments of Caffe's tools for databases: `convert_imageset`, `compute_image_mean`, `extract_features`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::proto::caffe::data_parameter::Db;

/// Arguments of `convert_imageset`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct ConvertImageset {
    /// What is put before every path of the list, as it is: a folder, with its slash
    #[arg(value_name = "ROOTFOLDER/")]
    pub root_folder: String,
    /// A list of `PATH LABEL` lines, or a folder with one folder of pictures for each class
    #[arg(value_name = "LISTFILE")]
    pub list_file: PathBuf,
    /// The database to make; it must not exist
    #[arg(value_name = "DB_NAME")]
    pub db_name: PathBuf,
    /// Store one channel, brightness, instead of blue, green and red
    #[arg(long)]
    pub gray: bool,
    /// Shuffle the pictures; --seed gives another order [default: for a folder of classes, not for a list]
    #[arg(long, overrides_with = "noshuffle")]
    pub shuffle: bool,
    /// Keep the order: of a folder's classes and names too
    #[arg(long, overrides_with = "shuffle")]
    pub noshuffle: bool,
    /// The class list (a name a line), or the database that has one: label i is the i-th name
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// The kind of database
    #[arg(long, value_enum, ignore_case = true, default_value = "lmdb")]
    pub backend: Backend,
    /// The width that pictures are resized to (with --resize_height) [default: their own]
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub resize_width: i32,
    /// The height that pictures are resized to (with --resize_width) [default: their own]
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub resize_height: i32,
    /// Stop at a picture whose size is not that of the first
    #[arg(long)]
    pub check_size: bool,
    /// Store picture files instead of pixels: a picture's own file where its size and type stay
    #[arg(long)]
    pub encoded: bool,
    /// The type to encode as: png, jpg, bmp, tiff, webp, ppm, pgm or pnm; implies --encoded [default: that of
    /// each file]
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "",
        hide_default_value = true
    )]
    pub encode_type: String,
    /// Accepted for older scripts: pictures that cannot be read are told and left out, as by Caffe
    #[arg(long, hide = true)]
    pub skip_unreadable: bool,
}

pub(super) const IMAGESET_EXAMPLES: &str = "\
Examples:
  dsd convert_imageset --resize_height=256 --resize_width=256 --shuffle train/ train.txt train_lmdb
  dsd convert_imageset --encoded --encode_type=jpg pictures/ list.txt pictures_lmdb
  dsd convert_imageset animals/ animals/ animals_lmdb   animals/cat/*.jpg → 0, animals/dog/*.jpg → 1
  dsd convert_imageset --classes animals_lmdb val/ val/ val_lmdb   the same labels, a class may be missing

Keys are NUMBER_PATH, as Caffe's. The classes of a folder are listed in DB_NAME/classes.txt.";

impl From<Backend> for Db {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Lmdb => Self::Lmdb,
            Backend::Leveldb => Self::Leveldb,
        }
    }
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// LMDB
    Lmdb,
    /// LevelDB
    Leveldb,
}

/// Arguments of `compute_image_mean`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct ComputeImageMean {
    /// The database of pictures, all of one size
    #[arg(value_name = "INPUT_DB")]
    pub input_db: PathBuf,
    /// Where to write the mean, for a net's mean_file
    #[arg(value_name = "OUTPUT_FILE")]
    pub output_file: Option<PathBuf>,
    /// Accepted for Caffe's scripts: the kind of database shows in its files
    #[arg(long, value_enum, ignore_case = true, default_value = "lmdb")]
    pub backend: Backend,
}

pub(super) const MEAN_EXAMPLES: &str = "\
Examples:
  dsd compute_image_mean train_lmdb mean.binaryproto
  dsd compute_image_mean train_lmdb                   only the mean of each channel";

/// Arguments of `extract_features`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct ExtractFeatures {
    /// The weights: .caffemodel, .caffemodel.h5, .npz, .dsdz or Deep Compression .net
    #[arg(value_name = "WEIGHTS")]
    pub weights: PathBuf,
    /// The net with its data layers (prototxt or a built-in name); its TEST phase runs
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// The blobs to save
    #[arg(value_name = "BLOB[,BLOB…]")]
    pub blobs: List<String>,
    /// Where to save them: as many as blobs, or one .npz for all
    #[arg(value_name = "OUT[,OUT…]")]
    pub outs: List<PathBuf>,
    /// The number of batches
    #[arg(value_name = "NUM_BATCHES", value_parser = super::count(i32::MAX as usize))]
    pub batches: usize,
    /// How to save them
    #[arg(value_name = "DB_TYPE", value_enum, ignore_case = true)]
    pub db_type: FeatureStore,
    /// Accepted for Caffe's scripts: CPU or GPU, and a device
    #[arg(value_name = "CPU|GPU", hide = true)]
    pub device: Option<String>,
    /// Accepted for Caffe's scripts
    #[arg(value_name = "DEVICE_ID=N", hide = true)]
    pub device_id: Option<String>,
    /// Another data source (database or list) for the data layers
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// The numbers.
    #[command(flatten)]
    pub numbers: super::Numbers,
    /// Level and stages.
    #[command(flatten)]
    pub state: super::NetState,
}

/// Names in one word, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(Vec<T>);

impl<T: From<String>> std::str::FromStr for List<T> {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(Self(
            word.split(',').map(|w| T::from(w.to_string())).collect(),
        ))
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// How features are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FeatureStore {
    /// A database of one Datum (float_data) a sample, with keys 0000000000, 0000000001, …
    Lmdb,
    /// The same in a LevelDB
    Leveldb,
    /// NumPy arrays, the samples of all batches along the first axis
    Npz,
}

pub(super) const FEATURES_EXAMPLES: &str = "\
Examples:
  dsd extract_features w.caffemodel train_val.prototxt pool_final features_lmdb 20 lmdb
  dsd extract_features w.caffemodel train_val.prototxt fire9/concat,label features.npz 20 npz";
