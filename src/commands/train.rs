//! `dsd train` and its phases' own commands: resolves what to train, from what, to where.

mod closing;
mod control;
pub(super) mod copies;
mod disk;
mod dry_run;
mod find_lr;
mod flow;
mod folder;
mod rates;
mod resume;
mod settings;

use super::run_folder::run_record::RunRecord;
use super::run_folder::{METRICS, RunFolder};
use super::{Settings, Usage};
use crate::cli::{self, Effect, Train};
use crate::flow::Flow;
use crate::kernels::convolution::choice::UseSparse;
use crate::layers::{Mode, Precision};
use crate::net::zeros;
use crate::phase::Phase;
use crate::report::metrics::Metrics;
use crate::report::progress;
use crate::session::Opener;
use crate::solver::config::Config;
use crate::solver::signals::{Request, Signals};
use crate::solver::{Ending, Options, Reports, Solver, snapshot};
use crate::{info, warn, weights_file};
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How often a run is saved whose solver has no snapshot interval.
const SAVE_MINUTES: f64 = 15.0;

/// Where a training run stands among its arguments.
struct Runner<'a> {
    /// The arguments as they were given …
    given: &'a Train,
    given_seed: Option<u64>,
    /// … and completed from the record of the run that goes on.
    args: Train,
    seed: Option<u64>,
    /// `DSD_SPARSE`.
    sparse: UseSparse,
    /// That record.
    past: Option<RunRecord>,
    /// The most snapshots that all phases will have on disk, until that is said.
    snapshots: u64,
    signals: Signals,
}

/// Runs the command.
pub fn run(args: &Train, settings: &Settings) -> Result<ExitCode> {
    let args = &folder::resolved(args)?;
    if control::asked(args) {
        return control::run(args, settings);
    }
    let effect = |e: Effect| match e {
        Effect::Snapshot => Request::Snapshot,
        Effect::Stop => Request::Stop,
        Effect::None => Request::None,
    };
    let signals = Signals::listen(
        effect(args.args.sigint_effect),
        effect(args.args.sighup_effect),
    )?;
    let mut runner = Runner {
        given: args,
        given_seed: settings.seed,
        args: args.clone(),
        seed: settings.seed,
        sparse: settings.sparse,
        past: None,
        snapshots: 0,
        signals,
    };
    let ending = match (&args.phase, &args.flow, &args.args.out, &args.args.solver) {
        // As `caffe train`: nothing but what the solver says.
        (None, None, None, Some(solver)) => runner.plain(solver)?,
        _ => runner.flow()?,
    };
    Ok(match ending {
        Ending::Done => ExitCode::SUCCESS,
        Ending::Stopped => ExitCode::from(runner.signals.exit_code()),
    })
}

/// Trains what is in a folder that `dsd new` has made.
pub fn folder(path: &Path, settings: &Settings) -> Result<ExitCode> {
    let line = ["dsd".into(), "train".into(), path.as_os_str().to_owned()];
    match cli::parse(line.into_iter()).command {
        cli::Command::Train(args) => run(&args, settings),
        _ => bail!("{}: cannot be trained", path.display()),
    }
}

