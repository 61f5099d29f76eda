//! Reads ahead: a thread of its own makes the next batches while the net works on this one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::Source;
use super::batch::{Batch, Rows};
use super::decoders::Decoders;
use crate::tensor::Shape;

/// Batches that go round, as many as Caffe makes ready. One of them is being made, and one may be the caller's.
const MOST: usize = 4;

/// Fewer go round where they would take more bytes than this, but at least [`FEWEST`].
const MOST_BYTES: u128 = 24 << 20;

/// One that is being made while the caller has the other.
const FEWEST: usize = 2;

/// Batches' worth of floats that there must be memory for, whatever they wait as: those that go round at least, and
/// the caller's arrays.
pub const LEAST: usize = FEWEST + 1;

/// A source read in a thread of its own. The thread starts when a batch is wanted; another index than the one that
/// follows starts it anew there.
pub struct Prefetch {
    shapes: Vec<Shape>,
    samples: Option<u64>,
    /// Batches that go round, and the bytes of one.
    batches: usize,
    batch_bytes: u128,
    held_bytes: u128,
    /// Threads that decode while the caller waits.
    threads: usize,
    /// Nothing is read ahead from this index on.
    until: u64,
    /// The source, while no thread has it.
    source: Option<Box<dyn Source>>,
    thread: Option<Thread>,
    waited: Duration,
}

struct Thread {
    next: u64,
    until: u64,
    ready: Receiver<Result<Batch>>,
    /// Batches that may be overwritten.
    used: SyncSender<Batch>,
    /// Whether the caller has a batch.
    lent: bool,
    decoders: Arc<Decoders>,
    handle: JoinHandle<Box<dyn Source>>,
}

impl Prefetch {
    /// Reads `source`. While the caller waits, it is decoded by as many threads as the rayon pool at hand has.
    pub fn new(source: Box<dyn Source>) -> Self {
        let (shapes, samples) = (source.shapes(), source.samples());
        let (batch_bytes, held_bytes) = (source.batch_bytes(), source.held_bytes());
        let fit = MOST_BYTES / batch_bytes.max(1);
        Self {
            shapes,
            samples,
            batches: usize::try_from(fit).unwrap_or(MOST).clamp(FEWEST, MOST),
            batch_bytes,
            held_bytes,
            threads: rayon::current_num_threads(),
            until: u64::MAX,
            source: Some(source),
            thread: None,
            waited: Duration::ZERO,
        }
    }

    /// The shapes of the arrays of the first batch.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The number of different samples, where there is one.
    pub fn samples(&self) -> Option<u64> {
        self.samples
    }

    /// Bytes of the batches that go round, and of what the source holds, at most: of batches like the first.
    pub fn bytes(&self) -> u128 {
        self.batch_bytes * self.batches as u128 + self.held_bytes
    }

    /// How long callers have waited for batches so far. When it grows, reading is what limits the run.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The index of the batch that comes next without starting anew.
    pub fn next_index(&self) -> Option<u64> {
        let thread = self.thread.as_ref();
        let goes_on = thread.filter(|t| t.next < t.until);
        goes_on.map(|t| t.next)
    }

    /// Reads ahead no further than to index `until`, which is not read, when the thread starts next.
    pub fn read_until(&mut self, until: u64) {
        self.until = until;
    }

    fn start(&mut self, index: u64) -> Result<()> {
        self.stop();
        let source = self
            .source
            .take()
            .context("the thread that read the data has panicked")?;
        let until = match self.until > index {
            true => self.until,
            false => u64::MAX,
        };
        let (ready_in, ready) = sync_channel(self.batches);
        let (used, used_out) = sync_channel(self.batches);
        for _ in 0..self.batches {
            // There is room for all.
            let _ = used.try_send(Batch::default());
        }
        let decoders = Arc::new(Decoders::new(self.threads));
        let own = decoders.clone();
        let spawned = thread::Builder::new()
            .name("prefetch".into())
            .spawn(move || fill(source, index..until, &ready_in, &used_out, &own));
        let handle = spawned.context("cannot start the thread that reads the data")?;
        self.thread = Some(Thread {
            next: index,
            until,
            ready,
            used,
            lent: false,
            decoders,
            handle,
        });
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Without its receiver the thread has nobody to read for.
            drop((thread.ready, thread.used));
            self.source = thread.handle.join().ok();
        }
    }

    /// Ends the thread, after the batch it is at, and frees what has been read ahead, and what the source holds only
    /// to read on faster.
    pub fn rest(&mut self) {
        self.stop();
        self.until = u64::MAX;
        if let Some(source) = &mut self.source {
            source.rest();
        }
    }

    /// Batch number `index`; give it back with [`Prefetch::give_back`], so that its memory is used again.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn take(&mut self, index: u64) -> Result<Batch> {
        if self.next_index() != Some(index) {
            self.start(index)?;
        }
        let Some(thread) = &mut self.thread else {
            return Err(anyhow!("the thread that reads the data did not start"));
        };
        if std::mem::take(&mut thread.lent) {
            // Nobody gave it back: another goes round in its place.
            let _ = thread.used.try_send(Batch::default());
        }
        let received = match thread.ready.try_recv() {
            Err(TryRecvError::Empty) => {
                let begin = Instant::now();
                thread.decoders.hurry(true);
                let received = thread.ready.recv();
                thread.decoders.hurry(false);
                self.waited += begin.elapsed();
                received.ok()
            }
            other => other.ok(),
        };
        match received {
            Some(Ok(batch)) => {
                thread.next += 1;
                thread.lent = true;
                Ok(batch)
            }
            Some(Err(error)) => {
                self.stop();
                Err(error)
            }
            None => {
                self.stop();
                Err(anyhow!("the thread that reads the data has panicked"))
            }
        }
    }

    /// Takes back the batch that was taken last.
    pub fn give_back(&mut self, batch: Batch) {
        if let Some(thread) = &mut self.thread
            && std::mem::take(&mut thread.lent)
        {
            // A thread that has ended needs no batches.
            let _ = thread.used.try_send(batch);
        }
    }
}

/// Makes batches until nobody wants them or one fails.
fn fill(
    mut source: Box<dyn Source>,
    indices: std::ops::Range<u64>,
    ready: &SyncSender<Result<Batch>>,
    used: &Receiver<Batch>,
    decoders: &Decoders,
) -> Box<dyn Source> {
    let arrays = source.shapes().len();
    for index in indices {
        let Ok(mut batch) = used.recv() else {
            break;
        };
        batch.arrays_mut().resize_with(arrays, Rows::default);
        let loaded = source.load(index, batch.arrays_mut(), decoders);
        let failed = loaded.is_err();
        if ready.send(loaded.map(|()| batch)).is_err() || failed {
            break;
        }
    }
    source
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;
