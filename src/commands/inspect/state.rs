//! A solver state, ours or Caffe's: where the run stands, its histories, masks and codebooks.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Description, counted, density, dims, noted, things};
use crate::report::human::HumanBytes;
use crate::report::number::G;
use crate::report::table::{Align, Table};
use crate::solver::mask::Mask;
use crate::solver::schedule::Schedule;
use crate::solver::shared::Shared;
use crate::solver::snapshot::{self, State};

/// Describes the solver state in the file `path`.
pub fn describe(path: &Path, size: HumanBytes) -> Result<Description> {
    let state = snapshot::read(path)?;
    // The state knows its histories by number; the weights beside it have the names.
    let names = match snapshot::weights(path, &state) {
        Ok(stored) => {
            let blobs = |l: &crate::weights_file::StoredLayer| {
                let labels = (0..l.blobs.len()).map(|k| format!("{}:{k}", l.name));
                let counts = l.blobs.iter().map(|b| b.data.len());
                labels.zip(counts).collect::<Vec<_>>()
            };
            named(
                &state,
                &stored.layers.iter().flat_map(blobs).collect::<Vec<_>>(),
            )
        }
        Err(_) => None,
    };
    let mut notes = Vec::new();
    if state.own.is_none() {
        notes.push("written by Caffe: no phase, seed or masks in it".to_string());
    }
    if names.is_none() {
        notes.push(format!(
            "no weights of {} histories at {} or beside the state: histories are numbered",
            state.history.len(),
            state.learned_net
        ));
    }
    Ok(Description {
        text: text(path, size, &state, names.as_deref(), &notes),
        json: to_json(&state, names.as_deref()),
    })
}

/// The names of the histories, if these blobs (name, count) are those of the state, once or (Adam, AdaDelta) twice.
fn named(state: &State, blobs: &[(String, usize)]) -> Option<Vec<String>> {
    let n = state.history.len();
    if blobs.is_empty() || !n.is_multiple_of(blobs.len()) {
        return None;
    }
    let name = |(i, history): (usize, &crate::tensor::Tensor)| {
        let (name, count) = &blobs[i % blobs.len()];
        (*count == history.data.len()).then(|| name.clone())
    };
    state.history.iter().enumerate().map(name).collect()
}

fn label(names: Option<&[String]>, i: usize) -> String {
    names
        .and_then(|names| names.get(i).cloned())
        .unwrap_or_else(|| i.to_string())
}

fn masks(state: &State) -> &[(String, usize, Mask)] {
    state.own.as_ref().map_or(&[], |own| &own.masks)
}

fn codebooks(state: &State) -> &[(String, usize, Shared)] {
    state.own.as_ref().map_or(&[], |own| &own.codebooks)
}

/// The values that weights have, of those that a codebook has room for.
fn used(shared: &Shared) -> usize {
    shared.counts().iter().filter(|n| **n > 0).count()
}

fn whole(masks: &[(String, usize, Mask)]) -> f64 {
    let sum = |f: fn(&Mask) -> usize| masks.iter().map(|(_, _, m)| f(m)).sum();
    density(sum(Mask::alive), sum(Mask::count))
}

