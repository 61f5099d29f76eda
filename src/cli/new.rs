//! Arguments of `new`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `new`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct New {
    /// Which family.
    #[command(subcommand)]
    pub family: Option<Family>,
    /// For pictures, or a built-in net.
    #[command(flatten)]
    pub made: Made,
}

/// What is made for pictures, or of a built-in net.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Made {
    /// A folder with a folder of pictures for each class; one that holds such folders train and val (and test); a list, a line
    /// `path label` a picture; a database; CIFAR-10's or MNIST's files; or the name of a built-in net, whose files are written
    /// out
    #[arg(value_name = "PICTURES|NET")]
    pub what: Option<PathBuf>,
    /// The folder to make; its name is the net's [default: my_net, or the built-in net's name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// A folder, list or database of validation pictures [default: a part of the others]
    #[arg(long, value_name = "PICTURES")]
    pub val: Option<PathBuf>,
    /// The part of each class that validates, where nothing else does
    #[arg(long, value_name = "P", default_value_t = 0.2, value_parser = share)]
    pub val_share: f64,
    /// The net: fire, modules with BatchNorm for small pictures; or a built-in net, which learns from nothing
    /// [default: fire]
    #[arg(long, value_name = "NAME", conflicts_with = "finetune")]
    pub net: Option<String>,
    /// Weights of a built-in net to go on from: all layers but the classifier, which gets these classes
    #[arg(long, value_name = "WEIGHTS")]
    pub finetune: Option<PathBuf>,
    /// The height and width that pictures are brought to [default: their own up to 128; what a built-in net wants]
    #[arg(long, value_name = "N", value_parser = super::count(1024))]
    pub size: Option<usize>,
    /// How often the dense phase sees each picture; the sparse and the re-dense phase half as often
    /// [default: 40, 4 with --finetune; at least 300 updates, 60 with --finetune]
    #[arg(long, value_name = "N", value_parser = super::count(100_000))]
    pub epochs: Option<usize>,
    /// Do not mirror pictures in training, as is right for letters and digits [default: gray ones are not mirrored]
    #[arg(long)]
    pub no_mirror: bool,
    /// Train at once
    #[arg(long)]
    pub train: bool,
}

/// A part, above 0 and below 1.
fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(p) if p > 0.0 && p < 1.0 => Ok(p),
        _ => Err("expected a number above 0 and below 1, such as 0.2".to_string()),
    }
}

/// A family of nets.
#[derive(Clone, Debug, Subcommand)]
pub enum Family {
    /// SqueezeNet's design space; the defaults are SqueezeNet v1.0
    Squeezenet(Squeezenet),
}

/// The metaparameters of SqueezeNet's design space, named as in the paper.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Squeezenet {
    /// Expand filters of the first fire module
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub base: usize,
    /// Expand filters added after every --freq modules
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub incr: usize,
    /// The share of expand filters that are 3x3
    #[arg(long = "pct3x3", value_name = "P", default_value_t = 0.5)]
    pub pct3x3: f64,
    /// Modules between two increments
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub freq: usize,
    /// Squeeze filters as a fraction of expand filters
    #[arg(long, value_name = "R", default_value_t = 0.125)]
    pub sr: f64,
    /// Add the input of every second module to its output
    #[arg(long, value_enum, default_value = "none")]
    pub bypass: Bypass,
    /// The folder to make; its name is the net's
    #[arg(long, value_name = "DIR", default_value = "squeezenet")]
    pub out: PathBuf,
}

/// Connections around fire modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bypass {
    /// None
    None,
    /// The identity, where the channels agree
    Simple,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd new animals --out my                    for pictures in a folder a class; then dsd train my
  dsd new animals --finetune squeezenet.caffemodel --out my_net
  dsd new squeezenet_v1.1 --out own_net       the files of a built-in net
  dsd new squeezenet --base 128 --incr 128 --pct3x3 0.5 --freq 2 --sr 0.125 --out my_design
  dsd new squeezenet --bypass simple --out squeezenet_bypass";
