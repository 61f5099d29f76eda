//! Densities for all layers together, from what each costs alone.
//!
//! The costs of layers pruned together are taken to add up, which holds while they are small; what comes
//! of it is measured afterwards ([`Check`]).

use super::curve::{self, Knot};
use super::layers::Prunable;
use super::record::ScoreRecord;
use super::score::Job;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// A density for every layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Suggestion {
    /// The density asked for, over all prunable weights.
    pub asked: f64,
    /// The density reached.
    pub density: f64,
    /// The cost of the net as it is: its loss; without one, what its accuracy lacks of 1.
    pub cost: Option<f64>,
    /// What the curves add up to on top of it.
    pub predicted_increase: f64,
    /// Every layer, in the net's order.
    pub layers: Vec<Suggested>,
    /// What was measured with it, and with simpler choices.
    pub check: Vec<Check>,
}

/// A layer's density.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Suggested {
    /// The layer.
    pub name: String,
    /// The number of its weights.
    pub weights: usize,
    /// How many of them are not 0 now.
    pub alive: usize,
    /// How many shall be.
    pub kept: usize,
    /// `--sparsity`: the fraction to prune, present zeros included.
    pub sparsity: f64,
    /// What the layer's curve says that it costs.
    pub predicted_increase: f64,
}

impl Suggested {
    /// The fraction that shall not be 0.
    pub fn density(&self) -> f64 {
        self.kept as f64 / self.weights.max(1) as f64
    }
}

/// A choice of densities that was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What it is.
    pub name: String,
    /// The density over all prunable weights.
    pub density: f64,
    /// What came out.
    #[serde(flatten)]
    pub score: ScoreRecord,
}

/// Says whether a density can be suggested with layers measured down to `least` weights.
///
/// # Errors
/// It cannot: the weights are as sparse already, or nothing so sparse is measured.
pub fn possible(layers: &[Prunable], least: &[usize], density: f64) -> Result<()> {
    let all: usize = layers.iter().map(Prunable::weights).sum();
    let alive: usize = layers.iter().map(Prunable::alive).sum();
    let least: usize = least.iter().sum();
    let share = |n: usize| n as f64 / all.max(1) as f64;
    let budget = budget(layers, density);
    if budget >= alive {
        bail!(
            "--suggest {density}: the weights have density {:.4} already; ask for less",
            share(alive)
        );
    }
    if budget < least {
        bail!(
            "--suggest {density}: with every layer at its smallest measured density, {:.4} is left; add smaller \
             ones to --densities",
            share(least)
        );
    }
    Ok(())
}

fn budget(layers: &[Prunable], density: f64) -> usize {
    let all: usize = layers.iter().map(Prunable::weights).sum();
    (density * all as f64).round() as usize
}

impl Suggestion {
    /// The densities that together come to `density` at the least sum of costs, none below the smallest
    /// that was measured; `None` if the curves do not reach it. `cost` is that of the net as it is.
    pub fn new(layers: &[Prunable], curves: &[Vec<Knot>], density: f64, cost: f64) -> Option<Self> {
        let kept = curve::allocate(curves, budget(layers, density))?;
        let suggested = |((layer, curve), kept): ((&Prunable, &Vec<Knot>), usize)| {
            let density = match kept == layer.alive() {
                // Exactly what it has: no weight that is not 0 goes.
                true => layer.own_density(),
                false => layer.density_for(kept),
            };
            Suggested {
                name: layer.name.clone(),
                weights: layer.weights(),
                alive: layer.alive(),
                kept: layer.alive_at(density),
                // A layer of zeros alone has no density of its own; a rule must leave one weight.
                sparsity: (1.0 - density).clamp(0.0, 1.0 - 1.0 / layer.weights().max(1) as f64),
                predicted_increase: curve::cost(curve, kept),
            }
        };
        let all = layers.iter().zip(curves).zip(kept);
        let suggested: Vec<Suggested> = all.map(suggested).collect();
        let kept: usize = suggested.iter().map(|l| l.kept).sum();
        let weights: usize = suggested.iter().map(|l| l.weights).sum();
        Some(Self {
            asked: density,
            density: kept as f64 / weights.max(1) as f64,
            cost: cost.is_finite().then_some(cost),
            predicted_increase: suggested.iter().map(|l| l.predicted_increase).sum(),
            layers: suggested,
            check: Vec::new(),
        })
    }

