//! What LSTM and RNN share: bottoms, tops, and the product of the inputs of all steps with the input
//! weights.
//!
//! Bottoms: x [T, N, …], T steps of N streams; cont [T, N], 0 where a stream starts a new sequence and 1
//! where it continues; if wanted a static input [N, …] that every step sees; with `expose_hidden` the
//! states before the first step, each [1, N, D] with D = `num_output`. Tops: the outputs [T, N, D], then
//! with `expose_hidden` the states after the last step.
//!
//! Without `expose_hidden` the states before the first step are those that the batch before has left, as in
//! Caffe: where cont says that a sequence goes on, it goes on from there. The layer holds none of it: they
//! come and go with the pass (`Keep::before`, `Keep::after`), so that they can be part of a snapshot. No
//! gradient flows from one batch into the one before, and, as in Caffe, none into or out of exposed states.

use super::{Backward, Forward, Keep, ParamSpec};
use crate::kernels::product::gemm::{Mat, MatMut, gemm};
use crate::proto::caffe::{LayerParameter, RecurrentParameter};
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// The settings.
#[derive(Debug)]
pub(super) struct Recurrent {
    param: RecurrentParameter,
    /// How many states are exposed.
    pub exposed: usize,
    /// Whether the third bottom is a static input.
    pub has_static: bool,
}

/// The sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Steps.
    pub steps: usize,
    /// Streams.
    pub streams: usize,
    /// Values of x a step and stream.
    pub input: usize,
    /// Values of the static input a stream; 0 without one.
    pub fixed: usize,
    /// Values of a state a stream.
    pub output: usize,
}

impl Sizes {
    /// The values of one state at one step.
    pub fn state(&self) -> usize {
        self.streams * self.output
    }
}

impl Recurrent {
    /// The settings of a layer with `states` states (hidden, cell).
    pub fn new(param: &LayerParameter, states: usize) -> Result<Self> {
        let p = param.recurrent_param.clone().unwrap_or_default();
        if p.num_output() == 0 {
            bail!("recurrent_param needs num_output, the size of the hidden state");
        }
        let exposed = if p.expose_hidden() { states } else { 0 };
        let least = 2 + exposed;
        let bottoms = param.bottom.len();
        if bottoms < least || bottoms > least + 1 {
            bail!(
                "it takes {least} bottoms (x, cont{}), or one more for a static input, but {bottoms} are named",
                if exposed > 0 { ", initial states" } else { "" }
            );
        }
        Ok(Self {
            has_static: bottoms > least,
            exposed,
            param: p,
        })
    }

    /// The sizes, without checks.
    pub fn sizes(&self, bottoms: &[Shape]) -> Sizes {
        let x = &bottoms[0];
        Sizes {
            steps: x.dim(0),
            streams: x.dim(1),
            input: x.count_from(2),
            fixed: if self.has_static {
                bottoms[2].count_from(1)
            } else {
                0
            },
            output: self.param.num_output() as usize,
        }
    }

    /// The sizes that the arrays of a pass have.
    pub fn sizes_of(&self, bottoms: &[View]) -> Sizes {
        let shapes: Vec<Shape> = bottoms.iter().map(|b| b.shape.clone()).collect();
        self.sizes(&shapes)
    }

