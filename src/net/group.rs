//! One group of samples through the net, forward and backward, in a workspace of its own.

use super::pass::{Pass, Timer};
use super::plan::{Gather, Home};
use super::{Net, Weights};
use crate::layers::{Backward, Coupling, Forward, Keep};
use crate::net::graph::ValueId;
use crate::tensor::{Shape, Tensor, View, ViewMut};
use anyhow::{Context, Result, bail};
use std::mem;
use std::ops::Range;
use std::time::Instant;

/// Partial gradients, in the order of the net's parameters; empty where none is wanted.
pub(crate) type Grads = Vec<Vec<f32>>;

/// The buffers of one group in flight.
#[derive(Debug, Default)]
pub(crate) struct Work {
    slots: Vec<Vec<f32>>,
    diffs: Vec<Vec<f32>>,
    keeps: Vec<Keep>,
    /// A gradient on its way to be added to another.
    extra: Vec<f32>,
    /// What each layer's sum is divided by.
    normalisers: Vec<f32>,
    /// Which values' gradients are in their buffers.
    written: Vec<bool>,
    /// Shapes that only the data decide (behind a Filter layer); `None` for the planned ones.
    actual: Vec<Option<Shape>>,
}

/// A copied value (or its gradient): the rows of this group.
#[derive(Debug)]
pub(crate) struct Piece {
    pub value: ValueId,
    pub tensor: Tensor,
}

impl Piece {
    fn new(value: ValueId, shape: Shape, data: &[f32]) -> Self {
        let data = data[..shape.count()].to_vec();
        Self {
            value,
            tensor: Tensor { shape, data },
        }
    }
}

/// What a group leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub values: Vec<Piece>,
    pub diffs: Vec<Piece>,
    /// New values of parameters that forward changes.
    pub updates: Vec<(usize, Vec<f32>)>,
}

impl Work {
    pub fn new(net: &Net) -> Self {
        Self {
            slots: net.plan.slots.iter().map(|&n| vec![0.0; n]).collect(),
            diffs: net.plan.diff_slots.iter().map(|&n| vec![0.0; n]).collect(),
            keeps: net.layers.iter().map(|_| Keep::default()).collect(),
            extra: Vec::new(),
            normalisers: vec![1.0; net.layers.len()],
            written: vec![false; net.shapes.len()],
            actual: vec![None; net.shapes.len()],
        }
    }
}

/// Zeroed partial gradients for the parameters that learn.
pub(crate) fn zero_grads(net: &Net) -> Grads {
    let size = |(id, p): (usize, &super::Param)| {
        if net.learns(id) { p.shape.count() } else { 0 }
    };
    net.params
        .iter()
        .enumerate()
        .map(size)
        .map(|n| vec![0.0; n])
        .collect()
}

impl Net {
    /// The shape of value `v` in a group of `rows` samples.
    fn group_shape(&self, v: ValueId, rows: usize, actual: &[Option<Shape>]) -> Shape {
        if let Some(shape) = &actual[v] {
            shape.clone()
        } else if self.plan.whole.is_some() || self.plan.gather[v] == Gather::Mean {
            self.shapes[v].clone()
        } else {
            self.shapes[v].with_rows(rows)
        }
    }

