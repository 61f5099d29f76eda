//! A run whose numbers have become none: it stops at the update, or the loss, that shows it, and says from where it
//! can go on. Snapshots come after this check, so that none holds such weights.

use super::{Solver, snapshot};
use crate::feed::Feed;
use crate::net::Pass;
use crate::random::Random;
use crate::report::number::G;
use anyhow::{Result, anyhow, bail};

impl Solver {
    /// Fails if the update just made, number `iter` - 1, has left a weight NaN or infinite.
    pub(super) fn check_weights(&self, rate: f32) -> Result<()> {
        let Some(bad) = self.net.first_bad(&self.weights) else {
            return Ok(());
        };
        bail!(
            "iteration {}: after its update {bad} (the learning rate was {}; a smaller base_lr or clip_gradients may \
             help); {}",
            self.iter - 1,
            G(rate),
            self.newest_good()
        )
    }

    /// Why the loss is not finite: the first layer whose output is not.
    pub(super) fn diverged(
        &mut self,
        loss: f32,
        random: Random,
        batch: &dyn Feed,
    ) -> anyhow::Error {
        let pass = Pass {
            random,
            check_finite: true,
            carried: Some(&self.carried),
            ..Pass::new(self.seed, 0)
        };
        let forward = self
            .sizes
            .fit(&self.net, batch)
            .and_then(|net| net.forward(&pass, &self.weights, batch));
        let found = match forward {
            Err(e) => format!("{e:#}"),
            Ok(_) => "every layer's output is finite, only their sum is not".to_string(),
        };
        anyhow!(
            "iteration {}: the loss is {}; {found} (the learning rate was {}; a smaller base_lr or \
             clip_gradients may help); {}",
            self.iter,
            G(loss),
            G(self.policy.rate(self.iter)),
            self.newest_good()
        )
    }

    /// Where a run can go on from: what `--resume` would take.
    fn newest_good(&self) -> String {
        match snapshot::newest(&self.prefix).filter(|(iter, _)| *iter <= self.iter) {
            Some((iter, path)) => format!(
                "the newest good snapshot is {} of iteration {iter}",
                path.display()
            ),
            None => "there is no snapshot to go back to".to_string(),
        }
    }
}
