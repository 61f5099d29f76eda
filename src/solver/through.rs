//! SR-STE (Zhou et al. 2021, "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch"): passes see the
//! pruned copy of weights that stay dense. Its gradient goes straight through to the dense weights, and those that are left
//! out decay by λ_W besides: W ← W − γ·(g(W̃) + λ_W·(1 − mask)·W) (equation 9). After every update the mask is taken anew.

use super::Solver;
use super::mask::Mask;
use super::pruning::{self, Rule, Subject};
use super::schedule::{Schedule, SrSte};
use super::sparsity::Sparsity;
use crate::info;
use crate::random::{Purpose, Random};
use anyhow::{Result, bail};
use std::mem;
use std::path::Path;

/// The dense weights of one parameter; the net has the pruned ones, the solver their mask.
#[derive(Clone, Debug)]
pub(super) struct Through {
    rule: Rule,
    pub dense: Vec<f32>,
}

impl Solver {
    /// Prunes to `sparsity` and keeps the dense weights beside.
    pub(super) fn prune_through(&mut self, sparsity: &Sparsity, decay: f32) -> Result<()> {
        let masks = self.masks_for(sparsity)?;
        self.schedule = Some(Schedule::SrSte(SrSte {
            sparsity: sparsity.recorded(),
            decay,
        }));
        for (id, rule) in self.through_rules(sparsity) {
            let dense = self.weights[id].data.clone();
            self.through[id] = Some(Through { rule, dense });
        }
        self.hold(masks);
        info!(
            "Masks are taken anew after every update; weights that are left out decay by {decay}"
        );
        Ok(())
    }

    /// The parameters that stay dense behind their masks, with their rules.
    fn through_rules(&self, sparsity: &Sparsity) -> Vec<(usize, Rule)> {
        let sparsity = sparsity.clone().on(self.first_convolution());
        let params = self.net.params().iter().enumerate();
        let rule = |(id, p): (usize, &crate::net::Param)| match sparsity.of(&p.layer) {
            Some(rule @ Rule::Groups { .. }) if p.prunable => Some((id, rule)),
            _ => None,
        };
        params.filter_map(rule).collect()
    }

    /// Puts the dense weights in the place of their pruned copies, for an update.
    pub(super) fn lift(&mut self) {
        for (w, through) in self.weights.iter_mut().zip(&mut self.through) {
            if let Some(through) = through {
                mem::swap(&mut w.data, &mut through.dense);
            }
        }
    }

    /// The reverse, with masks of the weights as they are now.
    pub(super) fn settle(&mut self) {
        let ids = (0..self.weights.len()).filter(|&id| self.through[id].is_some());
        for id in ids.collect::<Vec<_>>() {
            let Some(through) = &mut self.through[id] else {
                continue;
            };
            let weights = &mut self.weights[id].data;
            through.dense.copy_from_slice(weights);
            let subject = Subject {
                rule: Some(through.rule),
                weights,
                dims: self.net.params()[id].shape.dims(),
                random: Random::new(self.seed, Purpose::Mask, id as u64),
            };
            let mask = pruning::masks(&[subject]).pop();
            let mask = mask.unwrap_or_else(|| Mask::all(weights.len()));
            mask.apply(weights);
            self.masks[id] = Some(mask);
        }
    }

    /// The dense weights by layer and blob, for a snapshot.
    pub(super) fn dense_behind(&self) -> Vec<(String, usize, Vec<f32>)> {
        let params = self.net.params().iter().zip(&self.through);
        let dense =
            params.filter_map(|(p, t)| Some((p.owner(), p.index, t.as_ref()?.dense.clone())));
        dense.collect()
    }

    /// Takes the dense weights from a snapshot.
    pub(super) fn restore_through(
        &mut self,
        path: &Path,
        srste: &SrSte,
        dense: Vec<(String, usize, Vec<f32>)>,
    ) -> Result<()> {
        let rules = self.through_rules(&Sparsity::parse(&srste.sparsity)?);
        for (layer, k, dense) in dense {
            let id = self.param_id(&layer, k);
            let rule = rules.iter().find(|(of, _)| Some(*of) == id);
            match rule {
                Some(&(id, rule)) if self.weights[id].data.len() == dense.len() => {
                    self.through[id] = Some(Through { rule, dense });
                }
                _ => bail!(
                    "{}: its dense weights of layer '{layer}' fit no layer of the net",
                    path.display()
                ),
            }
        }
        if let Some((id, _)) = rules.iter().find(|(id, _)| self.through[*id].is_none()) {
            bail!(
                "{}: it lacks the dense weights of layer '{}'",
                path.display(),
                self.net.params()[*id].layer
            );
        }
        Ok(())
    }
}
