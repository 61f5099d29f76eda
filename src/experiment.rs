//! Experiments: arms, each a flow of phases, times seeds, in groups that differ in their data. Phases that arms share are
//! trained once a seed: the runs of an experiment are the nodes of a tree.

mod file;
mod tree;

pub use file::read;
pub use tree::{Node, nodes};

use crate::flow::Flow;
use crate::phase::Phase;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Arms times seeds, in groups.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// What it is about.
    pub title: String,
    /// Where relative paths of its phases count from, after the working folder.
    pub folder: PathBuf,
    /// The test output by which arms are compared; the first accuracy, else the loss, without one.
    pub metric: Option<String>,
    /// The arm that the others are compared with.
    pub control: String,
    /// The arms, in the order of the table.
    pub arms: Vec<Arm>,
    /// The groups; one without a name where the file names none.
    pub groups: Vec<Group>,
    /// The first seed of every arm, which the others follow.
    pub first_seed: u64,
    /// The weights that the first phases start from.
    pub weights: Vec<PathBuf>,
    /// Another data source for training.
    pub source: Option<PathBuf>,
    /// How many of its snapshots each run keeps; all where this is not said.
    pub keep: Option<u64>,
}

/// One way to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// A short name, which is also a part of folders' names.
    pub name: String,
    /// What it is, in a few words.
    pub title: String,
    /// Its phases in turn.
    pub phases: Vec<PhasePlan>,
    /// With how many seeds.
    pub seeds: u64,
}

/// A phase of an arm, with a name by which arms share it.
#[derive(Clone, Debug, PartialEq)]
pub struct PhasePlan {
    /// The name.
    pub name: String,
    /// A flow's `[[phase]]`, with its rate and length.
    pub table: Table,
}

/// Data that all arms are trained on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// A short name, which is also a folder's; may be empty if there is but one.
    pub name: String,
    /// What it is, in a few words.
    pub title: String,
    /// The stages that its nets and solvers are read with.
    pub stage: Vec<String>,
    /// The factor of all lengths, in iterations.
    pub length: f64,
    /// The arms that run here, if not all.
    pub arms: Option<Vec<String>>,
    /// With at most so many seeds.
    pub seeds: Option<u64>,
}

/// The keys of a `[[phase]]` that count iterations, so that a group's length stretches them.
const LENGTHS: [&str; 7] = [
    "max_iter",
    "prune_every",
    "prune_until",
    "update_every",
    "update_until",
    "ac_dc_every",
    "rewind_to",
];

impl PhasePlan {
    /// The text of a flow of this phase alone, `length` times as long.
    pub fn flow_text(&self, length: f64) -> Result<String> {
        flow_text(std::slice::from_ref(self), length)
    }

    /// What it is, in a few words: `sparse @dsd:0.5`.
    pub fn title(&self) -> String {
        let word = |key: &str| self.table.get(key).and_then(Value::as_str);
        let kind = word("kind").unwrap_or_default();
        let said = ["sparsity", "schedule", "bits"].map(|key| match self.table.get(key)? {
            Value::String(text) => Some(format!(" {text}")),
            other => Some(format!(" {other}")),
        });
        format!("{kind}{}", said.into_iter().flatten().collect::<String>())
    }

    /// The same rate and length without a mask: all weights are trained. A dense phase is its own.
    pub fn without_mask(&self) -> Self {
        let kind = self.table.get("kind").and_then(Value::as_str);
        if kind == Some(Phase::Dense.name()) {
            return self.clone();
        }
        let kept = ["solver", "base_lr", "max_iter", "precision"];
        let kept = self.table.iter().filter(|(key, _)| kept.contains(&&***key));
        let mut table: Table = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
        let dense = Value::String(Phase::Dense.to_string());
        table.insert("kind".to_string(), dense);
        Self {
            name: format!("{}-unmasked", self.name),
            table,
        }
    }

