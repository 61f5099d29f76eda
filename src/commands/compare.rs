//! `dsd compare`: finished runs side by side; those that differ in nothing but the seed count as one.

use super::results::{Results, Row, Score, Section, metric};
use super::run_folder::run_record::RunRecord;
use super::run_folder::{Record, RunFolder};
use crate::cli;
use crate::report::output;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// A run, as far as it has ended.
struct Run {
    folder: PathBuf,
    /// Its phases, in the order in which they were trained.
    records: Vec<Record>,
    seed: u64,
    stage: Vec<String>,
}

/// What must be the same for two runs to be seeds of one arm.
#[derive(PartialEq)]
struct Key {
    title: String,
    solvers: Vec<String>,
    stage: Vec<String>,
}

/// Runs the command.
pub fn run(args: &cli::Compare) -> Result<()> {
    let runs: Vec<Run> = args
        .runs
        .iter()
        .map(|r| Run::read(r))
        .collect::<Result<_>>()?;
    let results = results(runs)?;
    if args.json {
        output::json(&results.json())?;
    } else {
        output::text(format_args!("{}", results.text()))?;
    }
    Ok(())
}

impl Run {
    fn read(folder: &Path) -> Result<Self> {
        let run = RunFolder::new(folder.to_path_buf());
        let mut records = run.records()?;
        if records.is_empty() {
            bail!(
                "{} is no folder of a run: no folder in it has a phase.json; `dsd train --out DIR` writes them",
                folder.display()
            );
        }
        records.sort_by_key(|r| r.before);
        if let Some(open) = records.iter().find(|r| !r.done) {
            bail!(
                "{}: its {} phase has not ended; `dsd train --out {} --resume` goes on with it",
                folder.display(),
                open.phase,
                folder.display()
            );
        }
        let past = RunRecord::read(folder)?;
        let seed = records.last().and_then(|r| r.seed);
        Ok(Self {
            folder: folder.to_path_buf(),
            seed: seed.unwrap_or(crate::solver::DEFAULT_SEED),
            stage: past.map_or_else(Vec::new, |p| p.settings.stage),
            records,
        })
    }

    /// What was done, in words: runs that say the same are seeds of one arm.
    fn title(&self) -> String {
        let phase = |r: &Record| {
            let kind = r.phase.split('-').next().unwrap_or_default();
            let sparsity = r.sparsity.as_ref().map(|s| format!(" {s}"));
            let schedule = r.schedule.as_ref().map(|s| format!(" {s}"));
            let bits = r.bits.as_ref().map(|b| format!(" {b} bits"));
            let parts = [sparsity, schedule, bits].into_iter().flatten();
            format!(
                "{kind}{} {} at {}",
                parts.collect::<String>(),
                r.iterations,
                r.base_lr
            )
        };
        self.records
            .iter()
            .map(phase)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// What must be the same for two runs to be seeds of one arm.
    fn key(&self) -> Key {
        Key {
            title: self.title(),
            solvers: self.records.iter().map(|r| r.solver.clone()).collect(),
            stage: self.stage.clone(),
        }
    }
}

fn results(runs: Vec<Run>) -> Result<Results> {
    let last = runs.iter().filter_map(|r| r.records.last());
    let metric = metric(None, last)?;
    let mut rows: Vec<(Row, Key)> = Vec::new();
    let mut seconds = 0.0;
    for run in &runs {
        let key = run.key();
        let Some((last, before)) = run.records.split_last() else {
            continue;
        };
        let earlier = before.iter().map(|r| r.seconds).sum();
        let folder = run.folder.clone();
        let Some(score) = Score::of(last, run.seed, &metric, earlier, folder) else {
            bail!(
                "{}: its tests have no output '{metric}', which {} has",
                run.folder.display(),
                runs[0].folder.display()
            );
        };
        seconds += score.seconds;
        match rows.iter_mut().find(|(_, k)| *k == key) {
            Some((row, _)) if row.scores.iter().all(|s| s.seed != score.seed) => {
                row.scores.push(score);
            }
            _ => {
                let row = Row {
                    name: run.folder.display().to_string(),
                    title: run.title(),
                    scores: vec![score],
                };
                rows.push((row, key));
            }
        }
    }
    let rows: Vec<Row> = rows.into_iter().map(|(row, _)| row).collect();
    Ok(Results {
        title: "Runs".to_string(),
        control: rows.first().map_or_else(String::new, |r| r.name.clone()),
        metric,
        sections: vec![Section {
            name: String::new(),
            title: String::new(),
            rows,
        }],
        seconds,
    })
}
