//! What the layers have made of the weights for their kernels: packed once, not at every call.

use super::{Net, ParamUse, Weights};
use crate::kernels::bf16;
use crate::kernels::crew::{self, Crew};
use crate::layers::{Kernel, Lower, Role};
use crate::memory;
use crate::tensor::View;
use std::sync::{Arc, Mutex};

/// What is ready of some weights.
#[derive(Default)]
pub(crate) struct Set {
    /// The kernel of every layer that has one, with its weights.
    pub kernels: Vec<Option<Box<dyn Kernel>>>,
    /// By parameter: the weights rounded, of layers that multiply by them without a kernel, in a net that rounds.
    rounded: Vec<Vec<f32>>,
}

/// The last set, with the stamp of the weights that it is of.
#[derive(Default)]
pub(crate) struct Ready(Mutex<(u64, Arc<Set>)>);

impl Net {
    /// The layers' kernels; made now if `weights` are not those of the last call.
    pub(crate) fn ready(&self, weights: &Weights) -> Arc<Set> {
        let mut old = {
            let mut last = self.ready.0.lock().unwrap_or_else(|e| e.into_inner());
            if last.0 == weights.stamp() {
                return last.1.clone();
            }
            // The memory of the last set serves again, unless a pass still reads it. Stamps start at 1.
            last.0 = 0;
            Arc::try_unwrap(std::mem::take(&mut last.1)).unwrap_or_default()
        };
        // Not under the lock: a thread of the pool that waits here may be given another pass of this net.
        old.kernels.resize_with(self.layers.len(), || None);
        let set = crew::lead(|crew| {
            let each = old.kernels.into_iter().enumerate();
            let kernels = each.map(|(i, old)| self.lower(crew, i, weights, old));
            let kernels: Vec<_> = kernels.collect();
            let rounded = self.rounded(crew, &kernels, weights, old.rounded);
            Set { kernels, rounded }
        });
        let set = Arc::new(set);
        let mut last = self.ready.0.lock().unwrap_or_else(|e| e.into_inner());
        *last = (weights.stamp(), set.clone());
        set
    }

    /// What a record calls the work `what` of layer `i`.
    pub(super) fn step_name(&self, i: usize, what: &str) -> String {
        let node = &self.graph.nodes[i];
        format!("{} {} {what}", node.param.r#type(), node.name())
    }

    /// The name of the kernel of layer `i` for the last weights.
    pub(super) fn kernel_of(&self, i: usize) -> Option<&'static str> {
        let set = self.ready.0.lock().unwrap_or_else(|e| e.into_inner());
        self.layers[i].as_ref()?;
        let kernel = set.1.kernels.get(i).and_then(Option::as_ref);
        Some(kernel.map_or(self.facts[i].kernel, |k| k.name()))
    }

    fn lower(
        &self,
        crew: &Crew,
        i: usize,
        weights: &Weights,
        old: Option<Box<dyn Kernel>>,
    ) -> Option<Box<dyn Kernel>> {
        let layer = self.layers[i].as_ref()?;
        crew.name_step(|| self.step_name(i, "packing"));
        let form = &self.lowered.form;
        if form.absorbed[i].is_some() {
            return None;
        }
        let node = &self.graph.nodes[i];
        let bottoms = self.bottom_shapes(i);
        let params = self.param_views(i, weights, &[]);
        let lower = Lower {
            params: &params,
            bottoms: &bottoms,
            layouts: &self.lowered.seen[i],
            top: form.layouts[*node.tops.first()?],
            affine: self.affine(i, weights),
            backward: self.backward && self.lowered.needs.bottoms[i].contains(&true),
            sparse: self.sparse,
            precision: self.precision,
            crew,
        };
        if let Some(mut kernel) = old
            && kernel.repack(&lower)
        {
            return Some(kernel);
        }
        layer.lower(&lower)
    }

    /// The parameters of which a rounded copy is multiplied: the weights, no biases, of layer `i`.
    fn multiplied_params(&self, i: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let uses = self.uses[i].iter().enumerate();
        let multiplies = self.lowered.rounding.multiplies[i];
        uses.filter(move |(_, u)| multiplies && self.params[u.id].prunable)
            .map(|(k, u)| (k, u.id))
    }

    /// The weights rounded, of the layers without a kernel, in the memory of the last ones.
    fn rounded(
        &self,
        crew: &Crew,
        kernels: &[Option<Box<dyn Kernel>>],
        weights: &Weights,
        mut rounded: Vec<Vec<f32>>,
    ) -> Vec<Vec<f32>> {
        rounded.resize_with(self.params.len(), Vec::new);
        let mut done = vec![false; self.params.len()];
        for i in (0..self.layers.len()).filter(|&i| kernels[i].is_none()) {
            for (_, id) in self.multiplied_params(i) {
                if !std::mem::replace(&mut done[id], true) {
                    crew.name_step(|| self.step_name(i, "rounding"));
                    let from = &weights[id].data;
                    rounded[id].resize(from.len(), 0.0);
                    bf16::copy(crew, from, &mut rounded[id]);
                }
            }
        }
        rounded
    }

    /// Puts the rounded weights, where there are some, in the place of those of layer `i`.
    pub(super) fn multiplied<'a>(&self, i: usize, set: &'a Set, views: &mut [View<'a>]) {
        for (k, id) in self.multiplied_params(i) {
            if !set.rounded[id].is_empty() {
                views[k].data = &set.rounded[id];
            }
        }
    }

    /// Bytes of the weights that are kept rounded.
    pub(super) fn rounded_bytes(&self) -> u128 {
        let mut ids: Vec<usize> = (0..self.layers.len())
            .filter(|&i| self.facts[i].packed_bytes == [0; 2])
            .flat_map(|i| self.multiplied_params(i).map(|(_, id)| id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(|id| memory::floats(self.params[id].shape.count()))
            .sum()
    }

    /// The parameters of layer `i`: their weights, or what a layer before has made of them in this pass.
    pub(super) fn param_views<'a>(
        &self,
        i: usize,
        weights: &'a Weights,
        updates: &'a [(usize, Vec<f32>)],
    ) -> Vec<View<'a>> {
        let view = |u: &ParamUse| {
            let update = updates.iter().rev().find(|(id, _)| *id == u.id);
            let data = update.map_or(&weights[u.id].data, |(_, values)| values);
            View::planes(u.shape.clone(), data)
        };
        self.uses[i].iter().map(view).collect()
    }

    /// The scales and shifts that layer `i` shall apply for those whose work it does.
    fn affine(&self, i: usize, weights: &Weights) -> Option<(Vec<f32>, Vec<f32>)> {
        let mut sum: Option<(Vec<f32>, Vec<f32>)> = None;
        for &j in &self.lowered.form.chains[i] {
            let layer = self.layers[j].as_ref()?;
            if self.facts[j].role != Role::Affine {
                continue;
            }
            let params: Vec<View> = self.param_views(j, weights, &[]);
            let (scale, shift) = layer.affine(&params);
            sum = Some(match sum {
                None => (scale, shift),
                Some((mut a, mut b)) => {
                    for (((a, b), scale), shift) in a.iter_mut().zip(&mut b).zip(scale).zip(shift) {
                        *b = *b * scale + shift;
                        *a *= scale;
                    }
                    (a, b)
                }
            });
        }
        sum
    }
}
