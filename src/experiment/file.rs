//! An experiment's TOML file.

use super::{Arm, Experiment, Group, PhasePlan};
use crate::flow;
use crate::phase::Phase;
use crate::solver::config::Config;
use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExperimentFile {
    title: Option<String>,
    solver: PathBuf,
    metric: Option<String>,
    control: String,
    seeds: Option<u64>,
    weights: Option<PathBuf>,
    phase: BTreeMap<String, Table>,
    arm: Vec<ArmFile>,
    #[serde(default)]
    group: Vec<GroupFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmFile {
    name: String,
    title: Option<String>,
    phases: Vec<String>,
    seeds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupFile {
    name: String,
    title: Option<String>,
    #[serde(default)]
    stage: Vec<String>,
    length: Option<f64>,
    arms: Option<Vec<String>>,
    seeds: Option<u64>,
}

/// The seeds of an arm that says nothing.
const SEEDS: u64 = 3;

/// Reads an experiment:
///
/// ```toml
/// title = "DSD against its controls"
/// solver = "solver.prototxt"      # of every phase that names none
/// control = "C"                   # the arm that the others are compared with
/// seeds = 3                       # of every arm that says nothing else: 1, 2, 3
///
/// [phase.dense]                   # a flow's [[phase]], under a name
/// kind = "dense"
/// max_iter = 3000
/// [phase.sparse]
/// kind = "sparse"
/// sparsity = "@dsd:0.5"
/// max_iter = 1200
/// [phase.unmasked]
/// kind = "dense"
/// base_lr = 0.01
/// max_iter = 1200
///
/// [[arm]]
/// name = "S"
/// title = "the sparse net"
/// phases = ["dense", "sparse"]    # arms that begin alike share these runs
/// [[arm]]
/// name = "C"
/// phases = ["dense", "unmasked"]
/// seeds = 5
///
/// [[group]]                       # without one: one group, with no stage
/// name = "small"
/// title = "10,000 pictures"
/// stage = ["small"]
/// length = 0.5                    # of all iterations
/// arms = ["S", "C"]               # all without it
/// seeds = 3                       # at most
/// ```
///
/// Paths are relative to the working folder, else to the file's own.
///
/// # Errors
/// A file that cannot be read, with line and column, or an experiment that cannot be run as it stands.
pub fn read(path: &Path) -> Result<Experiment> {
    let text = crate::files::read_text(path)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let file: ExperimentFile =
        toml::from_str(&text).map_err(|e| anyhow!("{}", flow::placed(&e, &text, path)))?;
    let named = || path.display().to_string();
    let experiment = build(file, folder).with_context(named)?;
    experiment.check().with_context(named)?;
    Ok(experiment)
}

fn build(file: ExperimentFile, folder: PathBuf) -> Result<Experiment> {
    let find = |p: &Path| crate::files::resolve(&p.display().to_string(), &folder);
    let solver = find(&file.solver);
    super::unique("phase", file.phase.keys().map(String::as_str))?;
    let phases: BTreeMap<&String, PhasePlan> = file
        .phase
        .iter()
        .map(|(name, table)| {
            let plan = PhasePlan::complete(name, table.clone(), Some(&solver), &folder);
            Ok((name, plan.with_context(|| format!("[phase.{name}]"))?))
        })
        .collect::<Result<_>>()?;
    let arm = |arm: ArmFile| -> Result<Arm> {
        ensure!(!arm.phases.is_empty(), "arm {} has no phases", arm.name);
        let phase = |name: &String| {
            phases.get(name).cloned().with_context(|| {
                let known: Vec<&str> = phases.keys().map(|n| n.as_str()).collect();
                format!(
                    "arm {}: there is no [phase.{name}]; the phases are {}",
                    arm.name,
                    known.join(", ")
                )
            })
        };
        Ok(Arm {
            phases: arm.phases.iter().map(phase).collect::<Result<_>>()?,
            title: arm.title.unwrap_or_default(),
            seeds: arm.seeds.or(file.seeds).unwrap_or(SEEDS),
            name: arm.name,
        })
    };
    let group = |group: GroupFile| Group {
        name: group.name,
        title: group.title.unwrap_or_default(),
        stage: group.stage,
        length: group.length.unwrap_or(1.0),
        arms: group.arms,
        seeds: group.seeds,
    };
    let mut groups: Vec<Group> = file.group.into_iter().map(group).collect();
    if groups.is_empty() {
        groups.push(Group::whole());
    }
    Ok(Experiment {
        title: file.title.unwrap_or_else(|| "Experiment".to_string()),
        metric: file.metric,
        control: file.control,
        arms: file.arm.into_iter().map(arm).collect::<Result<_>>()?,
        groups,
        weights: file.weights.iter().map(|w| find(w)).collect(),
        first_seed: 1,
        source: None,
        keep: None,
        folder: folder.clone(),
    })
}

impl PhasePlan {
    /// A flow's `[[phase]]` with its solver, rate and length filled in: what a run of this phase alone cannot know of the
    /// flow that it is a part of. `shared` is the solver of phases that name none.
    ///
    /// # Errors
    /// There is no solver, or it cannot be read.
    pub fn complete(
        name: &str,
        mut table: Table,
        shared: Option<&Path>,
        folder: &Path,
    ) -> Result<Self> {
        let own = table.get("solver").and_then(Value::as_str);
        let own = own.map(|own| crate::files::resolve(own, folder));
        let solver = own.as_deref().or(shared);
        let solver = solver.context("it has no solver, and there is none for all phases")?;
        let param = Config::read(solver, 0, &[])?.param;
        // A phase that takes up earlier rates has them from the solver, and what is left of its length.
        let rewound = table.get("rewind_to").and_then(Value::as_integer);
        if own.is_none() && rewound.is_none() && !table.contains_key("base_lr") {
            let kind = table.get("kind").and_then(Value::as_str).unwrap_or("dense");
            let factor = kind.parse::<Phase>().map_or(1.0, flow::rate_of);
            // In decimals, so that a hundredth of 0.03 is 0.0003 and not its neighbour.
            let said: f64 = param.base_lr().to_string().parse()?;
            let rate = ((said * factor) as f32).to_string().parse()?;
            table.insert("base_lr".to_string(), Value::Float(rate));
        }
        if !table.contains_key("max_iter") {
            let length = i64::from(param.max_iter()) - rewound.unwrap_or(0);
            table.insert("max_iter".to_string(), Value::Integer(length));
        }
        let solver = solver.display().to_string();
        table.insert("solver".to_string(), Value::String(solver));
        Ok(Self {
            name: name.to_string(),
            table,
        })
    }
}