impl Runner<'_> {
    /// Caffe's own train: one dense run, snapshots where the solver's prefix says.
    fn plain(&mut self, path: &Path) -> Result<Ending> {
        let mut config = self.read_solver(path)?;
        warn_of_gpu([&config]);
        if let Some(n) = self.args.args.max_iter {
            config.param.max_iter = Some(n);
        }
        if self.args.args.sparsity.is_some() {
            return Err(
                Usage("--sparsity prunes in a sparse phase; add --phase sparse".into()).into(),
            );
        }
        settings::check_flags(&self.args.args, &Flow::single(Phase::Dense))?;
        if self.args.args.dry_run || self.args.args.find_lr.is_some() {
            // What a folder of its own would be asked for is what this run needs too.
            return self.flow();
        }
        let prefix = caffe_prefix(&config, path);
        let resume = self.resume_state(&prefix);
        let saves = config.param.snapshot() > 0 || config.param.snapshot_after_train();
        let save_every = self.save_every(&config);
        let save_every = save_every.filter(|_| saves || self.args.args.snapshot_minutes.is_some());
        let mut solver = self.solver(
            config,
            Phase::Dense,
            self.args.args.precision,
            prefix.clone(),
        )?;
        self.start_weights(&mut solver, &[], resume.as_deref())?;
        if saves || save_every.is_some() {
            snapshot::check_prefix(&prefix)?;
        }
        let mut reports = self.reports(Phase::Dense.name(), 0, &solver, None, 0)?;
        reports.save_every = save_every;
        solver.solve(&mut reports)
    }

    fn read_solver(&self, path: &Path) -> Result<Config> {
        let state = &self.args.args.state;
        Config::read(path, state.level, &state.stage)
    }

    fn solver(
        &self,
        config: Config,
        phase: Phase,
        precision: Option<Precision>,
        prefix: String,
    ) -> Result<Solver> {
        let folder = config.folder.clone();
        let own = config.param.random_seed();
        let seed = self.seed.or((own >= 0).then_some(own as u64));
        let opener = |mode: Mode, source: Option<&PathBuf>| Opener {
            mode,
            seed: seed.unwrap_or(crate::solver::DEFAULT_SEED),
            source: source.map(|s| s.display().to_string()),
            folder: folder.clone(),
        };
        let data = opener(Mode::Train, self.args.args.source.as_ref());
        let mut solver = Solver::new(
            config,
            Options {
                phase,
                seed,
                prefix,
                sparse: self.sparse,
                precision: precision.unwrap_or_default(),
            },
            &data,
            &opener(Mode::Test, None),
        )?;
        solver.keep(self.args.args.keep);
        Ok(solver)
    }

    /// What a run starts from: a snapshot, else weights files, else those that the solver names.
    fn start_weights(
        &self,
        solver: &mut Solver,
        weights: &[PathBuf],
        state: Option<&Path>,
    ) -> Result<()> {
        if let Some(state) = self.args.args.snapshot.as_deref().or(state) {
            return solver.restore(state);
        }
        let mut files = if weights.is_empty() {
            self.args.args.weights.clone()
        } else {
            weights.to_vec()
        };
        if files.is_empty() {
            files = solver.weights_of_solver();
        }
        let mut given = BTreeSet::new();
        for path in files {
            info!("Finetuning from {}", path.display());
            let stored = weights_file::read(&path, solver.net())?;
            solver.load(&stored)?;
            given.extend(stored.layers.into_iter().map(|layer| layer.name));
        }
        let zero = solver.net().zero_layers(solver.weights(), &given);
        if let Some(text) = zeros::said(&zero) {
            warn!("{text}");
        }
        Ok(())
    }

    fn resume_state(&self, prefix: &str) -> Option<PathBuf> {
        let found = if self.args.args.resume {
            snapshot::newest(prefix)
        } else {
            None
        };
        found.map(|(_, path)| path)
    }

    /// Where the results of a phase go; `k` phases of this run came before it, with `before` iterations.
    fn reports(
        &mut self,
        name: &str,
        k: usize,
        solver: &Solver,
        folder: Option<&RunFolder>,
        before: u64,
    ) -> Result<Reports> {
        let own = folder.map(|f| f.root().join(METRICS));
        let asked = self.args.args.metrics.as_ref();
        let mut metrics = Metrics::of(name, before);
        if let Some(path) = &own {
            metrics.resume(path, solver.iter())?;
        }
        if let Some(path) = asked.filter(|a| own.as_ref() != Some(a)) {
            let fresh = solver.iter() == 0 && k == 0 && !self.args.args.resume;
            if fresh {
                metrics.create(path)?;
            } else {
                metrics.resume(path, solver.iter())?;
            }
        }
        let events = self.args.args.tensorboard.as_ref();
        if let Some(home) = events {
            metrics.tensorboard(home, solver.iter())?;
        }
        let label = folder.map_or("train", |_| name);
        let bar = progress::bar(label.to_string(), solver.iter(), solver.max_iter());
        Ok(Reports {
            metrics: (own.is_some() || asked.is_some() || events.is_some()).then_some(metrics),
            bar: Some(bar),
            signals: self.signals.clone(),
            ..Reports::default()
        })
    }

    /// How often the clock saves a run of this solver.
    fn save_every(&self, config: &Config) -> Option<Duration> {
        let asked = self.args.args.snapshot_minutes;
        let minutes = match config.param.snapshot() {
            n if n > 0 => asked.unwrap_or(0.0),
            _ => asked.unwrap_or(SAVE_MINUTES),
        };
        let every = Duration::try_from_secs_f64(60.0 * minutes).ok();
        every.filter(|every| !every.is_zero())
    }

    /// The folder of the run; where it goes on, the arguments are completed from its record, and paths count from where
    /// it was started.
    fn recall(&mut self) -> Result<RunFolder> {
        let given = self.given;
        let out = given.args.out.clone();
        let mut root = out.clone().unwrap_or_else(|| PathBuf::from("dsd_run"));
        if !given.args.resume {
            return Ok(RunFolder::new(root));
        }
        let Some(past) = RunRecord::read(&root)? else {
            if out.is_some()
                && !root.is_dir()
                && flow::names_no_path(given)
                && given.phase.is_none()
            {
                bail!(
                    "{}: there is no run to go on with; give --solver or --phase to start one",
                    root.display()
                );
            }
            return Ok(RunFolder::new(root));
        };
        past.complete(&mut self.args, &mut self.seed)?;
        let here = std::env::current_dir().unwrap_or_default();
        if here != past.folder && flow::names_no_path(given) {
            if past.folder.is_dir() {
                root = std::fs::canonicalize(&root).unwrap_or(root);
                std::env::set_current_dir(&past.folder)?;
                info!(
                    "Paths count from {}, where the run was started",
                    past.folder.display()
                );
            } else {
                flow::warn_of_folder(&past.folder);
            }
        }
        self.past = Some(past);
        Ok(RunFolder::new(root))
    }
}

/// Says once that there is no GPU, if a solver asks for it.
fn warn_of_gpu<'a>(configs: impl IntoIterator<Item = &'a Config>) {
    let asks = |c: &Config| c.param.solver_mode == Some(1);
    if configs.into_iter().any(asks) {
        warn!("no GPU backend, running on CPU");
    }
}

/// Where Caffe puts snapshots: the solver's prefix; in a folder, named after the solver; without one,
/// the solver's own path without its extension.
fn caffe_prefix(config: &Config, solver: &Path) -> String {
    let stem = solver.with_extension("");
    match config.param.snapshot_prefix() {
        "" => stem.display().to_string(),
        folder if Path::new(folder).is_dir() => Path::new(folder)
            .join(stem.file_name().unwrap_or_default())
            .display()
            .to_string(),
        prefix => prefix.to_string(),
    }
}
