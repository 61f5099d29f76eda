//! Arguments of the programs of Caffe's examples that make databases, and of `resize_and_crop_images`.

use std::path::PathBuf;

use clap::Args;

use super::Backend;

/// Arguments of `convert_mnist_data`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct ConvertMnist {
    /// MNIST's file of pictures, plain or .gz
    #[arg(value_name = "INPUT_IMAGE_FILE")]
    pub images: PathBuf,
    /// MNIST's file of their labels
    #[arg(value_name = "INPUT_LABEL_FILE")]
    pub labels: PathBuf,
    /// The database to make; it must not exist
    #[arg(value_name = "OUTPUT_DB_FILE")]
    pub db: PathBuf,
    /// The kind of database
    #[arg(long, value_enum, ignore_case = true, default_value = "lmdb")]
    pub backend: Backend,
}

/// Arguments of `convert_mnist_siamese_data`.
#[derive(Clone, Debug, Args)]
pub struct ConvertMnistSiamese {
    /// MNIST's file of pictures, plain or .gz
    #[arg(value_name = "INPUT_IMAGE_FILE")]
    pub images: PathBuf,
    /// MNIST's file of their labels
    #[arg(value_name = "INPUT_LABEL_FILE")]
    pub labels: PathBuf,
    /// The LevelDB of pairs to make; it must not exist
    #[arg(value_name = "OUTPUT_DB_FILE")]
    pub db: PathBuf,
}

/// Arguments of `convert_cifar_data`.
#[derive(Clone, Debug, Args)]
pub struct ConvertCifar {
    /// The folder of CIFAR-10's binary files data_batch_1.bin to data_batch_5.bin and test_batch.bin
    #[arg(value_name = "INPUT_FOLDER")]
    pub input: PathBuf,
    /// Where to make cifar10_train_TYPE and cifar10_test_TYPE; they must not exist
    #[arg(value_name = "OUTPUT_FOLDER")]
    pub output: PathBuf,
    /// The kind of database
    #[arg(value_name = "DB_TYPE", value_enum, ignore_case = true)]
    pub backend: Backend,
}

/// Arguments of `resize_and_crop_images`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct ResizeAndCrop {
    /// The folder of the pictures; all below it, where no list is given
    #[arg(
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    pub input_folder: PathBuf,
    /// The folder for the results, under the same names; it is made where it is missing
    #[arg(long, value_name = "DIR", required = true)]
    pub output_folder: PathBuf,
    /// Height and width of the results: the shorter side becomes so long, then the centre is cut out
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = super::count(65_500))]
    pub output_side_length: usize,
    /// A list of pictures below the input folder, a path a line; what follows a space is not read
    #[arg(long, value_name = "LIST")]
    pub input: Option<PathBuf>,
    /// Accepted for Caffe's script: opencv, which is how it is done, or PIL
    #[arg(long, value_name = "NAME", hide = true)]
    pub image_lib: Option<String>,
    /// Accepted for Caffe's script, whose work was spread over so many processes
    #[arg(long, value_name = "N", hide = true)]
    pub num_clients: Option<String>,
}

pub(super) const MNIST_EXAMPLES: &str = "\
Examples:
  dsd convert_mnist_data train-images-idx3-ubyte train-labels-idx1-ubyte mnist_train_lmdb --backend=lmdb";

pub(super) const CIFAR_EXAMPLES: &str = "\
Examples:
  dsd convert_cifar_data data/cifar10 examples/cifar10 lmdb";

pub(super) const SIAMESE_EXAMPLES: &str = "\
Examples:
  dsd convert_mnist_siamese_data train-images-idx3-ubyte train-labels-idx1-ubyte mnist_siamese_train_leveldb

Each record is two pictures drawn at random, as two channels; its label is 1 where both are of one class.
The same --seed makes the same pairs.";

pub(super) const CROP_EXAMPLES: &str = "\
Examples:
  dsd resize_and_crop_images --input_folder=train --output_folder=train256 --output_side_length=256
  dsd resize_and_crop_images --input_folder=train --output_folder=train256 --input=list.txt";
