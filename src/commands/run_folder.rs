//! The folder of a run: `run.json`, `log.txt` and `metrics.jsonl`, and a folder a phase with its snapshots, copies of its
//! solver and net, and `phase.json`, which tells how it was started and how it ended.

pub mod lock;
pub mod run_record;
pub mod stand;

use crate::cli::Train;
use crate::flow::Step;
use crate::layers::Precision;
use crate::phase::Phase;
use crate::report::human::HumanTime;
use crate::report::metrics::{self, Densities};
use crate::report::number::G;
use crate::report::table::{Align, Table};
use crate::report::{log, output};
use crate::solver::schedule::Schedule;
use crate::solver::snapshot;
use crate::solver::{Ending, Solver};
use crate::{files, info};
use anyhow::{Context, Result, bail};
use lock::Lock;
use run_record::{RunRecord, Sitting};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The course of a run, in its folder.
pub const METRICS: &str = "metrics.jsonl";

/// The log of a run, in its folder.
pub const LOG: &str = "log.txt";

/// The copy of the flow that a run follows, in its folder.
const FLOW: &str = "flow.toml";

/// How a phase was started and how it ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The phase's folder name: `dense`, `sparse`, `sparse-2` …
    pub phase: String,
    /// The version of `dsd`.
    #[serde(default)]
    pub version: String,
    /// The command line that started it.
    #[serde(default)]
    pub command: Vec<String>,
    /// The solver's file; what it says is in `solver.prototxt` beside this record.
    pub solver: String,
    /// By the name of its copy beside this record, each net's own file.
    #[serde(default)]
    pub nets: BTreeMap<String, String>,
    /// The seed of every random number.
    #[serde(default)]
    pub seed: Option<u64>,
    /// `--source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// The net's level.
    #[serde(default)]
    pub level: i32,
    /// The net's stages.
    #[serde(default)]
    pub stage: Vec<String>,
    /// The weights that it started from.
    #[serde(default)]
    pub from: Vec<PathBuf>,
    /// The iterations of the phases that led to these weights.
    #[serde(default)]
    pub before: u64,
    /// The learning rate it started with.
    pub base_lr: f32,
    /// Iterations to do.
    #[serde(default)]
    pub max_iter: Option<u64>,
    /// What a sparse phase pruned.
    pub sparsity: Option<String>,
    /// How it came there, if not at once: `cubic, every 100 until 2000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Of a gradual schedule: the iterations between two prunings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_every: Option<u64>,
    /// Of a gradual schedule: the iteration of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_until: Option<u64>,
    /// What else the flow says of the phase, such as `rounds`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extras: BTreeMap<String, String>,
    /// Whether dropout follows the density.
    #[serde(default)]
    pub scale_dropout: bool,
    /// In what numbers layers multiply; older records do not tell, and are of float32.
    #[serde(default)]
    pub precision: Precision,
    /// With how many bits a quantize phase stores weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<String>,
    /// The fraction of prunable weights that are not 0.
    pub density: f64,
    /// The same of each layer.
    #[serde(default)]
    pub densities: BTreeMap<String, f64>,
    /// Iterations done.
    pub iterations: u64,
    /// The last smoothed loss.
    #[serde(deserialize_with = "number")]
    pub loss: f32,
    /// The last test's outputs.
    #[serde(deserialize_with = "numbers")]
    pub outputs: Vec<(String, f32)>,
    /// How many samples a test takes, if it takes none twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<u64>,
    /// Time spent, over all sittings.
    pub seconds: f64,
    /// The most bytes that the process had taken by the end of the phase; older records do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The file of the weights, in the phase's folder.
    pub weights: PathBuf,
    /// Whether it ran to its end.
    pub done: bool,
    /// Whether that came before its length, for the loss fell no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub converged: bool,
}

impl Record {
    /// The name of the schedule by which a sparse phase prunes.
    pub fn schedule_name(&self) -> &str {
        let text = self.schedule.as_deref().unwrap_or("once");
        text.split(',').next().unwrap_or(text)
    }

    /// Takes over where a solver stands.
    pub fn take(&mut self, solver: &Solver) {
        let schedule = solver.schedule();
        self.schedule = schedule.map(|s| s.to_string());
        let cubic = match schedule {
            Some(Schedule::Cubic(cubic)) => Some(cubic),
            _ => None,
        };
        self.prune_every = cubic.map(|c| c.every);
        self.prune_until = cubic.map(|c| c.until);
        let densities: Densities = solver.densities();
        self.densities = densities.into_iter().collect();
        self.density = solver.density();
        self.iterations = solver.iter();
        self.converged = solver.is_converged();
        self.loss = solver.loss();
        self.tested = solver.tested();
        self.outputs = solver.last_test().map(|t| t.1.clone()).unwrap_or_default();
    }
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

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The copy of the flow that the run follows.
    pub fn flow_copy(&self) -> Option<PathBuf> {
        Some(self.root.join(FLOW)).filter(|p| p.is_file())
    }

