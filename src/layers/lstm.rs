//! LSTM (Donahue et al. 2014): for each step, with h and c before it, and h' = cont·h,
//!
//! i, f, o = sigmoid and g = tanh of the four parts of W·x + b + Wₛ·static + V·h',
//! c ← cont·f·c + i·g, h ← o·tanh(c).
//!
//! Blobs, in Caffe's order: W [4D, I], b [4D], Wₛ [4D, S] if there is a static input, V [4D, D]. Bottoms
//! and tops (h of each step; exposed states are h, c): see `recurrent.rs`.

use super::neuron::sigmoid;
use super::recurrent::{Recurrent, Sizes, before, continued};
use super::{Backward, Coupling, Facts, Forward, Keep, Layer, Mode, ParamSpec};
use crate::kernels::product::gemm::{Mat, MatMut, gemm};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// An LSTM layer.
#[derive(Debug)]
pub struct Lstm {
    recurrent: Recurrent,
}

impl Lstm {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            recurrent: Recurrent::new(param, 2)?,
        })
    }
}

/// One stream's gates i, f, o, g, each as large as a state.
fn gates(all: &mut [f32]) -> [&mut [f32]; 4] {
    let n = all.len() / 4;
    let (first, second) = all.split_at_mut(2 * n);
    let ((i, f), (o, g)) = (first.split_at_mut(n), second.split_at_mut(n));
    [i, f, o, g]
}

/// One step of one stream: gate inputs become gates, and c and h are written.
fn unit(cont: f32, all: &mut [f32], before: Option<&[f32]>, c: &mut [f32], h: &mut [f32]) {
    let [i, f, o, g] = gates(all);
    for d in 0..c.len() {
        i[d] = sigmoid(i[d]);
        // Where a sequence starts not even a NaN comes through.
        f[d] = if cont == 0.0 {
            0.0
        } else {
            cont * sigmoid(f[d])
        };
        o[d] = sigmoid(o[d]);
        g[d] = g[d].tanh();
        c[d] = f[d] * before.map_or(0.0, |c| c[d]) + i[d] * g[d];
        h[d] = o[d] * c[d].tanh();
    }
}

/// Backward of [`unit`]: gates become the gradients of their inputs, and `dc` that of c before the
/// step. `dh` is h's gradient.
fn unit_backward(all: &mut [f32], before: Option<&[f32]>, c: &[f32], dh: &[f32], dc: &mut [f32]) {
    let [i, f, o, g] = gates(all);
    for d in 0..c.len() {
        let tanh = c[d].tanh();
        let total = dc[d] + dh[d] * o[d] * (1.0 - tanh * tanh);
        dc[d] = total * f[d];
        let (di, dg) = (
            total * g[d] * i[d] * (1.0 - i[d]),
            total * i[d] * (1.0 - g[d] * g[d]),
        );
        f[d] = total * before.map_or(0.0, |c| c[d]) * f[d] * (1.0 - f[d]);
        o[d] = dh[d] * tanh * o[d] * (1.0 - o[d]);
        (i[d], g[d]) = (di, dg);
    }
}

