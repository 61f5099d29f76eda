//! `dsd status`: how runs stand, a row each.

use super::model_folder::ModelFolder;
use super::run_folder::stand::{Stand, State};
use crate::cli;
use crate::report::human::{HumanBytes, HumanTime};
use crate::report::number::G;
use crate::report::output;
use crate::report::table::{Align, Table};
use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Prints how the runs stand; folders that are none are named behind them.
pub fn run(args: &cli::Status) -> Result<()> {
    let (mut stands, mut wrong) = (Vec::new(), Vec::new());
    for path in &args.runs {
        match stands_in(&ModelFolder::run_of(path)) {
            Ok(found) => stands.extend(found),
            Err(error) => wrong.push(output::sentence(&error)),
        }
    }
    if args.json {
        let runs: Vec<Value> = stands.iter().map(described).collect();
        output::json(&json!({ "runs": runs }))?;
    } else if !stands.is_empty() {
        output::table(&table(&stands))?;
        output::text(format_args!("{}", notes(&stands)))?;
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    Ok(())
}

/// The run in a folder, or the runs of an experiment.
fn stands_in(path: &Path) -> Result<Vec<Stand>> {
    if !path.is_dir() {
        bail!(
            "{}: no such folder; give that of a run, as dsd train --out writes it",
            path.display()
        );
    }
    if let Some(stand) = Stand::read(path)? {
        return Ok(vec![stand]);
    }
    let mut stands = Vec::new();
    collect(&path.join("runs"), 3, &mut stands)?;
    if stands.is_empty() {
        let shown = path.display();
        if path.join("phase.json").is_file() {
            bail!("{shown}: this is the folder of one phase; give that of its run, one above");
        }
        let has_run = |p: &PathBuf| matches!(Stand::read(p), Ok(Some(_)));
        if let Some(inner) = folders(path).into_iter().find(has_run) {
            bail!(
                "{shown}: no run is here, but in folders below it; give these, such as {}",
                inner.display()
            );
        }
        bail!(
            "{shown}: no run is here: expected run.json or a folder a phase, as dsd train --out writes them, or the runs of \
             dsd experiment --out"
        );
    }
    Ok(stands)
}

/// The runs of an experiment below `folder`, those too that have only their flow.
fn collect(folder: &Path, deep: usize, into: &mut Vec<Stand>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            match Stand::read(&path)? {
                Some(stand) => into.push(stand),
                None if deep > 1 => collect(&path, deep - 1, into)?,
                None => {}
            }
        } else if path.extension().is_some_and(|e| e == "toml") {
            let own = path.with_extension("");
            if !own.is_dir() {
                into.push(Stand::waiting(&own));
            }
        }
    }
    Ok(())
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found
}

fn table(stands: &[Stand]) -> Table {
    let columns = [
        ("run", Align::Left),
        ("state", Align::Left),
        ("phase", Align::Left),
        ("iteration", Align::Right),
        ("lr", Align::Right),
        ("loss", Align::Right),
        ("test", Align::Left),
        ("pictures/s", Align::Right),
        ("phase left", Align::Right),
        ("disk", Align::Right),
    ];
    let mut table = Table::new(columns);
    for s in stands {
        let number = |v: f64| match v.is_finite() {
            true => G(v).to_string(),
            false => String::new(),
        };
        let (at, of) = s.place;
        let tests = s.outputs.iter().map(|(n, v)| format!("{n} {}", G(*v)));
        table.row([
            s.root.display().to_string(),
            state(s),
            match of {
                1 => s.phase.clone(),
                _ => format!("{} {at}/{of}", s.phase),
            },
            match (s.state, s.max_iter) {
                (State::Waiting, _) => String::new(),
                (_, Some(all)) => format!("{}/{all}", s.iteration),
                (_, None) => s.iteration.to_string(),
            },
            number(s.last.map_or(f64::NAN, |r| r.lr)),
            number(s.loss),
            tests.collect::<Vec<_>>().join(", "),
            match s.last {
                Some(row) if row.images_per_s > 0.0 => format!("{:.0}", row.images_per_s),
                _ => String::new(),
            },
            s.left.map_or(String::new(), |t| HumanTime(t).to_string()),
            match s.disk {
                0 => String::new(),
                bytes => HumanBytes(bytes).to_string(),
            },
        ]);
    }
    table
}

/// The state, and of a running one the process.
fn state(stand: &Stand) -> String {
    match &stand.holder {
        Some(holder) if holder.machine.is_empty() => format!("running ({})", holder.process),
        Some(holder) => format!("running ({} on {})", holder.process, holder.machine),
        None => stand.state.name().to_string(),
    }
}

/// Why runs failed, what goes on with those that stopped, and of several how many there are in each state.
fn notes(stands: &[Stand]) -> String {
    let mut text = String::new();
    for s in stands {
        if let Some(error) = &s.error {
            text += &format!("{} failed: {error}\n", s.root.display());
        }
    }
    if let [one] = stands {
        if one.state == State::Stopped {
            text += &format!(
                "dsd train --out {} --resume goes on with it\n",
                one.root.display()
            );
        }
        return text;
    }
    let states = [
        State::Running,
        State::Done,
        State::Stopped,
        State::Failed,
        State::Waiting,
    ];
    let count = |state: State| stands.iter().filter(|s| s.state == state).count();
    let counts = states.map(|s| (count(s), s.name()));
    let counts = counts.into_iter().filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, name)| format!("{n} {name}")).collect();
    let disk = HumanBytes(stands.iter().map(|s| s.disk).sum());
    text += &format!("{} runs: {}; {disk}\n", stands.len(), counts.join(", "));
    text
}

/// The same as JSON; what is not known is null.
fn described(s: &Stand) -> Value {
    let last = |value: fn(&crate::report::course::TrainRow) -> f64| s.last.as_ref().map(value);
    let outputs: Map<String, Value> = s
        .outputs
        .iter()
        .map(|(name, v)| (name.clone(), Value::from(*v)))
        .collect();
    json!({
        "run": s.root.display().to_string(),
        "state": s.state.name(),
        "process": s.holder.as_ref().and_then(|h| h.process.parse::<u64>().ok()),
        "machine": s.holder.as_ref().map(|h| &h.machine).filter(|m| !m.is_empty()),
        "phase": s.phase,
        "phase_number": s.place.0,
        "phases": s.place.1,
        "iteration": s.iteration,
        "max_iter": s.max_iter,
        "lr": last(|r| r.lr),
        "loss": s.loss,
        "outputs": outputs,
        "images_per_s": last(|r| r.images_per_s),
        "seconds_left": s.left.map(|t| t.as_secs_f64()),
        "disk_bytes": s.disk,
        "error": s.error,
    })
}
