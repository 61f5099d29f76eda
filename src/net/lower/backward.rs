//! The steps of backward, from the last layer to the first.

use super::Lowering;
use super::buffers::Home;
use crate::net::graph::{Node, ValueId};
use crate::net::program::{Back, Operand, Place, Step, Work};
use crate::tensor::Layout;

impl Lowering<'_> {
    /// Appends the steps of every layer that backward needs.
    pub fn backward(&mut self) {
        let graph = self.source.graph;
        let values = graph.values.len();
        (self.program.begun, self.program.whole) =
            (vec![usize::MAX; values], vec![usize::MAX; values]);
        let mut written = vec![false; values];
        for i in (0..graph.nodes.len()).rev() {
            if graph.nodes[i].is_source() || !self.needs.layers[i] {
                continue;
            }
            self.start(i, &mut written);
            let node = &graph.nodes[i];
            for (k, &v) in node.bottoms.iter().enumerate() {
                let slice = self.form.slices[v];
                let inside = slice.is_some_and(|(wide, _)| node.tops.first() == Some(&wide));
                let absorbed = self.form.absorbed[i].is_some();
                written[v] |= self.needs.bottoms[i][k] && (absorbed || inside);
            }
            if self.form.absorbed[i].is_none() && !self.form.free[i] {
                self.back(i, &mut written);
            }
        }
        for (v, _) in written.iter().enumerate().filter(|(_, written)| **written) {
            if self.program.whole[v] == usize::MAX {
                self.program.whole[v] = self.program.backward.len();
            }
        }
    }

    fn push(&mut self, layer: usize, work: Work) {
        self.program.backward.push(Step { layer, work });
    }

    /// Makes the gradients of the tops of layer `i` complete.
    fn start(&mut self, i: usize, written: &mut [bool]) {
        let source = self.source;
        let tops = &source.graph.nodes[i].tops;
        for &t in tops {
            let Some(at) = self.program.diffs[t].clone() else {
                continue;
            };
            if !written[t] {
                written[t] = true;
                self.push(i, Work::Clear { at: at.clone() });
            }
            let weight = source.loss_weights[t];
            if weight != 0.0 {
                self.push(i, Work::Weigh { at, weight });
            }
            self.program.begun[t] = self.program.backward.len();
        }
        if let Some(&t) = tops.first()
            && !self.form.chains[i].is_empty()
            && let Some(at) = self.program.diffs[t].clone()
        {
            let by = self.program.values[t].clone();
            self.push(i, Work::Mask { by, at });
        }
        for &t in tops.iter().filter(|&&t| self.program.diffs[t].is_some()) {
            self.program.whole[t] = self.program.backward.len();
        }
    }

    /// The gradient of bottom `k` of layer `i`, as the layer gives it: straight where it belongs, or on its way there
    /// by the steps that `after` gets.
    fn target(
        &mut self,
        i: usize,
        k: usize,
        written: &mut [bool],
        after: &mut Vec<Work>,
    ) -> Option<Operand> {
        let v = self.source.graph.nodes[i].bottoms[k];
        if !self.needs.bottoms[i][k] || self.form.slices[v].is_some() {
            return None;
        }
        let home = self.program.diffs[v].clone()?;
        let layout = match self.form.pixels[i] {
            true => Layout::pixels(&home.shape),
            false => Layout::Planes,
        };
        let (turned, add) = (self.form.turns_diff[i][k], written[v]);
        written[v] = true;
        if !turned && !add {
            return Some(Operand { layout, ..home });
        }
        let count = home.shape.count();
        let given = Operand {
            place: Place::Buffer(self.buffers.given(k, count)),
            first: 0,
            layout,
            ..home.clone()
        };
        let from = given.clone();
        match (turned, add) {
            (true, true) => {
                let extra = Operand {
                    place: Place::Buffer(self.buffers.extra(count)),
                    first: 0,
                    ..home.clone()
                };
                let to = extra.clone();
                after.push(Work::Turn { from, to });
                let (from, to) = (extra, home);
                after.push(Work::Add { from, to });
            }
            (true, false) => after.push(Work::Turn { from, to: home }),
            _ => after.push(Work::Add { from, to: home }),
        }
        Some(given)
    }

    /// Appends the backward of layer `i` itself.
    fn back(&mut self, i: usize, written: &mut [bool]) {
        let source = self.source;
        let node = &source.graph.nodes[i];
        let mut bottoms = self.bottoms(i, |program, from, to| {
            program.backward.push(Step {
                layer: i,
                work: Work::Turn { from, to },
            });
        });
        let tops = node.tops.iter().map(|&t| self.program.values[t].clone());
        let tops: Vec<Operand> = tops.collect();
        if let (Some(&b), Some(&t)) = (node.bottoms.first(), node.tops.first())
            && matches!(self.buffers.homes[b], Home::Buffer(_))
            && self.buffers.homes[b] == self.buffers.homes[t]
        {
            bottoms[0].place = Place::Nowhere;
        }
        let mut after = Vec::new();
        let each = 0..node.bottoms.len();
        let mut bottom_diffs: Vec<Option<Operand>> = each
            .map(|k| self.target(i, k, written, &mut after))
            .collect();
        if moves_only(node) {
            let mut tops = node.tops.iter().map(|&t| &self.program.diffs[t]);
            let rounded = tops.all(|diff| diff.as_ref().is_some_and(|d| d.rounds));
            let given = bottom_diffs.iter_mut().flatten();
            given.for_each(|diff| diff.rounds &= !rounded);
        }
        let top_diff = |&t: &ValueId| {
            let mut operand = match &self.program.diffs[t] {
                Some(diff) => diff.clone(),
                None => Operand {
                    place: Place::Nowhere,
                    ..self.program.values[t].clone()
                },
            };
            let taken = |d: &Operand| d.place == operand.place;
            if bottom_diffs.iter().flatten().any(taken) {
                operand.place = Place::Nowhere;
            }
            operand
        };
        let top_diffs = node.tops.iter().map(top_diff).collect();
        self.push(
            i,
            Work::Back(Back {
                bottoms,
                tops,
                top_diffs,
                bottom_diffs,
            }),
        );
        after.into_iter().for_each(|work| self.push(i, work));
    }
}

/// Whether a layer's backward only moves numbers.
fn moves_only(node: &Node) -> bool {
    let types = ["Concat", "Slice", "Flatten", "Reshape"];
    types.contains(&node.param.r#type())
}
