//! A pass of a batch through a net: groups in parallel, their results put together in a fixed order.

use super::carried::Carried;
use super::graph::ValueId;
use super::group::{Captured, Grads, Piece, Work, zero_grads};
use super::needs::no_backward;
use super::plan::Gather;
use super::ready::Set;
use super::tree::{self, Tree};
use super::{Net, Weights};
use crate::kernels::crew::{self, Crew};
use crate::kernels::{CHUNK, each_chunk};
use crate::random::{Purpose, Random};
use crate::tensor::Tensor;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What a pass shall do beside computing.
#[derive(Clone)]
pub struct Pass<'a> {
    /// Random numbers of this pass: the layers branch from it.
    pub random: Random,
    /// Values to copy out, beside the outputs.
    pub wanted: Vec<ValueId>,
    /// Values whose gradients to copy out.
    pub wanted_diffs: Vec<ValueId>,
    /// Gradients put on values from outside.
    pub top_diffs: &'a [(ValueId, Tensor)],
    /// Stop at the first layer whose output is not finite.
    pub check_finite: bool,
    /// Where to note each layer's time.
    pub timer: Option<&'a Timer>,
    /// What the batch before has left of recurrent layers' states.
    pub carried: Option<&'a Carried>,
}

impl Pass<'_> {
    /// A plain pass with the random numbers of batch `index` of a run with `seed`.
    pub fn new(seed: u64, index: u64) -> Self {
        Self {
            random: Random::new(seed, Purpose::Layer, index),
            wanted: Vec::new(),
            wanted_diffs: Vec::new(),
            top_diffs: &[],
            check_finite: false,
            timer: None,
            carried: None,
        }
    }
}

/// The time spent in each layer, summed over threads.
#[derive(Debug, Default)]
pub struct Timer {
    nanos: Vec<[AtomicU64; 2]>,
}

impl Timer {
    /// A timer for a net's layers, at zero.
    pub fn new(net: &Net) -> Self {
        Self {
            nanos: net.layers.iter().map(|_| Default::default()).collect(),
        }
    }

    /// Milliseconds of layer `i` (forward, backward) since the last call, summed over threads.
    pub fn take(&self, i: usize) -> (f64, f64) {
        let ms = |k: usize| self.nanos[i][k].swap(0, Ordering::Relaxed) as f64 * 1e-6;
        (ms(0), ms(1))
    }

    pub(crate) fn add(timer: Option<&Self>, i: usize, started: Option<Instant>, forward: bool) {
        if let (Some(timer), Some(started)) = (timer, started) {
            let nanos = started.elapsed().as_nanos() as u64;
            timer.nanos[i][usize::from(!forward)].fetch_add(nanos, Ordering::Relaxed);
        }
    }
}

/// What a pass gives.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The net's outputs and what else was wanted, for the whole batch.
    pub values: BTreeMap<ValueId, Tensor>,
    /// Gradients that were wanted, for the whole batch; zeros where none flows.
    pub diffs: BTreeMap<ValueId, Tensor>,
    /// New values of parameters that forward itself changes (BatchNorm's running statistics).
    pub updates: Vec<(usize, Vec<f32>)>,
    /// What recurrent layers leave for the next batch.
    pub carried: Carried,
    /// The loss: every value times its loss weight, summed.
    pub loss: f32,
}

impl Net {
    /// Forward of one batch. `feed` holds the arrays of [`Net::inputs`].
    pub fn forward(&self, pass: &Pass, weights: &Weights, feed: &[Tensor]) -> Result<Outputs> {
        self.run(pass, weights, feed, false)
            .map(|(outputs, _)| outputs)
    }

    /// Forward and backward of one batch; the gradients of its loss are *added* to `grads` (see
    /// [`Net::zero_gradients`]).
    pub fn forward_backward(
        &self,
        pass: &Pass,
        weights: &Weights,
        feed: &[Tensor],
        grads: &mut [Vec<f32>],
    ) -> Result<Outputs> {
        let (outputs, more) = self.run(pass, weights, feed, true)?;
        if let Some(more) = more {
            crew::lead(|crew| tree::add(crew, grads, &more));
            self.keep_grads(more);
        }
        Ok(outputs)
    }

    /// Arrays of zeros for [`Net::forward_backward`]: one a parameter, empty where none is computed.
    pub fn zero_gradients(&self) -> Vec<Vec<f32>> {
        zero_grads(self)
    }

    /// Partial gradients of 0, out of those that have been used before.
    fn clean_grads(&self, crew: &Crew) -> Grads {
        let mut spare = self.spare_grads.lock().unwrap_or_else(|e| e.into_inner());
        let Some(mut grads) = spare.pop() else {
            drop(spare);
            return zero_grads(self);
        };
        drop(spare);
        for grad in &mut grads {
            each_chunk(crew, CHUNK, grad, |_, part| part.fill(0.0));
        }
        grads
    }

