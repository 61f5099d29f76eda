//! One group of samples through the net, in a workspace of its own: the buffers, and forward.

use super::carried::Carried;
use super::pass::{Pass, Timer};
use super::plan::{Gather, Home};
use super::ready::Set;
use super::{Net, Weights};
use crate::kernels::aligned::Aligned;
use crate::kernels::crew::Crew;
use crate::kernels::layout::{to_nchw, to_nhwc};
use crate::layers::{Coupling, Forward, Keep, Layer};
use crate::memory;
use crate::net::graph::ValueId;
use crate::tensor::{Layout, Shape, Tensor, View, ViewMut};
use anyhow::{Context, Result, bail};
use std::mem;
use std::ops::Range;
use std::time::Instant;

/// Partial gradients, in the order of the net's parameters; empty where none is wanted.
pub(crate) type Grads = Vec<Vec<f32>>;

/// The buffers of one group in flight.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(super) slots: Vec<Aligned>,
    pub(super) diffs: Vec<Aligned>,
    pub(super) keeps: Vec<Keep>,
    /// Bottoms of the layer at hand in its layout, where they lie in another; and their gradients.
    pub(super) turned: Vec<Aligned>,
    pub(super) turned_diffs: Vec<Aligned>,
    /// A gradient on its way to be added to another.
    pub(super) extra: Aligned,
    /// What each layer's sum is divided by.
    pub(super) normalisers: Vec<f32>,
    /// Which values' gradients are in their buffers.
    pub(super) written: Vec<bool>,
    /// Shapes that only the data decide (behind a Filter layer); `None` for the planned ones.
    pub(super) actual: Vec<Option<Shape>>,
}

/// A copied value (or its gradient): the rows of this group.
#[derive(Debug)]
pub(crate) struct Piece {
    pub value: ValueId,
    pub tensor: Tensor,
}

