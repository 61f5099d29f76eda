//! Phases in turn, each in its folder: planned whole before the first runs, recorded, gone on with.

use super::rates::Rate;
use super::resume::{self, Said};
use super::settings::{self, Rules, Settings};
use super::{Runner, closing, copies, disk, rates, warn_of_gpu};
use crate::cli::Phases;
use crate::commands::Usage;
use crate::commands::curves::Live;
use crate::commands::run_folder::run_record::command_line;
use crate::commands::run_folder::{Record, RunFolder};
use crate::flow::{Flow, Step};
use crate::models;
use crate::phase::Phase;
use crate::proto::SolverParameter;
use crate::solver::bits::Bits;
use crate::solver::config::Config;
use crate::solver::sparsity::Sparsity;
use crate::solver::{Ending, Solver, snapshot, snapshots_left};
use crate::{info, memory, outln, warn};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is known of a phase before it runs.
pub(super) struct Plan {
    /// The solver, of the length that the phase has.
    pub config: Config,
    /// What the solver's file says.
    pub original: SolverParameter,
    /// The record of an earlier sitting, if the phase goes on.
    pub record: Option<Record>,
    /// The newest snapshot, if it does.
    pub newest: Option<(u64, PathBuf)>,
    /// Whether the solver is the record's, for none was given.
    pub recalled: bool,
    /// The solver whose rates the phase takes up again, and from which iteration on.
    pub rewound: Option<(SolverParameter, u64)>,
}

