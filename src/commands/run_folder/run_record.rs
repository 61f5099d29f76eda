//! `run.json`: how the run in a folder was started, so that `--resume` needs to be told nothing.

use crate::cli::{Phases, Train};
use crate::files;
use crate::flow::Schedule;
use crate::layers::Precision;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file's name.
pub const NAME: &str = "run.json";

/// How a run was started, and each time that it went on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunRecord {
    /// Where relative paths count from.
    pub folder: PathBuf,
    /// `dense`, `dsd` …; none with a flow, or where the solver alone decided.
    pub phase: Option<String>,
    /// The flow's file.
    pub flow: Option<PathBuf>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// What else was given.
    pub settings: Settings,
    /// When the run was started and gone on with, by which version and command line.
    pub sittings: Vec<Sitting>,
}

/// The flags of `dsd train` that a run keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Settings {
    pub solver: Option<PathBuf>,
    pub weights: Vec<PathBuf>,
    pub sparsity: Option<String>,
    pub schedule: Option<String>,
    pub prune_every: Option<u64>,
    pub prune_until: Option<u64>,
    pub bits: Option<String>,
    pub scale_dropout: bool,
    pub precision: Option<Precision>,
    pub source: Option<PathBuf>,
    pub max_iter: Option<i32>,
    pub metrics: Option<PathBuf>,
    pub tensorboard: Option<PathBuf>,
    pub snapshot_minutes: Option<f64>,
    pub keep: Option<u64>,
    pub level: i32,
    pub stage: Vec<String>,
}

/// One process of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sitting {
    /// UTC.
    pub time: String,
    /// Of `dsd`.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
}

impl Sitting {
    /// This process.
    pub fn now() -> Self {
        Self {
            time: jiff::Timestamp::now().to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            command: command_line(),
        }
    }
}

/// The command line of this process.
pub fn command_line() -> Vec<String> {
    let text = |a: std::ffi::OsString| a.to_string_lossy().to_string();
    std::env::args_os().map(text).collect()
}

impl RunRecord {
    /// The record in the folder `root`, if there is one.
    ///
    /// # Errors
    /// A file that is no such record.
    pub fn read(root: &Path) -> Result<Option<Self>> {
        let path = root.join(NAME);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path)?;
        let record = serde_json::from_str(&text).with_context(|| {
            format!(
                "{}: not a record of a run; move it away to go on with settings of your own",
                path.display()
            )
        })?;
        Ok(Some(record))
    }

    /// Writes it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, root: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        files::write_atomic(&root.join(NAME), |w| Ok(writeln!(w, "{text}")?))
    }

    /// The record of a run with these arguments.
    pub fn of(args: &Train, seed: Option<u64>) -> Self {
        let a = &args.args;
        let name = |v: clap::builder::PossibleValue| v.get_name().to_string();
        Self {
            folder: std::env::current_dir().unwrap_or_default(),
            phase: args.phase.and_then(|p| p.to_possible_value()).map(name),
            flow: args.flow.clone(),
            seed,
            settings: Settings {
                solver: a.solver.clone(),
                weights: a.weights.clone(),
                sparsity: a.sparsity.clone(),
                schedule: a.schedule.and_then(|s| s.to_possible_value()).map(name),
                prune_every: a.prune_every,
                prune_until: a.prune_until,
                bits: a.bits.clone(),
                scale_dropout: a.scale_dropout,
                precision: a.precision,
                source: a.source.clone(),
                max_iter: a.max_iter,
                metrics: a.metrics.clone(),
                tensorboard: a.tensorboard.clone(),
                snapshot_minutes: a.snapshot_minutes,
                keep: a.keep,
                level: a.state.level,
                stage: a.state.stage.clone(),
            },
            sittings: Vec::new(),
        }
    }

    /// Gives arguments that were not given the values of this run, if they are for the same phases.
    ///
    /// # Errors
    /// A record with words that this version does not know.
    pub fn complete(&self, args: &mut Train, seed: &mut Option<u64>) -> Result<()> {
        if args.phase.is_none() && args.flow.is_none() {
            args.phase = self.phase.as_deref().map(value::<Phases>).transpose()?;
            args.flow = self.flow.clone();
        }
        let phase = args.phase.and_then(|p| p.to_possible_value());
        if phase.map(|p| p.get_name().to_string()) != self.phase {
            return Ok(());
        }
        *seed = seed.or(self.seed);
        let (a, own) = (&mut args.args, &self.settings);
        if a.weights.is_empty() && a.snapshot.is_none() {
            a.weights = own.weights.clone();
        }
        if a.solver.is_none() && args.flow == self.flow {
            fill(&mut a.max_iter, &own.max_iter);
        }
        fill(&mut a.solver, &own.solver);
        fill(&mut a.sparsity, &own.sparsity);
        if a.schedule.is_none() {
            let schedule = own.schedule.as_deref().map(value::<Schedule>);
            a.schedule = schedule.transpose()?;
        }
        // Of another schedule they say nothing; that it is another is for the phase's own check to say.
        if a.schedule == Some(Schedule::Cubic) {
            fill(&mut a.prune_every, &own.prune_every);
            fill(&mut a.prune_until, &own.prune_until);
        }
        fill(&mut a.bits, &own.bits);
        a.scale_dropout |= own.scale_dropout;
        fill(&mut a.precision, &own.precision);
        fill(&mut a.source, &own.source);
        fill(&mut a.metrics, &own.metrics);
        fill(&mut a.tensorboard, &own.tensorboard);
        fill(&mut a.snapshot_minutes, &own.snapshot_minutes);
        fill(&mut a.keep, &own.keep);
        if a.state.level == 0 {
            a.state.level = own.level;
        }
        if a.state.stage.is_empty() {
            a.state.stage = own.stage.clone();
        }
        Ok(())
    }
}

fn fill<T: Clone>(given: &mut Option<T>, recorded: &Option<T>) {
    if given.is_none() {
        given.clone_from(recorded);
    }
}

fn value<T: ValueEnum>(name: &str) -> Result<T> {
    match T::from_str(name, true) {
        Ok(value) => Ok(value),
        Err(_) => bail!("{NAME}: '{name}' is no word of this version of dsd"),
    }
}
