//! Arguments of `new`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `new`.
#[derive(Clone, Debug, Args)]
pub struct New {
    /// Which family.
    #[command(subcommand)]
    pub family: Family,
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
  dsd new squeezenet --base 128 --incr 128 --pct3x3 0.5 --freq 2 --sr 0.125 --out my_net
  dsd new squeezenet --bypass simple --out squeezenet_bypass";
