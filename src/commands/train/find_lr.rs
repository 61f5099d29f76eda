//! `--find_lr`: the range test of the first phase's learning rate, as a curve and a sentence.

use super::Runner;
use super::flow::Plan;
use crate::commands::run_folder::RunFolder;
use crate::draw::chart::{Axis, Chart, Curve};
use crate::flow::Flow;
use crate::report::curve::{self, Panel, Part, Scale};
use crate::report::number::G;
use crate::report::{output, progress};
use crate::solver::find_lr::{Range, Tried};
use crate::{files, info};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The rates that are tried: from one that hardly moves a weight to one that no net survives.
const LEAST: f64 = 1e-6;
const MOST: f64 = 10.0;

/// The picture, in the working folder or that of the model.
const NAME: &str = "find_lr.svg";

impl Runner<'_> {
    /// Tries the rates and prints what came of it.
    pub(super) fn find_lr(
        &mut self,
        steps: u32,
        flow: &Flow,
        plans: Vec<Plan>,
        folder: &RunFolder,
        weights: &[PathBuf],
    ) -> Result<()> {
        let plan = plans.into_iter().next().context("the flow has no phase")?;
        let step = &flow.steps[0];
        let said = plan.config.param.base_lr();
        let range = Range {
            least: LEAST,
            most: MOST,
            steps: steps as usize,
        };
        let prefix = folder.path(&step.name).join("find_lr");
        let (mut solver, _) = self.trial_solver(step, plan, &prefix, weights, None)?;
        info!(
            "Trying {steps} rates from {} to {} in the {} phase",
            G(LEAST as f32),
            G(MOST as f32),
            step.name
        );
        let bar = progress::bar("find_lr", 0, u64::from(steps));
        let tried = solver.range_test(range, |step, loss| {
            bar.set_position(step as u64 + 1);
            bar.set_message(format!("lr {:.1e}, loss {loss:.4}", range.rate(step)));
        })?;
        drop(bar);
        if output::columns() >= curve::COLUMNS {
            output::text(format_args!("{}\n", terminal(&range, &tried)))?;
        }
        let path = std::path::absolute(Path::new(NAME))?;
        let svg = picture(&tried).svg();
        files::write_atomic(&path, |out| Ok(out.write_all(svg.as_bytes())?))?;
        output::text(format_args!("{}", words(&tried, said)))?;
        output::text(format_args!("The curve is in {}\n", path.display()))?;
        info!("--find_lr: nothing was trained");
        Ok(())
    }
}

fn rate(rate: f64) -> G<f32> {
    // Two digits are more than such a test can tell apart.
    G(format!("{rate:.1e}").parse().unwrap_or(rate as f32))
}

/// What the test has found.
fn words(tried: &Tried, said: f32) -> String {
    let blown = match tried.blown_up {
        Some(r) => format!("blows up from {} on", rate(r)),
        None => format!("does not blow up to {}", G(MOST as f32)),
    };
    let (Some(least), Some(advice)) = (tried.least(), tried.advice()) else {
        return format!(
            "The loss falls at none of these rates, and {blown}: see whether the labels belong to the pictures, and whether \
             mean and scale leave the data near 0, or try more steps (--find_lr=300)\n"
        );
    };
    let fastest = match tried.steepest() {
        Some(k) => format!("falls fastest at {}, ", rate(tried.losses[k].0)),
        None => String::new(),
    };
    let least = rate(tried.losses[least].0);
    let why = match said == advice as f32 {
        true => "as the solver says".to_owned(),
        false => format!(
            "a tenth of that of the least loss; the solver has {}",
            G(said)
        ),
    };
    format!(
        "The loss {fastest}is least at {least} and {blown}\nbase_lr: {}  ({why})\n",
        G(advice as f32)
    )
}

/// The least and the greatest loss that are worth drawing: beyond half more than the first, a net only blows up.
fn bounds(tried: &Tried) -> (f64, f64) {
    let losses = tried.losses.iter().map(|l| l.1);
    let low = losses.fold(f64::INFINITY, f64::min);
    let first = tried.losses.first().map_or(1.0, |l| l.1);
    (low, (1.5 * first).max(low * 1.01))
}

/// The curve for the terminal, over the decades of the rate.
fn terminal(range: &Range, tried: &Tried) -> curve::Chart {
    let decades = (range.most / range.least).log10().round().max(1.0) as usize;
    // A hundred parts a decade: its columns are found by a count.
    let parts: Vec<Part> = (0..decades)
        .map(|k| Part {
            name: G((range.least * 10f64.powi(k as i32)) as f32).to_string(),
            iterations: 100,
        })
        .collect();
    let steps = (range.steps - 1) as f64 / (100 * decades) as f64;
    let loss = |(part, at): (usize, u64)| {
        let step = ((100 * part as u64 + at) as f64 * steps).round() as usize;
        tried.losses.get(step).map_or(f64::NAN, |l| l.1)
    };
    let values = curve::columns(&parts).into_iter().map(loss).collect();
    let (low, high) = bounds(tried);
    curve::Chart {
        parts,
        named: "lr",
        counted: false,
        panels: vec![Panel {
            name: "loss",
            rows: 10,
            scale: Scale::Between(low * 0.98, high),
            values,
        }],
    }
}

/// The curve as a picture.
fn picture(tried: &Tried) -> Chart {
    let (low, high) = bounds(tried);
    let cut = |&(x, y): &(f64, f64)| (x, if y <= high { y } else { f64::NAN });
    let rates = || tried.losses.iter().map(|l| l.0);
    let advice = tried.advice();
    Chart {
        title: match advice {
            Some(rate) => format!("Loss over the learning rate: base_lr {}", G(rate as f32)),
            None => "Loss over the learning rate".to_owned(),
        },
        x: Axis::powers(
            "learning rate",
            rates().fold(f64::INFINITY, f64::min),
            rates().fold(0.0, f64::max),
        ),
        y: Axis::spanning("loss (smoothed)", low, high),
        curves: vec![Curve {
            name: "loss".to_owned(),
            points: tried.losses.iter().map(cut).collect(),
        }],
        base: None,
    }
}
