//! A sparse phase that prunes along a schedule.

use super::Solver;
use super::mask::Mask;
use super::schedule::{Ramp, Schedule};
use super::sparsity::Sparsity;
use crate::info;
use crate::report::number::G;
use anyhow::Result;

impl Solver {
    /// Prunes to `sparsity` along a cubic curve, every `every` iterations until iteration `until` (defaults:
    /// [`Schedule::new`]), from the zeros that each layer has now. A layer that has more zeros than wanted keeps
    /// them all.
    ///
    /// # Errors
    /// As [`Self::prune`], and an end that leaves nothing to train.
    pub fn prune_gradually(
        &mut self,
        sparsity: &Sparsity,
        every: Option<u64>,
        until: Option<u64>,
    ) -> Result<()> {
        let mut schedule = Schedule::new(every, until, self.max_iter())?;
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
            schedule.ramps.push(Ramp {
                layer: p.owner(),
                blob: p.index,
                from,
                to,
            });
        }
        info!(
            "The masks change every {} iterations, {} times, the last time at iteration {}",
            schedule.every,
            schedule.steps(),
            schedule.until
        );
        self.schedule = Some(schedule);
        // A schedule that ends where it starts prunes at once, also if no iteration follows.
        self.prune_as_scheduled();
        self.rescale_dropout();
        Ok(())
    }

    /// The schedule by which the masks grow, if they do.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// Changes the masks, if this iteration is one at which the schedule does.
    pub(super) fn prune_as_scheduled(&mut self) {
        let iter = self.iter;
        let Some(schedule) = self.schedule.take_if(|s| s.due(iter)) else {
            return;
        };
        for ramp in &schedule.ramps {
            let Some(id) = self.param_id(&ramp.layer, ramp.blob) else {
                continue;
            };
            let k = schedule.zeros(ramp, iter);
            let values = &self.weights[id].data;
            let before = self.masks[id].take();
            let before = before.unwrap_or_else(|| Mask::all(values.len()));
            self.masks[id] = Some(before.prune_further(values, k));
        }
        self.apply_masks();
        self.schedule = Some(schedule);
        if iter > 0 {
            info!(
                "Iteration {iter}, pruned to density {}",
                G(self.density() as f32)
            );
            self.rescale_dropout();
        }
    }
}
