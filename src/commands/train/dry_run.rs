//! `--dry_run`: what each phase will be and need, found out without writing anything.

use super::flow::Plan;
use super::{Runner, settings::Settings};
use crate::commands::run_folder::RunFolder;
use crate::flow::Flow;
use crate::phase::Phase;
use crate::report::human::{HumanBytes, HumanTime};
use crate::report::number::G;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::{info, warn};
use anyhow::Result;
use std::path::PathBuf;
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
        let (mut time, mut disk, mut memory) = (Duration::ZERO, 0u64, 0u64);
        for (k, plan) in plans.into_iter().enumerate() {
            let step = &flow.steps[k];
            let rate = self.rate(flow, k, &plan, folder);
            info!("Trying the {} phase", step.name);
            let prefix = folder.path(&step.name).join("dry_run");
            let state = self.args.args.snapshot.clone().or(plan.newest.map(|n| n.1));
            let resumed = state.is_some();
            let settings = Settings::of(&self.args.args, step);
            let prefix = prefix.display().to_string();
            let mut solver = self.solver(plan.config, step.phase, step.precision, prefix)?;
            settings.prepare(&mut solver);
            if resumed || k == 0 && !weights.is_empty() {
                self.start_weights(&mut solver, weights, state.as_deref())?;
            }
            let mut sparsity = String::new();
            if let Some(rules) = step.rules() {
                sparsity = rules.text().to_string();
                if !resumed {
                    // At once also where it is gradual: the density told is the one in the end.
                    solver.prune(&rules)?;
                }
            }
            let density = match step.phase {
                Phase::Quantize => "as before".to_string(),
                _ => format!("{:.4}", solver.density()),
            };
            let iterations = solver.max_iter().saturating_sub(solver.iter());
            let need = solver.trial(LIMIT)?;
            time = time.saturating_add(need.time);
            disk = disk.saturating_add(need.disk);
            memory = memory.max(need.memory);
            table.row(vec![
                step.name.clone(),
                iterations.to_string(),
                G(rate.value).to_string(),
                sparsity,
                density,
                HumanTime(need.time).to_string(),
                HumanBytes(need.disk).to_string(),
                HumanBytes(need.memory).to_string(),
            ]);
        }
        if flow.steps.len() > 1 {
            let mut row = vec![String::new(); names.len()];
            row[0] = "all".to_string();
            row[5] = HumanTime(time).to_string();
            row[6] = HumanBytes(disk).to_string();
            row[7] = HumanBytes(memory).to_string();
            table.row(row);
        }
        output::text(format_args!("{table}"))?;
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