    /// Checks the bottoms and gives the tops.
    pub fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let first = 2 + usize::from(self.has_static);
        let (given, wanted) = (bottoms.len(), first + self.exposed);
        if given != wanted {
            bail!("it has {given} bottoms instead of {wanted}");
        }
        let (x, cont) = (&bottoms[0], &bottoms[1]);
        if x.axes() < 3 || x.count() == 0 {
            bail!("it needs x of at least 3 axes (steps, streams, values), bottom 0 has shape {x}");
        }
        let s = self.sizes(bottoms);
        if cont.dims() != [s.steps, s.streams] {
            bail!(
                "x of shape {x} needs cont of {} steps and {} streams, bottom 1 has shape {cont}",
                s.steps,
                s.streams
            );
        }
        if self.has_static {
            let fixed = &bottoms[2];
            if fixed.axes() < 2 || fixed.dim(0) != s.streams || fixed.count() == 0 {
                bail!(
                    "x of shape {x} needs a static input of {} streams and their values, bottom 2 has shape {fixed}",
                    s.streams
                );
            }
        }
        let state = Shape::new([1, s.streams, s.output]);
        for (i, given) in bottoms.iter().enumerate().skip(first) {
            if *given != state {
                bail!(
                    "x of shape {x} needs initial states of shape {state}, bottom {i} has shape {given}"
                );
            }
        }
        let mut tops = vec![Shape::new([s.steps, s.streams, s.output])];
        tops.resize(1 + self.exposed, state);
        Ok(tops)
    }

    /// The weights of `rows` × `columns`.
    pub fn weight(&self, rows: usize, columns: usize) -> ParamSpec {
        ParamSpec::weight(vec![rows, columns], self.param.weight_filler.as_ref())
    }

    /// The biases.
    pub fn bias(&self, rows: usize) -> ParamSpec {
        ParamSpec::bias(vec![rows], self.param.bias_filler.as_ref())
    }

    /// The parameters of [`Recurrent::project`]: weights of x, biases, weights of the static input.
    pub fn input_params(&self, s: Sizes, rows: usize) -> Vec<ParamSpec> {
        let mut specs = vec![self.weight(rows, s.input), self.bias(rows)];
        if self.has_static {
            specs.push(self.weight(rows, s.fixed));
        }
        specs
    }

    /// The index of the first parameter that is not [`Recurrent::project`]'s.
    pub fn next_param(&self) -> usize {
        2 + usize::from(self.has_static)
    }

    /// Multiply-accumulates of [`Recurrent::project`].
    pub fn macs(&self, s: Sizes, rows: usize) -> u64 {
        ((s.steps * s.streams * s.input + s.streams * s.fixed) * rows) as u64
    }

    /// Whether a gradient flows to bottom `i`.
    pub fn propagates(&self, i: usize) -> bool {
        i == 0 || i == 2 && self.has_static
    }

    /// State `k` before the first step: a bottom, else what was `carried` from the batch before; `None` for
    /// zeros.
    pub fn initial<'a>(
        &self,
        bottoms: &[View<'a>],
        carried: &'a [Vec<f32>],
        k: usize,
    ) -> Option<&'a [f32]> {
        let first = 2 + usize::from(self.has_static);
        match k < self.exposed {
            true => Some(bottoms[first + k].data),
            false => carried.get(k).map(Vec::as_slice),
        }
    }

    /// The sizes of `states` states that are carried on: none where they are exposed.
    pub fn carries(&self, bottoms: &[Shape], states: usize) -> Vec<usize> {
        match self.exposed {
            0 => vec![self.sizes(bottoms).state(); states],
            _ => Vec::new(),
        }
    }

    /// Hands the last steps of `states` on to the next batch, unless they are exposed.
    pub fn carry(&self, keep: &mut Keep, states: &[&[f32]]) {
        if self.exposed == 0 {
            keep.after = states.iter().map(|s| s.to_vec()).collect();
        }
    }

    /// y ← x·Wᵀ + b + static·Wₛᵀ, [T·N, rows].
    pub fn project(&self, f: &Forward, s: Sizes, rows: usize, y: &mut [f32]) {
        for y in y.chunks_exact_mut(rows) {
            y.copy_from_slice(f.params[1].data);
        }
        if self.has_static {
            let fixed = Mat::new(f.bottoms[2].data, s.streams, s.fixed);
            let weights = Mat::new(f.params[2].data, rows, s.fixed);
            for y in y.chunks_exact_mut(s.streams * rows) {
                gemm(
                    f.crew,
                    1.0,
                    MatMut::new(y, s.streams, rows),
                    1.0,
                    fixed,
                    weights.t(),
                );
            }
        }
        let n = s.steps * s.streams;
        let x = Mat::new(f.bottoms[0].data, n, s.input);
        let weights = Mat::new(f.params[0].data, rows, s.input);
        gemm(f.crew, 1.0, MatMut::new(y, n, rows), 1.0, x, weights.t());
    }

    /// The gradients of [`Recurrent::project`] for those of y.
    pub fn project_backward(&self, b: &mut Backward, s: Sizes, rows: usize, dy: &[f32]) {
        let (crew, n) = (b.crew, s.steps * s.streams);
        let grad = Mat::new(dy, n, rows);
        if let Some(dw) = &mut b.param_diffs[0] {
            let x = Mat::new(b.bottoms[0].data, n, s.input);
            gemm(crew, 1.0, MatMut::new(dw, rows, s.input), 1.0, grad.t(), x);
        }
        if let Some(db) = &mut b.param_diffs[1] {
            for row in dy.chunks_exact(rows) {
                db.iter_mut().zip(row).for_each(|(d, v)| *d += v);
            }
        }
        if let Some(dx) = &mut b.bottom_diffs[0] {
            let weights = Mat::new(b.params[0].data, rows, s.input);
            gemm(
                crew,
                0.0,
                MatMut::new(dx.data, n, s.input),
                1.0,
                grad,
                weights,
            );
        }
        if !self.has_static {
            return;
        }
        let mut sum = vec![0.0f32; s.streams * rows];
        for step in dy.chunks_exact(sum.len()) {
            sum.iter_mut().zip(step).for_each(|(s, v)| *s += v);
        }
        b.precision.round(crew, &mut sum);
        let grad = Mat::new(&sum, s.streams, rows);
        if let Some(dw) = &mut b.param_diffs[2] {
            let fixed = Mat::new(b.bottoms[2].data, s.streams, s.fixed);
            gemm(
                crew,
                1.0,
                MatMut::new(dw, rows, s.fixed),
                1.0,
                grad.t(),
                fixed,
            );
        }
        if let Some(dx) = &mut b.bottom_diffs[2] {
            let weights = Mat::new(b.params[2].data, rows, s.fixed);
            gemm(
                crew,
                0.0,
                MatMut::new(dx.data, s.streams, s.fixed),
                1.0,
                grad,
                weights,
            );
        }
    }
}

/// kept ← cont · h: the hidden state that step `t` sees; `h` is the one before, `None` for zeros.
pub(super) fn continued(s: Sizes, cont: &[f32], t: usize, h: Option<&[f32]>, kept: &mut [f32]) {
    let Some(h) = h else {
        kept.fill(0.0);
        return;
    };
    let rows = kept
        .chunks_exact_mut(s.output)
        .zip(h.chunks_exact(s.output));
    for ((kept, h), c) in rows.zip(&cont[t * s.streams..]) {
        kept.iter_mut().zip(h).for_each(|(k, h)| *k = c * h);
    }
}

/// The state before step `t` of the states after each step, `states`; `initial` before the first.
pub(super) fn before<'a>(
    s: Sizes,
    states: &'a [f32],
    t: usize,
    initial: Option<&'a [f32]>,
) -> Option<&'a [f32]> {
    match t.checked_sub(1) {
        Some(last) => Some(&states[last * s.state()..t * s.state()]),
        None => initial,
    }
}
