//! The iterations: gradients, update, display, tests and snapshots, in Caffe's order.

use super::{Ending, Reports, Solver, signals::Request};
use crate::data::batch::Batch;
use crate::net::{Outputs, Pass};
use crate::report::metrics::TrainPoint;
use crate::report::nets;
use crate::report::number::G;
use crate::{info, warn};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

impl Solver {
    /// Trains to `max_iter`, with tests and snapshots; ends with a test that shows the result, if
    /// there is a test net.
    pub fn solve(&mut self, reports: &mut Reports) -> Result<Ending> {
        info!("Starting Optimization");
        info!("Solving {}", self.net.name());
        info!("Learning Rate Policy: {}", self.config.param.lr_policy());
        let max_iter = self.config.max_iter();
        self.clock = Instant::now();
        self.time.start(self.iter);
        let mut ending = Ending::Done;
        while self.iter < max_iter && !self.is_converged() {
            if self.iterate(reports)? == Ending::Stopped {
                ending = Ending::Stopped;
                break;
            }
        }
        // One that the clock asked for is not to be kept, so it is written again as the run's own.
        let lasting = self.saved == Some(self.iter) && self.time.timed != Some(self.iter);
        if self.config.param.snapshot_after_train() && !lasting {
            self.snapshot()?;
        }
        if ending == Ending::Stopped {
            info!("Optimization stopped early.");
            return Ok(ending);
        }
        if self.due(self.config.param.display()) {
            let loss = self.forward_only()?;
            self.smooth(loss);
            info!("Iteration {}, loss = {}", self.iter, G(self.smoothed));
        }
        if self.due(self.config.param.test_interval()) {
            ending = self.test_all(reports)?;
        }
        if ending == Ending::Done {
            info!("Optimization Done.");
        }
        Ok(ending)
    }

    /// Tests now, unless the last test saw these weights.
    pub fn test_result(&mut self, reports: &mut Reports) -> Result<Ending> {
        match &self.last_test {
            Some((iter, _)) if *iter == self.iter => Ok(Ending::Done),
            _ => self.test_all(reports),
        }
    }

    fn due(&self, interval: i32) -> bool {
        interval > 0 && self.iter.is_multiple_of(interval as u64)
    }

    /// One iteration of [`Solver::solve`].
    ///
    /// # Errors
    /// The data cannot be read, a snapshot not be written, or numbers have become none.
    pub fn iterate(&mut self, reports: &mut Reports) -> Result<Ending> {
        let starts = self.iter > 0 || self.config.param.test_initialization();
        // A test at the iteration of a snapshot came after it, so a resumed run tests there again.
        if starts
            && self.due(self.config.param.test_interval())
            && self.test_all(reports)? == Ending::Stopped
        {
            return Ok(Ending::Stopped);
        }
        self.prune_as_scheduled()?;
        let iter_size = self.config.param.iter_size().max(1) as u64;
        let mut loss = 0.0;
        let mut outputs = Outputs::default();
        // As Caffe, where the solver displays; in every iteration where it never does.
        let every = self.config.param.display();
        let debug = self.debug.is_some() && (every == 0 || self.due(every));
        for k in 0..iter_size {
            let batch;
            (outputs, batch) = self.forward_backward(k, iter_size)?;
            let pass = Pass::new(self.seed, self.iter * iter_size + k);
            if debug && let Some(debug) = &mut self.debug {
                let pass = Pass {
                    carried: Some(&self.carried),
                    ..pass.clone()
                };
                debug.train(&self.net, &pass, &self.weights, &batch, &self.gradients)?;
            }
            if !outputs.loss.is_finite() {
                return Err(self.diverged(outputs.loss, pass.random, &batch));
            }
            self.carried.take(&mut outputs);
            loss += outputs.loss;
            self.apply_updates(&mut outputs);
            self.give_back(batch);
        }
        loss /= iter_size as f32;
        self.smooth(loss);
        self.watch.see(self.iter, loss);
        let display = self.due(self.config.param.display());
        let rate = self.policy.rate(self.iter);
        if display {
            self.display(&outputs, rate, reports)?;
            self.look();
        }
        if let Some(step) = self.policy.stepped(self.iter) {
            info!("MultiStep Status: Iteration {}, step = {step}", self.iter);
        }
        if display {
            info!("Iteration {}, lr = {}", self.iter, G(rate));
        }
        let before = debug.then(|| self.magnitudes());
        if !self.exchange() {
            self.update(rate);
        }
        if let Some(before) = before {
            self.show_update(&before);
        }
        self.iter += 1;
        self.check_weights(rate)?;
        if let Some(bar) = &reports.bar {
            bar.set_position(self.iter);
            bar.set_message(format!("loss {:.4}", self.smoothed));
        }
        let request = reports.signals.take();
        if self.due(self.config.param.snapshot()) || request == Request::Snapshot {
            self.snapshot()?;
            self.remove_old_snapshots();
            reports.tell();
        } else if request == Request::None && self.iter < self.max_iter() {
            self.save_by_the_clock(reports.save_every)?;
        }
        self.say_time_left(reports, display);
        Ok(if request == Request::Stop {
            Ending::Stopped
        } else {
            Ending::Done
        })
    }