    /// Does `work` as the only process in this folder, with the run's record and log there; `past` is the record that it
    /// goes on from, `flow` the flow's file if it was given. What was made for a run that could not start is taken back.
    ///
    /// # Errors
    /// Another process is at work here, the folder cannot be written, or the work fails.
    pub fn sitting(
        &self,
        args: &Train,
        seed: Option<u64>,
        past: Option<RunRecord>,
        flow: Option<&Path>,
        work: impl FnOnce() -> Result<Ending>,
    ) -> Result<Ending> {
        let lock = Lock::take(&self.root)?;
        let result = self.begin(args, seed, past, flow).and_then(|()| work());
        if let Err(error) = &result {
            log::note(&format!("error: {error:#}\n"));
        }
        log::also_to(None);
        if result.is_err() {
            lock.undo(&[run_record::NAME, FLOW, LOG, METRICS]);
        }
        result
    }

    fn begin(
        &self,
        args: &Train,
        seed: Option<u64>,
        past: Option<RunRecord>,
        flow: Option<&Path>,
    ) -> Result<()> {
        let goes_on = past.is_some();
        // The phases of a run may have a command each; a damaged record is another's.
        let earlier = || RunRecord::read(&self.root).ok().flatten();
        let past = past.or_else(earlier).map_or_else(Vec::new, |p| p.sittings);
        let mut record = RunRecord::of(args, seed);
        record.sittings = past;
        record.sittings.push(Sitting::now());
        record.write(&self.root)?;
        let copy = self.root.join(FLOW);
        match flow {
            Some(flow) => {
                let text = files::read(flow)?;
                files::write_atomic(&copy, |w| Ok(w.write_all(&text)?))?;
            }
            None if goes_on => {}
            None => drop(fs::remove_file(&copy)),
        }
        let path = self.root.join(LOG);
        let file = fs::File::options().append(true).create(true).open(&path);
        let file = file.map_err(|e| {
            anyhow::anyhow!("cannot write {}: {}", path.display(), files::reason(&e))
        })?;
        log::also_to(Some(file));
        Ok(())
    }

    /// The folder of a phase.
    pub fn path(&self, phase: &str) -> PathBuf {
        self.root.join(phase)
    }

    /// What is recorded of a phase, also of one that has not ended.
    pub fn read(&self, phase: &str) -> Result<Option<Record>> {
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

    /// The iterations of all phases that led to these weights, if they are a phase's of this run.
    pub fn iterations_behind(&self, weights: &[PathBuf]) -> u64 {
        let [weights] = weights else { return 0 };
        let phase = weights.parent().and_then(Path::file_name);
        let phase = phase
            .map(|p| p.to_string_lossy().to_string())
            .unwrap_or_default();
        if weights.parent() != Some(&self.path(&phase)) {
            return 0;
        }
        let record = self.read(&phase).ok().flatten();
        record.map_or(0, |r| r.before + r.iterations)
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
        // A run that was killed before its first snapshot leaves only what the next one writes anew.
        let anew = |name: &str| {
            name == "phase.json" || name.ends_with(".prototxt") || files::is_temporary(name)
        };
        let mut entries = fs::read_dir(&home).into_iter().flatten().flatten();
        if entries.all(|e| anew(&e.file_name().to_string_lossy())) {
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
            // Its part of the course goes with it.
            metrics::move_phase(&self.root.join(METRICS), phase, &aside.join(METRICS))?;
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
        let before: &[Phase] = match phase {
            Phase::Dense => return Ok(None),
            Phase::Sparse => &[Phase::Dense],
            Phase::Redense => &[Phase::Sparse],
            Phase::Quantize => &[Phase::Redense, Phase::Sparse, Phase::Dense],
        };
        for before in before {
            if let Some(record) = self.read(before.name())? {
                let weights = self.path(before.name()).join(&record.weights);
                if record.done && weights.is_file() {
                    return Ok(Some(weights));
                }
            }
        }
        for before in before {
            let newest =
                newest_in(&self.path(before.name())).and_then(|prefix| snapshot::newest(&prefix));
            if let Some((iter, state)) = newest {
                info!(
                    "The {before} phase has not ended; taking its newest snapshot, iteration {iter}"
                );
                return Ok(snapshot::weights_beside(&state));
            }
        }
        let (home, first) = match before {
            [one] => (self.path(one.name()), *one),
            _ => (self.root.clone(), Phase::Dense),
        };
        let names: Vec<&str> = before.iter().map(|p| p.name()).collect();
        bail!(
            "the {phase} phase has no weights to start from: {} holds no result of a {} phase; give --weights F, or \
             run the {first} phase first",
            home.display(),
            names.join(" or ")
        )
    }

    /// The kind of the first phase here that was trained with the solver `file`, beside those that `steps` train now.
    pub fn first_with(&self, file: &str, steps: &[Step]) -> Option<Phase> {
        let full = |f: &str| fs::canonicalize(f).unwrap_or_else(|_| PathBuf::from(f));
        let kinds = [Phase::Dense, Phase::Sparse, Phase::Redense];
        let earlier = |kind: &Phase| {
            let name = kind.to_string();
            let record = self.read(&name).ok().flatten();
            let same = record.is_some_and(|r| full(&r.solver) == full(file));
            same && !steps.iter().any(|s| s.name == name)
        };
        kinds.into_iter().find(earlier)
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
            let kind = kind.parse::<Phase>().ok();
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
        output::table(&self.table(records))?;
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
