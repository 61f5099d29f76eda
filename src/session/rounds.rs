//! A net run forward over its data, batch after batch.

use crate::data::batches::Batches;
use crate::net::carried::Carried;
use crate::net::graph::ValueId;
use crate::net::sizes::Sizes;
use crate::net::{Net, Options, Outputs, Pass, Weights};
use anyhow::Result;

/// The batches of a run, in turn: what recurrent layers carry goes from one to the next, and the net takes the shapes
/// that they have.
pub struct Rounds<'a> {
    net: &'a Net,
    weights: &'a Weights,
    batches: Batches,
    seed: u64,
    carried: Carried,
    sizes: Sizes,
    done: u64,
}

impl<'a> Rounds<'a> {
    /// Before the first batch of `batches`; `options` are those that the net was made with.
    pub fn new(
        net: &'a Net,
        options: &Options,
        weights: &'a Weights,
        batches: Batches,
        seed: u64,
    ) -> Self {
        Self {
            net,
            weights,
            batches,
            seed,
            carried: Carried::default(),
            sizes: Sizes::new(options),
            done: 0,
        }
    }

    /// What the net makes of the next batch; `wanted` beside its outputs.
    ///
    /// # Errors
    /// The batch cannot be read, or does not fit the net.
    pub fn next(&mut self, wanted: &[ValueId]) -> Result<Outputs> {
        let batch = self.batches.take()?;
        let pass = Pass {
            wanted: wanted.to_vec(),
            carried: Some(&self.carried),
            ..Pass::new(self.seed, self.done)
        };
        let fitting = self.sizes.fit(self.net, &batch)?;
        let mut outputs = fitting.forward(&pass, self.weights, &batch)?;
        self.carried.take(&mut outputs);
        self.batches.give_back(batch);
        self.done += 1;
        Ok(outputs)
    }
}
