//! The steps that are a layer's own forward or backward.

use super::frame::{Captured, Frame, Grads};
use super::leaf::Leaf;
use super::moves::round;
use super::program::{Back, Operand, Run};
use crate::kernels::aligned::Aligned;
use crate::kernels::crew::Crew;
use crate::kernels::elementwise::relu;
use crate::layers::{Backward, Forward, Layer};
use crate::tensor::{View, ViewMut};
use anyhow::{Result, bail};
use smallvec::SmallVec;
use std::mem;

/// Buffers that are being written, out of the frame meanwhile.
type Taken = SmallVec<[(usize, Aligned); 4]>;

/// Takes the buffers of `operands` out, each once.
fn take<'a>(operands: impl Iterator<Item = &'a Operand>, buffers: &mut [Aligned]) -> Taken {
    let mut taken = Taken::new();
    for b in operands.filter_map(Operand::buffer) {
        taken.push((b, mem::take(&mut buffers[b])));
    }
    taken
}

/// Puts them back.
fn put(taken: Taken, buffers: &mut [Aligned]) {
    for (b, buffer) in taken {
        buffers[b] = buffer;
    }
}

impl Leaf<'_> {
    fn layer(&self, i: usize) -> Result<&dyn Layer> {
        match self.net.layers[i].as_deref() {
            Some(layer) => Ok(layer),
            None => bail!("a source of data has no work to do"),
        }
    }

    /// The parameters of layer `i`: their weights, or what a layer before has made of them in this pass.
    fn params<'b>(&'b self, i: usize, updates: &'b [(usize, Vec<f32>)]) -> Vec<View<'b>> {
        let mut views = self.net.param_views(i, self.weights, updates);
        self.net.multiplied(i, self.ready, &mut views);
        views
    }

    /// Forward of layer `i`.
    pub(super) fn run(
        &self,
        crew: &Crew,
        i: usize,
        run: &Run,
        frame: &mut Frame,
        captured: &mut Captured,
    ) -> Result<()> {
        let layer = self.layer(i)?;
        self.follow(i, &mut frame.actual)?;
        self.net.start_states(self.pass, i, &mut frame.keeps[i]);
        let mut taken = take(run.tops.iter(), &mut frame.buffers);
        let Frame {
            buffers,
            keeps,
            normalisers,
            actual,
            ..
        } = frame;
        let arrays = self.arrays(buffers, actual);
        let bottoms: Vec<View> = run.bottoms.iter().map(|o| arrays.view(o)).collect();
        if run.counts {
            normalisers[i] = layer.normaliser(&bottoms);
        }
        let kernel = self.ready.kernels[i].as_deref();
        let own = kernel.is_some_and(|k| k.rounds()[0]) && run.tops.iter().all(|t| t.rounds);
        let mut updates = Vec::new();
        let pairs = run.tops.iter().zip(&mut taken);
        let mut tops: Vec<ViewMut> = pairs
            .map(|(top, (_, buffer))| arrays.view_mut(top, buffer))
            .collect();
        let mut f = Forward {
            params: &self.params(i, &captured.updates),
            bottoms: &bottoms,
            tops: &mut tops,
            keep: &mut keeps[i],
            relu: run.relu && !self.pass.check_finite,
            add: run.add,
            round: own,
            random: self.pass.random.branch(self.net.stream(i)),
            first: self.rows.start,
            precision: self.net.precision,
            crew,
            updates: &mut updates,
        };
        let result = match kernel {
            Some(kernel) => kernel.forward(&mut f),
            None => layer.forward(&mut f),
        };
        if run.divides {
            let by = normalisers[i];
            tops[0].data.iter_mut().for_each(|v| *v /= by);
        }
        let rounded = run.tops.iter().zip(&mut tops);
        rounded
            // What lies in bfloat16 is rounded.
            .filter(|(top, _)| top.rounds && !own && !top.layout.is_halves())
            .for_each(|(_, top)| round(crew, top));
        let finite = match result.is_ok() && self.pass.check_finite {
            true => self.check_finite(i, run.relu, &mut tops),
            false => Ok(()),
        };
        let changed =
            |t: &ViewMut| (t.layout.extent(&t.shape) != t.data.len()).then(|| t.shape.clone());
        let changed: SmallVec<[_; 4]> = tops.iter().map(changed).collect();
        drop((tops, bottoms));
        for (top, shape) in run.tops.iter().zip(changed) {
            if let (Some(actual), Some(shape)) = (actual.get_mut(top.value), shape) {
                *actual = Some(shape);
            }
        }
        if !keeps[i].after.is_empty() {
            captured.carried.add(i, mem::take(&mut keeps[i].after));
        }
        for (k, values) in updates {
            captured.updates.push((self.net.uses[i][k].id, values));
        }
        put(taken, buffers);
        result.and(finite)
    }

    /// Stops at a top of layer `i` that is not finite; does the ReLU that had to wait for it.
    fn check_finite(&self, i: usize, rectify: bool, tops: &mut [ViewMut]) -> Result<()> {
        let bad = tops.iter().position(|t| t.values().any(|v| !v.is_finite()));
        if let Some(k) = bad {
            let v = self.net.graph.nodes[i].tops[k];
            let name = &self.net.graph.values[v].name;
            bail!("its output '{name}' is not finite");
        }
        // Only now: an infinite number below 0 would have become 0.
        if rectify {
            tops[0]
                .rows_mut()
                .for_each(|row| relu(&Crew::alone(), 0.0, row));
        }
        Ok(())
    }

    /// Backward of layer `i`.
    pub(super) fn back(
        &self,
        crew: &Crew,
        i: usize,
        back: &Back,
        frame: &mut Frame,
        grads: &mut Grads,
    ) -> Result<()> {
        let layer = self.layer(i)?;
        let mut taken = take(back.bottom_diffs.iter().flatten(), &mut frame.buffers);
        let mut param_taken = self.take_grads(i, grads);
        let Frame {
            buffers,
            keeps,
            normalisers,
            actual,
            ..
        } = frame;
        let arrays = self.arrays(buffers, actual);
        let views = |operands: &[Operand]| -> Vec<View> {
            operands.iter().map(|o| arrays.view(o)).collect()
        };
        let (bottoms, tops) = (views(&back.bottoms), views(&back.tops));
        let top_diffs = views(&back.top_diffs);
        let mut written = taken.iter_mut();
        let mut bottom_diffs: Vec<Option<ViewMut>> = Vec::new();
        for diff in &back.bottom_diffs {
            let array = diff.as_ref().and_then(|diff| {
                let (_, buffer) = written.next()?;
                Some(arrays.view_mut(diff, buffer))
            });
            bottom_diffs.push(array);
        }
        let mut param_diffs: Vec<Option<&mut [f32]>> = param_taken
            .iter_mut()
            .map(|g| (!g.is_empty()).then_some(&mut g[..]))
            .collect();
        let kernel = self.ready.kernels[i].as_deref();
        let mut rounded = back.bottom_diffs.iter().flatten();
        let own = kernel.is_some_and(|k| k.rounds()[1]) && rounded.all(|diff| diff.rounds);
        let mut b = Backward {
            params: &self.params(i, &[]),
            bottoms: &bottoms,
            tops: &tops,
            top_diffs: &top_diffs,
            bottom_diffs: &mut bottom_diffs,
            param_diffs: &mut param_diffs,
            keep: &mut keeps[i],
            round: own,
            normaliser: normalisers[i],
            precision: self.net.precision,
            crew,
        };
        let result = match kernel {
            Some(kernel) => kernel.backward(&mut b),
            None => layer.backward(&mut b),
        };
        for (to, diff) in back.bottom_diffs.iter().zip(&mut bottom_diffs) {
            if let (Some(to), Some(diff)) = (to, diff)
                && to.rounds
                && !own
            {
                round(crew, diff);
            }
        }
        drop((bottoms, tops, top_diffs, bottom_diffs));
        put(taken, buffers);
        for (u, g) in self.net.uses[i].iter().zip(param_taken) {
            match grads[u.id].is_empty() {
                true => grads[u.id] = g,
                false => super::tree::add(crew, &mut grads[u.id..=u.id], &[g]),
            }
        }
        result
    }

    /// The gradients of the parameters of layer `i`, out of `grads` meanwhile. A layer that uses one parameter twice
    /// gets a second array, to be added.
    fn take_grads(&self, i: usize, grads: &mut Grads) -> Vec<Vec<f32>> {
        let uses = &self.net.uses[i];
        let one = |id: usize| {
            let grad = mem::take(&mut grads[id]);
            let twice = uses.iter().filter(|other| other.id == id).count() > 1;
            match grad.is_empty() && twice {
                true => vec![0.0; self.net.params[id].shape.count()],
                false => grad,
            }
        };
        uses.iter().map(|u| u.id).map(one).collect()
    }
}
