//! Going on with a run: what its records say where nothing was given, and what would make it another phase.

use super::copies::{self, Change};
use super::settings::Rules;
use crate::cli::TrainArgs;
use crate::commands::Usage;
use crate::commands::run_folder::Record;
use crate::flow::{Schedule, Step};
use crate::phase::Phase;
use crate::solver::bits::Bits;
use crate::solver::config::Config;
use crate::solver::sparsity::Sparsity;
use std::fs;
use std::path::{Path, PathBuf};

/// Fills what a step of the flow does not say from the arguments `args` (the command's, completed from the run's record);
/// then from the phase's own record, if it goes on.
///
/// # Errors
/// The record has rules that this version cannot read.
pub(super) fn resolve(
    step: &mut Step,
    args: &TrainArgs,
    rules: &Rules,
    record: Option<&Record>,
) -> anyhow::Result<()> {
    let own = record.cloned().unwrap_or_default();
    let schedule = args.schedule;
    match step.phase {
        Phase::Sparse => {
            let recorded = own.sparsity.as_deref().map(Sparsity::parse).transpose()?;
            over(&mut step.sparsity, rules.sparsity.clone(), recorded);
            let recorded = Schedule::of(own.schedule_name());
            let recorded = recorded.filter(|s| *s != Schedule::Once);
            over(&mut step.schedule, schedule, recorded);
            if step.schedule == Some(Schedule::Cubic) {
                over(&mut step.prune_every, args.prune_every, own.prune_every);
                over(&mut step.prune_until, args.prune_until, own.prune_until);
            }
        }
        Phase::Quantize => {
            let recorded = own.bits.as_deref().map(Bits::parse).transpose()?;
            over(&mut step.bits, rules.bits.clone(), recorded);
        }
        Phase::Dense | Phase::Redense => {}
    }
    if step.phase.keeps_zeros() {
        step.scale_dropout |= args.scale_dropout || own.scale_dropout;
    }
    let precision = record.map(|r| r.precision);
    over(&mut step.precision, args.precision, precision);
    let max_iter = args.max_iter.and_then(|n| u64::try_from(n).ok());
    step.max_iter = max_iter.or(step.max_iter);
    Ok(())
}

/// The flag over the flow's setting, the flow's over the record's.
fn over<T>(of_step: &mut Option<T>, flag: Option<T>, recorded: Option<T>) {
    *of_step = flag.or(of_step.take()).or(recorded);
}

/// What was said on the command line or in the flow that it names, for one phase.
pub(super) struct Said<'a> {
    /// The flags.
    pub args: &'a TrainArgs,
    /// What those of rules say.
    pub rules: &'a Rules,
    /// The step of the flow, if `--flow` was given.
    pub step: Option<&'a Step>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// Whether this phase is the run's first, which `--weights` is for.
    pub first: bool,
}