impl Layer for Lstm {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        self.recurrent.shapes(bottoms)
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let s = self.recurrent.sizes(bottoms);
        let mut specs = self.recurrent.input_params(s, 4 * s.output);
        specs.push(self.recurrent.weight(4 * s.output, s.output));
        specs
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let s = self.recurrent.sizes(bottoms);
        let own = s.steps * s.state() * 4 * s.output;
        Facts {
            coupling: Coupling::Whole,
            reads_tops: true,
            flows: (0..bottoms.len())
                .map(|i| self.recurrent.propagates(i))
                .collect(),
            refuses: vec![(1, "Cannot backpropagate to sequence indicators")],
            macs: self.recurrent.macs(s, 4 * s.output) + own as u64,
            scratch_bytes: 4 * 10 * s.steps * s.state(),
            carries: self.recurrent.carries(bottoms, 2),
            ..Facts::default()
        }
    }

    /// Leaves the gates and c of all steps.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let s = self.recurrent.sizes_of(f.bottoms);
        let (rows, state) = (4 * s.output, s.state());
        let (cont, last) = (
            f.bottoms[1].data,
            f.params[self.recurrent.next_param()].data,
        );
        let carried = std::mem::take(&mut f.keep.before);
        let [h0, c0] = [0, 1].map(|k| self.recurrent.initial(f.bottoms, &carried, k));
        let mut keep = std::mem::take(&mut f.keep.floats);
        keep.resize(s.steps * state * 5, 0.0);
        let (all, cells) = keep.split_at_mut(s.steps * state * 4);
        self.recurrent.project(f, s, rows, all);
        let kept = f.keep.scratch(state);
        let (h, exposed) = f.tops.split_at_mut(1);
        let hidden = &mut *h[0].data;
        for t in 0..s.steps {
            let (done, h) = hidden.split_at_mut(t * state);
            let (done_cells, c) = cells.split_at_mut(t * state);
            continued(s, cont, t, before(s, done, t, h0), kept);
            f.precision.round(f.crew, kept);
            let all = &mut all[t * 4 * state..][..4 * state];
            let kept = Mat::new(kept, s.streams, s.output);
            let weights = Mat::new(last, rows, s.output);
            gemm(
                f.crew,
                1.0,
                MatMut::new(all, s.streams, rows),
                1.0,
                kept,
                weights.t(),
            );
            let c_before = before(s, done_cells, t, c0);
            for n in 0..s.streams {
                let own = n * s.output..(n + 1) * s.output;
                unit(
                    cont[t * s.streams + n],
                    &mut all[n * rows..][..rows],
                    c_before.map(|c| &c[own.clone()]),
                    &mut c[own.clone()],
                    &mut h[own],
                );
            }
        }
        let end = (s.steps - 1) * state;
        for (top, states) in exposed.iter_mut().zip([&hidden[end..], &cells[end..]]) {
            top.data.copy_from_slice(states);
        }
        self.recurrent
            .carry(f.keep, &[&hidden[end..], &cells[end..]]);
        (f.keep.floats, f.keep.before) = (keep, carried);
        Ok(())
    }

    /// Backward through time.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let s = self.recurrent.sizes_of(b.bottoms);
        let mut keep = std::mem::take(b.keep);
        self.backward_with(b, s, &mut keep);
        *b.keep = keep;
        Ok(())
    }
}

impl Lstm {
    /// `keep`'s gates become the gradients of their inputs.
    fn backward_with(&self, b: &mut Backward, s: Sizes, keep: &mut Keep) {
        let (rows, state) = (4 * s.output, s.state());
        let (crew, cont, hidden) = (b.crew, b.bottoms[1].data, b.tops[0].data);
        let own = self.recurrent.next_param();
        let last = Mat::new(b.params[own].data, rows, s.output);
        let carried = std::mem::take(&mut keep.before);
        let [h0, c0] = [0, 1].map(|k| self.recurrent.initial(b.bottoms, &carried, k));
        keep.scratch((s.steps + 2) * state);
        let (kept, work) = keep.scratch.split_at_mut(s.steps * state);
        let (dh, dc) = work[..2 * state].split_at_mut(state);
        dc.fill(0.0);
        dh.fill(0.0);
        let (all, cells) = keep.floats.split_at_mut(s.steps * state * 4);
        for t in (0..s.steps).rev() {
            let dy = &b.top_diffs[0].data[t * state..][..state];
            dh.iter_mut().zip(dy).for_each(|(h, d)| *h += d);
            let all = &mut all[t * 4 * state..][..4 * state];
            let c_before = before(s, cells, t, c0);
            for n in 0..s.streams {
                let own = n * s.output..(n + 1) * s.output;
                unit_backward(
                    &mut all[n * rows..][..rows],
                    c_before.map(|c| &c[own.clone()]),
                    &cells[t * state..][own.clone()],
                    &dh[own.clone()],
                    &mut dc[own],
                );
            }
            b.precision.round(crew, all);
            let grad = Mat::new(all, s.streams, rows);
            gemm(
                crew,
                0.0,
                MatMut::new(dh, s.streams, s.output),
                1.0,
                grad,
                last,
            );
            let h_before = before(s, hidden, t, h0);
            continued(s, cont, t, h_before, &mut kept[t * state..][..state]);
            for (dh, c) in dh.chunks_exact_mut(s.output).zip(&cont[t * s.streams..]) {
                dh.iter_mut().for_each(|d| *d *= c);
            }
        }
        let n = s.steps * s.streams;
        b.precision.round(crew, kept);
        if let Some(dv) = &mut b.param_diffs[own] {
            let kept = Mat::new(kept, n, s.output);
            let grad = Mat::new(all, n, rows);
            gemm(
                crew,
                1.0,
                MatMut::new(dv, rows, s.output),
                1.0,
                grad.t(),
                kept,
            );
        }
        self.recurrent.project_backward(b, s, rows, all);
    }
}

#[cfg(test)]
mod tests;
