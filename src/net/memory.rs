//! What a net needs of this machine's memory, before any of it is allocated.

use super::Net;
use crate::memory;
use crate::tensor::Shape;
use anyhow::Result;

impl Net {
    /// Bytes of all parameters once.
    pub fn param_bytes(&self) -> u128 {
        let params = self.params.iter();
        params.map(|p| memory::floats(p.shape.count())).sum()
    }

    /// Bytes that one pass needs: the workspaces of as many groups as run at once, their partial
    /// gradients, and the batch itself.
    pub fn workspace_bytes(&self, threads: usize) -> u128 {
        let at_once = threads.clamp(1, self.lowered.cut.leaves.len().max(1)) as u128;
        let rows = self.lowered.cut.most();
        let whole = self.lowered.cut.whole.is_some();
        let kept = |i: usize| -> Option<u128> {
            let layer = self.layers[i].as_ref()?;
            let bottom = |&v: &usize| match whole {
                true => self.shapes[v].clone(),
                false => self.shapes[v].with_rows(rows),
            };
            let bottoms: Vec<Shape> = self.graph.nodes[i].bottoms.iter().map(bottom).collect();
            Some(layer.facts(&bottoms).scratch_bytes as u128)
        };
        let keep: u128 = (0..self.layers.len()).filter_map(kept).sum();
        let slots = self.lowered.buffers.iter();
        let slots: u128 = slots.map(|&n| memory::floats(n)).sum();
        let gradients = if self.backward { self.param_bytes() } else { 0 };
        let groups = self.lowered.cut.leaves.len();
        let pending = (groups.max(1).ilog2() as usize + 1).min(groups) as u128;
        let feed = self.inputs.iter();
        let feed: u128 = feed.map(|&v| memory::floats(self.shapes[v].count())).sum();
        at_once * (slots + keep + gradients * pending) + feed
    }

    /// What to lower where a pass does not fit.
    pub fn memory_advice(&self, threads: usize) -> String {
        let batch = self.batch();
        let at_once = threads.min(self.lowered.cut.leaves.len());
        match (batch, at_once) {
            (0 | 1, _) => "take a smaller net or smaller inputs".to_string(),
            (_, 0 | 1) => format!("lower the batch size (now {batch})"),
            _ => format!(
                "lower the batch size (now {batch}), or --threads (now {threads}, of which {at_once} work at once)"
            ),
        }
    }

    /// Refuses a run of this net forward that this machine's memory does not hold: weights, as given and as the
    /// kernels want them, and what a pass needs.
    ///
    /// # Errors
    /// The bytes needed and there, and what to lower.
    pub fn check_memory(&self, threads: usize) -> Result<()> {
        let arrays = if self.backward { 3 } else { 2 };
        let all = arrays * self.param_bytes() + self.workspace_bytes(threads);
        let what = || format!("a run of {} with a batch of {}", self.shown(), self.batch());
        memory::require(all, what, &self.memory_advice(threads))
    }

    /// Refuses weights alone that are too many.
    pub(super) fn check_weights_fit(&self) -> Result<()> {
        let values: u128 = self.param_bytes() / 4;
        let what = || format!("{}: its {values} parameters", self.shown());
        let largest = self.params.iter().max_by_key(|p| p.shape.count());
        let advice = largest.map_or(String::new(), |p| {
            format!("the largest is {} of shape {}", p.label(), p.shape)
        });
        memory::require(self.param_bytes(), what, &advice)
    }

    /// The net in a message: its file and its name.
    fn shown(&self) -> String {
        match self.graph.name.as_str() {
            "" => self.graph.file.clone(),
            name => format!("the net {name} ({})", self.graph.file),
        }
    }
}
