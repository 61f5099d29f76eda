//! Arguments of `convert_text`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `convert_text`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct ConvertText {
    /// The text, in UTF-8
    #[arg(value_name = "TEXT")]
    pub text: PathBuf,
    /// The folder to make: train.h5, val.h5, test.h5, vocabulary.txt; it must not exist
    #[arg(value_name = "OUT_FOLDER")]
    pub out: PathBuf,
    /// The pieces that each file is cut into, read side by side
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = super::count(1 << 20))]
    pub streams: usize,
    /// The characters of a piece in a batch: the batch_size of the net's HDF5Data layers
    #[arg(long, value_name = "T", default_value_t = 32, value_parser = super::count(1 << 20))]
    pub steps: usize,
    /// The part of the text, before its test part, that becomes val.h5; 0: none
    #[arg(long, value_name = "PART", default_value_t = 0.1, value_parser = part)]
    pub val: f64,
    /// The part of the text, its end, that becomes test.h5; 0: none
    #[arg(long, value_name = "PART", default_value_t = 0.1, value_parser = part)]
    pub test: f64,
    /// The vocabulary.txt that a net was trained with [default: the characters of the text, sorted]
    #[arg(long, value_name = "FILE")]
    pub vocabulary: Option<PathBuf>,
}

fn part(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|n| (0.0..1.0).contains(n))
        .ok_or_else(|| "expected a number from 0 to below 1, such as 0.1".to_string())
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd convert_text book.txt book
  dsd convert_text --streams 32 --steps 50 --val 0.05 --test 0.05 book.txt book_50

Each file has datasets data (numbers of characters), label (those of the next characters) and cont (0 where a
stream starts, else 1), of shape rows x streams, for an HDF5Data layer with tops of these names. Line k of
vocabulary.txt is character k - 1, as a JSON string.";
