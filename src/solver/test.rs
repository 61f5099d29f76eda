//! Test nets: they read the training net's weights and go on through their data from test to test.

use super::config::TestConfig;
use super::scores::Scores;
use super::signals::{Request, Signals};
use super::{OpenData, Opened};
use crate::data::about::About;
use crate::data::batches::Batches;
use crate::info;
use crate::net::carried::{Carried, Named};
use crate::net::debug::DebugNet;
use crate::net::graph::Graph;
use crate::net::sizes::Sizes;
use crate::net::{self, Net, Pass, Weights};
use crate::report::number::G;
use crate::report::{nets, progress};
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
    /// What its recurrent layers carry on, also from test to test.
    carried: Carried,
    sizes: Sizes,
    /// For `debug_info`.
    debug: Option<DebugNet>,
}

impl TestNet {
    /// Builds test net number `index` on the parameters of the training net, to compute as it does.
    pub fn new(
        index: usize,
        config: &TestConfig,
        data: &dyn OpenData,
        trained: &Net,
    ) -> Result<Self> {
        let graph = Graph::new(&config.net, &config.state)?;
        let Opened { shapes, batches } = data.open(&graph, 0)?;
        let options = net::Options {
            sparse: trained.sparse(),
            precision: trained.precision(),
            ..Default::default()
        };
        let net = Net::new(graph, &shapes, &options)?;
        nets::built(&net);
        let trained = trained.params();
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
            carried: Carried::default(),
            sizes: Sizes::new(&options),
            debug: None,
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

    /// Prints debug_info's lines at every batch.
    ///
    /// # Errors
    /// The net that shows every blob cannot be built.
    pub fn debug(&mut self) -> Result<()> {
        self.debug = Some(DebugNet::new(&self.net)?);
        Ok(())
    }

    /// The states of recurrent layers, by their names.
    pub fn carried(&self) -> Named {
        self.net.name_carried(&self.carried)
    }

    /// Goes on with such states.
    ///
    /// # Errors
    /// They are another net's.
    pub fn carry(&mut self, named: Named) -> Result<()> {
        self.carried = self.net.find_carried(named)?;
        Ok(())
    }

    /// Bytes that a test needs.
    pub fn workspace_bytes(&self, threads: usize) -> u128 {
        self.net.workspace_bytes(threads) + self.batches.queue_bytes()
    }

    /// The time of one batch, from as many as take about `limit`.
    pub fn time_batches(
        &mut self,
        seed: u64,
        trained: &Weights,
        limit: Duration,
    ) -> Result<Duration> {
        let weights: Weights = self.from.iter().map(|&id| trained[id].clone()).collect();
        self.batches.expect(self.iterations);
        let (clock, mut done) = (Instant::now(), 0);
        while done == 0 || clock.elapsed() < limit && u64::from(done) < self.iterations {
            let batch = self.batches.take()?;
            self.net.forward(&Pass::new(seed, 0), &weights, &batch)?;
            self.batches.give_back(batch);
            done += 1;
        }
        self.batches.rest();
        Ok(clock.elapsed() / done)
    }

    /// Runs one test and logs its outputs; `None` if a signal stopped it. Its data are read ahead while it runs, so
    /// that training has the memory between tests.
    pub fn run(
        &mut self,
        seed: u64,
        trained: &Weights,
        compute_loss: bool,
        signals: &mut Signals,
    ) -> Result<Option<Vec<(String, f32)>>> {
        self.batches.expect(self.iterations);
        let result = self.test(seed, trained, compute_loss, signals);
        self.batches.rest();
        self.net.rest();
        result
    }

    fn test(
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
        if let Some(layer) = self.net.without_statistics(weights) {
            info!(
                "    No test: layer '{layer}' (BatchNorm) has no statistics before it is trained, and no file gave \
                 it any (test_initialization: false asks for no such test)"
            );
            return Ok(Some(Vec::new()));
        }
        let mut scores = Scores::default();
        let mut loss = 0.0;
        let bar = progress::bar("testing", 0, self.iterations);
        for _ in 0..self.iterations {
            if signals.peek() == Request::Stop {
                signals.take();
                return Ok(None);
            }
            let batch = self.batches.take()?;
            let pass = Pass {
                carried: Some(&self.carried),
                ..Pass::new(seed, self.done)
            };
            if let Some(debug) = &mut self.debug {
                debug.forward(&self.net, &pass, weights, &batch)?;
            }
            let net = self.sizes.fit(&self.net, &batch)?;
            let mut outputs = net.forward(&pass, weights, &batch)?;
            self.carried.take(&mut outputs);
            self.batches.give_back(batch);
            self.done += 1;
            bar.inc(1);
            loss += outputs.loss;
            scores.add(&self.net, &outputs);
        }
        if compute_loss {
            info!("Test loss: {}", G(loss / self.iterations as f32));
        }
        let mut means = Vec::new();
        for note in scores.notes(&self.net) {
            info!("{note}");
        }
        for (k, (v, mean)) in scores.means().into_iter().enumerate() {
            let name = self.net.graph().values[v].name.clone();
            let note = nets::loss_note(self.net.loss_weight(v), mean);
            info!("    Test net output #{k}: {name} = {}{note}", G(mean));
            means.push((name, mean));
        }
        Ok(Some(means))
    }
}
