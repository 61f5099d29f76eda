//! The folder of a run: a folder a phase with its snapshots and `phase.json`, which tells how it ended.

use crate::files;
use crate::info;
use crate::phase::Phase;
use crate::report::human::HumanTime;
use crate::report::number::G;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::solver::snapshot;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a phase ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The phase's folder name: `dense`, `sparse`, `sparse-2` …
    pub phase: String,
    /// The solver's file.
    pub solver: String,
    /// The learning rate it started with.
    pub base_lr: f32,
    /// What a sparse phase pruned.
    pub sparsity: Option<String>,
    /// How it came there, if gradually: `cubic, every 100 until 2000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// With how many bits a quantize phase stores weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<String>,
    /// The fraction of prunable weights that are not 0.
    pub density: f64,
    /// Iterations done.
    pub iterations: u64,
    /// The last smoothed loss.
    #[serde(deserialize_with = "number")]
    pub loss: f32,
    /// The last test's outputs.
    #[serde(deserialize_with = "numbers")]
    pub outputs: Vec<(String, f32)>,
    /// Time spent, over all sittings.
    pub seconds: f64,
    /// The file of the weights, in the phase's folder.
    pub weights: PathBuf,
    /// Whether it ran to its end.
    pub done: bool,
}

/// A number that JSON has no word for (a test's loss may be NaN) is written as null.
fn number<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f32, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f32::NAN))
}

fn numbers<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<Vec<(String, f32)>, D::Error> {
    let named: Vec<(String, Option<f32>)> = Vec::deserialize(from)?;
    let number = |(name, v): (String, Option<f32>)| (name, v.unwrap_or(f32::NAN));
    Ok(named.into_iter().map(number).collect())
}

