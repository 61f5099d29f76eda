//! The layers of a net that can be pruned, and pruning them to a density.

use crate::net::{Net, Weights};
use crate::solver::mask::{Mask, pruned_count};

/// A layer with weights that can be pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct Prunable {
    /// Its name.
    pub name: String,
    /// Its prunable parameters; an LSTM has several.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// Index in [`Net::params`].
    id: usize,
    weights: usize,
    alive: usize,
}

impl Part {
    /// The weights to prune for a density, one at least staying: as `--sparsity` of 1 − density.
    fn pruned(&self, density: f64) -> usize {
        pruned_count(1.0 - density, self.weights).min(self.weights.saturating_sub(1))
    }
}

impl Prunable {
    /// Those of a net, in its order.
    pub fn all(net: &Net, weights: &Weights) -> Vec<Self> {
        let mut layers: Vec<Self> = Vec::new();
        let params = net.params().iter().zip(weights).enumerate();
        for (id, (param, values)) in params.filter(|(_, (p, _))| p.prunable) {
            let part = Part {
                id,
                weights: values.data.len(),
                alive: values.data.iter().filter(|w| **w != 0.0).count(),
            };
            match layers.iter_mut().find(|l| l.name == param.layer) {
                Some(layer) => layer.parts.push(part),
                None => layers.push(Self {
                    name: param.layer.clone(),
                    parts: vec![part],
                }),
            }
        }
        layers
    }

    /// A layer of one parameter.
    #[cfg(test)]
    pub fn made_up(name: &str, weights: usize, alive: usize) -> Self {
        let part = Part {
            id: 0,
            weights,
            alive,
        };
        Self {
            name: name.into(),
            parts: vec![part],
        }
    }

    /// The number of weights.
    pub fn weights(&self) -> usize {
        self.parts.iter().map(|p| p.weights).sum()
    }

    /// The number of weights that are not 0.
    pub fn alive(&self) -> usize {
        self.parts.iter().map(|p| p.alive).sum()
    }

    /// The density down to which only zeros are pruned.
    pub fn own_density(&self) -> f64 {
        let density = |p: &Part| p.alive as f64 / p.weights.max(1) as f64;
        self.parts.iter().map(density).fold(0.0, f64::max)
    }

    /// The number of weights that are not 0 once the layer is pruned to a density.
    pub fn alive_at(&self, density: f64) -> usize {
        let parts = self.parts.iter();
        parts
            .map(|p| p.alive.min(p.weights - p.pruned(density)))
            .sum()
    }

    /// The density to prune to so that `alive` weights are not 0, or, with several parameters, nearly.
    pub fn density_for(&self, alive: usize) -> f64 {
        if let [part] = &self.parts[..] {
            return alive as f64 / part.weights.max(1) as f64;
        }
        let (mut low, mut high) = (0.0, self.own_density());
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.alive_at(middle) < alive {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    /// Prunes the layer's weights of smallest magnitude.
    pub fn prune(&self, density: f64, weights: &mut Weights) {
        for part in &self.parts {
            let values = &mut weights[part.id].data;
            Mask::prune_smallest(values, part.pruned(density)).apply(values);
        }
    }

    /// Takes the layer's weights from others of the same net.
    pub fn restore(&self, from: &Weights, to: &mut Weights) {
        for part in &self.parts {
            to[part.id].data.copy_from_slice(&from[part.id].data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_go_first_and_one_weight_stays() {
        let layer = Prunable::made_up("a", 10, 4);
        assert_eq!(layer.own_density(), 0.4);
        let alive: Vec<usize> = [1.0, 0.5, 0.4, 0.3, 0.1, 0.01]
            .map(|d| layer.alive_at(d))
            .to_vec();
        assert_eq!(alive, [4, 4, 4, 3, 1, 1]);
        assert!((1..=4).all(|n| layer.alive_at(layer.density_for(n)) == n));
    }

    #[test]
    fn several_parameters_are_pruned_alike() {
        let mut layer = Prunable::made_up("lstm", 100, 80);
        layer.parts.push(Part {
            id: 1,
            weights: 200,
            alive: 50,
        });
        assert_eq!((layer.weights(), layer.alive()), (300, 130));
        assert_eq!(layer.own_density(), 0.8);
        assert_eq!(layer.alive_at(0.5), 50 + 50);
        assert_eq!(layer.alive_at(0.1), 10 + 20);
        for n in [30, 60, 99, 100, 101, 130] {
            let got = layer.alive_at(layer.density_for(n));
            assert!(got.abs_diff(n) <= 1, "{got} for {n}");
        }
    }
}
