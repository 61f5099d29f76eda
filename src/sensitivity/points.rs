//! What has been measured: one layer at one density each.

use super::curve::{self, Knot};
use super::layers::Prunable;
use super::score::{Job, Measure, Score};
use std::collections::BTreeMap;

/// A layer, by index, and how many of its weights stay.
type Key = (usize, usize);

/// The scores of a net's layers at densities.
#[derive(Clone, Debug, Default)]
pub struct Points {
    /// The net as it is.
    pub baseline: Option<Score>,
    /// Density and score; the density is the one asked for.
    measured: BTreeMap<Key, (f64, Score)>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The layer's index.
    pub layer: usize,
    /// The density that it was pruned to.
    pub density: f64,
    /// How many of its weights were not 0 then.
    pub kept: usize,
    /// The outputs.
    pub score: Score,
}

impl Points {
    /// Only the net as it is, if that is known.
    pub fn new(baseline: Option<Score>) -> Self {
        Self {
            baseline,
            measured: BTreeMap::new(),
        }
    }

    /// Takes in a score.
    pub fn insert(&mut self, layers: &[Prunable], layer: usize, density: f64, score: Score) {
        let kept = layers[layer].alive_at(density);
        self.measured.insert((layer, kept), (density, score));
    }

    /// The score of a layer at a density. One that takes away zeros only is that of the net as it is.
    pub fn get(&self, layers: &[Prunable], layer: usize, density: f64) -> Option<&Score> {
        let kept = layers[layer].alive_at(density);
        if kept == layers[layer].alive() {
            return self.baseline.as_ref();
        }
        self.measured.get(&(layer, kept)).map(|(_, score)| score)
    }

    /// What is to be run yet for these layers at these densities: the net as it is comes first, as a job
    /// that prunes nothing.
    pub fn missing(&self, layers: &[Prunable], chosen: &[usize], densities: &[f64]) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        if self.baseline.is_none() {
            jobs.push(Job::new());
        }
        for &layer in chosen {
            let own = layers[layer].alive();
            let mut last = own;
            for &density in densities {
                let kept = layers[layer].alive_at(density);
                let known = kept >= last || self.measured.contains_key(&(layer, kept));
                last = last.min(kept);
                if !known {
                    jobs.push(vec![(layer, density)]);
                }
            }
        }
        jobs
    }

    /// All of them, layer by layer from dense to sparse: those at the densities asked for, what was measured
    /// at others before, and, where there is any, the one at the layer's own.
    pub fn rows(&self, layers: &[Prunable], chosen: &[usize], densities: &[f64]) -> Vec<Point> {
        let mut rows = Vec::new();
        for (layer, prunable) in layers.iter().enumerate() {
            let measured = self.measured.range((layer, 0)..(layer + 1, 0));
            let mut asked: Vec<f64> = Vec::new();
            if chosen.contains(&layer) {
                asked.extend(densities);
            }
            if chosen.contains(&layer) || measured.clone().next().is_some() {
                asked.push(prunable.own_density());
            }
            let with_kept = |d: f64| (d, prunable.alive_at(d));
            let mut own: Vec<(f64, usize)> = asked.into_iter().map(with_kept).collect();
            for (&(_, kept), &(density, _)) in measured {
                if own.iter().all(|o| o.1 != kept) {
                    own.push((density, kept));
                }
            }
            own.sort_by(|a, b| b.0.total_cmp(&a.0));
            own.dedup_by(|a, b| a.0 == b.0);
            rows.extend(own.into_iter().filter_map(|(density, kept)| {
                Some(Point {
                    layer,
                    density,
                    kept,
                    score: self.get(layers, layer, density)?.clone(),
                })
            }));
        }
        rows
    }

    /// The curves of cost above the net's own against weights that are not 0; none without a baseline.
    pub fn curves(&self, layers: &[Prunable], measure: &Measure) -> Option<Vec<Vec<Knot>>> {
        let base = measure.cost(self.baseline.as_ref()?);
        let curve = |(layer, prunable): (usize, &Prunable)| {
            let own = self.measured.range((layer, 0)..(layer + 1, 0));
            let knots = own.map(|(&(_, kept), (_, score))| (kept, measure.cost(score) - base));
            curve::convex(prunable.alive(), knots)
        };
        Some(layers.iter().enumerate().map(curve).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(loss: f32) -> Score {
        Score {
            outputs: Vec::new(),
            loss,
        }
    }

    #[test]
    fn what_takes_zeros_only_is_not_run() {
        let layers = [
            Prunable::made_up("a", 100, 50),
            Prunable::made_up("b", 10, 10),
        ];
        let densities = [0.9, 0.5, 0.3, 0.29999];
        let mut points = Points::default();
        let jobs = points.missing(&layers, &[0, 1], &densities);
        let want: [Job; 5] = [
            vec![],
            vec![(0, 0.3)],
            vec![(1, 0.9)],
            vec![(1, 0.5)],
            vec![(1, 0.3)],
        ];
        assert_eq!(jobs, want);
        points.baseline = Some(score(1.0));
        points.insert(&layers, 0, 0.3, score(2.0));
        points.insert(&layers, 0, 0.1, score(5.0));
        assert_eq!(points.missing(&layers, &[0], &densities), Vec::<Job>::new());
        let rows = points.rows(&layers, &[0], &densities);
        let rows: Vec<(f64, usize, f32)> = rows
            .iter()
            .map(|p| (p.density, p.kept, p.score.loss))
            .collect();
        let want = [
            (0.9, 50, 1.0),
            (0.5, 50, 1.0),
            (0.3, 30, 2.0),
            (0.29999, 30, 2.0),
            (0.1, 10, 5.0),
        ];
        assert_eq!(rows, want);
        let measure = Measure {
            name: "loss".into(),
            index: None,
            loss: true,
        };
        let curves = points.curves(&layers, &measure).unwrap();
        assert_eq!(
            curves,
            [vec![(50, 0.0), (30, 1.0), (10, 4.0)], vec![(10, 0.0)]]
        );
    }
}