    /// A workspace: if there is one, that which this thread had last, whose memory is near it.
    fn take_work(&self) -> Result<Work> {
        let mut spare = self.spare.lock().unwrap_or_else(|e| e.into_inner());
        let me = rayon::current_thread_index();
        let own = spare.iter().rposition(|(thread, _)| *thread == me);
        match own.or(spare.len().checked_sub(1)) {
            Some(at) => Ok(spare.swap_remove(at).1),
            None => {
                drop(spare);
                Work::new(self)
            }
        }
    }

    fn keep_work(&self, work: Work) {
        let mut spare = self.spare.lock().unwrap_or_else(|e| e.into_inner());
        spare.push((rayon::current_thread_index(), work));
    }

    fn keep_grads(&self, grads: Grads) {
        let mut spare = self.spare_grads.lock().unwrap_or_else(|e| e.into_inner());
        spare.push(grads);
    }

    fn run(
        &self,
        pass: &Pass,
        weights: &Weights,
        feed: &[Tensor],
        backward: bool,
    ) -> Result<(Outputs, Option<Grads>)> {
        self.check_feed(weights, feed, backward)?;
        if backward {
            self.check_dead_ends(&pass.wanted_diffs)?;
        }
        let asked_for = pass.wanted.iter().chain(&pass.wanted_diffs);
        let mut gone = asked_for.filter(|v| {
            let sum = self.graph.values[**v].producer;
            let form = &self.plan.form;
            form.onto[**v].is_some() && !self.layers[sum].as_ref().is_some_and(|l| l.is_sum(2))
        });
        if let Some(&v) = gone.next() {
            bail!(
                "blob '{}' is only part of a sum here: the net was not built for every blob",
                self.graph.values[v].name
            );
        }
        let mut pass = pass.clone();
        let mut losses: Vec<ValueId> = Vec::new();
        for (v, &weight) in self.loss_weights.iter().enumerate() {
            if weight != 0.0 {
                losses.push(v);
            }
        }
        let asked = pass.wanted.clone();
        pass.wanted.extend(self.graph.outputs.iter().chain(&losses));
        pass.wanted.sort_unstable();
        pass.wanted.dedup();
        let captured: Vec<Mutex<Captured>> =
            self.plan.groups.iter().map(|_| Mutex::default()).collect();
        let ready = self.ready(weights);
        let run = Run {
            net: self,
            ready: &ready,
            pass: &pass,
            weights,
            feed,
            captured: &captured,
            backward,
        };
        let grads = run.leaves()?;
        let mut outputs = Outputs::default();
        let mut parts: Vec<Captured> = captured
            .into_iter()
            .map(|c| c.into_inner().unwrap_or_else(|e| e.into_inner()))
            .collect();
        for part in &mut parts {
            outputs.updates.append(&mut part.updates);
            outputs.carried.append(&mut part.carried);
        }
        for &v in &pass.wanted {
            let tensor = self.gather(v, feed, parts.iter().map(|p| &p.values));
            if self.loss_weights[v] != 0.0 {
                outputs.loss += self.loss_weights[v] * tensor.data.iter().sum::<f32>();
            }
            if asked.contains(&v) || self.graph.outputs.contains(&v) {
                outputs.values.insert(v, tensor);
            }
        }
        for &v in &pass.wanted_diffs {
            let mut pieces = parts.iter().map(|p| &p.diffs);
            let diff = match self.plan.gather[v] {
                Gather::Rows => self.stack(v, pieces),
                // Every group saw the gradient of the one mean.
                Gather::Mean => self.stack(v, pieces.next().into_iter()),
            };
            outputs.diffs.insert(v, diff);
        }
        Ok((outputs, grads))
    }

