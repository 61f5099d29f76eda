//! What the page says of the runs' phases: how they ended, how fast they were.

use super::gathered::Gathered;
use crate::commands::run_folder::Record;
use crate::page::{Cell, Page, Table};
use crate::report::human::{HumanBytes, HumanTime};
use crate::report::number::G;
use std::time::Duration;

/// What the page is about, and the figures to see first.
pub fn head(page: &mut Page, runs: &[Gathered]) {
    for run in runs {
        page.lead(&lead(run));
    }
    let [run] = runs else { return };
    let Some(name) = run.main_output() else {
        return;
    };
    let mut facts: Vec<[String; 3]> = Vec::new();
    for record in &run.phases {
        if let Some((_, value)) = run.outputs(record).into_iter().find(|o| o.0 == name) {
            let word = format!("{name}, density {:.2}", record.density);
            facts.push([record.phase.clone(), G(value).to_string(), word]);
        }
    }
    page.facts(&facts);
}

fn lead(run: &Gathered) -> String {
    let names: Vec<&str> = run.phases.iter().map(|r| &r.phase[..]).collect();
    let sitting = run.started.sittings.first();
    let time = sitting.map_or(String::new(), |s| {
        format!(
            ", started {} UTC",
            s.time.split('.').next().unwrap_or("").replace('T', " ")
        )
    });
    let version = sitting.map_or(String::new(), |s| format!(", dsd {}", s.version));
    let state = match run.is_done() {
        true => "finished",
        false => "not finished",
    };
    format!(
        "{}: {}; {state}{time}{version}.",
        run.name,
        names.join(", ")
    )
}

/// The names of what the tests of all runs give.
pub fn outputs(runs: &[Gathered]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for run in runs {
        for (name, _) in run.phases.iter().flat_map(|r| run.outputs(r)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The table of the phases, of each run.
pub fn phases(page: &mut Page, runs: &[Gathered]) {
    page.section("Phases");
    let names = outputs(runs);
    for run in runs {
        let mut heads: Vec<String> = [
            "phase",
            "sparsity",
            "density",
            "base_lr",
            "iterations",
            "loss",
        ]
        .map(String::from)
        .to_vec();
        heads.extend(names.iter().map(|n| format!("test {n}")));
        heads.push("time".into());
        let caption = match runs.len() {
            1 => "The phases with the results of their last tests".to_owned(),
            _ => format!("The phases of {}", run.name),
        };
        let mut table = Table::new(&caption, heads).words(1);
        for record in &run.phases {
            table.row(phase_row(run, record, &names));
        }
        page.table(&table);
    }
    if runs.iter().any(|r| !r.is_done()) {
        page.note("A phase that has not ended shows where it stands.");
    }
}

fn phase_row(run: &Gathered, record: &Record, names: &[String]) -> Vec<Cell> {
    let done = run.iterations(record);
    let iterations = match record.max_iter {
        Some(all) if all != done => format!("{done} of {all}"),
        _ => done.to_string(),
    };
    let last = run.part(&record.phase).and_then(|p| p.train.last());
    let loss = match record.done {
        true => f64::from(record.loss),
        false => last.map_or(f64::NAN, |r| r.loss),
    };
    let mut cells: Vec<Cell> = vec![
        record.phase.clone().into(),
        record.sparsity.clone().unwrap_or_default().into(),
        Cell::new(format!("{:.4}", record.density)).bar(record.density),
        G(record.base_lr).to_string().into(),
        iterations.into(),
        G(loss).to_string().into(),
    ];
    let outputs = run.outputs(record);
    for name in names {
        let value = outputs.iter().find(|o| o.0 == *name);
        cells.push(value.map_or(String::new(), |o| G(o.1).to_string()).into());
    }
    cells.push(time(record.seconds).into());
    cells
}

fn time(seconds: f64) -> String {
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    HumanTime(time).to_string()
}

/// How fast each phase was, and what it took.
pub fn speed(page: &mut Page, runs: &[Gathered]) {
    page.section("Speed and memory");
    page.beside(|page| {
        runs.iter()
            .for_each(|run| speed_table(page, run, runs.len() == 1))
    });
    page.note(
        "Pictures a second: the median over the points of the log, tests included. Memory: the most that the process had \
         taken by the end of the phase. Records of older versions do not tell all of it.",
    );
}

/// The same of a run; `alone` on the page, it need not be named.
fn speed_table(page: &mut Page, run: &Gathered, alone: bool) {
    let caption = match alone {
        true => "What the phases took".to_owned(),
        false => format!("What the phases of {} took", run.name),
    };
    let heads = [
        "phase",
        "pictures a second",
        "waiting for data",
        "memory",
        "time",
    ];
    let mut table = Table::new(&caption, heads);
    for record in &run.phases {
        let rows = run.part(&record.phase).map_or(&[][..], |p| &p.train);
        let pace = median(rows.iter().map(|r| r.images_per_s).filter(|v| *v > 0.0));
        let waited = mean(rows.iter().map(|r| r.waited));
        let memory = record.memory.map(|n| HumanBytes(n).to_string());
        table.row([
            record.phase.clone(),
            pace.map_or(String::new(), |v| format!("{v:.0}")),
            waited.map_or(String::new(), |v| format!("{:.1} %", 100.0 * v)),
            memory.unwrap_or_default(),
            time(record.seconds),
        ]);
    }
    page.table(&table);
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let all: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}
