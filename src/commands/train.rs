//! `dsd train` and its phases' own commands: resolves what to train, from what, to where.

mod settings;

use super::Usage;
use super::feed::Opener;
use super::run_folder::{Record, RunFolder};
use crate::cli::{Effect, PhaseName, Train};
use crate::layers::Mode;
use crate::models;
use crate::net::zeros;
use crate::phase::{DEFAULT_SPARSITY, Flow, Phase, QUANTIZE_RATE, REDENSE_RATE, Step};
use crate::report::metrics::{Metrics, Resume};
use crate::report::progress;
use crate::solver::bits::Bits;
use crate::solver::config::Config;
use crate::solver::signals::{Request, Signals};
use crate::solver::sparsity::Sparsity;
use crate::solver::{Ending, Options, Reports, Solver, snapshot};
use crate::{info, warn, weights_file};
use anyhow::{Context, Result, bail};
use settings::Settings;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Where a training run stands among its arguments.
struct Runner<'a> {
    args: &'a Train,
    seed: Option<u64>,
    signals: Signals,
}

/// Runs the command.
pub fn run(args: &Train, seed: Option<u64>) -> Result<ExitCode> {
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
        args,
        seed,
        signals,
    };
    let ending = match (&args.phase, &args.flow, &args.args.out, &args.args.solver) {
        // As `caffe train`: nothing but what the solver says.
        (None, None, None, Some(solver)) => runner.plain(solver)?,
        _ => runner.flow()?,
    };
    Ok(match ending {
        Ending::Done => ExitCode::SUCCESS,
        Ending::Stopped => ExitCode::from(130),
    })
}