impl Runner<'_> {
    /// Phases in turn, each in its folder.
    pub(super) fn flow(&mut self) -> Result<Ending> {
        let folder = self.recall()?;
        let mut flow = self.flow_of(&folder)?;
        self.seed = self.seed.or(flow.seed);
        if self.given.flow.is_some() {
            self.given_seed = self.given_seed.or(flow.seed);
        }
        self.check_arguments(&flow)?;
        let rules = Rules::parse(&self.args.args)?;
        let said = flow.clone();
        let plans = self.plans(&mut flow, &said, &rules, &folder)?;
        let weights = self.first_weights(&flow, &plans, &folder)?;
        if let Some(steps) = self.args.args.find_lr {
            self.find_lr(steps, &flow, plans, &folder, &weights)?;
            return Ok(Ending::Done);
        }
        if self.args.args.dry_run {
            self.dry_run(&flow, plans, &folder, &weights)?;
            return Ok(Ending::Done);
        }
        let (args, past) = (self.args.clone(), self.past.take());
        folder.sitting(&args, self.seed, past, self.given.flow.as_deref(), || {
            self.phases(&flow, plans, &folder, weights)
        })
    }

    fn flow_of(&self, folder: &RunFolder) -> Result<Flow> {
        let args = &self.args;
        Ok(match (&args.flow, args.phase) {
            (Some(_), _) if self.given.flow.is_none() => match folder.flow_copy() {
                Some(copy) => {
                    let own = args.flow.as_deref().and_then(Path::parent);
                    Flow::read_from(&copy, own.unwrap_or(Path::new("")))?
                }
                None => bail!(
                    "{}: its copy of the flow is gone; give --flow",
                    folder.root().display()
                ),
            },
            (Some(path), _) => Flow::read(path)?,
            (None, Some(Phases::One(phase))) => Flow::single(phase),
            (None, Some(Phases::Dsd)) => Flow::dsd(),
            (None, None) if args.args.solver.is_some() => Flow::single(Phase::Dense),
            (None, None) => Flow::dsd(),
        })
    }

    /// Refuses arguments that no phase of the flow takes.
    fn check_arguments(&self, flow: &Flow) -> Result<()> {
        let args = &self.args.args;
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
        Ok(settings::check_flags(args, flow)?)
    }

    /// The plans of all phases: what is wrong with the last of them shows before the first has run. What the flow leaves
    /// open is filled in; `said` is the flow as it was given.
    fn plans(
        &self,
        flow: &mut Flow,
        said: &Flow,
        rules: &Rules,
        folder: &RunFolder,
    ) -> Result<Vec<Plan>> {
        let mut plans: Vec<Plan> = Vec::new();
        for (k, step) in flow.steps.iter_mut().enumerate() {
            let said = &said.steps[k];
            plans.push(self.plan(step, (said, rules), k == 0, folder)?);
        }
        rates::rewind(flow, &mut plans)?;
        warn_of_gpu(plans.iter().map(|p| &p.config));
        let mut before: (Option<Sparsity>, Option<Bits>) = (None, None);
        for (step, plan) in flow.steps.iter().zip(&plans) {
            let settings = Settings::of(&self.args.args, step);
            let sparsity = step
                .rules()
                .map(|rules| settings::rules_for(rules, &plan.config));
            let sparsity = sparsity.transpose()?;
            settings
                .check(&plan.config, sparsity.as_ref())
                .with_context(|| format!("phase {}", step.name))?;
            if let (Some(before), Some(now)) = (&before.0, &sparsity) {
                settings::check_nested(before, now, &plan.config, &step.name)?;
            }
            if let (Some(before), Some(now)) = (&before.1, &settings.bits) {
                settings::check_fewer(before, now, &plan.config, &step.name)?;
            }
            let held = sparsity.filter(|_| settings.ends_masked());
            before = (held, settings.bits);
        }
        Ok(plans)
    }

    fn plan(
        &self,
        step: &mut Step,
        (said, rules): (&Step, &Rules),
        first: bool,
        folder: &RunFolder,
    ) -> Result<Plan> {
        let args = &self.given.args;
        let home = folder.path(&step.name);
        let record = match args.resume {
            true => folder.read(&step.name)?,
            false => None,
        };
        let of_flow = said.solver.as_ref().filter(|_| self.given.flow.is_some());
        let (mut config, recalled) = match of_flow.or(args.solver.as_ref()) {
            Some(path) => (self.read_solver(path)?, false),
            None => match self.recalled(step, record.as_ref(), folder)? {
                Some(config) => (config, record.is_some()),
                None => (self.config(step)?, false),
            },
        };
        let newest = match args.resume {
            true => snapshot::newest(&prefix_of(&home, &config, step.phase)),
            false => None,
        };
        if let (Some(_), Some(record)) = (&newest, &record) {
            let said = Said {
                args,
                rules,
                step: Some(said).filter(|_| self.given.flow.is_some()),
                seed: self.given_seed,
                first,
            };
            let now = Some(&config).filter(|_| !recalled);
            resume::check(&home, record, &said, step.phase, now)?;
        }
        let original = config.param.clone();
        resume::resolve(step, &self.args.args, rules, record.as_ref())?;
        if recalled && step.max_iter.is_none() {
            step.max_iter = record.as_ref().and_then(|r| r.max_iter);
        }
        if let Some(n) = step.max_iter {
            config.param.max_iter = Some(i32::try_from(n).unwrap_or(i32::MAX));
        }
        Ok(Plan {
            config,
            original,
            record,
            newest,
            recalled,
            rewound: None,
        })
    }

    /// The solver of a run that goes on and was told none: the copy in the phase's folder, else that of an earlier phase
    /// with the same solver.
    fn recalled(
        &self,
        step: &Step,
        record: Option<&Record>,
        folder: &RunFolder,
    ) -> Result<Option<Config>> {
        if !self.given.args.resume {
            return Ok(None);
        }
        if let Some(r) = record {
            return copies::read(&folder.path(&step.name), r, r.level, &r.stage);
        }
        let wanted = step.solver.as_ref().or(self.args.args.solver.as_ref());
        let Some(wanted) = wanted.map(|p| p.display().to_string()) else {
            return Ok(None);
        };
        let twin = folder.records()?.into_iter().find(|r| r.solver == wanted);
        match twin {
            Some(r) => copies::read(&folder.path(&r.phase), &r, r.level, &r.stage),
            None => Ok(None),
        }
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

    /// What the first phase starts from, beside a snapshot.
    fn first_weights(
        &self,
        flow: &Flow,
        plans: &[Plan],
        folder: &RunFolder,
    ) -> Result<Vec<PathBuf>> {
        let mut weights = self.args.args.weights.clone();
        if weights.is_empty() {
            weights.extend(flow.weights.clone());
        }
        let goes_on = self.args.args.snapshot.is_some() || plans[0].newest.is_some();
        if weights.is_empty() && !goes_on {
            match folder.weights_before(flow.steps[0].phase) {
                Err(_) if self.args.args.dry_run || self.args.args.find_lr.is_some() => {}
                found => weights.extend(found?),
            }
        }
        Ok(weights)
    }

    fn phases(
        &mut self,
        flow: &Flow,
        plans: Vec<Plan>,
        folder: &RunFolder,
        mut weights: Vec<PathBuf>,
    ) -> Result<Ending> {
        let mut records: Vec<Record> = Vec::new();
        let lengths: Vec<f64> = plans.iter().map(|p| passes(&p.config)).collect();
        let keep = self.args.args.keep;
        let snapshots =
            |p: &Plan| snapshots_left(&p.config, p.newest.as_ref().map_or(0, |n| n.0), keep);
        self.snapshots = plans.iter().map(snapshots).sum();
        for (k, plan) in plans.into_iter().enumerate() {
            let step = &flow.steps[k];
            let later = lengths[k + 1..].iter().sum::<f64>() / per_iteration(&plan.config);
            let (ending, record) = self.phase(flow, k, plan, folder, &weights, later)?;
            if let Some(record) = record {
                weights = vec![folder.path(&step.name).join(&record.weights)];
                records.push(record);
            }
            if ending == Ending::Stopped {
                info!(
                    "Stopped in the {} phase; the same command with --resume goes on, and so does dsd train --out {} \
                     --resume",
                    step.name,
                    folder.root().display()
                );
                return Ok(ending);
            }
        }
        folder.print(&records)?;
        if let Some(text) = closing::said(&records, folder.root()) {
            outln!("\n{text}")?;
        }
        Ok(Ending::Done)
    }

    /// Phase `k` of a flow. The record tells how it ended; there is none if it was stopped.
    fn phase(
        &mut self,
        flow: &Flow,
        k: usize,
        mut plan: Plan,
        folder: &RunFolder,
        weights: &[PathBuf],
        later: f64,
    ) -> Result<(Ending, Option<Record>)> {
        let step = &flow.steps[k];
        let home = folder.path(&step.name);
        if k > 0 && plan.newest.is_some() && is_stale(&plan, weights) {
            info!(
                "The phase before {} has gone further since; it starts anew from {}",
                step.name,
                weights[0].display()
            );
            (plan.newest, plan.record) = (None, None);
        }
        let max_iter = plan.config.max_iter();
        if let (Some((iter, _)), Some(record)) = (&plan.newest, &plan.record)
            && record.done
            && (*iter >= max_iter || record.converged)
            && flow.steps.len() > 1
        {
            info!("The {} phase is done ({iter} iterations)", step.name);
            return Ok((Ending::Done, plan.record));
        }
        let mut record = self.record_of(flow, k, &plan, folder, weights);
        plan.config.param.base_lr = Some(record.base_lr);
        plan.config.param.snapshot_after_train = Some(true);
        let prefix = prefix_of(&home, &plan.config, step.phase);
        let fresh = plan.newest.is_none() && self.args.args.snapshot.is_none();
        let (mut solver, settings) = self.prepared(step, &plan, &prefix, weights, &mut record)?;
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
        disk::announce(
            solver.snapshot_bytes(),
            std::mem::take(&mut self.snapshots),
            folder.root(),
        );
        record.nets = copies::write(&home, &plan.original, &plan.config)?;
        record.take(&solver);
        record.bits = settings.bits.map(|b| b.text().to_string());
        folder.write(&record)?;
        let mut reports = self.reports(&step.name, k, &solver, Some(folder), record.before)?;
        (reports.later, reports.save_every) = (later, self.save_every(&plan.config));
        // When the reports go, however the phase ended, it draws for the last time.
        let mut curves = Live::new(folder.root());
        reports.news = Some(Box::new(move || curves.draw()));
        let started = Instant::now();
        let before = record.seconds;
        let mut ending = solver.solve(&mut reports)?;
        if ending == Ending::Done {
            ending = solver.test_result(&mut reports)?;
        }
        drop(reports);
        record.seconds = before + started.elapsed().as_secs_f64();
        record.memory = memory::peak();
        record.take(&solver);
        let format = snapshot::Format::of(&plan.config.param);
        let file = snapshot::file_name(&prefix, solver.iter(), format.weights());
        record.weights = file.file_name().map(PathBuf::from).unwrap_or_default();
        record.done = ending == Ending::Done;
        folder.write(&record)?;
        Ok((ending, Some(record).filter(|_| ending == Ending::Done)))
    }

    /// The solver of a phase, with its weights, masks and codebooks.
    fn prepared(
        &mut self,
        step: &Step,
        plan: &Plan,
        prefix: &str,
        weights: &[PathBuf],
        record: &mut Record,
    ) -> Result<(Solver, Settings)> {
        let settings = Settings::of(&self.args.args, step);
        let given = self.args.args.snapshot.clone();
        let state = given.or(plan.newest.as_ref().map(|n| n.1.clone()));
        let resumed = state.is_some();
        let prefix = prefix.to_string();
        let mut solver = self.solver(plan.config.clone(), step.phase, step.precision, prefix)?;
        settings.prepare(&mut solver)?;
        if let Some((param, from)) = &plan.rewound {
            solver.rewind_rates(param, *from)?;
        }
        self.start_weights(&mut solver, weights, state.as_deref())?;
        if let Some(rules) = step.rules() {
            // The rules themselves: a file of them may be another when the run goes on.
            record.sparsity = Some(rules.recorded());
            if !resumed {
                settings.prune(&mut solver, &rules)?;
            }
        }
        settings.complete(&mut solver, resumed)?;
        record.seed = Some(solver.seed());
        Ok((solver, settings))
    }

    /// What is recorded of a phase before it runs.
    fn record_of(
        &self,
        flow: &Flow,
        k: usize,
        plan: &Plan,
        folder: &RunFolder,
        weights: &[PathBuf],
    ) -> Record {
        let step = &flow.steps[k];
        let old = plan.record.as_ref();
        let args = &self.args.args;
        let rate = self.rate(flow, k, plan, folder);
        let max_iter = plan.config.max_iter();
        let home = folder.path(&step.name);
        let rules = step.rules();
        let sparsity = rules.map_or(String::new(), |r| format!(", sparsity {}", r.text()));
        info!(
            "Phase {}: {max_iter} iterations, base_lr {}{}{sparsity}, in {}",
            step.name,
            rate.value,
            rate.note,
            home.display()
        );
        if let Some(old) = old.filter(|_| plan.newest.is_some()) {
            if old.base_lr != rate.value {
                info!(
                    "base_lr was {} so far and is {} from here on",
                    old.base_lr, rate.value
                );
            }
            if let Some(was) = old.max_iter.filter(|n| *n != max_iter) {
                info!("max_iter was {was} so far and is {max_iter} now");
            }
        }
        let goes_on = old.filter(|_| plan.newest.is_some());
        let extras = step.extras().into_iter();
        Record {
            phase: step.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            command: goes_on.map_or_else(command_line, |r| r.command.clone()),
            solver: plan.config.file.clone(),
            base_lr: rate.value,
            max_iter: Some(max_iter),
            scale_dropout: step.scale_dropout,
            extras: extras.map(|(name, v)| (name.to_string(), v)).collect(),
            precision: step.precision.unwrap_or_default(),
            source: args.source.clone(),
            level: args.state.level,
            stage: args.state.stage.clone(),
            from: goes_on.map_or_else(|| weights.to_vec(), |r| r.from.clone()),
            before: goes_on.map_or_else(|| folder.iterations_behind(weights), |r| r.before),
            seconds: goes_on.map_or(0.0, |r| r.seconds),
            ..Record::default()
        }
    }

    /// The learning rate that a phase starts with.
    pub(super) fn rate(&self, flow: &Flow, k: usize, plan: &Plan, folder: &RunFolder) -> Rate {
        let step = &flow.steps[k];
        let said = plan.config.param.base_lr();
        if let Some((param, from)) = &plan.rewound {
            return Rate::rewound(param.base_lr(), *from);
        }
        if let Some(rate) = step.base_lr {
            return Rate::said(rate);
        }
        if let Some(record) = plan.record.as_ref().filter(|_| plan.recalled) {
            return Rate::said(record.base_lr);
        }
        let builtin = self.args.args.solver.is_none() && step.solver.is_none();
        if builtin || step.own_solver {
            return Rate::said(said);
        }
        let shares = |s: &&Step| !s.own_solver && s.solver == step.solver;
        let in_flow = flow.steps[..k].iter().find(shares).map(|s| s.phase);
        let in_folder = folder.first_with(&plan.config.file, &flow.steps);
        let of_flow = match step.phase {
            // A flow's solver is that of the whole training, also where the flow does not begin with it.
            Phase::Redense => Some(Phase::Sparse),
            Phase::Quantize => Some(Phase::Dense),
            Phase::Dense | Phase::Sparse => None,
        };
        let of_flow = of_flow.filter(|_| self.args.flow.is_some());
        Rate::of(step.phase, said, in_folder.or(in_flow).or(of_flow))
    }
}

