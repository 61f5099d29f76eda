//! Arguments of `parse_log`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `parse_log`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct ParseLog {
    /// The log of a training run, by Caffe or by dsd
    #[arg(value_name = "LOGFILE")]
    pub logfile: PathBuf,
    /// The folder for LOGFILE.train and LOGFILE.test
    #[arg(value_name = "OUTPUT_DIR")]
    pub output_dir: PathBuf,
    /// What stands between two columns: one character, or \t
    #[arg(long, value_name = "C", default_value = ",", value_parser = delimiter)]
    pub delimiter: char,
    /// Accepted for Caffe's scripts: the files written are always told
    #[arg(long, hide = true)]
    pub verbose: bool,
}

fn delimiter(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        ("\\t", ..) => Ok('\t'),
        (_, Some(c), None) if !matches!(c, '"' | '\r' | '\n') => Ok(c),
        _ => Err("expected one character, and neither a quote nor a line break".into()),
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd parse_log caffe.INFO .                  caffe.INFO.train and caffe.INFO.test
  dsd train --solver s.prototxt 2> run.log && dsd parse_log run.log plots --delimiter '\\t'";
