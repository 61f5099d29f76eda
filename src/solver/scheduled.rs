//! Sparse phases whose masks change as they run.

use super::Solver;
use super::mask::Mask;
use super::schedule::acdc::{AcDc, Rounds};
use super::schedule::rigl::{RigL, exchange};
use super::schedule::{Cubic, Pruning, Ramp, Schedule, srste};
use super::sparsity::Sparsity;
use crate::info;
use crate::report::number::G;
use anyhow::Result;

impl Solver {
    /// Prunes as a sparse phase does that starts with the weights as they are: now, or from now on.
    ///
    /// # Errors
    /// As [`Self::prune`], and a schedule that does not fit into the phase.
    pub fn start_pruning(&mut self, sparsity: &Sparsity, pruning: &Pruning) -> Result<()> {
        match pruning {
            Pruning::Once => self.prune(sparsity),
            Pruning::Released => {
                self.prune(sparsity)?;
                info!("No mask holds them: what is 0 now may grow again");
                self.release();
                Ok(())
            }
            Pruning::Cubic { every, until } => self.prune_gradually(sparsity, *every, *until),
            Pruning::AcDc(rounds) => self.prune_in_turn(sparsity, rounds),
            Pruning::RigL {
                every,
                until,
                drop_fraction,
            } => {
                let rigl = RigL::new(*every, *until, *drop_fraction, self.max_iter())?;
                info!(
                    "Every {} iterations until {} weights are exchanged, {} of the living at first",
                    rigl.every, rigl.until, rigl.drop_fraction
                );
                self.schedule = Some(Schedule::RigL(rigl));
                self.prune(sparsity)
            }
            Pruning::SrSte { decay } => self.prune_through(sparsity, decay.unwrap_or(srste::DECAY)),
        }
    }

    /// Lifts all masks.
    pub fn release(&mut self) {
        self.masks.iter_mut().for_each(|mask| *mask = None);
        self.rescale_dropout();
    }

    /// Prunes to `sparsity` along a cubic curve, every `every` iterations until iteration `until` (defaults:
    /// [`Cubic::new`]), from the zeros that each layer has now. A layer that has more zeros than wanted keeps
    /// them all.
    ///
    /// # Errors
    /// As [`Self::prune`], and an end that leaves nothing to train.
    fn prune_gradually(
        &mut self,
        sparsity: &Sparsity,
        every: Option<u64>,
        until: Option<u64>,
    ) -> Result<()> {
        let mut cubic = Cubic::new(every, until, self.max_iter())?;
        for (id, last) in self.masks_for(sparsity)? {
            let p = &self.net.params()[id];
            let now = Mask::of_nonzero(&self.weights[id].data);
            let (n, from) = (now.count(), now.count() - now.alive());
            let to = (n - last.alive()).max(from);
            info!(
                "Pruning {} gradually: {from} of {n} weights are 0, {to} will be, density {:.4}",
                p.layer,
                (n - to) as f64 / n as f64
            );
            self.masks[id] = Some(now);
            cubic.ramps.push(Ramp {
                layer: p.owner(),
                blob: p.index,
                from,
                to,
            });
        }
        info!(
            "The masks change every {} iterations, {} times, the last time at iteration {}",
            cubic.every,
            cubic.steps(),
            cubic.until
        );
        self.schedule = Some(Schedule::Cubic(cubic));
        // A schedule that ends where it starts prunes at once, also if no iteration follows.
        self.prune_as_scheduled()?;
        self.rescale_dropout();
        Ok(())
    }

    /// Prunes to `sparsity` in sparse stretches with dense ones between.
    fn prune_in_turn(&mut self, sparsity: &Sparsity, rounds: &Rounds) -> Result<()> {
        let acdc = AcDc {
            sparsity: sparsity.recorded(),
            starts: rounds.starts,
            switches: rounds.switches(self.max_iter())?,
        };
        let at: Vec<String> = acdc.switches.iter().map(u64::to_string).collect();
        info!(
            "Sparse and dense in turn, {} first, turning at iterations {}",
            acdc.starts.name(),
            at.join(", ")
        );
        // Also where the phase starts dense, the rules are checked now.
        let masks = self.masks_for(sparsity)?;
        let sparse = acdc.is_sparse(self.iter);
        self.schedule = Some(Schedule::AcDc(acdc));
        if sparse {
            self.hold(masks);
        }
        Ok(())
    }

    /// The schedule by which the masks change, if they do.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// Changes the masks, if this iteration is one at which the schedule does.
    pub(super) fn prune_as_scheduled(&mut self) -> Result<()> {
        let schedule = self.schedule.take();
        let done = match &schedule {
            Some(Schedule::Cubic(cubic)) => {
                self.prune_along(cubic);
                Ok(())
            }
            Some(Schedule::AcDc(acdc)) => self.turn(acdc),
            Some(Schedule::RigL(_) | Schedule::SrSte(_)) | None => Ok(()),
        };
        self.schedule = schedule;
        done
    }

    fn prune_along(&mut self, cubic: &Cubic) {
        let iter = self.iter;
        if !cubic.due(iter) {
            return;
        }
        for ramp in &cubic.ramps {
            let Some(id) = self.param_id(&ramp.layer, ramp.blob) else {
                continue;
            };
            let k = cubic.zeros(ramp, iter);
            let values = &self.weights[id].data;
            let before = self.masks[id].take();
            let before = before.unwrap_or_else(|| Mask::all(values.len()));
            self.masks[id] = Some(before.prune_further(values, k));
        }
        self.apply_masks();
        if iter > 0 {
            info!(
                "Iteration {iter}, pruned to density {}",
                G(self.density() as f32)
            );
            self.rescale_dropout();
        }
    }

    fn turn(&mut self, acdc: &AcDc) -> Result<()> {
        let iter = self.iter;
        if !acdc.switches.contains(&iter) {
            return Ok(());
        }
        if acdc.is_sparse(iter) {
            let masks = self.masks_for(&Sparsity::parse(&acdc.sparsity)?)?;
            self.hold(masks);
            info!(
                "Iteration {iter}, pruned to density {}",
                G(self.density() as f32)
            );
        } else {
            self.release();
            info!("Iteration {iter}, all weights are trained again");
        }
        Ok(())
    }

    /// Exchanges weights by their gradients, which no mask has touched yet, if this is an iteration at which that takes the
    /// place of an update.
    pub(super) fn exchange(&mut self) -> bool {
        let iter = self.iter;
        let rigl = match &self.schedule {
            Some(Schedule::RigL(rigl)) if rigl.due(iter) => rigl.clone(),
            _ => return false,
        };
        let (mut exchanged, mut all) = (0, 0);
        for (id, mask) in self.masks.iter_mut().enumerate() {
            let (weights, g) = (&self.weights[id].data, &self.gradients[id]);
            // A parameter that does not learn has no gradient.
            let Some(before) = mask.as_mut().filter(|_| g.len() == weights.len()) else {
                continue;
            };
            let alive = before.alive();
            if alive == before.count() {
                continue;
            }
            let k = rigl.exchanged(iter, alive);
            *before = exchange(before, weights, g, k);
            (exchanged, all) = (exchanged + k, all + alive);
        }
        self.apply_masks();
        info!("Iteration {iter}, {exchanged} of {all} weights die and as many grow");
        true
    }
}
