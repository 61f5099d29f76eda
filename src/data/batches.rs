//! The batches of a run, one after the other, read ahead.

use super::Source;
use super::about::{About, OneClass};
use super::prefetch::{DEPTH, Prefetch};
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
    /// Batches from number `first` on.
    ///
    /// # Errors
    /// The reading thread cannot be started.
    pub fn new(source: Box<dyn Source>, first: u64) -> Result<Self> {
        let about = source.about();
        let source = Prefetch::new(source, first, DEPTH)?;
        Ok(Self {
            source,
            next: first,
            spare: None,
            about,
            one_class: OneClass::default(),
            told: Duration::ZERO,
        })
    }

    /// The next batch; give it back with [`Batches::recycle`].
    pub fn next_batch(&mut self) -> Result<Vec<Tensor>> {
        let mut batch = match self.spare.take() {
            Some(batch) => batch,
            None => super::arrays(&self.source.shapes())?,
        };
        self.source.read(self.next, &mut batch)?;
        self.next += 1;
        Ok(batch)
    }

    /// What is known of the data.
    pub fn about(&self) -> &[About] {
        &self.about
    }

    /// A line to say, once, if a batch and those before it are all of one class.
    pub fn one_class(&mut self, batch: &[Tensor]) -> Option<String> {
        self.one_class.look(&self.about, batch)
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
