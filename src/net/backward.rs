//! Backward of one group of samples, in the workspace that its forward has left.

use super::group::{Captured, Grads, Piece, Work, add, copy, turn};
use super::pass::{Pass, Timer};
use super::ready::Set;
use super::{Net, Weights};
use crate::kernels::aligned::Aligned;
use crate::kernels::crew::Crew;
use crate::kernels::elementwise::{relu_backward, relu_backward_slices};
use crate::layers::Backward;
use crate::net::graph::ValueId;
use crate::tensor::{Layout, Tensor, View, ViewMut};
use anyhow::{Context, Result, bail};
use std::mem;
use std::ops::Range;
use std::time::Instant;

/// Where the gradient of a bottom goes, and a buffer that the layer writes it to.
struct Target {
    /// The bottom.
    bottom: usize,
    slot: usize,
    buffer: Aligned,
    /// The bottom lies in another layout than the layer's: `buffer` is turned on its way.
    turned: bool,
    /// Another reader has written its share already.
    add: bool,
}

impl Net {
    /// Backward of the samples that went through [`Net::forward_group`] last; adds to `grads`.
    pub(crate) fn backward_group(
        &self,
        crew: &Crew,
        pass: &Pass,
        weights: &Weights,
        ready: &Set,
        feed: &[Tensor],
        rows: Range<usize>,
        work: &mut Work,
        grads: &mut Grads,
        captured: &mut Captured,
    ) -> Result<()> {
        let form = &self.plan.form;
        work.written.fill(false);
        for (i, node) in self.graph.nodes.iter().enumerate().rev() {
            let Some(layer) = &self.layers[i] else {
                continue;
            };
            if !self.plan.needs.layers[i] {
                continue;
            }
            crew.next_step();
            crew.name_step(|| format!("{} {} backward", node.param.r#type(), node.name()));
            let started = pass.timer.map(|_| Instant::now());
            for &t in &node.tops {
                self.start_diff(pass, t, &rows, work)?;
            }
            self.mask_by_relu(i, crew, &rows, work);
            for &t in &node.tops {
                self.capture_diff(pass, t, &rows, work, captured);
            }
            for (k, &v) in node.bottoms.iter().enumerate() {
                let inside =
                    form.slices[v].is_some_and(|(wide, _)| node.tops.first() == Some(&wide));
                if self.plan.needs.bottoms[i][k] && (form.absorbed[i].is_some() || inside) {
                    work.written[v] = true;
                }
            }
            if form.absorbed[i].is_some() || form.free[i] {
                continue;
            }
            let Work {
                slots,
                diffs,
                keeps,
                extra,
                turned,
                turned_diffs,
                normalisers,
                written,
                actual,
            } = work;
            let mut targets: Vec<Target> = Vec::new();
            for (k, &v) in node.bottoms.iter().enumerate() {
                let home = self.plan.diff_homes[v].filter(|_| self.plan.needs.bottoms[i][k]);
                let Some(slot) = home.filter(|_| form.slices[v].is_none()) else {
                    continue;
                };
                let count = self.group_shape(v, rows.len(), actual).count();
                let (turned, add) = (form.turns_diff[i][k], written[v]);
                let mut buffer = if turned {
                    turned_diffs.pop().unwrap_or_default()
                } else if add {
                    mem::take(extra)
                } else {
                    mem::take(&mut diffs[slot])
                };
                if turned || add {
                    buffer.resize(buffer.len().max(count));
                }
                written[v] = true;
                targets.push(Target {
                    bottom: k,
                    slot,
                    buffer,
                    turned,
                    add,
                });
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
            self.turn_bottoms(i, &rows, feed, slots, actual, turned);
            let result = {
                let view = |&v: &ValueId| self.locate(v, &rows, feed, slots, actual);
                let mut bottoms = self.bottoms(i, &rows, feed, slots, actual, turned);
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
                        self.part(t, shape, buffer)
                    })
                    .collect();
                let mut bottom_diffs: Vec<Option<ViewMut>> =
                    node.bottoms.iter().map(|_| None).collect();
                for target in &mut targets {
                    let v = node.bottoms[target.bottom];
                    let shape = self.group_shape(v, rows.len(), actual);
                    bottom_diffs[target.bottom] = Some(ViewMut {
                        layout: match form.pixels[i] {
                            true => Layout::pixels(&shape),
                            false => Layout::Planes,
                        },
                        data: &mut target.buffer[..shape.count()],
                        shape,
                    });
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
                    prepared: ready[i].as_ref(),
                    normaliser: normalisers[i],
                    crew,
                })
            };
            for target in targets {
                let v = node.bottoms[target.bottom];
                let shape = self.group_shape(v, rows.len(), actual);
                let mut buffer = target.buffer;
                if target.turned {
                    let from = View {
                        layout: match form.pixels[i] {
                            true => Layout::pixels(&shape),
                            false => Layout::Planes,
                        },
                        data: &buffer[..shape.count()],
                        shape: shape.clone(),
                    };
                    if target.add {
                        turn(&from, form.layouts[v].is_pixels(), extra);
                        add(&mut diffs[target.slot], &extra[..shape.count()]);
                    } else {
                        copy(&from, &mut self.part_mut(v, shape, &mut diffs[target.slot]));
                    }
                    turned_diffs.push(buffer);
                } else if target.add {
                    add(&mut diffs[target.slot], &buffer[..shape.count()]);
                    if buffer.len() >= extra.len() {
                        mem::swap(extra, &mut buffer);
                    }
                } else {
                    diffs[target.slot] = buffer;
                }
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

    /// Where layer `i` has done a ReLU with its own work: sets the gradients of its top's zeros to 0.
    fn mask_by_relu(&self, i: usize, crew: &Crew, rows: &Range<usize>, work: &mut Work) {
        let Some(&t) = self.graph.nodes[i].tops.first() else {
            return;
        };
        if self.plan.form.chains[i].is_empty() {
            return;
        }
        let Some(s) = self.plan.diff_homes[t] else {
            return;
        };
        let shape = self.group_shape(t, rows.len(), &work.actual);
        let y = self.locate(t, rows, &[], &work.slots, &work.actual);
        let diff = self.part_mut(t, shape, &mut work.diffs[s]);
        if y.pitch() == y.shape.dim(1) {
            relu_backward(crew, 0.0, y.data, diff.data);
            return;
        }
        let (pitch, channels) = (y.pitch(), y.shape.dim(1));
        relu_backward_slices(pitch, channels, y.data, diff.data);
    }

    /// Makes the gradient of top `t` complete: the loss weight, what was put on it from outside, or
    /// zeros where nobody wrote.
    fn start_diff(
        &self,
        pass: &Pass,
        t: ValueId,
        rows: &Range<usize>,
        work: &mut Work,
    ) -> Result<()> {
        let Some(s) = self.plan.diff_homes[t] else {
            return Ok(());
        };
        let shape = self.group_shape(t, rows.len(), &work.actual);
        let mut diff = self.part_mut(t, shape.clone(), &mut work.diffs[s]);
        if !work.written[t] {
            diff.rows_mut().for_each(|row| row.fill(0.0));
            work.written[t] = true;
        }
        let weight = self.loss_weights[t];
        if weight != 0.0 && !pass.top_diffs.iter().any(|(v, _)| *v == t) {
            diff.data.iter_mut().for_each(|d| *d += weight);
        }
        for (_, given) in pass.top_diffs.iter().filter(|(v, _)| *v == t) {
            let whole = self.plan.groups.len() == 1;
            if whole && shape.count() != given.data.len() {
                bail!(
                    "the gradient given for blob '{}' has shape {}, the blob has {shape} with these data",
                    self.graph.values[t].name,
                    given.shape
                );
            }
            let start = match whole || shape.count() == given.data.len() {
                true => 0,
                false => rows.start * given.shape.count_from(1),
            };
            let given = View::planes(shape.clone(), &given.data[start..start + shape.count()]);
            let mut like = vec![0.0; diff.data.len()];
            copy(
                &given,
                &mut ViewMut {
                    shape: shape.clone(),
                    layout: diff.layout,
                    data: &mut like,
                },
            );
            add(diff.data, &like);
        }
        Ok(())
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
            let view = self.part(v, shape, &work.diffs[s]);
            captured.diffs.push(Piece::new(v, view));
        }
    }
}
