//! The `dsd` program: parse, run, print `error: …`, exit code.

use std::process::ExitCode;

use anyhow::{Context, Result};
use dsd::cli::{self, Cli};
use dsd::commands;
use dsd::files;
use dsd::kernels::crew;
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
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cli.global.threads.filter(|n| *n > 0).unwrap_or(all);
    let mut pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    if threads == all {
        // Fewer may share the machine with another process, and must be free to go where it is not.
        pool = pool.start_handler(crew::pin);
    }
    pool.build_global()
        .context("cannot start the threads; try a smaller --threads")?;
    commands::run(cli)
}
