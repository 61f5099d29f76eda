//! RNN: for each step, with h before it, h ← tanh(W·x + b + Wₛ·static + V·(cont·h)), and the output is
//! tanh(U·h + a).
//!
//! Blobs, in Caffe's order: W [D, I], b [D], Wₛ [D, S] if there is a static input, V [D, D], U [D, D],
//! a [D]. Bottoms and tops (the exposed state is h): see `recurrent.rs`.

use super::recurrent::{Recurrent, Sizes, before, continued};
use super::{Backward, Coupling, Facts, Forward, Keep, Layer, Mode, ParamSpec};
use crate::kernels::product::gemm::{Mat, MatMut, gemm};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// An RNN layer.
#[derive(Debug)]
pub struct Rnn {
    recurrent: Recurrent,
}

impl Rnn {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            recurrent: Recurrent::new(param, 1)?,
        })
    }
}

/// dx ← dy·(1 − y²), where y = tanh(x); `dx` holds dy before.
fn tanh_backward(y: &[f32], dx: &mut [f32]) {
    dx.iter_mut().zip(y).for_each(|(d, y)| *d *= 1.0 - y * y);
}

impl Layer for Rnn {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        self.recurrent.shapes(bottoms)
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let s = self.recurrent.sizes(bottoms);
        let mut specs = self.recurrent.input_params(s, s.output);
        specs.extend([
            self.recurrent.weight(s.output, s.output),
            self.recurrent.weight(s.output, s.output),
            self.recurrent.bias(s.output),
        ]);
        specs
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let s = self.recurrent.sizes(bottoms);
        let own = 2 * s.steps * s.state() * s.output;
        Facts {
            coupling: Coupling::Whole,
            reads_tops: true,
            flows: (0..bottoms.len())
                .map(|i| self.recurrent.propagates(i))
                .collect(),
            refuses: vec![(1, "Cannot backpropagate to sequence indicators")],
            macs: self.recurrent.macs(s, s.output) + own as u64,
            scratch_bytes: 4 * 4 * s.steps * s.state(),
            carries: self.recurrent.carries(bottoms, 1),
            ..Facts::default()
        }
    }

    /// Leaves h of all steps.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let s = self.recurrent.sizes_of(f.bottoms);
        let state = s.state();
        let (cont, own) = (f.bottoms[1].data, self.recurrent.next_param());
        let weights = |k: usize| Mat::new(f.params[own + k].data, s.output, s.output);
        let carried = std::mem::take(&mut f.keep.before);
        let h0 = self.recurrent.initial(f.bottoms, &carried, 0);
        let mut hidden = std::mem::take(&mut f.keep.floats);
        hidden.resize(s.steps * state, 0.0);
        self.recurrent.project(f, s, s.output, &mut hidden);
        let kept = f.keep.scratch(state);
        for t in 0..s.steps {
            let (done, h) = hidden.split_at_mut(t * state);
            let h = &mut h[..state];
            continued(s, cont, t, before(s, done, t, h0), kept);
            f.precision.round(f.crew, kept);
            let kept = Mat::new(kept, s.streams, s.output);
            let sum = MatMut::new(h, s.streams, s.output);
            gemm(f.crew, 1.0, sum, 1.0, kept, weights(0).t());
            h.iter_mut().for_each(|v| *v = v.tanh());
            f.precision.round(f.crew, h);
        }
        let (y, exposed) = f.tops.split_at_mut(1);
        let (y, n) = (&mut *y[0].data, s.steps * s.streams);
        for row in y.chunks_exact_mut(s.output) {
            row.copy_from_slice(f.params[own + 2].data);
        }
        let all = Mat::new(&hidden, n, s.output);
        gemm(
            f.crew,
            1.0,
            MatMut::new(y, n, s.output),
            1.0,
            all,
            weights(1).t(),
        );
        y.iter_mut().for_each(|v| *v = v.tanh());
        for top in exposed {
            top.data.copy_from_slice(&hidden[(s.steps - 1) * state..]);
        }
        let end = (s.steps - 1) * state;
        self.recurrent.carry(f.keep, &[&hidden[end..]]);
        (f.keep.floats, f.keep.before) = (hidden, carried);
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