    /// The numbers of value `v`: rows of the batch, or a buffer.
    fn locate<'a>(
        &self,
        v: ValueId,
        rows: &Range<usize>,
        feed: &'a [Tensor],
        slots: &'a [Vec<f32>],
        actual: &[Option<Shape>],
    ) -> View<'a> {
        let shape = self.group_shape(v, rows.len(), actual);
        let data = match self.plan.homes[v] {
            Home::Feed(k) => {
                if self.plan.whole.is_some() {
                    &feed[k].data[..]
                } else {
                    let each = feed[k].shape.count_from(1);
                    &feed[k].data[rows.start * each..rows.end * each]
                }
            }
            // A buffer that is taken for writing is empty: its reader works in place.
            Home::Slot(s) if slots[s].is_empty() => &[],
            Home::Slot(s) => &slots[s][..shape.count()],
        };
        View { shape, data }
    }

    /// The parameters of layer `i`: their weights, or what a layer before has made of them in this pass.
    fn param_views<'a>(
        &self,
        i: usize,
        weights: &'a Weights,
        updates: &'a [(usize, Vec<f32>)],
    ) -> Vec<View<'a>> {
        self.uses[i]
            .iter()
            .map(|u| View {
                shape: u.shape.clone(),
                data: match updates.iter().rev().find(|(id, _)| *id == u.id) {
                    Some((_, values)) => values,
                    None => &weights[u.id].data,
                },
            })
            .collect()
    }

    /// Forward of the samples `rows` of `feed`.
    pub(crate) fn forward_group(
        &self,
        pass: &Pass,
        weights: &Weights,
        feed: &[Tensor],
        rows: Range<usize>,
        work: &mut Work,
        captured: &mut Captured,
    ) -> Result<()> {
        let parallel = self.plan.groups.len() == 1;
        work.actual.fill(None);
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let Some(layer) = &self.layers[i] else {
                for &v in node.tops.iter().filter(|v| pass.wanted.contains(v)) {
                    let view = self.locate(v, &rows, feed, &work.slots, &work.actual);
                    captured.values.push(Piece::new(v, view.shape, view.data));
                }
                continue;
            };
            let started = pass.timer.map(|_| Instant::now());
            let mut taken: Vec<(usize, Vec<f32>)> = Vec::with_capacity(node.tops.len());
            for &t in &node.tops {
                if let Home::Slot(s) = self.plan.homes[t] {
                    taken.push((s, mem::take(&mut work.slots[s])));
                }
            }
            let Work {
                slots,
                keeps,
                normalisers,
                actual,
                ..
            } = work;
            let bottoms: Vec<View> = node
                .bottoms
                .iter()
                .map(|&v| self.locate(v, &rows, feed, slots, actual))
                .collect();
            if node.bottoms.iter().any(|&v| actual[v].is_some()) {
                let shapes: Vec<Shape> = bottoms.iter().map(|b| b.shape.clone()).collect();
                let tops = layer.shapes(&shapes).with_context(|| self.graph.place(i))?;
                for (&t, shape) in node.tops.iter().zip(tops) {
                    actual[t] = Some(shape);
                }
            }
            if parallel && let Coupling::Mean { .. } = coupling_of(layer.as_ref(), &bottoms) {
                normalisers[i] = layer.normaliser(&bottoms);
            }
            let mut updates = Vec::new();
            let result = {
                let mut tops: Vec<ViewMut> = node
                    .tops
                    .iter()
                    .zip(&mut taken)
                    .map(|(&t, (_, buffer))| {
                        let shape = self.group_shape(t, rows.len(), actual);
                        let data = &mut buffer[..shape.count()];
                        ViewMut { shape, data }
                    })
                    .collect();
                let params = self.param_views(i, weights, &captured.updates);
                let mut f = Forward {
                    params: &params,
                    bottoms: &bottoms,
                    tops: &mut tops,
                    keep: &mut keeps[i],
                    random: pass.random.branch(i as u64),
                    first: rows.start,
                    parallel,
                    updates: &mut updates,
                };
                let result = layer.forward(&mut f);
                for (&t, top) in node.tops.iter().zip(&tops) {
                    if top.shape.count() != top.data.len() {
                        actual[t] = Some(top.shape.clone());
                    }
                }
                if parallel
                    && let Some(&t) = node.tops.first()
                    && self.plan.gather[t] == Gather::Mean
                {
                    tops[0].data.iter_mut().for_each(|v| *v /= normalisers[i]);
                }
                if result.is_ok() && pass.check_finite {
                    let bad = tops
                        .iter()
                        .position(|t| t.data.iter().any(|v| !v.is_finite()));
                    if let Some(k) = bad {
                        let name = &self.graph.values[node.tops[k]].name;
                        bail!("{}: its output '{name}' is not finite", self.graph.place(i));
                    }
                }
                result
            };
            drop(bottoms);
            for (k, values) in updates {
                captured.updates.push((self.uses[i][k].id, values));
            }
            for (&t, (_, buffer)) in node.tops.iter().zip(&taken) {
                if pass.wanted.contains(&t) {
                    let shape = self.group_shape(t, rows.len(), &work.actual);
                    captured.values.push(Piece::new(t, shape, buffer));
                }
            }
            for (s, buffer) in taken {
                work.slots[s] = buffer;
            }
            result.with_context(|| self.graph.place(i))?;
            Timer::add(pass.timer, i, started, true);
        }
        Ok(())
    }

    /// Sets the normalisers of a batch that is cut into groups: they follow from the labels.
    pub(crate) fn set_normalisers(&self, feed: &[Tensor], work: &mut Work) {
        if self.plan.groups.len() == 1 {
            return;
        }
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let Some(layer) = &self.layers[i] else {
                continue;
            };
            if !node
                .tops
                .first()
                .is_some_and(|&t| self.plan.gather[t] == Gather::Mean)
            {
                continue;
            }
            work.normalisers[i] = layer.normaliser(&self.batch_bottoms(i, feed));
        }
    }

    /// The bottoms of layer `i` for the whole batch, with data only where they are inputs of the net.
    fn batch_bottoms<'a>(&self, i: usize, feed: &'a [Tensor]) -> Vec<View<'a>> {
        let view = |&v: &ValueId| View {
            shape: self.shapes[v].clone(),
            data: match self.plan.homes[v] {
                Home::Feed(k) => &feed[k].data[..],
                Home::Slot(_) => &[],
            },
        };
        self.graph.nodes[i].bottoms.iter().map(view).collect()
    }

    /// The divisor of the mean that value `v` is, over the whole batch.
    pub(crate) fn normaliser_of(&self, v: ValueId, feed: &[Tensor]) -> f32 {
        let i = self.graph.values[v].producer;
        self.layers[i]
            .as_ref()
            .map_or(1.0, |l| l.normaliser(&self.batch_bottoms(i, feed)))
    }

    /// Backward of the samples that went through [`Net::forward_group`] last; adds to `grads`.
    pub(crate) fn backward_group(
        &self,
        pass: &Pass,
        weights: &Weights,
        feed: &[Tensor],
        rows: Range<usize>,
        work: &mut Work,
        grads: &mut Grads,
        captured: &mut Captured,
    ) -> Result<()> {
        let parallel = self.plan.groups.len() == 1;
        work.written.fill(false);
        for (i, node) in self.graph.nodes.iter().enumerate().rev() {
            let Some(layer) = &self.layers[i] else {
                continue;
            };
            if !self.plan.needs.layers[i] {
                continue;
            }
            let started = pass.timer.map(|_| Instant::now());
            for &t in &node.tops {
                self.start_diff(pass, t, &rows, work);
                self.capture_diff(pass, t, &rows, work, captured);
            }
            let Work {
                slots,
                diffs,
                keeps,
                extra,
                normalisers,
                written,
                actual,
            } = work;
            // A bottom that another reader has written already gets its gradient by way of `extra`.
            let mut taken: Vec<(usize, Vec<f32>, bool)> = Vec::new();
            let mut slot_of: Vec<Option<usize>> = Vec::with_capacity(node.bottoms.len());
            for (k, &v) in node.bottoms.iter().enumerate() {
                let home = self.plan.diff_homes[v].filter(|_| self.plan.needs.bottoms[i][k]);
                let Some(s) = home else {
                    slot_of.push(None);
                    continue;
                };
                let count = self.group_shape(v, rows.len(), actual).count();
                if written[v] {
                    let mut buffer = if taken.iter().any(|t| t.2) {
                        Vec::new()
                    } else {
                        mem::take(extra)
                    };
                    buffer.resize(buffer.len().max(count), 0.0);
                    taken.push((s, buffer, true));
                } else {
                    taken.push((s, mem::take(&mut diffs[s]), false));
                    written[v] = true;
                }
                slot_of.push(Some(taken.len() - 1));
            }
            let mut param_taken: Vec<Vec<f32>> = Vec::with_capacity(self.uses[i].len());
            for u in &self.uses[i] {
                // A layer that uses one parameter twice gets a second array, added below.
                let mut g = mem::take(&mut grads[u.id]);
                if g.is_empty() && self.uses[i].iter().filter(|o| o.id == u.id).count() > 1 {
                    g = vec![0.0; self.params[u.id].shape.count()];
                }
                param_taken.push(g);
            }
            let result = {
                let view = |&v: &ValueId| self.locate(v, &rows, feed, slots, actual);
                let mut bottoms: Vec<View> = node.bottoms.iter().map(view).collect();
                let tops: Vec<View> = node.tops.iter().map(view).collect();
                if let (Some(&b), Some(&t)) = (node.bottoms.first(), node.tops.first())
                    && self.plan.homes[b] == self.plan.homes[t]
                {
                    bottoms[0].data = &[];
                }
                let top_diffs: Vec<View> = node
                    .tops
                    .iter()
                    .map(|&t| {
                        let shape = self.group_shape(t, rows.len(), actual);
                        let buffer = self.plan.diff_homes[t].map_or(&[][..], |s| &diffs[s][..]);
                        let data = if buffer.is_empty() {
                            buffer
                        } else {
                            &buffer[..shape.count()]
                        };
                        View { shape, data }
                    })
                    .collect();
                let mut handed: Vec<Option<&mut Vec<f32>>> =
                    taken.iter_mut().map(|t| Some(&mut t.1)).collect();
                let mut bottom_diffs: Vec<Option<ViewMut>> = Vec::with_capacity(node.bottoms.len());
                for (&v, k) in node.bottoms.iter().zip(&slot_of) {
                    let shape = self.group_shape(v, rows.len(), actual);
                    let buffer = k.and_then(|k| handed[k].take());
                    bottom_diffs.push(buffer.map(|b| {
                        let data = &mut b[..shape.count()];
                        ViewMut { shape, data }
                    }));
                }
                let params = self.param_views(i, weights, &[]);
                let mut param_diffs: Vec<Option<&mut [f32]>> = param_taken
                    .iter_mut()
                    .map(|g| (!g.is_empty()).then_some(&mut g[..]))
                    .collect();
                layer.backward(&mut Backward {
                    params: &params,
                    bottoms: &bottoms,
                    tops: &tops,
                    top_diffs: &top_diffs,
                    bottom_diffs: &mut bottom_diffs,
                    param_diffs: &mut param_diffs,
                    keep: &mut keeps[i],
                    normaliser: normalisers[i],
                    parallel,
                })
            };
            let (adding, writing): (Vec<_>, Vec<_>) = taken.into_iter().partition(|t| t.2);
            for (s, buffer, _) in writing {
                diffs[s] = buffer;
            }
            for (s, buffer, _) in adding {
                add(&mut diffs[s], &buffer);
                *extra = buffer;
            }
            for (u, g) in self.uses[i].iter().zip(param_taken) {
                if grads[u.id].is_empty() {
                    grads[u.id] = g;
                } else {
                    add(&mut grads[u.id], &g);
                }
            }
            result.with_context(|| format!("{}: backward", self.graph.place(i)))?;
            Timer::add(pass.timer, i, started, false);
        }
        for &v in &self.inputs {
            if work.written[v] {
                self.capture_diff(pass, v, &rows, work, captured);
            }
        }
        Ok(())
    }

    /// Makes the gradient of top `t` complete: the loss weight, what was put on it from outside, or
    /// zeros where nobody wrote.
    fn start_diff(&self, pass: &Pass, t: ValueId, rows: &Range<usize>, work: &mut Work) {
        let Some(s) = self.plan.diff_homes[t] else {
            return;
        };
        let count = self.group_shape(t, rows.len(), &work.actual).count();
        let diff = &mut work.diffs[s][..count];
        if !work.written[t] {
            diff.fill(0.0);
            work.written[t] = true;
        }
        let weight = self.loss_weights[t];
        if weight != 0.0 && !pass.top_diffs.iter().any(|(v, _)| *v == t) {
            diff.iter_mut().for_each(|d| *d += weight);
        }
        for (_, given) in pass.top_diffs.iter().filter(|(v, _)| *v == t) {
            let start = if count == given.data.len() {
                0
            } else {
                rows.start * given.shape.count_from(1)
            };
            add(diff, &given.data[start..start + count]);
        }
    }

    fn capture_diff(
        &self,
        pass: &Pass,
        v: ValueId,
        rows: &Range<usize>,
        work: &Work,
        captured: &mut Captured,
    ) {
        if let Some(s) = self.plan.diff_homes[v]
            && pass.wanted_diffs.contains(&v)
        {
            let shape = self.group_shape(v, rows.len(), &work.actual);
            captured.diffs.push(Piece::new(v, shape, &work.diffs[s]));
        }
    }
}

fn coupling_of(layer: &dyn crate::layers::Layer, bottoms: &[View]) -> Coupling {
    let shapes: Vec<Shape> = bottoms.iter().map(|b| b.shape.clone()).collect();
    layer.coupling(&shapes)
}

fn add(sum: &mut [f32], more: &[f32]) {
    for (s, m) in sum.iter_mut().zip(more) {
        *s += m;
    }
}
