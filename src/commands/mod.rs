//! The subcommands: one file each, which resolves the arguments, calls the library and prints.

mod inspect;

use std::process::ExitCode;

use anyhow::{Error, Result, bail};

use crate::cli::{Cli, Command};
use crate::report::log;
use crate::warn;

/// Wrong usage that shows only when the arguments are looked at together with the files: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(
    /// What is wrong and what to write instead.
    pub String,
);

/// The exit code of a failed command: 2 for wrong usage, else 1.
pub fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

/// Runs a command; the exit code is 0, or 130 where SIGINT stopped it.
///
/// # Errors
/// The work failed.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let global = cli.global;
    if let Some(level) = global.glog.minloglevel {
        log::set_minimum(level);
    }
    // Caffe's default is `--gpu ""`.
    if global.gpu.is_some_and(|ids| !ids.is_empty()) {
        warn!("no GPU backend, running on CPU");
    }
    match cli.command {
        Command::Inspect(args) => inspect::run(&args)?,
        _ => bail!("this command is not there yet"),
    }
    Ok(ExitCode::SUCCESS)
}
