//! A leaf's way through the net: one loop over steps forward, one backward.

use super::frame::{Arrays, Captured, Frame, Grads, Piece};
use super::graph::ValueId;
use super::pass::Pass;
use super::program::{Operand, Program, Work};
use super::ready::Set;
use super::timer::Timer;
use super::{Net, Weights};
use crate::kernels::aligned::Aligned;
use crate::kernels::crew::Crew;
use crate::tensor::{Shape, ViewMut};
use anyhow::{Context, Result};
use std::mem;
use std::ops::Range;
use std::time::Instant;

/// One leaf of a batch, with all that it reads.
pub(super) struct Leaf<'a> {
    pub net: &'a Net,
    pub program: &'a Program,
    pub pass: &'a Pass<'a>,
    pub weights: &'a Weights,
    pub ready: &'a Set,
    /// Its rows of the net's inputs.
    pub feed: &'a [&'a [f32]],
    /// Its rows of the batch.
    pub rows: Range<usize>,
}

impl Leaf<'_> {
    /// Forward.
    pub fn forward(&self, crew: &Crew, frame: &mut Frame, captured: &mut Captured) -> Result<()> {
        frame.actual.fill(None);
        let mut wanted = due(&self.program.made, &self.pass.wanted);
        for (k, step) in self.program.forward.iter().enumerate() {
            while let Some(v) = next(&mut wanted, k) {
                self.capture(crew, v, frame, captured);
            }
            crew.next_step();
            crew.name_step(|| self.net.step_name(step.layer, step.work.name()));
            let started = self.pass.timer.map(|_| Instant::now());
            let done = match &step.work {
                Work::Run(run) => self.run(crew, step.layer, run, frame, captured),
                Work::Follow => self.follow(step.layer, &mut frame.actual),
                _ => {
                    self.moves(crew, step, frame);
                    Ok(())
                }
            };
            done.with_context(|| self.net.graph.place(step.layer))?;
            Timer::add(self.pass.timer, step, started, true);
        }
        while let Some(v) = next(&mut wanted, usize::MAX) {
            self.capture(crew, v, frame, captured);
        }
        Ok(())
    }

    /// Backward of what has gone through [`Leaf::forward`] last; adds to `grads`.
    pub fn backward(
        &self,
        crew: &Crew,
        frame: &mut Frame,
        grads: &mut Grads,
        captured: &mut Captured,
    ) -> Result<()> {
        let given: Vec<ValueId> = self.pass.top_diffs.iter().map(|(v, _)| *v).collect();
        let mut given = due(&self.program.begun, &given);
        let mut wanted = due(&self.program.whole, &self.pass.wanted_diffs);
        for (k, step) in self.program.backward.iter().enumerate() {
            while let Some(v) = next(&mut given, k) {
                self.give(crew, v, frame)?;
            }
            while let Some(v) = next(&mut wanted, k) {
                self.capture_diff(crew, v, frame, captured);
            }
            crew.next_step();
            crew.name_step(|| self.net.step_name(step.layer, step.work.name()));
            let started = self.pass.timer.map(|_| Instant::now());
            match &step.work {
                Work::Back(back) => self
                    .back(crew, step.layer, back, frame, grads)
                    .with_context(|| format!("{}: backward", self.net.graph.place(step.layer)))?,
                _ => self.moves(crew, step, frame),
            }
            Timer::add(self.pass.timer, step, started, false);
        }
        let end = self.program.backward.len();
        while let Some(v) = next(&mut given, end) {
            self.give(crew, v, frame)?;
        }
        while let Some(v) = next(&mut wanted, end) {
            self.capture_diff(crew, v, frame, captured);
        }
        Ok(())
    }

    /// The arrays of `frame`, or of parts of it.
    pub(super) fn arrays<'b>(
        &'b self,
        buffers: &'b [Aligned],
        actual: &'b [Option<Shape>],
    ) -> Arrays<'b> {
        Arrays {
            buffers,
            actual,
            feed: self.feed,
        }
    }

    /// Copies value `v` out.
    fn capture(&self, crew: &Crew, v: ValueId, frame: &Frame, captured: &mut Captured) {
        let arrays = self.arrays(&frame.buffers, &frame.actual);
        let view = arrays.view(&self.program.values[v]);
        captured.values.push(Piece::new(crew, v, view));
    }

    /// Copies the gradient of value `v` out.
    fn capture_diff(&self, crew: &Crew, v: ValueId, frame: &Frame, captured: &mut Captured) {
        if let Some(diff) = &self.program.diffs[v] {
            let arrays = self.arrays(&frame.buffers, &frame.actual);
            captured.diffs.push(Piece::new(crew, v, arrays.view(diff)));
        }
    }

    /// Where only the data decide shapes: gives the tops of layer `i`, which another one computes, those that follow
    /// from its bottoms'.
    pub(super) fn follow(&self, i: usize, actual: &mut [Option<Shape>]) -> Result<()> {
        let node = &self.net.graph.nodes[i];
        let changed = |v: &ValueId| actual.get(*v).is_some_and(Option::is_some);
        let Some(layer) = self.net.layers[i].as_ref() else {
            return Ok(());
        };
        if !node.bottoms.iter().any(changed) {
            return Ok(());
        }
        let shape = |v: &ValueId| match &actual[*v] {
            Some(shape) => shape.clone(),
            None => self.program.values[*v].shape.clone(),
        };
        let shapes: Vec<Shape> = node.bottoms.iter().map(shape).collect();
        for (&t, shape) in node.tops.iter().zip(layer.shapes(&shapes)?) {
            actual[t] = Some(shape);
        }
        Ok(())
    }

    /// Runs `f` on the array `at`, and with what the others are.
    pub(super) fn write(
        &self,
        at: &Operand,
        frame: &mut Frame,
        f: impl FnOnce(Arrays, &mut ViewMut),
    ) {
        let Some(b) = at.buffer() else { return };
        let mut buffer = mem::take(&mut frame.buffers[b]);
        let arrays = self.arrays(&frame.buffers, &frame.actual);
        f(arrays, &mut arrays.view_mut(at, &mut buffer));
        frame.buffers[b] = buffer;
    }
}

/// The `values`, with what `steps` says of each, in the order of that; the last ones first.
fn due(steps: &[usize], values: &[ValueId]) -> Vec<(usize, ValueId)> {
    let mut due: Vec<(usize, ValueId)> = values
        .iter()
        .filter_map(|&v| Some((*steps.get(v)?, v)))
        .collect();
    due.sort_unstable_by(|a, b| b.cmp(a));
    due.dedup();
    due
}

/// The next of `due` that comes after at most `step` steps.
fn next(due: &mut Vec<(usize, ValueId)>, step: usize) -> Option<ValueId> {
    due.pop_if(|(at, _)| *at <= step).map(|(_, v)| v)
}
