//! Runs side by side: in what they differ, and what came out of each.

use super::gathered::Gathered;
use crate::page::{Page, Table};
use crate::report::number::G;

/// What differs between several runs.
pub fn differences(page: &mut Page, runs: &[Gathered]) {
    if runs.len() < 2 {
        return;
    }
    page.section("Side by side");
    results(page, runs);
    settings(page, runs);
}

/// The names of the phases of all runs, in the order in which they first appear.
fn phases(runs: &[Gathered]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for name in runs
        .iter()
        .flat_map(|r| r.phases.iter().map(|p| &p.phase[..]))
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn results(page: &mut Page, runs: &[Gathered]) {
    let Some(output) = runs.iter().find_map(Gathered::main_output) else {
        return;
    };
    let of = |run: &Gathered, phase: &str| -> Option<f64> {
        let record = run.phases.iter().find(|r| r.phase == phase)?;
        run.outputs(record)
            .into_iter()
            .find(|o| o.0 == output)
            .map(|o| o.1)
    };
    let mut heads = vec!["phase"];
    heads.extend(runs.iter().map(|r| &r.name[..]));
    let two = runs.len() == 2;
    if two {
        heads.push("difference");
    }
    let mut table = Table::new(&format!("Test {output} at the end of each phase"), heads);
    for phase in phases(runs) {
        let values: Vec<Option<f64>> = runs.iter().map(|r| of(r, phase)).collect();
        let mut row = vec![phase.to_owned()];
        row.extend(
            values
                .iter()
                .map(|v| v.map_or(String::new(), |v| G(v).to_string())),
        );
        if let (true, [Some(a), Some(b)]) = (two, &values[..]) {
            row.push(format!("{:+.4}", b - a));
        }
        table.row(row);
    }
    page.table(&table);
    page.note(
        "A difference between two runs shows nothing by itself: runs of several seeds, compared in pairs, tell how much of it \
         is chance.",
    );
}

fn settings(page: &mut Page, runs: &[Gathered]) {
    let mut heads = vec!["phase", "setting"];
    heads.extend(runs.iter().map(|r| &r.name[..]));
    let columns = heads.len();
    let mut table = Table::new("Settings that differ", heads);
    for k in 1..columns {
        table = table.words(k);
    }
    let mut found = false;
    for phase in phases(runs) {
        let all: Vec<Vec<(&str, String)>> = runs.iter().map(|r| said(r, phase)).collect();
        let names: Vec<&str> = all
            .iter()
            .max_by_key(|s| s.len())
            .into_iter()
            .flatten()
            .map(|s| s.0)
            .collect();
        for name in names {
            let value = |own: &Vec<(&str, String)>| {
                let own = own.iter().find(|s| s.0 == name);
                own.map_or("no such phase".to_owned(), |s| s.1.clone())
            };
            let values: Vec<String> = all.iter().map(value).collect();
            if values.iter().any(|v| *v != values[0]) {
                found = true;
                table.row(
                    [phase.to_owned(), name.to_owned()]
                        .into_iter()
                        .chain(values),
                );
            }
        }
    }
    match found {
        true => drop(page.table(&table)),
        false => drop(page.text("All settings of the phases' records are the same.")),
    }
}

/// What the record of a phase says of its settings.
fn said(run: &Gathered, phase: &str) -> Vec<(&'static str, String)> {
    let Some(r) = run.phases.iter().find(|r| r.phase == phase) else {
        return Vec::new();
    };
    let text = |v: &Option<String>| v.clone().unwrap_or_else(|| "none".into());
    let number = |v: Option<u64>| v.map_or("none".into(), |v| v.to_string());
    vec![
        ("version", r.version.clone()),
        ("solver", r.solver.clone()),
        (
            "nets",
            r.nets.values().cloned().collect::<Vec<_>>().join(", "),
        ),
        ("seed", number(r.seed)),
        (
            "source",
            r.source
                .as_ref()
                .map_or("the net's".into(), |p| p.display().to_string()),
        ),
        ("base_lr", G(r.base_lr).to_string()),
        ("max_iter", number(r.max_iter)),
        ("sparsity", text(&r.sparsity)),
        ("schedule", text(&r.schedule)),
        ("bits", text(&r.bits)),
        ("scale_dropout", r.scale_dropout.to_string()),
        ("precision", r.precision.to_string()),
    ]
}
