//! Test nets: they read the training net's weights and go on through their data from test to test.

use super::config::TestConfig;
use super::signals::{Request, Signals};
use super::step::loss_note;
use super::{OpenData, Opened, announce};
use crate::data::about::About;
use crate::data::batches::Batches;
use crate::info;
use crate::net::graph::Graph;
use crate::net::{self, Net, Param, Pass, Weights};
use crate::report::number::G;
use crate::report::progress;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// A net to test on while training.
pub struct TestNet {
    net: Net,
    batches: Batches,
    iterations: u64,
    done: u64,
    /// For every parameter of this net, the training net's.
    from: Vec<usize>,
}

impl TestNet {
    /// Builds test net number `index` on the parameters of the training net.
    pub fn new(
        index: usize,
        config: &TestConfig,
        data: &dyn OpenData,
        trained: &[Param],
    ) -> Result<Self> {
        let graph = Graph::new(&config.net, &config.state)?;
        let Opened { shapes, batches } = data.open(&graph, 0)?;
        let net = Net::new(graph, &shapes, &net::Options::default())?;
        announce::net(&net);
        let mut from = Vec::new();
        for p in net.params() {
            let twin = trained
                .iter()
                .position(|t| t.layer == p.layer && t.twin == p.twin && t.index == p.index);
            match twin {
                Some(id) if trained[id].shape == p.shape => from.push(id),
                Some(id) => bail!(
                    "{}: layer '{}' has shape {} in test net #{index} and {} in the training net",
                    net.graph().file,
                    p.layer,
                    p.shape,
                    trained[id].shape
                ),
                None => bail!(
                    "{}: layer '{}' of test net #{index} has weights, but the training net has no such layer",
                    net.graph().file,
                    p.layer
                ),
            }
        }
        Ok(Self {
            net,
            batches,
            iterations: config.iterations,
            done: 0,
            from,
        })
    }

    /// The net.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// What is known of its data.
    pub fn about(&self) -> &[About] {
        self.batches.about()
    }

    /// Batches of a test.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// Batches tested so far.
    pub fn batches_done(&self) -> u64 {
        self.done
    }

    /// Goes on at batch `batches`.
    pub fn seek(&mut self, batches: u64) {
        self.done = batches;
        self.batches.seek(batches);
    }

    /// Bytes that a test needs.
    pub fn workspace_bytes(&self, threads: usize) -> usize {
        self.net.workspace_bytes(threads)
    }

    /// The time of one batch, from as many as take about `limit`.
    pub fn time_batches(
        &mut self,
        seed: u64,
        trained: &Weights,
        limit: Duration,
    ) -> Result<Duration> {
        let weights: Weights = self.from.iter().map(|&id| trained[id].clone()).collect();
        let (clock, mut done) = (Instant::now(), 0);
        while done == 0 || clock.elapsed() < limit && u64::from(done) < self.iterations {
            let batch = self.batches.next_batch()?;
            self.net.forward(&Pass::new(seed, 0), &weights, &batch)?;
            self.batches.recycle(batch);
            done += 1;
        }
        Ok(clock.elapsed() / done)
    }

    /// Runs one test and logs its outputs; `None` if a signal stopped it.
    pub fn run(
        &mut self,
        seed: u64,
        trained: &Weights,
        compute_loss: bool,
        signals: &mut Signals,
    ) -> Result<Option<Vec<(String, f32)>>> {
        let same =
            self.from.len() == trained.len() && self.from.iter().enumerate().all(|(i, &f)| i == f);
        let own: Weights;
        let weights = if same {
            trained
        } else {
            own = self.from.iter().map(|&id| trained[id].clone()).collect();
            &own
        };
        let mut sums: Vec<(usize, f32)> = Vec::new();
        let mut loss = 0.0;
        let bar = progress::bar("testing", 0, self.iterations);
        for i in 0..self.iterations {
            if signals.peek() == Request::Stop {
                signals.take();
                return Ok(None);
            }
            let batch = self.batches.next_batch()?;
            let outputs = self
                .net
                .forward(&Pass::new(seed, self.done), weights, &batch)?;
            self.batches.recycle(batch);
            self.done += 1;
            bar.inc(1);
            loss += outputs.loss;
            let values = self
                .net
                .outputs()
                .iter()
                .filter_map(|v| Some((*v, outputs.values.get(v)?)));
            let flat = values.flat_map(|(v, t)| t.data.iter().map(move |&x| (v, x)));
            if i == 0 {
                sums = flat.collect();
            } else {
                sums.iter_mut()
                    .zip(flat)
                    .for_each(|(sum, (_, x))| sum.1 += x);
            }
        }
        if compute_loss {
            info!("Test loss: {}", G(loss / self.iterations as f32));
        }
        let mut means = Vec::new();
        for (k, (v, sum)) in sums.into_iter().enumerate() {
            let mean = sum / self.iterations as f32;
            let name = self.net.graph().values[v].name.clone();
            let note = loss_note(self.net.loss_weight(v), mean);
            info!("    Test net output #{k}: {name} = {}{note}", G(mean));
            means.push((name, mean));
        }
        Ok(Some(means))
    }
}
