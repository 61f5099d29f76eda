//! Reads ahead: a thread of its own makes the next batches while the net works on this one.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::{Source, arrays};
use crate::memory;
use crate::tensor::{Shape, Tensor};

/// Batches made ready when nobody says how many, as in Caffe.
pub const DEPTH: usize = 4;

/// Batches in memory when as few as can be are made ready: one that is ready, one that is being made, and the
/// caller's.
pub const LEAST: usize = 3;

type Batch = Vec<Tensor>;

/// A source read in a thread of its own. It is itself a [`Source`]: [`Source::read`] of the next index
/// swaps the caller's arrays for ready ones, which costs nothing, and of any other starts anew there.
pub struct Prefetch {
    shapes: Vec<Shape>,
    samples: Option<u64>,
    depth: usize,
    /// The source, while no thread has it.
    source: Option<Box<dyn Source>>,
    thread: Option<Thread>,
    waited: Duration,
}

struct Thread {
    next: u64,
    ready: Receiver<Result<Batch>>,
    /// Arrays that may be overwritten.
    used: SyncSender<Batch>,
    handle: JoinHandle<Box<dyn Source>>,
}

impl Prefetch {
    /// Begins to read batches from `first_index` on, `depth` ahead (at least 1).
    pub fn new(source: Box<dyn Source>, first_index: u64, depth: usize) -> Result<Self> {
        let (shapes, samples) = (source.shapes(), source.samples());
        let depth = depth_for(&shapes, depth);
        let mut prefetch = Self {
            shapes,
            samples,
            depth,
            source: Some(source),
            thread: None,
            waited: Duration::ZERO,
        };
        prefetch.start(first_index)?;
        Ok(prefetch)
    }

    /// How long callers have waited for batches so far. When it grows, reading is what limits the run.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The index of the batch that comes next without starting anew.
    pub fn next_index(&self) -> Option<u64> {
        self.thread.as_ref().map(|thread| thread.next)
    }

    fn start(&mut self, index: u64) -> Result<()> {
        self.stop();
        let source = self
            .source
            .take()
            .context("the thread that read the data has panicked")?;
        let (ready_in, ready) = sync_channel(self.depth);
        // One batch more than can be ready is being made, and one is the caller's: none is ever refused.
        let (used, used_out) = sync_channel(self.depth + 2);
        let shapes = self.shapes.clone();
        let spawned = thread::Builder::new()
            .name("prefetch".into())
            .spawn(move || fill(source, &shapes, index, &ready_in, &used_out));
        let handle = spawned.context("cannot start the thread that reads the data")?;
        self.thread = Some(Thread {
            next: index,
            ready,
            used,
            handle,
        });
        Ok(())
    }

    /// Ends the thread, after the batch it is at, and takes the source back.
    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Without its receiver the thread has nobody to read for.
            drop(thread.ready);
            self.source = thread.handle.join().ok();
        }
    }
}

/// So many batches ahead that those in memory take half of what is free at most; at least one, if need be.
fn depth_for(shapes: &[Shape], wanted: usize) -> usize {
    let bytes: u128 = shapes.iter().map(|s| memory::floats(s.count())).sum();
    let fits = match memory::available() {
        Some(free) if bytes > 0 => u128::from(free) / 2 / bytes,
        _ => u128::MAX,
    };
    let fits = fits.saturating_sub(LEAST as u128 - 1);
    wanted
        .min(usize::try_from(fits).unwrap_or(usize::MAX))
        .max(1)
}

/// Makes batches until nobody wants them or one fails.
fn fill(
    mut source: Box<dyn Source>,
    shapes: &[Shape],
    first: u64,
    ready: &SyncSender<Result<Batch>>,
    used: &Receiver<Batch>,
) -> Box<dyn Source> {
    for index in first.. {
        let batch = used.try_recv().map_or_else(|_| arrays(shapes), Ok);
        let result = batch.and_then(|mut batch| source.read(index, &mut batch).map(|()| batch));
        let failed = result.is_err();
        if ready.send(result).is_err() || failed {
            break;
        }
    }
    source
}

impl Source for Prefetch {
    fn shapes(&self) -> Vec<Shape> {
        self.shapes.clone()
    }

    fn read(&mut self, index: u64, out: &mut [Tensor]) -> Result<()> {
        anyhow::ensure!(
            out.len() == self.shapes.len(),
            "a batch has {} arrays, found {}",
            self.shapes.len(),
            out.len()
        );
        if self.next_index() != Some(index) {
            self.start(index)?;
        }
        let Some(thread) = &mut self.thread else {
            return Err(anyhow!("the thread that reads the data did not start"));
        };
        let begin = Instant::now();
        let received = thread.ready.recv();
        self.waited += begin.elapsed();
        match received {
            Ok(Ok(mut batch)) => {
                out.swap_with_slice(&mut batch);
                thread.next += 1;
                // A thread that has ended needs no arrays.
                let _ = thread.used.try_send(batch);
                Ok(())
            }
            Ok(Err(error)) => {
                self.stop();
                Err(error)
            }
            Err(_) => {
                self.stop();
                Err(anyhow!("the thread that reads the data has panicked"))
            }
        }
    }

    fn samples(&self) -> Option<u64> {
        self.samples
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;