/// Whether a phase that could go on started from other weights than those that the phase before it has now.
fn is_stale(plan: &Plan, weights: &[PathBuf]) -> bool {
    let from = plan.record.iter().flat_map(|r| &r.from);
    let names = from.map(|p| p.file_name()).collect::<Vec<_>>();
    !names.is_empty()
        && !names.iter().eq(weights
            .iter()
            .map(|p| p.file_name())
            .collect::<Vec<_>>()
            .iter())
}

/// Where the snapshots of a phase go: its folder, and the name that the solver gives them.
fn prefix_of(home: &Path, config: &Config, phase: Phase) -> String {
    let base = Path::new(config.param.snapshot_prefix()).file_name();
    let base = base.map(|n| n.to_string_lossy().to_string());
    let prefix = home.join(base.unwrap_or_else(|| phase.to_string()));
    prefix.display().to_string()
}

fn per_iteration(config: &Config) -> f64 {
    f64::from(config.param.iter_size().max(1))
}

/// The passes of a phase, which take about the same time in all phases of a net.
fn passes(config: &Config) -> f64 {
    config.max_iter() as f64 * per_iteration(config)
}

/// Whether an earlier sitting's settings may be looked up without being told where paths count from.
pub(super) fn names_no_path(args: &crate::cli::Train) -> bool {
    let a = &args.args;
    let at = a.sparsity.as_ref().is_some_and(|s| s.starts_with('@'));
    args.flow.is_none()
        && a.solver.is_none()
        && a.weights.is_empty()
        && a.snapshot.is_none()
        && a.source.is_none()
        && a.metrics.is_none()
        && a.tensorboard.is_none()
        && !at
}

/// Says that the folder where a run was started is not there any more.
pub(super) fn warn_of_folder(folder: &Path) {
    warn!(
        "the run was started in {}, which is not there; relative paths count from here",
        folder.display()
    );
}