impl Said<'_> {
    /// The settings that would make it another phase than the one of `record`.
    pub fn changes(&self, record: &Record, phase: Phase) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        let mut differs = |name: &str, was: Option<String>, now: String| {
            let was = was.unwrap_or_else(|| "none".to_string());
            changes.push((name.to_string(), was, now));
        };
        let step = self.step;
        // The rules are those of the command line completed from the record: given are those that the flags name.
        let given = self.rules.sparsity.as_ref();
        let given = given.filter(|_| self.args.sparsity.is_some());
        if let Some(now) = given.or(step.and_then(|s| s.sparsity.as_ref()))
            && phase == Phase::Sparse
            && let Some(was) = &record.sparsity
            && !Sparsity::parse(was).map_or(was == now.text(), |was| was.agrees(now))
        {
            differs("sparsity", Some(was.clone()), now.text().to_string());
        }
        let given = self.rules.bits.as_ref();
        let given = given.filter(|_| self.args.bits.is_some());
        if let Some(now) = given.or(step.and_then(|s| s.bits.as_ref()))
            && phase == Phase::Quantize
            && let Some(was) = &record.bits
            && !Bits::parse(was).map_or(was == now.text(), |was| was.agrees(now))
        {
            differs("bits", Some(was.clone()), now.text().to_string());
        }
        self.schedule(record, phase, &mut differs);
        self.extras(record, &mut differs);
        let scales = self.args.scale_dropout || step.is_some_and(|s| s.scale_dropout);
        if scales && !record.scale_dropout && phase.keeps_zeros() {
            differs("scale_dropout", Some("false".into()), "true".into());
        }
        let precision = self.args.precision.or(step.and_then(|s| s.precision));
        if let Some(now) = precision.filter(|now| *now != record.precision) {
            let was = record.precision.to_string();
            differs("precision", Some(was), now.to_string());
        }
        if let (Some(now), Some(was)) = (self.seed, record.seed)
            && now != was
        {
            differs("seed", Some(was.to_string()), now.to_string());
        }
        let level = self.args.state.level;
        if level != 0 && level != record.level {
            differs("level", Some(record.level.to_string()), level.to_string());
        }
        let stage = &self.args.state.stage;
        if !stage.is_empty() && *stage != record.stage {
            differs("stage", Some(record.stage.join(",")), stage.join(","));
        }
        // Older records do not tell what a phase started from.
        if self.first && !self.args.weights.is_empty() && !record.version.is_empty() {
            let (was, now) = (&record.from, &self.args.weights);
            if was.len() != now.len() || was.iter().zip(now).any(|(a, b)| !same_file(a, b)) {
                differs("weights", Some(list(was)), list(now));
            }
        }
        changes
    }

    /// What a flow alone can say, and what it no longer says.
    fn extras(&self, record: &Record, differs: &mut impl FnMut(&str, Option<String>, String)) {
        let Some(step) = self.step else { return };
        let mut was = record.extras.clone();
        for (name, now) in step.extras() {
            let was = was.remove(name);
            if was.as_ref() != Some(&now) {
                differs(name, was, now);
            }
        }
        for (name, was) in was {
            differs(&name, Some(was), "none".to_string());
        }
    }

    fn schedule(
        &self,
        record: &Record,
        phase: Phase,
        differs: &mut impl FnMut(&str, Option<String>, String),
    ) {
        if phase != Phase::Sparse {
            return;
        }
        let step = self.step;
        let schedule = self.args.schedule;
        let schedule = schedule.or(step.and_then(|s| s.schedule));
        if let Some(now) = schedule.filter(|s| s.to_string() != record.schedule_name()) {
            let was = record.schedule.clone().unwrap_or("once".into());
            differs("schedule", Some(was), now.to_string());
        }
        let every = self.args.prune_every.or(step.and_then(|s| s.prune_every));
        let until = self.args.prune_until.or(step.and_then(|s| s.prune_until));
        let numbers = [
            ("prune_every", every, record.prune_every),
            ("prune_until", until, record.prune_until),
        ];
        for (name, now, was) in numbers {
            if let (Some(now), Some(was)) = (now, was)
                && now != was
            {
                differs(name, Some(was.to_string()), now.to_string());
            }
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "none".to_string();
    }
    let texts = paths.iter().map(|p| p.display().to_string());
    texts.collect::<Vec<_>>().join(",")
}

/// Whether two paths name one file, as far as can be told: one that has gone is known by its name.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b || a.file_name() == b.file_name(),
    }
}

/// Refuses to go on with a phase under settings that would make it another one.
pub(super) fn check(
    home: &Path,
    record: &Record,
    said: &Said,
    phase: Phase,
    now: Option<&Config>,
) -> anyhow::Result<()> {
    let mut changes = said.changes(record, phase);
    if let Some(now) = now
        && let Some(before) = copies::read(home, record, record.level, &record.stage)?
    {
        changes.extend(copies::changes(&before, now));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let text = |(what, was, now): &Change| format!("{what}: {was} in the run, {now} now");
    let all: Vec<String> = changes.iter().map(text).collect();
    Err(Usage(format!(
        "--resume goes on with the {} phase in {} and cannot make another of it ({}); leave that out, or train anew in \
         another --out",
        record.phase,
        home.display(),
        all.join("; ")
    ))
    .into())
}
