//! Arguments of the upgrade tools.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `upgrade_net_proto_text` and its like: in and out, as Caffe's tools take them.
#[derive(Clone, Debug, Args)]
pub struct Upgrade {
    /// The old file
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file to write; it may be the old one
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
}
