//! `--dry_run`: what each phase will be and need, found out without writing anything.

use super::flow::Plan;
use super::{Runner, settings::Settings};
use crate::commands::run_folder::RunFolder;
use crate::flow::{Flow, Step};
use crate::phase::Phase;
use crate::report::curve::{self, Chart, Panel, Part, Scale};
use crate::report::human::{HumanBytes, HumanTime};
use crate::report::number::G;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::solver::Solver;
use crate::solver::forecast::Forecast;
use crate::{info, warn};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the passes of each phase are timed, and as long those of its tests.
const LIMIT: Duration = Duration::from_secs(3);

impl Runner<'_> {
    /// Prints a row a phase and the sum.
    pub(super) fn dry_run(
        &mut self,
        flow: &Flow,
        plans: Vec<Plan>,
        folder: &RunFolder,
        weights: &[PathBuf],
    ) -> Result<()> {
        let left = ["phase", "sparsity"];
        let names = [
            "phase",
            "iterations",
            "base_lr",
            "sparsity",
            "density",
            "time",
            "disk",
            "memory",
        ];
        let column = |name: &&'static str| match left.contains(name) {
            true => (*name, Align::Left),
            false => (*name, Align::Right),
        };
        let mut table = Table::new(names.iter().map(column));
        let mut courses: Vec<Course> = Vec::new();
        let (mut time, mut disk, mut memory) = (Duration::ZERO, 0u64, 0u64);
        for (k, mut plan) in plans.into_iter().enumerate() {
            let step = &flow.steps[k];
            let rate = self.rate(flow, k, &plan, folder);
            plan.config.param.base_lr = Some(rate.value);
            info!("Trying the {} phase", step.name);
            let prefix = folder.path(&step.name).join("dry_run");
            let state = self
                .args
                .args
                .snapshot
                .clone()
                .or(plan.newest.take().map(|n| n.1));
            let weights = if k == 0 { weights } else { &[] };
            let (mut solver, sparsity) =
                self.trial_solver(step, plan, &prefix, weights, state.as_deref())?;
            let (start, end) = (solver.iter(), solver.max_iter());
            let course = solver.forecast()?;
            let last = course.density(end.saturating_sub(1));
            let density = match step.phase {
                Phase::Quantize => "as before".to_string(),
                _ => format!("{last:.4}"),
            };
            let iterations = end.saturating_sub(start);
            let kept = (step.phase == Phase::Quantize)
                .then(|| courses.last().map_or(1.0, |c: &Course| c.last));
            courses.push(Course {
                part: Part {
                    name: step.name.clone(),
                    iterations,
                },
                start,
                course,
                last: kept.unwrap_or(last),
                kept,
            });
            let need = solver.trial(LIMIT)?;
            time = time.saturating_add(need.time);
            disk = disk.saturating_add(need.disk);
            memory = memory.max(need.memory);
            table.row(vec![
                step.name.clone(),
                iterations.to_string(),
                G(rate.value).to_string(),
                sparsity.unwrap_or_default(),
                density,
                HumanTime(need.time).to_string(),
                HumanBytes(need.disk).to_string(),
                HumanBytes(need.memory).to_string(),
            ]);
        }
        if flow.steps.len() > 1 {
            let mut row = vec![String::new(); names.len()];
            row[0] = "all".to_string();
            let all: u64 = courses.iter().map(|c| c.part.iterations).sum();
            row[1] = all.to_string();
            row[5] = HumanTime(time).to_string();
            row[6] = HumanBytes(disk).to_string();
            row[7] = HumanBytes(memory).to_string();
            table.row(row);
        }
        output::table(&table)?;
        // In a narrower terminal its columns would not stand below each other.
        if output::columns() >= curve::COLUMNS {
            output::text(format_args!("\n{}", chart(&courses)))?;
        }
        if time > Duration::from_secs(24 * 3600) {
            warn!(
                "This run takes about {} here; a run that is stopped goes on with --resume",
                HumanTime(time)
            );
        }
        info!("--dry_run: nothing was trained or written");
        Ok(())
    }
}

impl Runner<'_> {
    /// The solver of a phase as it begins, or goes on from `state`, to be tried and thrown away; and what it prunes.
    pub(super) fn trial_solver(
        &mut self,
        step: &Step,
        plan: Plan,
        prefix: &Path,
        weights: &[PathBuf],
        state: Option<&Path>,
    ) -> Result<(Solver, Option<String>)> {
        let settings = Settings::of(&self.args.args, step);
        let prefix = prefix.display().to_string();
        let mut solver = self.solver(plan.config, step.phase, step.precision, prefix)?;
        settings.prepare(&mut solver)?;
        if let Some((param, from)) = &plan.rewound {
            solver.rewind_rates(param, *from)?;
        }
        if state.is_some() || !weights.is_empty() {
            self.start_weights(&mut solver, weights, state)?;
        }
        let rules = step.rules();
        if let Some(rules) = rules.as_ref().filter(|_| state.is_none()) {
            settings.prune(&mut solver, rules)?;
        }
        Ok((solver, rules.map(|r| r.text().to_string())))
    }
}

/// How rate and density of a phase will go.
struct Course {
    part: Part,
    /// The iteration at which it goes on.
    start: u64,
    course: Forecast,
    /// The density in its end.
    last: f64,
    /// The density of a phase that keeps that of the one before it.
    kept: Option<f64>,
}

/// Rate and density over the whole run.
fn chart(courses: &[Course]) -> Chart {
    let parts: Vec<Part> = courses.iter().map(|c| c.part.clone()).collect();
    let columns = curve::columns(&parts);
    let at = |&(k, iter): &(usize, u64)| {
        let c = &courses[k];
        (c, c.start + iter)
    };
    let rate = |(c, iter): (&Course, u64)| f64::from(c.course.rate(iter));
    let density = |(c, iter): (&Course, u64)| c.kept.unwrap_or_else(|| c.course.density(iter));
    let panel = |name, rows, scale, values| Panel {
        name,
        rows,
        scale,
        values,
    };
    let rates = columns.iter().map(at).map(rate).collect();
    let densities = columns.iter().map(at).map(density).collect();
    Chart {
        panels: vec![
            panel("rate", 6, Scale::Powers, rates),
            panel("density", 4, Scale::Part, densities),
        ],
        parts,
        named: "phase",
        counted: true,
    }
}
