//! `dsd experiment`: trains arms × seeds as a tree of runs, as many at once as is fastest, and says what they show. A run
//! is `dsd train` in a process of its own, in a folder of its own; what is there goes on, so a killed experiment does.

mod jobs;
mod page;
mod runs;

use super::run_folder::run_record::command_line;
use super::{Settings, Usage};
use crate::cli;
use crate::experiment::{self, Experiment};
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::{files, info, outln};
use anyhow::{Result, bail};
use jobs::Ended;
use runs::Runs;
use std::path::Path;
use std::process::ExitCode;

/// The copy of the experiment in its folder.
const COPY: &str = "experiment.toml";

/// Runs the command.
pub fn run(args: &cli::Experiment, settings: &Settings) -> Result<ExitCode> {
    let mut experiment = experiment::read(&args.file)?;
    experiment.source.clone_from(&args.source);
    experiment.keep = args.keep;
    if args.dry_run {
        print_plan(&experiment)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Looked at before its copy is replaced: its runs may be of other settings.
    Runs::open(&experiment, &args.out)?;
    let text = files::read(&args.file)?;
    files::write_atomic(&args.out.join(COPY), |w| Ok(w.write_all(&text)?))?;
    train(&experiment, &args.out, args.jobs, args.json, settings)
}

/// Trains what is not there yet of an experiment in the folder `out`, and prints what came out.
pub(super) fn train(
    experiment: &Experiment,
    out: &Path,
    jobs: Option<u64>,
    json: bool,
    settings: &Settings,
) -> Result<ExitCode> {
    let runs = Runs::open(experiment, out)?;
    info!(
        "{}: {} runs, {} done",
        experiment.title,
        runs.nodes.len(),
        runs.count_done()
    );
    let threads = settings.threads.count;
    // What is known so far is there to be read after each run.
    let ended = jobs::run(&runs, jobs, threads, &|| runs.results()?.write(out))?;
    if let Ended::Stopped(code) = ended {
        info!(
            "Stopped; the same command goes on, with --out {}",
            out.display()
        );
        return Ok(ExitCode::from(code));
    }
    let results = runs.results()?;
    results.write(out)?;
    page::write(&runs, &results, &command_line().join(" "), out)?;
    if json {
        outln!("{}", serde_json::to_string_pretty(&results.json())?)?;
    } else {
        output::text(format_args!("{}", results.text()))?;
    }
    if let Ended::Failed(failures) = ended {
        bail!(
            "{} of {} runs failed: {}",
            failures.len(),
            runs.nodes.len(),
            failures.join("; ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn print_plan(experiment: &Experiment) -> Result<()> {
    let nodes = experiment::nodes(experiment);
    if nodes.is_empty() {
        return Err(Usage("no group has an arm; there is nothing to run".into()).into());
    }
    let columns = [
        ("run", Align::Left),
        ("iterations", Align::Right),
        ("base_lr", Align::Right),
        ("ends the arms", Align::Left),
    ];
    let mut table = Table::new(columns);
    for node in &nodes {
        let ends: Vec<&str> = node
            .ends
            .iter()
            .map(|a| &*experiment.arms[*a].name)
            .collect();
        let rate = node.phase.table.get("base_lr").map(ToString::to_string);
        table.row([
            node.folder(experiment).display().to_string(),
            node.iterations(experiment).to_string(),
            rate.unwrap_or_else(|| "its solver's".to_string()),
            ends.join(", "),
        ]);
    }
    output::table(&table)?;
    let all: u64 = nodes.iter().map(|n| n.iterations(experiment)).sum();
    outln!("{} runs, {all} iterations", nodes.len())?;
    Ok(())
}