impl Runner<'_> {
    /// Caffe's own train: one dense run, snapshots where the solver's prefix says.
    fn plain(&mut self, path: &Path) -> Result<Ending> {
        let mut config = self.read_solver(path)?;
        warn_of_gpu([&config]);
        self.override_length(&mut config, None);
        if self.args.args.sparsity.is_some() {
            return Err(
                Usage("--sparsity prunes in a sparse phase; add --phase sparse".into()).into(),
            );
        }
        settings::check_flags(&self.args.args, &Flow::single(Phase::Dense))?;
        let prefix = caffe_prefix(&config, path);
        let resume = self.resume_state(&prefix);
        let saves = config.param.snapshot() > 0 || config.param.snapshot_after_train();
        let mut solver = self.solver(config, Phase::Dense, prefix.clone())?;
        self.start_weights(&mut solver, &[], resume.as_deref())?;
        if saves {
            snapshot::check_prefix(&prefix)?;
        }
        let mut reports = self.reports(Phase::Dense, (0, 0), "train", &solver)?;
        solver.solve(&mut reports)
    }

    /// Phases in turn, each in its folder.
    fn flow(&mut self) -> Result<Ending> {
        let args = &self.args.args;
        let flow = match (&self.args.flow, self.args.phase) {
            (Some(path), _) => Flow::read(path)?,
            (None, Some(PhaseName::Dense)) => Flow::single(Phase::Dense),
            (None, Some(PhaseName::Sparse)) => Flow::single(Phase::Sparse),
            (None, Some(PhaseName::Redense)) => Flow::single(Phase::Redense),
            (None, Some(PhaseName::Quantize)) => Flow::single(Phase::Quantize),
            (None, Some(PhaseName::Dsd)) => Flow::dsd(),
            (None, None) if args.solver.is_some() => Flow::single(Phase::Dense),
            (None, None) => Flow::dsd(),
        };
        if args.snapshot.is_some() && flow.steps.len() > 1 {
            let text =
                "--snapshot goes on with one phase; for several, --resume finds where they stopped";
            return Err(Usage(text.into()).into());
        }
        if args.sparsity.is_some() && !flow.steps.iter().any(|s| s.phase == Phase::Sparse) {
            return Err(
                Usage("--sparsity is given, but no phase of this run is sparse".into()).into(),
            );
        }
        if let Some(text) = &args.sparsity {
            Sparsity::parse(text).map_err(|e| match text.strip_prefix('@') {
                Some(file) if Path::new(file).exists() => e.context("--sparsity"),
                _ => Usage(format!("--sparsity: {e:#}")).into(),
            })?;
        }
        settings::check_flags(args, &flow)?;
        let folder = RunFolder::new(args.out.clone().unwrap_or_else(|| PathBuf::from("dsd_run")));
        let mut weights: Vec<PathBuf> = args.weights.clone();
        if weights.is_empty() {
            weights.extend(flow.weights.clone());
        }
        let configs = self.configs(&flow)?;
        if weights.is_empty() && args.snapshot.is_none() {
            weights.extend(folder.weights_before(flow.steps[0].phase)?);
        }
        let mut records: Vec<Record> = Vec::new();
        for (k, (step, config)) in flow.steps.iter().zip(configs).enumerate() {
            let (ending, record) = self.phase(&flow, k, config, &folder, &weights)?;
            if let Some(record) = record {
                weights = vec![folder.path(&step.name).join(&record.weights)];
                records.push(record);
            }
            if ending == Ending::Stopped {
                info!(
                    "Stopped in the {} phase; the same command with --resume goes on",
                    step.name
                );
                return Ok(ending);
            }
        }
        folder.print(&records)?;
        Ok(Ending::Done)
    }

    /// Phase `k` of a flow. The record tells how it ended; there is none if it was stopped.
    fn phase(
        &mut self,
        flow: &Flow,
        k: usize,
        mut config: Config,
        folder: &RunFolder,
        weights: &[PathBuf],
    ) -> Result<(Ending, Option<Record>)> {
        let step = &flow.steps[k];
        let settings = Settings::of(&self.args.args, step)?;
        let base_lr = self.base_lr(step, &config, folder);
        config.param.base_lr = Some(base_lr);
        config.param.snapshot_after_train = Some(true);
        let home = folder.path(&step.name);
        let base = Path::new(config.param.snapshot_prefix())
            .file_name()
            .map(|n| n.to_string_lossy().to_string());
        let prefix = home
            .join(base.unwrap_or_else(|| step.phase.to_string()))
            .display()
            .to_string();
        let max_iter = config.max_iter();
        let newest = if self.args.args.resume {
            snapshot::newest(&prefix)
        } else {
            None
        };
        if let (Some((iter, _)), Some(record)) = (&newest, folder.record(&step.name)?)
            && *iter >= max_iter
            && flow.steps.len() > 1
        {
            info!("The {} phase is done ({iter} iterations)", step.name);
            return Ok((Ending::Done, Some(record)));
        }
        let fresh = newest.is_none() && self.args.args.snapshot.is_none();
        info!(
            "Phase {}: {max_iter} iterations, base_lr {}, in {}",
            step.name,
            base_lr,
            home.display()
        );
        let state = self
            .args
            .args
            .snapshot
            .clone()
            .or(newest.map(|(_, path)| path));
        let solver_file = config.file.clone();
        let ending_of_weights = snapshot::Format::of(&config.param).weights();
        let mut solver = self.solver(config, step.phase, prefix.clone())?;
        let resumed = state.is_some();
        settings.prepare(&mut solver);
        self.start_weights(&mut solver, weights, state.as_deref())?;
        let given = self.args.args.sparsity.as_ref().or(step.sparsity.as_ref());
        let mut sparsity = None;
        if step.phase == Phase::Sparse {
            // Read now and recorded later: a file of rules may be another by then.
            let rules = Sparsity::parse(given.map_or(DEFAULT_SPARSITY, String::as_str))?;
            sparsity = given.map(|_| rules.recorded());
            if !resumed {
                settings.prune(&mut solver, &rules)?;
            }
        }
        settings.complete(&mut solver, resumed)?;
        if !self.args.args.resume && k == 0 && fresh {
            // All phases now: else --resume would take an earlier run's later phases for this run's. The
            // last comes first, so that what is left, if the run is killed in between, is one run's.
            for step in flow.steps.iter().rev() {
                folder.make_room(&step.name)?;
            }
        }
        folder.sweep(&step.name);
        if fresh {
            folder.make_room(&step.name)?;
        }
        snapshot::check_prefix(&prefix)?;
        let before = flow.steps[..k].iter();
        let nth = before.filter(|s| s.phase == step.phase).count();
        let mut reports = self.reports(step.phase, (k, nth), &step.name, &solver)?;
        let started = Instant::now();
        let before = if resumed {
            folder.seconds(&step.name)
        } else {
            0.0
        };
        let mut ending = solver.solve(&mut reports)?;
        if ending == Ending::Done {
            ending = solver.test_result(&mut reports)?;
        }
        drop(reports);
        let seconds = before + started.elapsed().as_secs_f64();
        let record = Record {
            phase: step.name.clone(),
            solver: solver_file,
            base_lr,
            sparsity,
            schedule: solver.schedule().map(|s| s.to_string()),
            bits: settings.bits.map(|b| b.text().to_string()),
            density: solver.density(),
            iterations: solver.iter(),
            loss: solver.loss(),
            outputs: solver.last_test().map(|t| t.1.clone()).unwrap_or_default(),
            seconds,
            weights: snapshot::file_name(&prefix, solver.iter(), ending_of_weights)
                .file_name()
                .map(PathBuf::from)
                .unwrap_or_default(),
            done: ending == Ending::Done,
        };
        folder.write(&record)?;
        Ok((ending, Some(record).filter(|_| ending == Ending::Done)))
    }

    /// The learning rate that a phase starts with: redense takes a tenth of the solver's and quantize a
    /// hundredth, unless the solver is that phase's own.
    fn base_lr(&self, step: &Step, config: &Config, folder: &RunFolder) -> f32 {
        let said = config.param.base_lr();
        if let Some(rate) = step.base_lr {
            return rate;
        }
        let builtin = self.args.args.solver.is_none() && step.solver.is_none();
        let own = match &self.args.args.solver {
            _ if builtin || step.own_solver => true,
            Some(_) if self.args.phase == Some(PhaseName::Redense) => {
                !folder.trained_with(&config.file, &["dense", "sparse"])
            }
            Some(_) if self.args.phase == Some(PhaseName::Quantize) => {
                !folder.trained_with(&config.file, &["dense", "sparse", "redense"])
            }
            _ => false,
        };
        let (part, words) = match step.phase {
            Phase::Redense => (REDENSE_RATE, "a tenth"),
            Phase::Quantize => (QUANTIZE_RATE, "a hundredth"),
            Phase::Dense | Phase::Sparse => return said,
        };
        if own {
            return said;
        }
        info!(
            "{} starts at {words} of the solver's learning rate: {} instead of {said}",
            step.phase,
            said * part
        );
        said * part
    }

    /// The solvers of all phases: what is wrong with the last of them shows before the first has run.
    fn configs(&self, flow: &Flow) -> Result<Vec<Config>> {
        let steps = flow.steps.iter();
        let mut configs: Vec<Config> = steps.map(|s| self.config(s)).collect::<Result<_>>()?;
        warn_of_gpu(&configs);
        let mut before: (Option<Sparsity>, Option<Bits>) = (None, None);
        for (step, config) in flow.steps.iter().zip(&mut configs) {
            self.override_length(config, step.max_iter);
            let settings = Settings::of(&self.args.args, step)?;
            settings
                .check(config)
                .with_context(|| format!("phase {}", step.name))?;
            let text = self.args.args.sparsity.as_ref().or(step.sparsity.as_ref());
            let text = text.map_or(DEFAULT_SPARSITY, |t| t);
            let sparsity = match step.phase {
                Phase::Sparse => Some(Sparsity::parse(text)?),
                _ => None,
            };
            if let Some(sparsity) = &sparsity {
                let net = &config.train;
                let layers: Vec<&str> = net.message.layer.iter().map(|l| l.name()).collect();
                if let Some(idle) = sparsity.unmatched(&layers).first() {
                    bail!("sparsity {text}: '{idle}' matches no layer of {}", net.file);
                }
            }
            if let (Some(before), Some(now)) = (&before.0, &sparsity) {
                settings::check_nested(before, now, config, &step.name)?;
            }
            if let (Some(before), Some(now)) = (&before.1, &settings.bits) {
                settings::check_fewer(before, now, config, &step.name)?;
            }
            before = (sparsity, settings.bits);
        }
        Ok(configs)
    }

    fn config(&self, step: &Step) -> Result<Config> {
        if let Some(path) = step.solver.as_ref().or(self.args.args.solver.as_ref()) {
            return self.read_solver(path);
        }
        if self.args.flow.is_some() {
            bail!(
                "phase {} has no solver: name one in the flow, or give --solver",
                step.name
            );
        }
        let builtin = models::find(models::DEFAULT).context("the built-in net is missing")?;
        let state = &self.args.args.state;
        let load = |_: &str| builtin.train_val(models::Family::Release);
        Config::new(
            builtin.solver(step.phase)?,
            PathBuf::new(),
            &load,
            state.level,
            &state.stage,
        )
    }

    fn read_solver(&self, path: &Path) -> Result<Config> {
        let state = &self.args.args.state;
        Config::read(path, state.level, &state.stage)
    }

    fn override_length(&self, config: &mut Config, of_step: Option<u64>) {
        let given = of_step.map(|n| n.min(i32::MAX as u64) as i32);
        if let Some(n) = self.args.args.max_iter.or(given) {
            config.param.max_iter = Some(n);
        }
    }

    fn solver(&self, config: Config, phase: Phase, prefix: String) -> Result<Solver> {
        let name = phase.to_string();
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
        Solver::new(
            config,
            Options {
                phase: &name,
                seed,
                prefix,
            },
            &data,
            &opener(Mode::Test, None),
        )
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

    fn reports(
        &mut self,
        phase: Phase,
        (k, nth): (usize, usize),
        label: &str,
        solver: &Solver,
    ) -> Result<Reports> {
        let name = phase.to_string();
        let metrics = match &self.args.args.metrics {
            None => None,
            Some(path) => {
                let fresh = solver.iter() == 0 && k == 0 && !self.args.args.resume;
                Some(if fresh {
                    Metrics::create(path)?
                } else {
                    Metrics::resume(
                        path,
                        Resume {
                            phase: &name,
                            nth,
                            iteration: solver.iter(),
                        },
                    )?
                })
            }
        };
        let bar = progress::bar(label.to_string(), solver.iter(), solver.max_iter());
        Ok(Reports {
            metrics,
            bar: Some(bar),
            signals: self.signals.clone(),
        })
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