impl Piece {
    pub(super) fn new(value: ValueId, view: View) -> Self {
        let mut data = vec![0.0; view.shape.count()];
        copy(&view, &mut ViewMut::planes(view.shape.clone(), &mut data));
        Self {
            value,
            tensor: Tensor {
                shape: view.shape,
                data,
            },
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
    /// What recurrent layers leave for the next batch.
    pub carried: Carried,
}

/// `to` ← the numbers of `from`, channels last if `pixels`, else in C order.
pub(super) fn turn(from: &View, pixels: bool, to: &mut Aligned) {
    let count = from.shape.count();
    if to.len() < count || !pixels {
        to.resize(count);
    }
    copy(
        from,
        &mut ViewMut {
            layout: if pixels {
                Layout::pixels(&from.shape)
            } else {
                Layout::Planes
            },
            shape: from.shape.clone(),
            data: &mut to[..count],
        },
    );
}

/// `to` ← the numbers of `from`, an array of the same shape, whatever their layouts.
pub(super) fn copy(from: &View, to: &mut ViewMut) {
    let shape = &from.shape;
    let (channels, plane) = (shape.dim(1), shape.count_from(2));
    let sample = channels * plane;
    match (from.layout, to.layout) {
        (a, b) if a == b && a.extent(shape) == shape.count() => {
            to.data.copy_from_slice(&from.data[..shape.count()]);
        }
        (Layout::Planes, Layout::Planes) => to.data.copy_from_slice(from.data),
        (Layout::Pixels { pitch }, Layout::Planes) => {
            for (n, to) in to.data.chunks_exact_mut(sample.max(1)).enumerate() {
                to_nchw(&from.data[n * plane * pitch..], pitch, channels, plane, to);
            }
        }
        (Layout::Planes, Layout::Pixels { pitch }) => {
            for (n, from) in from.data.chunks_exact(sample.max(1)).enumerate() {
                to_nhwc(
                    from,
                    channels,
                    plane,
                    &mut to.data[n * plane * pitch..],
                    pitch,
                );
            }
        }
        (Layout::Pixels { pitch: a }, Layout::Pixels { pitch: b }) => {
            for (from, to) in from.data.chunks(a).zip(to.data.chunks_mut(b)) {
                to[..channels].copy_from_slice(&from[..channels]);
            }
        }
    }
}

impl Work {
    /// # Errors
    /// The memory is not there.
    pub fn new(net: &Net) -> Result<Self> {
        let buffers = |sizes: &[usize]| -> Result<Vec<Aligned>> {
            let what = || format!("a buffer of the net {}", net.graph.file);
            let advice = "lower the batch size, or --threads";
            let one = |&n: &usize| -> Result<Aligned> {
                drop(memory::zeros(n, what, advice)?);
                Ok(Aligned::zeros(n))
            };
            sizes.iter().map(one).collect()
        };
        Ok(Self {
            slots: buffers(&net.plan.slots)?,
            diffs: buffers(&net.plan.diff_slots)?,
            keeps: net.layers.iter().map(|_| Keep::default()).collect(),
            turned: Vec::new(),
            turned_diffs: Vec::new(),
            extra: Aligned::default(),
            normalisers: vec![1.0; net.layers.len()],
            written: vec![false; net.shapes.len()],
            actual: vec![None; net.shapes.len()],
        })
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
    pub(super) fn group_shape(&self, v: ValueId, rows: usize, actual: &[Option<Shape>]) -> Shape {
        if let Some(shape) = &actual[v] {
            shape.clone()
        } else if self.plan.whole.is_some() || self.plan.gather[v] == Gather::Mean {
            self.shapes[v].clone()
        } else {
            self.shapes[v].with_rows(rows)
        }
    }

    /// How layer `i` sees its bottom `k`.
    pub(crate) fn seen_layout(&self, i: usize, k: usize) -> Layout {
        let (form, v) = (&self.plan.form, self.graph.nodes[i].bottoms[k]);
        if !form.pixels[i] || form.reads_planes[i] {
            Layout::Planes
        } else if form.layouts[v].is_pixels() {
            form.layouts[v]
        } else {
            Layout::pixels(&self.shapes[v])
        }
    }

    /// The numbers of value `v`: rows of the batch, or (a part of) a buffer.
    pub(super) fn locate<'a>(
        &self,
        v: ValueId,
        rows: &Range<usize>,
        feed: &'a [Tensor],
        slots: &'a [Aligned],
        actual: &[Option<Shape>],
    ) -> View<'a> {
        let shape = self.group_shape(v, rows.len(), actual);
        match self.plan.homes[v] {
            Home::Feed(k) => View::planes(
                shape,
                if self.plan.whole.is_some() {
                    &feed[k].data[..]
                } else {
                    let each = feed[k].shape.count_from(1);
                    &feed[k].data[rows.start * each..rows.end * each]
                },
            ),
            Home::Slot(s) => self.part(v, shape, &slots[s]),
        }
    }

    /// Value `v`, or its gradient, in its buffer. A buffer that is taken for writing is empty: its reader
    /// works in place.
    pub(super) fn part<'a>(&self, v: ValueId, shape: Shape, buffer: &'a [f32]) -> View<'a> {
        let (layout, first) = (self.plan.form.layouts[v], self.plan.form.first(v));
        let data = match buffer {
            [] => buffer,
            _ => &buffer[first..first + layout.extent(&shape)],
        };
        View {
            shape,
            layout,
            data,
        }
    }

    /// [`Net::part`] to write.
    pub(super) fn part_mut<'a>(
        &self,
        v: ValueId,
        shape: Shape,
        buffer: &'a mut [f32],
    ) -> ViewMut<'a> {
        let (layout, first) = (self.plan.form.layouts[v], self.plan.form.first(v));
        let data = &mut buffer[first..first + layout.extent(&shape)];
        ViewMut {
            shape,
            layout,
            data,
        }
    }

    /// Turns the bottoms of layer `i` that lie in another layout than the layer's into `turned`.
    pub(super) fn turn_bottoms(
        &self,
        i: usize,
        rows: &Range<usize>,
        feed: &[Tensor],
        slots: &[Aligned],
        actual: &[Option<Shape>],
        turned: &mut Vec<Aligned>,
    ) {
        let form = &self.plan.form;
        for (k, &v) in self.graph.nodes[i].bottoms.iter().enumerate() {
            if form.turns[i][k] {
                if turned.len() <= k {
                    turned.resize_with(k + 1, Aligned::default);
                }
                let view = self.locate(v, rows, feed, slots, actual);
                turn(&view, form.pixels[i], &mut turned[k]);
            }
        }
    }

    /// The bottoms of layer `i`, as [`Net::turn_bottoms`] has left them.
    pub(super) fn bottoms<'a>(
        &self,
        i: usize,
        rows: &Range<usize>,
        feed: &'a [Tensor],
        slots: &'a [Aligned],
        actual: &[Option<Shape>],
        turned: &'a [Aligned],
    ) -> Vec<View<'a>> {
        let one = |(k, &v): (usize, &ValueId)| {
            let mut view = self.locate(v, rows, feed, slots, actual);
            if self.plan.form.turns[i][k] {
                view.data = &turned[k][..view.shape.count()];
            }
            view.layout = self.seen_layout(i, k);
            view
        };
        let bottoms = self.graph.nodes[i].bottoms.iter().enumerate();
        bottoms.map(one).collect()
    }

    /// The parameters of layer `i`: their weights, or what a layer before has made of them in this pass.
    pub(super) fn param_views<'a>(
        &self,
        i: usize,
        weights: &'a Weights,
        updates: &'a [(usize, Vec<f32>)],
    ) -> Vec<View<'a>> {
        self.uses[i]
            .iter()
            .map(|u| {
                let data = match updates.iter().rev().find(|(id, _)| *id == u.id) {
                    Some((_, values)) => values,
                    None => &weights[u.id].data,
                };
                View::planes(u.shape.clone(), data)
            })
            .collect()
    }

    /// Gives the tops of layer `i`, which another one computes, the shapes that follow from its bottoms' where
    /// only the data decide these.
    fn follow_shapes(
        &self,
        i: usize,
        layer: &dyn Layer,
        rows: usize,
        actual: &mut [Option<Shape>],
    ) -> Result<()> {
        let node = &self.graph.nodes[i];
        if node.bottoms.iter().all(|&v| actual[v].is_none()) {
            return Ok(());
        }
        let bottoms = node.bottoms.iter();
        let shapes: Vec<Shape> = bottoms
            .map(|&v| self.group_shape(v, rows, actual))
            .collect();
        let tops = layer.shapes(&shapes).with_context(|| self.graph.place(i))?;
        for (&t, shape) in node.tops.iter().zip(tops) {
            actual[t] = Some(shape);
        }
        Ok(())
    }

    /// Forward of the samples `rows` of `feed`.
    pub(crate) fn forward_group(
        &self,
        crew: &Crew,
        pass: &Pass,
        weights: &Weights,
        ready: &Set,
        feed: &[Tensor],
        rows: Range<usize>,
        work: &mut Work,
        captured: &mut Captured,
    ) -> Result<()> {
        let whole = self.plan.groups.len() == 1;
        let form = &self.plan.form;
        work.actual.fill(None);
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let Some(layer) = &self.layers[i] else {
                for &v in node.tops.iter().filter(|v| pass.wanted.contains(v)) {
                    let view = self.locate(v, &rows, feed, &work.slots, &work.actual);
                    captured.values.push(Piece::new(v, view));
                }
                continue;
            };
            if form.absorbed[i].is_some() || form.free[i] {
                self.follow_shapes(i, layer.as_ref(), rows.len(), &mut work.actual)?;
                for &v in node.tops.iter().filter(|v| pass.wanted.contains(v)) {
                    let view = self.locate(v, &rows, feed, &work.slots, &work.actual);
                    captured.values.push(Piece::new(v, view));
                }
                continue;
            }
            crew.next_step();
            crew.name_step(|| format!("{} {} forward", node.param.r#type(), node.name()));
            let started = pass.timer.map(|_| Instant::now());
            let mut taken: Vec<(usize, Aligned)> = Vec::with_capacity(node.tops.len());
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
                turned,
                ..
            } = work;
            self.turn_bottoms(i, &rows, feed, slots, actual, turned);
            let bottoms = self.bottoms(i, &rows, feed, slots, actual, turned);
            if node.bottoms.iter().any(|&v| actual[v].is_some()) {
                let shapes: Vec<Shape> = bottoms.iter().map(|b| b.shape.clone()).collect();
                let tops = layer.shapes(&shapes).with_context(|| self.graph.place(i))?;
                for (&t, shape) in node.tops.iter().zip(tops) {
                    actual[t] = Some(shape);
                }
            }
            if whole && let Coupling::Mean { .. } = coupling_of(layer.as_ref(), &bottoms) {
                normalisers[i] = layer.normaliser(&bottoms);
            }
            let relu = form.chains[i]
                .iter()
                .any(|&j| self.layers[j].as_ref().is_some_and(|l| l.is_relu()));
            self.start_states(pass, i, &mut keeps[i]);
            let mut updates = Vec::new();
            let result = {
                let mut tops: Vec<ViewMut> = node
                    .tops
                    .iter()
                    .zip(&mut taken)
                    .map(|(&t, (_, buffer))| {
                        let shape = self.group_shape(t, rows.len(), actual);
                        self.part_mut(t, shape, buffer)
                    })
                    .collect();
                let params = self.param_views(i, weights, &captured.updates);
                let mut f = Forward {
                    params: &params,
                    bottoms: &bottoms,
                    tops: &mut tops,
                    keep: &mut keeps[i],
                    prepared: ready[i].as_ref(),
                    relu: relu && !pass.check_finite,
                    add: node.tops.iter().any(|&t| form.onto[t].is_some()),
                    random: pass.random.branch(self.stream(i)),
                    first: rows.start,
                    crew,
                    updates: &mut updates,
                };
                let result = layer.forward(&mut f);
                for (&t, top) in node.tops.iter().zip(&tops) {
                    if top.layout.extent(&top.shape) != top.data.len() {
                        actual[t] = Some(top.shape.clone());
                    }
                }
                if whole
                    && let Some(&t) = node.tops.first()
                    && self.plan.gather[t] == Gather::Mean
                {
                    tops[0].data.iter_mut().for_each(|v| *v /= normalisers[i]);
                }
                if result.is_ok() && pass.check_finite {
                    let bad = tops.iter().position(|t| t.values().any(|v| !v.is_finite()));
                    if let Some(k) = bad {
                        let name = &self.graph.values[node.tops[k]].name;
                        bail!("{}: its output '{name}' is not finite", self.graph.place(i));
                    }
                    // Only now: an infinite number below 0 would have become 0.
                    for row in tops[0].rows_mut().filter(|_| relu) {
                        crate::kernels::elementwise::relu(&Crew::alone(), 0.0, row);
                    }
                }
                result
            };
            drop(bottoms);
            if !keeps[i].after.is_empty() {
                captured.carried.add(i, mem::take(&mut keeps[i].after));
            }
            for (k, values) in updates {
                captured.updates.push((self.uses[i][k].id, values));
            }
            for (&t, (_, buffer)) in node.tops.iter().zip(&taken) {
                if pass.wanted.contains(&t) {
                    let shape = self.group_shape(t, rows.len(), &work.actual);
                    captured
                        .values
                        .push(Piece::new(t, self.part(t, shape, buffer)));
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
        let view = |&v: &ValueId| {
            let data = match self.plan.homes[v] {
                Home::Feed(k) => &feed[k].data[..],
                Home::Slot(_) => &[],
            };
            View::planes(self.shapes[v].clone(), data)
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
}

fn coupling_of(layer: &dyn crate::layers::Layer, bottoms: &[View]) -> Coupling {
    let shapes: Vec<Shape> = bottoms.iter().map(|b| b.shape.clone()).collect();
    layer.coupling(&shapes)
}

pub(super) fn add(sum: &mut [f32], more: &[f32]) {
    for (s, m) in sum.iter_mut().zip(more) {
        *s += m;
    }
}
