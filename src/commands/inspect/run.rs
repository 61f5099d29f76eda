//! The folder of a run, a phase's `phase.json`, and the flow that a run follows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Description, noted, things};
use crate::commands::run_folder::{Record, RunFolder};
use crate::files;
use crate::flow::{Flow, Schedule, Step};
use crate::report::number::G;
use crate::report::table::{Align, Table};
use crate::solver::bits::Bits;
use crate::solver::sparsity::Sparsity;

/// Describes the folder of a run or of a phase, if `path` is one.
pub fn folder(path: &Path) -> Result<Option<Description>> {
    let own = path.join("phase.json");
    if own.is_file() {
        return record(&own).map(Some);
    }
    let run = RunFolder::new(path.to_path_buf());
    let records = run.records()?;
    match records[..] {
        [] => Ok(None),
        _ => describe(path, &run, &records).map(Some),
    }
}

/// Describes a `phase.json`.
pub fn record(path: &Path) -> Result<Description> {
    let text = files::read_text(path)?;
    let record: Record = serde_json::from_str(&text)
        .with_context(|| format!("{}: expected the record of a phase", path.display()))?;
    let home = path.parent().unwrap_or(Path::new(""));
    let root = match home.parent() {
        Some(root) if home.file_name().is_some_and(|n| *n == *record.phase) => root.to_path_buf(),
        _ => PathBuf::new(),
    };
    describe(path, &RunFolder::new(root), &[record])
}

fn describe(path: &Path, run: &RunFolder, records: &[Record]) -> Result<Description> {
    // Through its text, a float32 keeps the digits that phase.json has.
    let phases: Value = serde_json::from_str(&serde_json::to_string(records)?)?;
    let mut notes = Vec::new();
    for r in records {
        if let Some(sparsity) = &r.sparsity {
            let how = r
                .schedule
                .as_ref()
                .map_or(String::new(), |s| format!(" ({s})"));
            notes.push(format!(
                "{} pruned with --sparsity {sparsity}{how}",
                r.phase
            ));
        }
        if let Some(bits) = &r.bits {
            notes.push(format!("{} quantized with --bits {bits}", r.phase));
        }
        if !r.done {
            notes.push(format!("{} has not run to its end", r.phase));
        }
    }
    Ok(Description {
        text: format!(
            "{}: {} of a run\n{}{}",
            path.display(),
            things(records.len(), "phase"),
            run.table(records),
            noted(&notes)
        ),
        json: json!({ "kind": "run", "phases": phases }),
    })
}

/// Describes the flow in the file `path`.
pub fn flow(path: &Path) -> Result<Description> {
    let flow = Flow::read(path)?;
    let mut table = Table::new([
        ("phase", Align::Left),
        ("solver", Align::Left),
        ("iterations", Align::Right),
        ("base_lr", Align::Right),
        ("sparsity", Align::Left),
        ("bits", Align::Left),
    ]);
    let file = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string());
    let mut phases = Vec::new();
    for step in &flow.steps {
        table.row([
            step.name.clone(),
            file(&step.solver).unwrap_or_default(),
            step.max_iter.map_or(String::new(), |n| n.to_string()),
            step.base_lr.map_or(String::new(), |r| G(r).to_string()),
            sparsity(step),
            step.bits.as_ref().map_or("", Bits::text).to_string(),
        ]);
        let extras: BTreeMap<_, _> = step.extras().into_iter().collect();
        phases.push(json!({
            "name": step.name,
            "phase": step.phase,
            "solver": file(&step.solver),
            "max_iter": step.max_iter,
            "base_lr": step.base_lr.map(super::decimal),
            "sparsity": step.sparsity.as_ref().map(Sparsity::text),
            "schedule": step.schedule.map(|s| s.to_string()),
            "prune_every": step.prune_every,
            "prune_until": step.prune_until,
            "extras": extras,
            "bits": step.bits.as_ref().map(Bits::text),
            "scale_dropout": step.scale_dropout,
            "precision": step.precision,
        }));
    }
    let mut notes = Vec::new();
    for step in flow.steps.iter().filter(|s| s.scale_dropout) {
        notes.push(format!("{} scales dropout with the density", step.name));
    }
    for step in &flow.steps {
        if let Some(precision) = step.precision {
            notes.push(format!("{} computes in {precision}", step.name));
        }
    }
    if let Some(weights) = file(&flow.weights) {
        notes.push(format!("starts from the weights {weights}"));
    }
    let (n, table) = (things(flow.steps.len(), "phase"), table.shown());
    Ok(Description {
        text: format!(
            "{}: a flow of {n}\n{table}{}",
            path.display(),
            noted(&notes)
        ),
        json: json!({ "kind": "flow", "weights": file(&flow.weights), "phases": phases }),
    })
}

/// What a phase prunes and how, and what else a flow says of it.
fn sparsity(step: &Step) -> String {
    let mut text = step
        .sparsity
        .as_ref()
        .map_or("", Sparsity::text)
        .to_string();
    if let Some(schedule) = step.schedule.filter(|s| *s != Schedule::Once) {
        text += &format!(" {schedule}");
        let ends = [("every", step.prune_every), ("until", step.prune_until)];
        for (word, n) in ends {
            text += &n.map_or(String::new(), |n| format!(" {word} {n}"));
        }
    }
    for (name, value) in step.extras() {
        text += &format!(" {name}={value}");
    }
    text.trim().to_string()
}
