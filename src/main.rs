//! The `dsd` program: parse, run, print `error: …`, exit code.

use std::process::ExitCode;

use anyhow::{Context, Result};
use dsd::cli::{self, Cli};
use dsd::commands;
use dsd::files;
use dsd::report::output;

fn main() -> ExitCode {
    match run(cli::parse(std::env::args_os())) {
        Ok(code) => code,
        // `dsd … | head` is no failure.
        Err(error) if output::reader_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error);
            commands::exit_code(&error)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    files::outlive_size_limit()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(cli.global.threads.unwrap_or(0))
        .build_global()
        .context("cannot start the threads; try a smaller --threads")?;
    commands::run(cli)
}
