//! A pass of a batch through a net: leaves side by side, their results put together in a fixed order.

use super::carried::Carried;
use super::frame::{ADVICE, Captured, Frame, Grads, Piece};
use super::graph::ValueId;
use super::leaf::Leaf;
use super::lower::Gather;
use super::needs::no_backward;
use super::ready::Set;
use super::timer::Timer;
use super::tree::{self, Tree};
use super::{Net, Param, Weights};
use crate::feed::Feed;
use crate::kernels::aligned::Aligned;
use crate::kernels::crew::{self, Crew};
use crate::kernels::elementwise::add_scaled;
use crate::kernels::{CHUNK, bf16, each_chunk};
use crate::layers::Role;
use crate::random::{Purpose, Random};
use crate::tensor::{Tensor, View};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;
use std::sync::Mutex;

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
    pub fn forward(&self, pass: &Pass, weights: &Weights, feed: &dyn Feed) -> Result<Outputs> {
        self.run(pass, weights, feed, false)
            .map(|(outputs, _)| outputs)
    }

    /// Forward and backward of one batch; the gradients of its loss are *added* to `grads` (see
    /// [`Net::zero_gradients`]).
    pub fn forward_backward(
        &self,
        pass: &Pass,
        weights: &Weights,
        feed: &dyn Feed,
        grads: &mut [Vec<f32>],
    ) -> Result<Outputs> {
        let (outputs, more) = self.run(pass, weights, feed, true)?;
        if let Some(more) = more {
            crew::lead(|crew| tree::add(crew, grads, &more));
            self.keep_grads(more);
        }
        Ok(outputs)
    }

    /// [`Net::forward_backward`] whose gradients take the place of what `grads` holds, and whose arrays serve the pass:
    /// nothing is zeroed or added twice, and there is one array less in memory.
    ///
    /// # Errors
    /// Those of a pass; `grads` is 0 then.
    pub fn forward_backward_anew(
        &self,
        pass: &Pass,
        weights: &Weights,
        feed: &dyn Feed,
        grads: &mut Vec<Vec<f32>>,
    ) -> Result<Outputs> {
        let sizes = grads.iter().map(Vec::len);
        if sizes.eq(self.gradient_sizes()) {
            self.keep_grads(mem::take(grads));
        }
        let result = self.run(pass, weights, feed, true);
        let (outputs, sum) = result.map_or_else(|e| (Err(e), None), |(o, sum)| (Ok(o), sum));
        *grads = sum.unwrap_or_else(|| crew::lead(|crew| self.clean_grads(crew)));
        outputs
    }

    /// Arrays of zeros for [`Net::forward_backward`]: one a parameter, empty where none is computed.
    pub fn zero_gradients(&self) -> Vec<Vec<f32>> {
        self.gradient_sizes().map(|n| vec![0.0; n]).collect()
    }

    fn gradient_sizes(&self) -> impl Iterator<Item = usize> + '_ {
        let size = |(id, p): (usize, &Param)| {
            if self.learns(id) { p.shape.count() } else { 0 }
        };
        self.params.iter().enumerate().map(size)
    }

    /// Partial gradients of 0, out of those that have been used before.
    fn clean_grads(&self, crew: &Crew) -> Grads {
        let mut spare = self.spare_grads.lock().unwrap_or_else(|e| e.into_inner());
        let Some(mut grads) = spare.pop() else {
            drop(spare);
            return self.zero_gradients();
        };
        drop(spare);
        for grad in &mut grads {
            each_chunk(crew, CHUNK, grad, |_, part| part.fill(0.0));
        }
        grads
    }

    /// A frame: if there is one, that which this thread had last, whose memory is near it.
    fn take_frame(&self) -> Result<Frame> {
        let mut spare = self.spare.lock().unwrap_or_else(|e| e.into_inner());
        let me = rayon::current_thread_index();
        let own = spare.iter().rposition(|(thread, _)| *thread == me);
        match own.or(spare.len().checked_sub(1)) {
            Some(at) => Ok(spare.swap_remove(at).1),
            None => {
                drop(spare);
                Frame::new(self)
            }
        }
    }

    fn keep_frame(&self, frame: Frame) {
        let mut spare = self.spare.lock().unwrap_or_else(|e| e.into_inner());
        spare.push((rayon::current_thread_index(), frame));
    }

    fn keep_grads(&self, grads: Grads) {
        let mut spare = self.spare_grads.lock().unwrap_or_else(|e| e.into_inner());
        spare.push(grads);
    }

    fn run(
        &self,
        pass: &Pass,
        weights: &Weights,
        feed: &dyn Feed,
        backward: bool,
    ) -> Result<(Outputs, Option<Grads>)> {
        self.check_feed(weights, feed, backward)?;
        if backward {
            self.check_dead_ends(&pass.wanted_diffs)?;
        }
        let asked_for = pass.wanted.iter().chain(&pass.wanted_diffs);
        let mut gone = asked_for.filter(|v| {
            let sum = self.graph.values[**v].producer;
            self.lowered.form.onto[**v].is_some() && self.facts[sum].role != Role::Sum
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
        let leaves = self.lowered.cut.leaves.iter();
        let captured: Vec<Mutex<Captured>> = leaves.map(|_| Mutex::default()).collect();
        let ready = self.ready(weights);
        let run = Run {
            net: self,
            ready: &ready,
            pass: &pass,
            weights,
            feed,
            normalisers: self.normalisers(feed),
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
            let diff = match self.lowered.cut.gather[v] {
                Gather::Rows => self.stack(v, pieces),
                // Every leaf saw the gradient of the one mean.
                Gather::Mean => self.stack(v, pieces.next().into_iter()),
            };
            outputs.diffs.insert(v, diff);
        }
        Ok((outputs, grads))
    }

    /// What each layer's sum is divided by, for a batch that is cut: it follows from the labels.
    fn normalisers(&self, feed: &dyn Feed) -> Vec<f32> {
        let cut = &self.lowered.cut;
        let one = |i: usize| match self.graph.nodes[i].tops.first() {
            Some(&t) if cut.leaves.len() > 1 && cut.gather[t] == Gather::Mean => {
                self.normaliser_of(t, feed)
            }
            _ => 1.0,
        };
        (0..self.layers.len()).map(one).collect()
    }

    /// The divisor of the mean that value `v` is, over the whole batch.
    fn normaliser_of(&self, v: ValueId, feed: &dyn Feed) -> f32 {
        let i = self.graph.values[v].producer;
        // With data only where they are inputs of the net.
        let view = |b: &ValueId| {
            let input = self.inputs.iter().position(|v| v == b);
            let data = input
                .and_then(|k| feed.ready(k))
                .map_or(&[][..], |t| &t.data);
            View::planes(self.shapes[*b].clone(), data)
        };
        let bottoms: Vec<View> = self.graph.nodes[i].bottoms.iter().map(view).collect();
        self.layers[i]
            .as_ref()
            .map_or(1.0, |l| l.normaliser(&bottoms))
    }

    /// One array of the leaves' pieces of value `v`.
    fn gather<'a>(
        &self,
        v: ValueId,
        feed: &dyn Feed,
        parts: impl Iterator<Item = &'a Vec<Piece>>,
    ) -> Tensor {
        if self.lowered.cut.gather[v] == Gather::Rows || self.lowered.cut.leaves.len() == 1 {
            return self.stack(v, parts);
        }
        let mut sum = Tensor::zeros(self.shapes[v].clone());
        pieces(v, parts).for_each(|p| add_scaled(&Crew::alone(), 1.0, &p.data, &mut sum.data));
        let divisor = self.normaliser_of(v, feed);
        sum.data.iter_mut().for_each(|s| *s /= divisor);
        sum
    }

    /// The leaves' rows of value `v`, one after the other; zeros where there are none.
    fn stack<'a>(&self, v: ValueId, parts: impl Iterator<Item = &'a Vec<Piece>>) -> Tensor {
        if self.lowered.cut.leaves.len() == 1 {
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

    fn check_feed(&self, weights: &Weights, feed: &dyn Feed, backward: bool) -> Result<()> {
        if weights.len() != self.params.len() || feed.count() != self.inputs.len() {
            bail!(
                "{} weights and {} inputs given to a net of {} and {}",
                weights.len(),
                feed.count(),
                self.params.len(),
                self.inputs.len()
            );
        }
        for (k, &v) in self.inputs.iter().enumerate() {
            let shape = feed.shape(k);
            let short = feed.ready(k).is_some_and(|t| t.data.len() != shape.count());
            if *shape != self.shapes[v] || short {
                let name = &self.graph.values[v].name;
                bail!(
                    "input '{name}' has shape {shape}, the net wants {}",
                    self.shapes[v]
                );
            }
        }
        if backward && !self.backward {
            bail!("the net was built without backward");
        }
        if let Some(sentence) = self.lowered.needs.refused.as_ref().filter(|_| backward) {
            bail!("{sentence}");
        }
        Ok(())
    }

    /// Refuses gradients of what lies below a layer without a backward: they are not 0 but unknown.
    fn check_dead_ends(&self, wanted: &[ValueId]) -> Result<()> {
        for &end in &self.lowered.needs.dead_ends {
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

/// The leaves' pieces of value `v`.
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
    feed: &'a dyn Feed,
    /// What each layer's sum is divided by, where the batch is cut.
    normalisers: Vec<f32>,
    captured: &'a [Mutex<Captured>],
    backward: bool,
}

impl Run<'_> {
    /// Runs all leaves and adds up their gradients.
    fn leaves(&self) -> Result<Option<Grads>> {
        let leaves = self.net.lowered.cut.leaves.len();
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

    /// Runs leaf number `i`; its gradients, if backward is wanted.
    fn leaf(&self, crew: &Crew, i: usize) -> Result<Option<Grads>> {
        let net = self.net;
        let (Some(rows), Some(program)) = (net.lowered.cut.leaves.get(i), net.lowered.program(i))
        else {
            return Ok(None);
        };
        let mut frame = net.take_frame()?;
        let mut fed = mem::take(&mut frame.fed);
        let feed = self.feed_of(crew, rows, &mut fed)?;
        let leaf = Leaf {
            net,
            program,
            pass: self.pass,
            weights: self.weights,
            ready: self.ready,
            feed: &feed,
            rows: rows.clone(),
        };
        frame.normalisers.copy_from_slice(&self.normalisers);
        let mut captured = Captured::default();
        leaf.forward(crew, &mut frame, &mut captured)?;
        let mut grads = None;
        if self.backward {
            let grads = grads.insert(net.clean_grads(crew));
            leaf.backward(crew, &mut frame, grads, &mut captured)?;
        }
        *self.captured[i].lock().unwrap_or_else(|e| e.into_inner()) = captured;
        frame.fed = fed;
        net.keep_frame(frame);
        Ok(grads)
    }

    /// The leaf's rows of the inputs: where they lie, or made in `fed` by the threads that are about to read them.
    fn feed_of<'b>(
        &'b self,
        crew: &Crew,
        rows: &Range<usize>,
        fed: &'b mut [Aligned],
    ) -> Result<Vec<&'b [f32]>> {
        let whole = self.net.lowered.cut.whole.is_some();
        let one = |(k, fed): (usize, &'b mut Aligned)| -> Result<&'b [f32]> {
            let shape = self.feed.shape(k);
            let each = shape.count_from(1);
            let rounds = self.net.lowered.rounding.values[self.net.inputs[k]];
            let ready = self.feed.ready(k).map(|array| match whole {
                true => &array.data[..],
                false => &array.data[rows.start * each..rows.end * each],
            });
            if let Some(ready) = ready.filter(|_| !rounds) {
                return Ok(ready);
            }
            let rows = match whole {
                true => 0..shape.dim(0),
                false => rows.clone(),
            };
            fed.try_resize(
                rows.len() * each,
                || "a batch's pictures".to_string(),
                ADVICE,
            )?;
            if let Some(ready) = ready {
                bf16::copy(crew, ready, fed);
                return Ok(fed);
            }
            let parts = fed.chunks_mut(each.max(1)).zip(rows);
            crew.each(parts, |(row, i)| {
                self.feed.rows(k, i..i + 1, row);
                if rounds {
                    bf16::round(&Crew::alone(), [row.len().max(1); 2], row);
                }
            });
            Ok(fed)
        };
        fed.iter_mut().enumerate().map(one).collect()
    }
}
