//! What the layers have made of the weights for their kernels: packed once, not at every call.

use super::{Net, Weights};
use crate::kernels::crew::{self, Crew};
use crate::layers::{Prepare, Prepared};
use crate::tensor::{Shape, View};
use std::sync::{Arc, Mutex};

/// The prepared weights of every layer.
pub(crate) type Set = Vec<Option<Prepared>>;

/// The last prepared set, with the stamp of the weights that it is of.
#[derive(Default)]
pub(crate) struct Ready(Mutex<(u64, Arc<Set>)>);

impl Net {
    /// The layers' prepared weights; made now if `weights` are not those of the last call.
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
        old.resize_with(self.layers.len(), || None);
        let set: Set = crew::lead(|crew| {
            let each = old.into_iter().enumerate();
            each.map(|(i, old)| self.prepare(crew, i, weights, old))
                .collect()
        });
        let set = Arc::new(set);
        let mut last = self.ready.0.lock().unwrap_or_else(|e| e.into_inner());
        *last = (weights.stamp(), set.clone());
        set
    }

    /// The name of the kernel of layer `i` for the last weights.
    pub(super) fn kernel_of(&self, i: usize) -> Option<&'static str> {
        let (shapes, layouts) = self.seen(i);
        let set = self.ready.0.lock().unwrap_or_else(|e| e.into_inner());
        let prepared = set.1.get(i).and_then(Option::as_ref);
        let layer = self.layers[i].as_ref()?;
        Some(layer.kernel(&shapes, &layouts, prepared))
    }

    fn prepare(
        &self,
        crew: &Crew,
        i: usize,
        weights: &Weights,
        old: Option<Prepared>,
    ) -> Option<Prepared> {
        let layer = self.layers[i].as_ref()?;
        let form = &self.plan.form;
        if form.absorbed[i].is_some() {
            return None;
        }
        let node = &self.graph.nodes[i];
        let (bottoms, layouts) = self.seen(i);
        layer.prepare(Prepare {
            params: &self.param_views(i, weights, &[]),
            bottoms: &bottoms,
            layouts: &layouts,
            top: form.layouts[*node.tops.first()?],
            affine: self.affine(i, weights),
            backward: self.backward && self.plan.needs.bottoms[i].contains(&true),
            sparse: self.sparse,
            old,
            crew,
        })
    }

    /// The scales and shifts that layer `i` shall apply for those whose work it does.
    fn affine(&self, i: usize, weights: &Weights) -> Option<(Vec<f32>, Vec<f32>)> {
        let mut sum: Option<(Vec<f32>, Vec<f32>)> = None;
        for &j in &self.plan.form.chains[i] {
            let layer = self.layers[j].as_ref()?;
            let shape: &Shape = &self.shapes[self.graph.nodes[j].bottoms[0]];
            if !layer.is_affine(std::slice::from_ref(shape)) {
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
