//! The `dsd` program: parse, run, print `error: …`, exit code.

use std::process::ExitCode;

use anyhow::Result;
use dsd::cli::{self, Cli};
use dsd::commands::{self, Settings};
use dsd::files;
use dsd::report::{log, output};

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
    let variable = |name: &str| std::env::var_os(name);
    // Held to the end: only when this process has gone may another one pin its threads.
    let settings = Settings::read(&cli.global, &variable)?;
    settings.apply()?;
    log::configure(log::Settings {
        quiet: cli.global.quiet,
        ..cli.global.glog.settings(&cli.program, &variable)
    });
    commands::run(cli, &settings)
}