fn text(
    path: &Path,
    size: HumanBytes,
    state: &State,
    names: Option<&[String]>,
    notes: &[String],
) -> String {
    let mut facts = Table::new([("field", Align::Left), ("value", Align::Left)]);
    facts.row(["iteration".to_string(), counted(state.iter as usize)]);
    facts.row(["weights".to_string(), state.learned_net.clone()]);
    facts.row(["rate steps".to_string(), state.current_step.to_string()]);
    if let Some(own) = &state.own {
        facts.row(["phase".to_string(), own.phase.to_string()]);
        facts.row(["seed".to_string(), own.seed.to_string()]);
        facts.row(["precision".to_string(), own.precision.to_string()]);
        facts.row(["smoothed loss".to_string(), G(own.smoothed).to_string()]);
        if let Some(s) = &own.schedule {
            facts.row(["pruning".to_string(), s.to_string()]);
        }
        for (name, value) in &own.notes {
            facts.row([name, value]);
        }
    }
    let mut histories = Table::new([
        ("history", Align::Left),
        ("shape", Align::Left),
        ("values", Align::Right),
    ]);
    for (i, history) in state.history.iter().enumerate() {
        histories.row([
            label(names, i),
            dims(history.shape.dims()),
            counted(history.data.len()),
        ]);
    }
    let (facts, histories) = (facts.shown(), histories.shown());
    let mut text = format!(
        "{}: a solver state, {size}\n{facts}\n{histories}",
        path.display()
    );
    let values: usize = state.history.iter().map(|h| h.data.len()).sum();
    let n = counted(state.history.len());
    text += &format!("{n} histories, {}\n", things(values, "value"));
    let masks = masks(state);
    if !masks.is_empty() {
        let mut table = Table::new([
            ("mask", Align::Left),
            ("weights", Align::Right),
            ("alive", Align::Right),
            ("density", Align::Right),
        ]);
        for (layer, k, mask) in masks {
            let (alive, count) = (mask.alive(), mask.count());
            table.row([
                format!("{layer}:{k}"),
                counted(count),
                counted(alive),
                format!("{:.4}", density(alive, count)),
            ]);
        }
        let (masked, table) = (things(masks.len(), "mask"), table.shown());
        text += &format!("\n{table}{masked}, density {}\n", G(whole(masks)));
    }
    text += &codebooks_table(state);
    text + &noted(notes)
}

fn codebooks_table(state: &State) -> String {
    let codebooks = codebooks(state);
    if codebooks.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("codebook", Align::Left),
        ("weights", Align::Right),
        ("not 0", Align::Right),
        ("bits", Align::Right),
        ("values", Align::Right),
    ]);
    for (layer, k, shared) in codebooks {
        table.row([
            format!("{layer}:{k}"),
            counted(shared.codes().len()),
            counted(shared.alive()),
            shared.book().bits().to_string(),
            used(shared).to_string(),
        ]);
    }
    let table = table.shown();
    format!("\n{table}{}\n", things(codebooks.len(), "codebook"))
}

fn to_json(state: &State, names: Option<&[String]>) -> Value {
    let history = |(i, h): (usize, &crate::tensor::Tensor)| {
        let name = names.map(|_| label(names, i));
        json!({ "name": name, "shape": h.shape.dims() })
    };
    let histories: Vec<Value> = state.history.iter().enumerate().map(history).collect();
    let masks = masks(state);
    let mask = |(layer, k, mask): &(String, usize, Mask)| {
        let (alive, count) = (mask.alive(), mask.count());
        json!({
            "layer": layer, "blob": k, "count": count, "alive": alive,
            "density": density(alive, count),
        })
    };
    let codebook = |(layer, k, shared): &(String, usize, Shared)| {
        json!({
            "layer": layer, "blob": k, "count": shared.codes().len(), "alive": shared.alive(),
            "bits": shared.book().bits(), "values": used(shared),
        })
    };
    let own = state.own.as_ref();
    let schedule = own.and_then(|o| o.schedule.as_ref());
    json!({
        "kind": "solver_state",
        "iteration": state.iter,
        "learned_net": state.learned_net,
        "current_step": state.current_step,
        "phase": own.map(|o| o.phase),
        "seed": own.map(|o| o.seed),
        "precision": own.map(|o| o.precision),
        "histories": histories,
        "masks": masks.iter().map(mask).collect::<Vec<_>>(),
        "codebooks": codebooks(state).iter().map(codebook).collect::<Vec<_>>(),
        "schedule": schedule.map(schedule_json),
        "density": (!masks.is_empty()).then(|| whole(masks)),
    })
}

fn schedule_json(schedule: &Schedule) -> Value {
    match schedule {
        Schedule::Cubic(s) => json!({ "kind": "cubic", "every": s.every, "until": s.until }),
        Schedule::AcDc(s) => json!({
            "kind": "acdc", "sparsity": s.sparsity, "starts": s.starts.name(), "switches": s.switches,
        }),
        Schedule::RigL(s) => json!({
            "kind": "rigl", "every": s.every, "until": s.until, "drop_fraction": s.drop_fraction,
        }),
        Schedule::SrSte(s) => json!({ "kind": "srste", "sparsity": s.sparsity, "decay": s.decay }),
    }
}