    /// Its length in iterations, `length` times as long.
    pub fn iterations(&self, length: f64) -> u64 {
        let own = self.table.get("max_iter").and_then(Value::as_integer);
        u64::try_from(stretched(own.unwrap_or(0), length)).unwrap_or(0)
    }
}

/// So many iterations, in a group of this length: at least one, if there are any.
fn stretched(iterations: i64, length: f64) -> i64 {
    match iterations {
        n if n <= 0 => n,
        n => ((n as f64 * length).round() as i64).max(1),
    }
}

/// The text of a flow of these phases.
fn flow_text(phases: &[PhasePlan], length: f64) -> Result<String> {
    let stretch = |phase: &PhasePlan| {
        let mut table = phase.table.clone();
        for (_, value) in table.iter_mut().filter(|(k, _)| LENGTHS.contains(&&***k)) {
            if let Value::Integer(n) = value {
                *n = stretched(*n, length);
            }
        }
        Value::Table(table)
    };
    let mut file = Table::new();
    let phases = phases.iter().map(stretch).collect();
    file.insert("phase".to_string(), Value::Array(phases));
    Ok(toml::to_string(&file)?)
}

impl Arm {
    /// Its phases as a flow, in a group of this length.
    ///
    /// # Errors
    /// A phase has a key or a value that flows do not have, or the phases do not follow each other.
    pub fn flow(&self, length: f64, folder: &Path) -> Result<Flow> {
        let flow = Flow::of_text(&flow_text(&self.phases, length)?, folder);
        flow.with_context(|| {
            let names: Vec<&str> = self.phases.iter().map(|p| &*p.name).collect();
            format!("arm {} ({})", self.name, names.join(", "))
        })
    }
}

impl Group {
    /// The only group: all arms on the data that the nets name.
    pub fn whole() -> Self {
        Self {
            length: 1.0,
            ..Self::default()
        }
    }

    /// How many seeds of an arm run here.
    pub fn seeds(&self, arm: &Arm) -> u64 {
        self.seeds.map_or(arm.seeds, |n| n.min(arm.seeds))
    }

    /// Whether an arm runs here.
    pub fn has(&self, arm: &Arm) -> bool {
        self.arms.as_ref().is_none_or(|a| a.contains(&arm.name))
    }
}

impl Experiment {
    /// Checks what can be wrong before anything runs.
    ///
    /// # Errors
    /// Names that are missing, twice or no part of a path; phases that no flow could have; a control that is no arm.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.arms.is_empty(), "there is no [[arm]]");
        unique("arm", self.arms.iter().map(|a| &*a.name))?;
        unique("group", self.groups.iter().map(|g| &*g.name))?;
        let is_arm = |name: &str| self.arms.iter().any(|a| a.name == name);
        let names = || {
            let names: Vec<&str> = self.arms.iter().map(|a| &*a.name).collect();
            names.join(", ")
        };
        ensure!(
            is_arm(&self.control),
            "the control is '{}', but the arms are {}",
            self.control,
            names()
        );
        for group in &self.groups {
            ensure!(
                group.length > 0.0 && group.length.is_finite(),
                "group {}: length is the factor of all iterations, above 0; found {}",
                group.name,
                group.length
            );
            for name in group.arms.iter().flatten() {
                ensure!(
                    is_arm(name),
                    "group {}: there is no arm '{name}'; the arms are {}",
                    group.name,
                    names()
                );
            }
            for arm in self.arms.iter().filter(|a| group.has(a)) {
                arm.flow(group.length, &self.folder)?;
            }
        }
        for arm in &self.arms {
            ensure!(
                arm.seeds > 0,
                "arm {}: seeds is how many, from 1; found 0",
                arm.name
            );
        }
        Ok(())
    }
}

/// Checks names that become parts of paths.
fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        ensure!(
            name.chars().all(fits) && !name.starts_with('.'),
            "{what} '{name}': a name is of letters, digits, '-', '_' and '.', for folders are named after it"
        );
        ensure!(!seen.contains(&name), "there are two {what}s '{name}'");
        seen.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