    /// The weights that are not 0 under it.
    pub fn kept(&self) -> usize {
        self.layers.iter().map(|l| l.kept).sum()
    }

    /// It as a job.
    pub fn job(&self) -> Job {
        let densities = self.layers.iter().map(|l| 1.0 - l.sparsity);
        densities.enumerate().collect()
    }

    /// A file for `--sparsity @FILE`; `from` says where the figures are.
    pub fn rules(&self, from: &str) -> String {
        let mut text = format!(
            "# Sparsities for a density of {:.4}, suggested by `dsd sensitivity --suggest {}`; see {from}.\n\
             # Predicted increase of the loss: {:.4}",
            self.density, self.asked, self.predicted_increase
        );
        // Writing to a string cannot fail.
        if let Some(cost) = self.cost {
            let _ = write!(text, ", from {cost:.4}");
        }
        text += " (before retraining).\n";
        for layer in &self.layers {
            let _ = writeln!(
                text,
                "{}={}  # density {:.4} of {}, predicted increase {:.4}",
                pattern(&layer.name),
                layer.sparsity,
                layer.density(),
                layer.weights,
                layer.predicted_increase
            );
        }
        text
    }
}

/// A layer's name as a pattern: what means something in rules becomes `?`.
fn pattern(name: &str) -> String {
    let special = |c: char| matches!(c, ',' | '=' | '#' | '@') || c.is_whitespace();
    name.chars()
        .map(|c| if special(c) { '?' } else { c })
        .collect()
}

/// The density that, as an upper limit for every layer, comes to `kept` weights together.
pub fn level(layers: &[Prunable], kept: usize) -> f64 {
    let alive = |d: f64| layers.iter().map(|l| l.alive_at(d)).sum::<usize>();
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if alive(middle) < kept {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solver::sparsity::{Rule, Sparsity};

    #[test]
    fn a_suggestion_is_exact_and_its_rules_say_the_same() {
        let layers = [
            Prunable::made_up("a, b", 1000, 1000),
            Prunable::made_up("fc", 3000, 700),
        ];
        let curves = [
            curve::convex(1000, [(500, 1.0), (100, 9.0)]),
            curve::convex(700, [(300, 0.1)]),
        ];
        let s = Suggestion::new(&layers, &curves, 0.25, 2.0).unwrap();
        // 700 weights go: 400 of fc, then 300 of a.
        let kept: Vec<usize> = s.layers.iter().map(|l| l.kept).collect();
        assert_eq!((kept, s.density), (vec![700, 300], 0.25));
        assert!((s.predicted_increase - 0.7).abs() < 1e-12);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, s.rules("s.json")).unwrap();
        let rules = Sparsity::parse(&format!("@{}", path.display())).unwrap();
        for l in &s.layers {
            let Some(Rule::Fraction(f)) = rules.of(&l.name) else {
                panic!("no rule for {}", l.name);
            };
            let pruned = crate::solver::mask::pruned_count(f, l.weights);
            assert_eq!(l.weights - pruned, l.kept, "{}", l.name);
        }
        assert!(Suggestion::new(&layers, &curves, 0.05, 2.0).is_none());
        assert!(possible(&layers, &[100, 300], 0.25).is_ok());
        let error = |d| possible(&layers, &[100, 300], d).unwrap_err().to_string();
        assert!(error(0.05).contains("0.1000 is left"));
        assert!(error(0.5).contains("0.4250 already"));
        let d = level(&layers, 1000);
        let alive: usize = layers.iter().map(|l| l.alive_at(d)).sum();
        assert!(alive.abs_diff(1000) <= 1, "{alive}");
    }
}