/// The folder of a run.
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The run in `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of a phase.
    pub fn path(&self, phase: &str) -> PathBuf {
        self.root.join(phase)
    }

    fn read(&self, phase: &str) -> Result<Option<Record>> {
        let path = self.path(phase).join("phase.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path)?;
        let record = serde_json::from_str(&text).with_context(|| {
            format!(
                "{}: not a record of a phase; move it away to train anew",
                path.display()
            )
        })?;
        Ok(Some(record))
    }

    /// How a phase ended, if it did.
    pub fn record(&self, phase: &str) -> Result<Option<Record>> {
        Ok(self.read(phase)?.filter(|r| r.done))
    }

    /// The time that earlier sittings of a phase took.
    pub fn seconds(&self, phase: &str) -> f64 {
        self.read(phase).ok().flatten().map_or(0.0, |r| r.seconds)
    }

    /// Writes how a phase ended.
    pub fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_string_pretty(record)?;
        files::write_atomic(&self.path(&record.phase).join("phase.json"), |w| {
            Ok(writeln!(w, "{text}")?)
        })
    }

    /// Removes what a killed run left of a file that it was writing.
    pub fn sweep(&self, phase: &str) {
        for entry in fs::read_dir(self.path(phase))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().into_string().unwrap_or_default();
            if files::is_temporary(&name) {
                // If it stays, it does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Moves an earlier run of a phase aside, so that its snapshots are neither lost nor taken for this
    /// run's.
    pub fn make_room(&self, phase: &str) -> Result<()> {
        let home = self.path(phase);
        let used = fs::read_dir(&home).is_ok_and(|mut entries| entries.next().is_some());
        if !used {
            return Ok(());
        }
        let aside = (1..)
            .map(|n| self.root.join(format!("{phase}.old{n}")))
            .find(|p| !p.exists());
        if let Some(aside) = aside {
            fs::rename(&home, &aside).map_err(|e| {
                anyhow::anyhow!(
                    "cannot move {} aside: {}",
                    home.display(),
                    files::reason(&e)
                )
            })?;
            info!(
                "{} holds an earlier run; it is now {}",
                home.display(),
                aside.display()
            );
        }
        Ok(())
    }

    /// The weights that a run which begins with `phase` starts from, when none are given: those of the
    /// phase before it in this folder; of a quantize phase, the last one there is. A dense phase needs none.
    pub fn weights_before(&self, phase: Phase) -> Result<Option<PathBuf>> {
        let before: &[&str] = match phase {
            Phase::Dense => return Ok(None),
            Phase::Sparse => &["dense"],
            Phase::Redense => &["sparse"],
            Phase::Quantize => &["redense", "sparse", "dense"],
        };
        for before in before {
            if let Some(record) = self.read(before)? {
                let weights = self.path(before).join(&record.weights);
                if record.done && weights.is_file() {
                    return Ok(Some(weights));
                }
            }
        }
        for before in before {
            let newest = newest_in(&self.path(before)).and_then(|prefix| snapshot::newest(&prefix));
            if let Some((iter, state)) = newest {
                info!(
                    "The {before} phase has not ended; taking its newest snapshot, iteration {iter}"
                );
                return Ok(snapshot::weights_beside(&state));
            }
        }
        let (home, first) = match before {
            [one] => (self.path(one), *one),
            _ => (self.root.clone(), "dense"),
        };
        bail!(
            "the {phase} phase has no weights to start from: {} holds no result of a {} phase; give --weights F, or \
             run the {first} phase first",
            home.display(),
            before.join(" or ")
        )
    }

    /// Whether one of these phases of the run was trained with the solver `file`.
    pub fn trained_with(&self, file: &str, phases: &[&str]) -> bool {
        let full = |f: &str| fs::canonicalize(f).unwrap_or_else(|_| PathBuf::from(f));
        let same = |phase: &&str| {
            self.read(phase)
                .ok()
                .flatten()
                .is_some_and(|r| full(&r.solver) == full(file))
        };
        phases.iter().any(same)
    }

    /// What is recorded of each phase, also of one that has not ended: each kind's first round before the
    /// second rounds.
    pub fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            // A phase that was moved aside is in a folder of another name.
            records.extend(self.read(&name)?.filter(|r| r.phase == name));
        }
        let order = |r: &Record| {
            let (kind, round) = r.phase.split_once('-').unwrap_or((&r.phase, "1"));
            let kinds = ["dense", "sparse", "redense", "quantize"];
            let kind = kinds.iter().position(|&k| k == kind);
            (
                round.parse::<u64>().unwrap_or(u64::MAX),
                kind,
                r.phase.clone(),
            )
        };
        records.sort_by_key(order);
        Ok(records)
    }

    /// Prints the table of the phases.
    pub fn print(&self, records: &[Record]) -> Result<()> {
        output::text(format_args!("{}", self.table(records)))?;
        Ok(())
    }

    /// The table of the phases.
    pub fn table(&self, records: &[Record]) -> Table {
        let mut columns = vec![
            ("phase".to_string(), Align::Left),
            ("density".to_string(), Align::Right),
            ("iterations".to_string(), Align::Right),
            ("loss".to_string(), Align::Right),
        ];
        let mut names: Vec<String> = Vec::new();
        for (name, _) in records.iter().flat_map(|r| &r.outputs) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        columns.extend(names.iter().map(|n| (format!("test {n}"), Align::Right)));
        columns.push(("time".to_string(), Align::Right));
        columns.push(("weights".to_string(), Align::Left));
        let mut table = Table::new(columns);
        for r in records {
            let mut cells = vec![
                r.phase.clone(),
                format!("{:.4}", r.density),
                r.iterations.to_string(),
                G(r.loss).to_string(),
            ];
            for name in &names {
                let value = r.outputs.iter().find(|(n, _)| n == name);
                cells.push(value.map_or(String::new(), |(_, v)| G(*v).to_string()));
            }
            cells.push(HumanTime(Duration::from_secs_f64(r.seconds.max(0.0))).to_string());
            cells.push(self.path(&r.phase).join(&r.weights).display().to_string());
            table.row(cells);
        }
        table
    }
}

/// The common prefix of the snapshots in a folder.
fn newest_in(home: &Path) -> Option<String> {
    let names = fs::read_dir(home).ok()?.flatten();
    let state = names
        .filter_map(|e| e.file_name().into_string().ok())
        .find(|n| n.contains("_iter_") && snapshot::weights_beside(Path::new(n)).is_some())?;
    let (prefix, _) = state.rsplit_once("_iter_")?;
    Some(home.join(prefix).display().to_string())
}