impl Rnn {
    fn backward_with(&self, b: &mut Backward, s: Sizes, keep: &mut Keep) {
        let (state, n, crew) = (s.state(), s.steps * s.streams, b.crew);
        let (cont, own) = (b.bottoms[1].data, self.recurrent.next_param());
        let carried = std::mem::take(&mut keep.before);
        let h0 = self.recurrent.initial(b.bottoms, &carried, 0);
        let params = b.params;
        let weights = |k: usize| Mat::new(params[own + k].data, s.output, s.output);
        keep.scratch(3 * n * s.output + state);
        let (dy, work) = keep.scratch.split_at_mut(n * s.output);
        let (dh, work) = work.split_at_mut(n * s.output);
        let (kept, work) = work.split_at_mut(n * s.output);
        let (carried, hidden) = (&mut work[..state], &keep.floats[..]);

        dy.copy_from_slice(b.top_diffs[0].data);
        tanh_backward(b.tops[0].data, dy);
        b.precision.round(crew, dy);
        let grad = Mat::new(dy, n, s.output);
        if let Some(du) = &mut b.param_diffs[own + 1] {
            let (du, h) = (
                MatMut::new(du, s.output, s.output),
                Mat::new(hidden, n, s.output),
            );
            gemm(crew, 1.0, du, 1.0, grad.t(), h);
        }
        if let Some(da) = &mut b.param_diffs[own + 2] {
            for row in dy.chunks_exact(s.output) {
                da.iter_mut().zip(row).for_each(|(d, v)| *d += v);
            }
        }
        gemm(
            crew,
            0.0,
            MatMut::new(dh, n, s.output),
            1.0,
            grad,
            weights(1),
        );
        carried.fill(0.0);
        for t in (0..s.steps).rev() {
            let now = t * state..(t + 1) * state;
            let dh = &mut dh[now.clone()];
            dh.iter_mut().zip(&*carried).for_each(|(d, c)| *d += c);
            tanh_backward(&hidden[now.clone()], dh);
            b.precision.round(crew, dh);
            let grad = Mat::new(dh, s.streams, s.output);
            let down = MatMut::new(carried, s.streams, s.output);
            gemm(crew, 0.0, down, 1.0, grad, weights(0));
            continued(s, cont, t, before(s, hidden, t, h0), &mut kept[now]);
            for (d, c) in carried
                .chunks_exact_mut(s.output)
                .zip(&cont[t * s.streams..])
            {
                d.iter_mut().for_each(|d| *d *= c);
            }
        }
        b.precision.round(crew, kept);
        if let Some(dv) = &mut b.param_diffs[own] {
            let (dv, kept) = (
                MatMut::new(dv, s.output, s.output),
                Mat::new(kept, n, s.output),
            );
            gemm(crew, 1.0, dv, 1.0, Mat::new(dh, n, s.output).t(), kept);
        }
        self.recurrent.project_backward(b, s, s.output, dh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    fn rnn(bottoms: usize, param: &str) -> Box<dyn Layer> {
        let bottoms: String = (0..bottoms).map(|i| format!("bottom: 'b{i}' ")).collect();
        layer(&format!(
            "type: 'RNN' {bottoms} recurrent_param {{ num_output: 3 {param} }}"
        ))
    }

    #[test]
    fn gradients() {
        let check = Check {
            fixed: vec![(1, vec![1., 0., 1., 1., 0., 1., 1., 1.])],
            dead_tops: vec![1],
            ..Check::default()
        };
        check.run(&*rnn(2, ""), &[&[4, 2, 5], &[4, 2]]);
        check.run(&*rnn(3, ""), &[&[4, 2, 2, 1], &[4, 2], &[2, 3, 2]]);
        check.run(
            &*rnn(4, "expose_hidden: true"),
            &[&[4, 2, 5], &[4, 2], &[2, 4], &[1, 2, 3]],
        );
    }

    #[test]
    fn blobs_are_in_caffes_order() {
        let shapes = [
            Shape::new([4, 2, 5]),
            Shape::new([4, 2]),
            Shape::new([2, 6]),
        ];
        let specs = rnn(3, "").params(&shapes);
        let dims: Vec<Vec<usize>> = specs.iter().map(|s| s.shape.dims().to_vec()).collect();
        let want = [
            vec![3, 5],
            vec![3],
            vec![3, 6],
            vec![3, 3],
            vec![3, 3],
            vec![3],
        ];
        assert_eq!(dims, want);
    }
}