    /// One array of the groups' pieces of value `v`.
    fn gather<'a>(
        &self,
        v: ValueId,
        feed: &[Tensor],
        parts: impl Iterator<Item = &'a Vec<Piece>>,
    ) -> Tensor {
        if self.plan.gather[v] == Gather::Rows || self.plan.groups.len() == 1 {
            return self.stack(v, parts);
        }
        let mut sum = Tensor::zeros(self.shapes[v].clone());
        pieces(v, parts).for_each(|p| super::group::add(&mut sum.data, &p.data));
        let divisor = self.normaliser_of(v, feed);
        sum.data.iter_mut().for_each(|s| *s /= divisor);
        sum
    }

    /// The groups' rows of value `v`, one after the other; zeros where there are none.
    fn stack<'a>(&self, v: ValueId, parts: impl Iterator<Item = &'a Vec<Piece>>) -> Tensor {
        if self.plan.groups.len() == 1 {
            let only = pieces(v, parts).next();
            return only
                .cloned()
                .unwrap_or_else(|| Tensor::zeros(self.shapes[v].clone()));
        }
        let shape = self.shapes[v].clone();
        let mut data = Vec::with_capacity(shape.count());
        pieces(v, parts).for_each(|p| data.extend_from_slice(&p.data));
        data.resize(shape.count(), 0.0);
        Tensor { shape, data }
    }

    fn check_feed(&self, weights: &Weights, feed: &[Tensor], backward: bool) -> Result<()> {
        if weights.len() != self.params.len() || feed.len() != self.inputs.len() {
            bail!(
                "{} weights and {} inputs given to a net of {} and {}",
                weights.len(),
                feed.len(),
                self.params.len(),
                self.inputs.len()
            );
        }
        for (t, &v) in feed.iter().zip(&self.inputs) {
            if t.shape != self.shapes[v] || t.data.len() != t.shape.count() {
                let name = &self.graph.values[v].name;
                bail!(
                    "input '{name}' has shape {}, the net wants {}",
                    t.shape,
                    self.shapes[v]
                );
            }
        }
        if backward && !self.backward {
            bail!("the net was built without backward");
        }
        if let Some(sentence) = self.plan.needs.refused.as_ref().filter(|_| backward) {
            bail!("{sentence}");
        }
        Ok(())
    }

    /// Refuses gradients of what lies below a layer without a backward: they are not 0 but unknown.
    fn check_dead_ends(&self, wanted: &[ValueId]) -> Result<()> {
        for &end in &self.plan.needs.dead_ends {
            let mut above = vec![false; self.shapes.len()];
            for (i, node) in self.graph.nodes.iter().enumerate().take(end + 1).rev() {
                if i == end || node.tops.iter().any(|&t| above[t]) {
                    node.bottoms.iter().for_each(|&v| above[v] = true);
                }
            }
            if let Some(&v) = wanted.iter().find(|&&v| above[v]) {
                let node = &self.graph.nodes[end];
                bail!(
                    "{}: {}: that of blob '{}'",
                    self.graph.place(end),
                    no_backward(node.param.r#type()),
                    self.graph.values[v].name
                );
            }
        }
        Ok(())
    }
}

/// The groups' pieces of value `v`.
fn pieces<'a>(
    v: ValueId,
    parts: impl Iterator<Item = &'a Vec<Piece>>,
) -> impl Iterator<Item = &'a Tensor> {
    parts
        .filter_map(move |p| p.iter().find(|p| p.value == v))
        .map(|p| &p.tensor)
}

/// A pass under way.
struct Run<'a> {
    net: &'a Net,
    ready: &'a Set,
    pass: &'a Pass<'a>,
    weights: &'a Weights,
    feed: &'a [Tensor],
    captured: &'a [Mutex<Captured>],
    backward: bool,
}

impl Run<'_> {
    /// Runs all leaves and adds up their gradients.
    fn leaves(&self) -> Result<Option<Grads>> {
        let leaves = self.net.plan.groups.len();
        let tree = Tree::new(leaves);
        let errors: Mutex<BTreeMap<usize, anyhow::Error>> = Mutex::default();
        crew::run(leaves, |crew, leaf| match self.leaf(crew, leaf) {
            Ok(None) => {}
            Ok(Some(grads)) => tree.add(crew, leaf, grads, |more| self.net.keep_grads(more)),
            Err(error) => {
                let mut errors = errors.lock().unwrap_or_else(|e| e.into_inner());
                errors.insert(leaf, error);
            }
        });
        // The first in the order of the samples, whichever came first.
        let mut errors = errors.into_inner().unwrap_or_else(|e| e.into_inner());
        match errors.pop_first() {
            Some((_, error)) => Err(error),
            None => Ok(tree.sum()),
        }
    }

    fn leaf(&self, crew: &Crew, group: usize) -> Result<Option<Grads>> {
        let net = self.net;
        let Some(rows) = net.plan.groups.get(group).cloned() else {
            return Ok(None);
        };
        let mut work = net.take_work()?;
        let mut captured = Captured::default();
        net.set_normalisers(self.feed, &mut work);
        net.forward_group(
            crew,
            self.pass,
            self.weights,
            self.ready,
            self.feed,
            rows.clone(),
            &mut work,
            &mut captured,
        )?;
        let mut grads = None;
        if self.backward {
            let g = grads.insert(net.clean_grads(crew));
            net.backward_group(
                crew,
                self.pass,
                self.weights,
                self.ready,
                self.feed,
                rows,
                &mut work,
                g,
                &mut captured,
            )?;
        }
        *self.captured[group]
            .lock()
            .unwrap_or_else(|e| e.into_inner()) = captured;
        net.keep_work(work);
        Ok(grads)
    }
}
