//! What a net needs of this machine's memory, before any of it is allocated.

use super::Net;
use crate::memory;
use crate::tensor::Shape;
use anyhow::Result;

/// Bytes of the program itself, with what its libraries keep.
pub const PROGRAM: u128 = 20 << 20;

impl Net {
    /// Bytes of all parameters once.
    pub fn param_bytes(&self) -> u128 {
        let params = self.params.iter();
        params.map(|p| memory::floats(p.shape.count())).sum()
    }

    /// Bytes that passes need beside the weights and their gradients on so many threads: the frames of as many leaves as run at once, their
    /// rows of the batch and partial gradients, and what kernels make of the weights.
    pub fn workspace_bytes(&self, threads: usize) -> u128 {
        let cut = &self.lowered.cut;
        let at_once = threads.clamp(1, cut.leaves.len().max(1));
        let buffers = self.lowered.buffers.iter();
        let buffers: u128 = buffers.map(|&n| memory::floats(n)).sum();
        let frame = buffers + self.kept_bytes();
        // Each leaf makes its rows; of a batch that lies ready there are none to make.
        let feed = self.inputs.iter().map(|&v| {
            let shape = cut.shape(&self.shapes[v], v, cut.most());
            memory::floats(shape.count())
        });
        let frame = frame + feed.sum::<u128>();
        let gradients = match self.backward {
            // One of them is what the pass is called with.
            true => self.learned_bytes() * (self.partial_gradients(at_once) - 1) as u128,
            false => 0,
        };
        at_once as u128 * frame + gradients + self.packed_bytes()
    }

    /// Bytes that the layers keep from forward for backward, in a leaf.
    fn kept_bytes(&self) -> u128 {
        let cut = &self.lowered.cut;
        let one = |i: usize| -> Option<u128> {
            let layer = self.layers[i].as_ref()?;
            let bottoms = self.graph.nodes[i].bottoms.iter();
            let bottoms: Vec<Shape> = bottoms
                .map(|&v| cut.shape(&self.shapes[v], v, cut.most()))
                .collect();
            Some(layer.facts(&bottoms).scratch_bytes as u128)
        };
        (0..self.layers.len()).filter_map(one).sum()
    }

    /// Bytes of the gradients of all parameters that learn.
    pub fn learned_bytes(&self) -> u128 {
        let params = self.params.iter().enumerate();
        let learned = params.filter(|(id, _)| self.learns(*id));
        learned.map(|(_, p)| memory::floats(p.shape.count())).sum()
    }

    /// Partial gradients that are there at once: those of the leaves under way, and of the tree, whose leaves are
    /// taken in order, one at each height above them. (A thread that falls behind by whole leaves can make it one more.)
    fn partial_gradients(&self, at_once: usize) -> usize {
        let leaves = self.lowered.cut.leaves.len().max(1);
        let rounds = leaves.div_ceil(at_once.max(1));
        let height = rounds.next_power_of_two().ilog2() as usize;
        (at_once + height).min(leaves)
    }

    /// Bytes of what the kernels make of dense weights.
    fn packed_bytes(&self) -> u128 {
        let one = |i: usize| {
            let [forward, back] = self.facts[i].packed_bytes;
            let backward = self.backward && self.lowered.needs.bottoms[i].contains(&true);
            let absorbed = self.lowered.form.absorbed[i].is_some();
            match (absorbed, backward) {
                (true, _) => 0,
                (false, true) => forward + back,
                (false, false) => forward,
            }
        };
        let packed: u128 = (0..self.layers.len()).map(|i| one(i) as u128).sum();
        packed + self.rounded_bytes()
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

    /// Bytes that a run of this net alone takes: the program, weights (and their gradients), and what a pass needs;
    /// and the `queue` of batches that wait. Where weights are read, the file, its message, its arrays and the net's
    /// are there at once before.
    pub fn run_bytes(&self, threads: usize, queue: u128, reads_weights: bool) -> u128 {
        let gradients = match self.backward {
            true => self.learned_bytes(),
            false => 0,
        };
        let run = self.param_bytes() + gradients + self.workspace_bytes(threads) + queue;
        let reading = match reads_weights {
            true => 4 * self.param_bytes(),
            false => 0,
        };
        PROGRAM + run.max(reading)
    }

    /// Refuses a run of this net that this machine's memory does not hold; see [`Net::run_bytes`].
    ///
    /// # Errors
    /// The bytes needed and there, and what to lower.
    pub fn check_memory(&self, threads: usize, queue: u128, reads_weights: bool) -> Result<()> {
        let all = self.run_bytes(threads, queue, reads_weights);
        let what = || format!("a run of {} with a batch of {}", self.shown(), self.batch());
        memory::require(all, what, &self.memory_advice(threads))
    }

    /// Gives back the memory that passes have used; the next pass asks for it anew.
    pub fn rest(&self) {
        let lock = |e: std::sync::PoisonError<_>| e.into_inner();
        self.spare.lock().unwrap_or_else(lock).clear();
        let lock = |e: std::sync::PoisonError<_>| e.into_inner();
        self.spare_grads.lock().unwrap_or_else(lock).clear();
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
