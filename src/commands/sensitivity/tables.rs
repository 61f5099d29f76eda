//! The tables of `dsd sensitivity`.

use super::Study;
use crate::report::number::G;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::sensitivity::score::{Bench, Score};
use crate::sensitivity::suggest::Suggestion;
use anyhow::Result;

impl Study<'_> {
    /// Layers against densities; then, if asked for, the suggestion.
    pub(super) fn print(&self, bench: &Bench) -> Result<()> {
        let Some(base) = &self.points.baseline else {
            return Ok(());
        };
        output::text(format_args!(
            "{} of the net as it is: {}\n\n{} with one layer pruned to a density:\n{}",
            self.measure.name,
            self.told(base),
            self.measure.name,
            self.grid(bench).shown()
        ))?;
        if let (Some(_), Some(suggestion)) = (self.args.suggest, &self.suggestion) {
            output::text(format_args!(
                "\nSuggested for a density of {} over all layers:\n{}\n{}",
                suggestion.asked,
                proposal(suggestion).shown(),
                self.checks(suggestion, base).shown()
            ))?;
        }
        Ok(())
    }

    fn grid(&self, bench: &Bench) -> Table {
        let mut columns = vec![
            ("layer".to_string(), Align::Left),
            ("weights".to_string(), Align::Right),
            ("now".to_string(), Align::Right),
        ];
        columns.extend(self.densities.iter().map(|d| (d.to_string(), Align::Right)));
        let mut table = Table::new(columns);
        for &layer in &self.chosen {
            let l = &bench.layers[layer];
            let now = l.alive() as f64 / l.weights().max(1) as f64;
            let mut cells = vec![l.name.clone(), l.weights().to_string(), format!("{now:.4}")];
            cells.extend(self.densities.iter().map(|&d| {
                let score = self.points.get(&bench.layers, layer, d);
                score.map_or(String::new(), |s| format!("{:.4}", self.measure.value(s)))
            }));
            table.row(cells);
        }
        table
    }

    /// What was measured with the suggestion, the net as it is and simpler choices.
    fn checks(&self, suggestion: &Suggestion, base: &Score) -> Table {
        let mut columns = vec![
            ("pruning".to_string(), Align::Left),
            ("density".to_string(), Align::Right),
        ];
        columns.extend(base.outputs.iter().map(|(n, _)| (n.clone(), Align::Right)));
        let named_loss = base.outputs.iter().any(|(n, _)| n == "loss");
        let extra = self.measure.loss && !named_loss;
        if extra {
            columns.push(("loss".to_string(), Align::Right));
        }
        let mut table = Table::new(columns);
        let mut add = |name: &str, density: f64, score: &Score| {
            let mut cells = vec![name.to_string(), format!("{density:.4}")];
            cells.extend(score.outputs.iter().map(|(_, v)| G(*v).to_string()));
            if extra {
                cells.push(G(score.loss).to_string());
            }
            table.row(cells);
        };
        let weights: usize = suggestion.layers.iter().map(|l| l.weights).sum();
        let alive: usize = suggestion.layers.iter().map(|l| l.alive).sum();
        add("none", alive as f64 / weights.max(1) as f64, base);
        for check in &suggestion.check {
            add(&check.name, check.density, &check.score.clone().into());
        }
        table
    }
}

/// The density of every layer, now and as suggested.
fn proposal(suggestion: &Suggestion) -> Table {
    let mut table = Table::new([
        ("layer", Align::Left),
        ("weights", Align::Right),
        ("now", Align::Right),
        ("density", Align::Right),
        ("predicted increase", Align::Right),
    ]);
    let share = |n: usize, of: usize| format!("{:.4}", n as f64 / of.max(1) as f64);
    let (mut weights, mut alive) = (0, 0);
    for l in &suggestion.layers {
        weights += l.weights;
        alive += l.alive;
        table.row([
            l.name.clone(),
            l.weights.to_string(),
            share(l.alive, l.weights),
            share(l.kept, l.weights),
            format!("{:.4}", l.predicted_increase),
        ]);
    }
    table.row([
        "all".to_string(),
        weights.to_string(),
        share(alive, weights),
        format!("{:.4}", suggestion.density),
        format!("{:.4}", suggestion.predicted_increase),
    ]);
    table
}
