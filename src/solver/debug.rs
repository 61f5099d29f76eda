//! `debug_info` of the update, as Caffe's `[Update]` lines had it.

use super::Solver;
use crate::info;
use crate::net::debug::mean;
use crate::report::number::G;

impl Solver {
    /// The mean magnitude of every parameter.
    pub(super) fn magnitudes(&self) -> Vec<f32> {
        self.weights.iter().map(|w| mean(&w.data)).collect()
    }

    /// Prints what an update has done, given [`Solver::magnitudes`] before it.
    pub(super) fn show_update(&self, before: &[f32]) {
        for (id, (p, data)) in self.net.params().iter().zip(before).enumerate() {
            let layer = self
                .net
                .graph()
                .nodes
                .iter()
                .position(|n| n.name() == p.layer);
            let shown = layer.map_or(p.index.to_string(), |i| self.net.display_name(i, p.index));
            // The update is what the rules have left in the gradients.
            let diff = mean(&self.gradients[id]);
            info!(
                "    [Update] Layer {}, param {shown} data: {}; diff: {}",
                p.layer,
                G(*data),
                G(diff)
            );
        }
    }
}
