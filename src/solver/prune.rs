//! Masks by `--sparsity`: taken from the weights as they are, and held.

use super::Solver;
use super::mask::Mask;
use super::patterns::never_decides;
use super::pruning::{self, Subject};
use super::sparsity::Sparsity;
use crate::random::{Purpose, Random};
use crate::{info, warn};
use anyhow::{Result, bail};

impl Solver {
    /// Takes a mask for every layer that `sparsity` names from the weights as they are, and prunes.
    pub fn prune(&mut self, sparsity: &Sparsity) -> Result<()> {
        let masks = self.masks_for(sparsity)?;
        for (id, mask) in &masks {
            let (alive, n) = (mask.alive(), mask.count());
            info!(
                "Pruning {}: {alive} of {n} weights stay, density {:.4}",
                self.net.params()[*id].layer,
                alive as f64 / n as f64
            );
        }
        self.hold(masks);
        Ok(())
    }

    /// Prunes by these masks, and keeps them.
    pub(super) fn hold(&mut self, masks: Vec<(usize, Mask)>) {
        for (id, mask) in masks {
            self.masks[id] = Some(mask);
        }
        self.apply_masks();
        self.rescale_dropout();
    }

    /// The masks of all prunable parameters that `sparsity` makes of the weights as they are.
    pub(super) fn masks_for(&self, sparsity: &Sparsity) -> Result<Vec<(usize, Mask)>> {
        let layers: Vec<&str> = self
            .net
            .params()
            .iter()
            .filter(|p| p.prunable)
            .map(|p| p.layer.as_str())
            .collect();
        let sparsity = sparsity.clone().on(self.first_convolution());
        let text = sparsity.text();
        let idle = sparsity.unmatched(&layers);
        if sparsity.is_profile() {
            note_of_profile(&sparsity, &idle, &layers);
        } else if !idle.is_empty() {
            bail!(
                "--sparsity {text}: '{}' matches no layer with weights; the net has {}",
                idle.join("', '"),
                layers.join(", ")
            );
        }
        if let Some((pattern, earlier)) = sparsity.shadowed(&layers) {
            bail!("--sparsity {text}: {}", never_decides(pattern, earlier));
        }
        let params = self.net.params().iter().enumerate();
        let ids: Vec<usize> = params
            .filter(|(_, p)| p.prunable)
            .map(|(id, _)| id)
            .collect();
        let subject = |&id: &usize| Subject {
            rule: sparsity.of(&self.net.params()[id].layer),
            weights: &self.weights[id].data,
            dims: self.net.params()[id].shape.dims(),
            random: Random::new(self.seed, Purpose::Mask, id as u64).branch(self.iter),
        };
        let subjects: Vec<Subject> = ids.iter().map(subject).collect();
        let masks = pruning::masks(&subjects);
        for (id, mask) in ids.iter().zip(&masks) {
            if mask.alive() == 0 && mask.count() > 0 {
                warn!(
                    "--sparsity {text}: no weight of {} stays",
                    self.net.params()[*id].layer
                );
            }
        }
        Ok(ids.into_iter().zip(masks).collect())
    }

    /// The name of the net's first convolution.
    pub(super) fn first_convolution(&self) -> Option<&str> {
        let mut nodes = self.net.graph().nodes.iter();
        let first = nodes.find(|n| n.param.r#type() == "Convolution");
        first.map(|n| n.param.name())
    }

    /// Sets what the masks do not let live to 0, its histories too; those of dense weights behind a mask stay.
    pub(super) fn apply_masks(&mut self) {
        for (id, mask) in self.masks.iter().enumerate() {
            if let Some(mask) = mask {
                mask.apply(&mut self.weights[id].data);
                if self.through[id].is_some() {
                    continue;
                }
                for h in self.history.iter_mut().skip(id).step_by(self.weights.len()) {
                    mask.apply(h);
                }
            }
        }
    }
}

/// Says which of a profile's layers the net lacks, and which of the net's the profile.
fn note_of_profile(sparsity: &Sparsity, idle: &[&str], layers: &[&str]) {
    let text = sparsity.text();
    if !idle.is_empty() {
        warn!(
            "--sparsity {text}: skipped, for the net has no such layers: {}",
            idle.join(", ")
        );
    }
    let whole: Vec<&str> = layers
        .iter()
        .copied()
        .filter(|l| sparsity.of(l).is_none())
        .collect();
    if !whole.is_empty() {
        warn!(
            "--sparsity {text}: no rule for {}; all their weights stay",
            whole.join(", ")
        );
    }
}
