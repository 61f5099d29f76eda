//! The outputs of the test net with some layers pruned: several prunings at once, a thread each.
//!
//! A thread runs its pruning on a net and a pool of its own, alone, so that the result cannot depend on
//! how many there are; and a pruning more costs no thread anything but its turn.

use super::layers::Prunable;
use crate::data::batches::Batches;
use crate::layers::Mode;
use crate::net::carried::Carried;
use crate::net::sizes::Sizes;
use crate::net::{Net, Options, Pass, Weights};
use crate::solver::{Ending, OpenData};
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// The most bytes of batches that are kept; a data set that needs more is read anew for every pruning.
pub const KEPT_BYTES: usize = 2 << 30;

/// What the test net gave, averaged over the batches as `dsd test` does it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// The outputs by name; one of several values comes as often.
    pub outputs: Vec<(String, f32)>,
    /// The loss; 0 in a net without one.
    pub loss: f32,
}

/// What is looked at among the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// Its index in [`Score::outputs`]; without one it is the loss.
    pub index: Option<usize>,
    /// Whether the net has a loss.
    pub loss: bool,
}

impl Measure {
    /// The first output that an Accuracy layer makes, else the loss.
    ///
    /// # Errors
    /// There is neither.
    pub fn of(net: &Net) -> Result<Self> {
        let graph = net.graph();
        let loss = (0..graph.values.len()).any(|v| net.loss_weight(v) != 0.0);
        let makes = |v: usize| &graph.nodes[graph.values[v].producer];
        let accuracies = net.outputs().iter().copied();
        let first = accuracies
            .filter(|&v| makes(v).param.r#type() == "Accuracy")
            .min_by_key(|&v| graph.values[v].producer);
        let Some(first) = first else {
            if !loss {
                bail!(
                    "{}: the test net has neither an Accuracy layer nor a loss; there is nothing to measure",
                    graph.file
                );
            }
            return Ok(Self {
                name: "loss".into(),
                index: None,
                loss,
            });
        };
        let before = net.outputs().iter().take_while(|v| **v != first);
        Ok(Self {
            name: graph.values[first].name.clone(),
            index: Some(before.map(|&v| net.shape(v).count()).sum()),
            loss,
        })
    }

    /// Its value in a score.
    pub fn value(&self, score: &Score) -> f32 {
        let output = self.index.and_then(|i| score.outputs.get(i));
        output.map_or(score.loss, |(_, v)| *v)
    }

    /// What a suggestion keeps low: the loss, which is smoother than an accuracy on few pictures; in a
    /// net without one, what the accuracy lacks of 1.
    pub fn cost(&self, score: &Score) -> f64 {
        match self.loss {
            true => f64::from(score.loss),
            false => 1.0 - f64::from(self.value(score)),
        }
    }
}

/// Layers, by index, and the densities they are pruned to.
pub type Job = Vec<(usize, f64)>;

/// Whoever looks on while prunings run.
pub struct Watch<'a> {
    /// Whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Called after every batch.
    pub batch: &'a (dyn Fn() + Sync),
}

/// A test net with weights and the batches it is tested on.
pub struct Bench<'a> {
    /// The net.
    pub net: Net,
    /// Its weights.
    pub weights: Weights,
    /// What can be pruned.
    pub layers: Vec<Prunable>,
    /// The seed of the passes.
    pub seed: u64,
    /// The number of batches.
    pub iterations: usize,
    options: Options,
    opener: &'a (dyn OpenData + Sync),
    shapes: Vec<Shape>,
    /// The batches, or at least the first.
    kept: Vec<Vec<Tensor>>,
}

impl<'a> Bench<'a> {
    /// Of a net and the options that it was made with. Reads the batches, as many as `most` bytes hold; if that is not all, the first alone.
    ///
    /// # Errors
    /// A batch cannot be read.
    pub fn new(
        (net, options): (Net, Options),
        weights: Weights,
        mut batches: Batches,
        opener: &'a (dyn OpenData + Sync),
        (seed, iterations, most): (u64, usize, usize),
    ) -> Result<Self> {
        debug_assert!(net.mode() == Mode::Test);
        let shapes: Vec<Shape> = net.inputs().iter().map(|&v| net.shape(v).clone()).collect();
        let bytes: usize = shapes.iter().map(|s| 4 * s.count()).sum();
        let fits = bytes.saturating_mul(iterations) <= most;
        let kept = (0..if fits { iterations } else { 1 })
            .map(|i| {
                batches
                    .next_batch()
                    .with_context(|| format!("batch {i} of the test data"))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            layers: Prunable::all(&net, &weights),
            net,
            weights,
            seed,
            iterations,
            options,
            opener,
            shapes,
            kept,
        })
    }

