//! The batches of a run, one after the other, read ahead.

use super::Source;
use super::about::{About, OneClass};
use super::batch::Batch;
use super::prefetch::Prefetch;
use crate::tensor::Tensor;
use anyhow::Result;
use std::time::Duration;

/// Where a run stands in its data.
pub struct Batches {
    source: Prefetch,
    next: u64,
    /// Arrays to hand out again, so that a run allocates none once it is under way.
    spare: Option<Vec<Tensor>>,
    about: Vec<About>,
    one_class: OneClass,
    /// How much of the waiting has been told.
    told: Duration,
}

impl Batches {
    /// Batches from number `first` on; reading begins when the first is wanted.
    pub fn new(source: Box<dyn Source>, first: u64) -> Self {
        let about = source.about();
        Self {
            source: Prefetch::new(source),
            next: first,
            spare: None,
            about,
            one_class: OneClass::default(),
            told: Duration::ZERO,
        }
    }

    /// The next batch as it waits, pictures as bytes; its rows can be written where they are wanted
    /// ([`Batch::rows`]). Give it back with [`Batches::give_back`]; one that is not is freed by who has it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn take(&mut self) -> Result<Batch> {
        let batch = self.source.take(self.next)?;
        self.next += 1;
        Ok(batch)
    }

    /// Takes back a batch of [`Batches::take`] that is done with.
    pub fn give_back(&mut self, batch: Batch) {
        self.source.give_back(batch);
    }

    /// The next batch as arrays of floats; give them back with [`Batches::recycle`].
    ///
    /// # Errors
    /// It cannot be read, or there is no memory for the arrays.
    pub fn next_batch(&mut self) -> Result<Vec<Tensor>> {
        let mut batch = self.take()?;
        let mut arrays = self.spare.take().unwrap_or_default();
        let taken = batch.take(&mut arrays);
        self.give_back(batch);
        taken.map(|()| arrays)
    }

    /// Reads ahead no more than the next `count` batches, until [`Batches::rest`]: who knows how many it will take
    /// has none read in vain.
    pub fn expect(&mut self, count: u64) {
        self.source.read_until(self.next.saturating_add(count));
    }

    /// Nobody wants a batch for some time: reading ahead ends, and what it holds is freed. The next batch is the one
    /// that follows all the same.
    pub fn rest(&mut self) {
        self.source.rest();
        self.spare = None;
    }

    /// Bytes that reading ahead takes at most, of batches like the first: the batches that are ready, being made and
    /// taken ([`Batches::take`]), and what the source itself holds. The arrays of [`Batches::next_batch`] come on
    /// top. Nothing is taken before the first batch is wanted, nor while it rests.
    pub fn queue_bytes(&self) -> u128 {
        self.source.bytes()
    }

    /// What is known of the data.
    pub fn about(&self) -> &[About] {
        &self.about
    }

    /// A line to say, once, if a batch of [`Batches::take`] and those before it are all of one class.
    pub fn one_class_in(&mut self, batch: &Batch) -> Option<String> {
        self.one_class.look_in(&self.about, |at| batch.floats(at))
    }

    /// Takes back a batch that is done with.
    pub fn recycle(&mut self, batch: Vec<Tensor>) {
        self.spare = Some(batch);
    }

    /// Goes on at batch number `index`.
    pub fn seek(&mut self, index: u64) {
        self.next = index;
    }

    /// How long the run has waited for data since this was asked last.
    pub fn take_waited(&mut self) -> Duration {
        let all = self.source.waited();
        all.saturating_sub(std::mem::replace(&mut self.told, all))
    }
}

#[cfg(test)]
#[path = "batches_tests.rs"]
mod tests;
