//! Arguments of `draw`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `draw`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Draw {
    /// The net (prototxt or a built-in name)
    #[arg(value_name = "NET")]
    pub net: PathBuf,
    /// The file to write; its name's end says the format: .svg, .png, .pdf or .dot
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
    /// Which way the data runs: left to right, right to left, top to bottom, bottom to top
    #[arg(long, value_enum, ignore_case = true, default_value = "LR")]
    pub rankdir: Direction,
    /// The layers of which of Caffe's phases; of a built-in net, all is the net for use, train and test
    /// are the net for training
    #[arg(long, value_enum, ignore_case = true, default_value = "all")]
    pub phase: DrawPhase,
    /// Show the learning rates' factors of layers that learn
    #[arg(long)]
    pub display_lrm: bool,
}

/// Which way the data runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Left to right
    #[value(name = "LR")]
    LeftRight,
    /// Right to left
    #[value(name = "RL")]
    RightLeft,
    /// Top to bottom
    #[value(name = "TB")]
    TopBottom,
    /// Bottom to top
    #[value(name = "BT")]
    BottomTop,
}

/// Which layers are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrawPhase {
    /// Those of the training net
    Train,
    /// Those of the test net
    Test,
    /// All of the file
    All,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd draw squeezenet_v1.0 squeezenet.svg --rankdir TB
  dsd draw squeezenet_v1.0 squeezenet.png
  dsd draw train_val.prototxt net.dot --phase test && dot -Tpdf net.dot > net.pdf";