    /// The batches that are kept: all, or the first.
    pub fn kept(&self) -> &[Vec<Tensor>] {
        &self.kept
    }

    /// Scores the net for every job, up to `threads` at once; `done` is told as each ends, in any order.
    ///
    /// # Errors
    /// A pass, the data or `done` failed; jobs that have not ended by then never do.
    pub fn run(
        &self,
        jobs: &[Job],
        threads: usize,
        watch: &Watch,
        done: &mut dyn FnMut(usize, Score) -> Result<()>,
    ) -> Result<Ending> {
        let next = AtomicUsize::new(0);
        let halt = AtomicBool::new(false);
        let stop = || halt.load(Ordering::Relaxed) || (watch.stop)();
        let watch = Watch {
            stop: &stop,
            batch: watch.batch,
        };
        let mut ended = 0;
        thread::scope(|scope| {
            let (sender, results) = channel();
            for _ in 0..threads.clamp(1, jobs.len().max(1)) {
                let sender: Sender<(usize, Result<Score>)> = sender.clone();
                let (next, watch) = (&next, &watch);
                scope.spawn(move || {
                    if let Err(error) = self.work(jobs, next, watch, &sender) {
                        // The receiver waits for the last sender.
                        let _ = sender.send((0, Err(error)));
                    }
                });
            }
            drop(sender);
            let mut failed = None;
            for (job, score) in results {
                ended += 1;
                if failed.is_none()
                    && let Err(error) = score.and_then(|s| done(job, s))
                {
                    failed = Some(error);
                    halt.store(true, Ordering::Relaxed);
                }
            }
            failed.map_or(Ok(()), Err)
        })?;
        Ok(match ended == jobs.len() {
            true => Ending::Done,
            false => Ending::Stopped,
        })
    }

    /// Takes jobs until there are none.
    fn work(
        &self,
        jobs: &[Job],
        next: &AtomicUsize,
        watch: &Watch,
        results: &Sender<(usize, Result<Score>)>,
    ) -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.context("cannot start a thread; try a smaller --threads")?;
        let net = Net::new(self.net.graph().clone(), &self.shapes, &self.options)?;
        let mut batches = match self.kept.len() < self.iterations {
            true => Some(self.opener.open(net.graph(), 0)?.batches),
            false => None,
        };
        let mut weights = self.weights.clone();
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            let Some(pruned) = jobs.get(job) else {
                return Ok(());
            };
            for &(layer, density) in pruned {
                self.layers[layer].prune(density, &mut weights);
            }
            let score = pool.install(|| self.score(&net, &weights, batches.as_mut(), watch))?;
            let Some(score) = score else {
                return Ok(());
            };
            for &(layer, _) in pruned {
                self.layers[layer].restore(&self.weights, &mut weights);
            }
            if results.send((job, Ok(score))).is_err() {
                return Ok(());
            }
        }
    }

    /// The score with `weights`; `None` if it was stopped. Sums in f32, as `dsd test` and Caffe.
    fn score(
        &self,
        net: &Net,
        weights: &Weights,
        mut batches: Option<&mut Batches>,
        watch: &Watch,
    ) -> Result<Option<Score>> {
        let mut score = Score::default();
        if let Some(batches) = &mut batches {
            batches.seek(0);
        }
        let (mut carried, mut sizes) = (Carried::default(), Sizes::new(&self.options));
        for i in 0..self.iterations {
            if (watch.stop)() {
                return Ok(None);
            }
            let pass = Pass {
                carried: Some(&carried),
                ..Pass::new(self.seed, i as u64)
            };
            let mut outputs = match &mut batches {
                None => {
                    let batch = &self.kept[i];
                    sizes.fit(net, batch)?.forward(&pass, weights, batch)?
                }
                Some(batches) => {
                    let batch = batches.take()?;
                    let outputs = sizes.fit(net, &batch)?.forward(&pass, weights, &batch)?;
                    batches.give_back(batch);
                    outputs
                }
            };
            carried.take(&mut outputs);
            score.loss += outputs.loss;
            let values = net
                .outputs()
                .iter()
                .filter_map(|v| Some((*v, outputs.values.get(v)?)));
            let flat = values.flat_map(|(v, t)| t.data.iter().map(move |&x| (v, x)));
            if i == 0 {
                let name = |v: usize| net.graph().values[v].name.clone();
                score.outputs = flat.map(|(v, x)| (name(v), x)).collect();
            } else {
                let sums = score.outputs.iter_mut().zip(flat);
                sums.for_each(|(sum, (_, x))| sum.1 += x);
            }
            (watch.batch)();
        }
        let n = self.iterations as f32;
        score.loss /= n;
        score.outputs.iter_mut().for_each(|(_, v)| *v /= n);
        Ok(Some(score))
    }
}