    /// Caffe's smoothed loss: the mean over the last `average_loss` iterations.
    fn smooth(&mut self, loss: f32) {
        let window = self.config.param.average_loss().max(1) as usize;
        if self.losses.len() < window {
            self.losses.push_back(loss);
            let n = self.losses.len() as f32;
            self.smoothed = (self.smoothed * (n - 1.0) + loss) / n;
        } else {
            let k = (self.iter - self.start) as usize % window;
            self.smoothed += (loss - self.losses[k]) / window as f32;
            self.losses[k] = loss;
        }
    }

    fn display(&mut self, outputs: &Outputs, rate: f32, reports: &mut Reports) -> Result<()> {
        let lapse = self.clock.elapsed();
        let done = self.iter - self.clock_iter;
        let waited = self.batches.take_waited().as_secs_f64() / lapse.as_secs_f64().max(1e-9);
        let seconds = lapse.as_secs_f32();
        let per_second = done as f32 / if seconds > 0.0 { seconds } else { 1.0 };
        info!(
            "Iteration {} ({} iter/s, {}s/{} iters), loss = {}",
            self.iter,
            G(per_second),
            G(seconds),
            self.config.param.display(),
            G(self.smoothed)
        );
        let mut k = 0;
        for (&v, value) in self
            .net
            .outputs()
            .iter()
            .filter_map(|v| Some((v, outputs.values.get(v)?)))
        {
            for &x in &value.data {
                let name = &self.net.graph().values[v].name;
                let weight = self.net.loss_weight(v);
                info!(
                    "    Train net output #{k}: {name} = {}{}",
                    G(x),
                    nets::loss_note(weight, x)
                );
                k += 1;
            }
        }
        if let Some(metrics) = &mut reports.metrics {
            let images = self.net.batch() as f64 * f64::from(self.config.param.iter_size().max(1));
            metrics.train(&TrainPoint {
                iteration: self.iter,
                lr: rate,
                loss: self.smoothed,
                images_per_s: f64::from(per_second) * images,
                waited: waited.min(1.0),
                density: self.density(),
                densities: &self.densities(),
            })?;
        }
        if waited > 0.05 && lapse > Duration::from_secs(2) {
            info!("Waiting for data {:.0}% of the time", 100.0 * waited);
        }
        self.clock = Instant::now();
        self.clock_iter = self.iter;
        Ok(())
    }

    /// Forward and backward over the next batch, pass `k` of this iteration's `passes`; the first begins the gradients anew.
    pub(super) fn forward_backward(&mut self, k: u64, passes: u64) -> Result<(Outputs, Batch)> {
        let batch = self.next_batch()?;
        let pass = Pass {
            carried: Some(&self.carried),
            ..Pass::new(self.seed, self.iter * passes + k)
        };
        let net = self.sizes.fit(&self.net, &batch)?;
        let (weights, gradients) = (&self.weights, &mut self.gradients);
        let outputs = match k {
            0 => net.forward_backward_anew(&pass, weights, &batch, gradients)?,
            _ => net.forward_backward(&pass, weights, &batch, gradients)?,
        };
        Ok((outputs, batch))
    }

    pub(super) fn next_batch(&mut self) -> Result<Batch> {
        let batch = self
            .batches
            .take()
            .with_context(|| format!("iteration {}", self.iter))?;
        if let Some(text) = self.batches.one_class_in(&batch) {
            warn!("{text}");
        }
        Ok(batch)
    }

    pub(super) fn give_back(&mut self, batch: Batch) {
        self.batches.give_back(batch);
    }

    fn forward_only(&mut self) -> Result<f32> {
        let batch = self.next_batch()?;
        let iter_size = self.config.param.iter_size().max(1) as u64;
        let pass = Pass {
            carried: Some(&self.carried),
            ..Pass::new(self.seed, self.iter * iter_size)
        };
        let net = self.sizes.fit(&self.net, &batch)?;
        let mut outputs = net.forward(&pass, &self.weights, &batch)?;
        self.carried.take(&mut outputs);
        self.apply_updates(&mut outputs);
        self.give_back(batch);
        Ok(outputs.loss)
    }

    /// Takes over what forward itself changed of the parameters.
    pub(super) fn apply_updates(&mut self, outputs: &mut Outputs) {
        for (id, values) in outputs.updates.drain(..) {
            self.weights[id].data.copy_from_slice(&values);
        }
    }

    /// Tests on every test net.
    fn test_all(&mut self, reports: &mut Reports) -> Result<Ending> {
        let mut all = Vec::new();
        for i in 0..self.tests.len() {
            info!("Iteration {}, Testing net (#{i})", self.iter);
            let compute_loss = self.config.param.test_compute_loss();
            let test = &mut self.tests[i];
            let result = test.run(self.seed, &self.weights, compute_loss, &mut reports.signals)?;
            let Some(outputs) = result else {
                info!("Test interrupted.");
                return Ok(Ending::Stopped);
            };
            all.extend(outputs);
        }
        if !all.is_empty() {
            if let Some(metrics) = &mut reports.metrics {
                metrics.test(
                    self.iter,
                    &self.densities(),
                    all.iter().map(|(n, v)| (n.as_str(), *v)),
                )?;
            }
            self.last_test = Some((self.iter, all));
            reports.tell();
        }
        Ok(Ending::Done)
    }
}
