//! Which values lie in bfloat16: in a net that multiplies by AMX, forward alone, those that are rounded anyway and that
//! only layers write and read which take them so. Half the bytes go through the caches.

use super::form::{Form, shares};
use super::{Rounding, Source};
use crate::layers::Halves;
use crate::net::graph::ValueId;
use crate::tensor::Layout;

/// Lays such values out so.
pub(super) fn halve(source: Source, rounding: &Rounding, form: &mut Form) {
    if !source.halves {
        return;
    }
    let classes = classes(source, form);
    let values = 0..source.graph.values.len();
    let mut fits = vec![true; classes.len()];
    for v in values.clone() {
        fits[classes[v]] &= fit(source, rounding, form, v);
    }
    for v in values.filter(|v| fits[classes[*v]]) {
        if let Layout::Pixels { pitch } = form.layouts[v] {
            form.layouts[v] = Layout::Halves { pitch };
        }
    }
}

/// For every value the first of those that lie as it does: in the same memory, or behind a layer that keeps their form.
fn classes(source: Source, form: &Form) -> Vec<ValueId> {
    let graph = source.graph;
    let mut classes: Vec<ValueId> = (0..graph.values.len()).collect();
    let mut join = |a: ValueId, b: ValueId| {
        let (a, b) = (classes[a], classes[b]);
        let to = a.min(b);
        classes
            .iter_mut()
            .filter(|c| **c == a || **c == b)
            .for_each(|c| *c = to);
    };
    for (i, node) in graph.nodes.iter().enumerate() {
        let (Some(&top), Some(&bottom)) = (node.tops.first(), node.bottoms.first()) else {
            continue;
        };
        let in_place = form.absorbed[i].is_some() || shares(source, form, i);
        if in_place || source.facts[i].halves == Halves::Alike {
            join(bottom, top);
        }
    }
    for v in 0..graph.values.len() {
        if let Some((wide, _)) = form.slices[v] {
            join(v, wide);
        }
        if let Some(other) = form.onto[v] {
            join(v, other);
        }
    }
    classes
}

/// Whether value `v` can lie in bfloat16, for its own part.
fn fit(source: Source, rounding: &Rounding, form: &Form, v: ValueId) -> bool {
    let (graph, facts) = (source.graph, source.facts);
    let value = &graph.values[v];
    let Layout::Pixels { pitch } = form.layouts[v] else {
        return false;
    };
    let even = [pitch, source.shapes[v].dim(1), form.first(v)];
    let base = form.absorbed[value.producer].unwrap_or(value.producer);
    let written = form.free[base]
        || form.pixels[base] && matches!(facts[base].halves, Halves::Either | Halves::Alike);
    let read = |&(i, k): &(usize, usize)| {
        let takes = form.pixels[i]
            && facts[i].halves != Halves::Never
            && graph.nodes[i].bottoms.len() == 1
            && !form.turns[i][k]
            && !rounding.copies[i][k];
        form.absorbed[i].is_some() || form.free[i] || takes
    };
    let passed_on = value.uses.iter().all(|(i, _)| form.absorbed[*i].is_some());
    even.iter().all(|n| n.is_multiple_of(2))
        && !graph.nodes[base].is_source()
        && !graph.outputs.contains(&v)
        && source.loss_weights[v] == 0.0
        && form.onto[v].is_none()
        && (rounding.values[v] || passed_on)
        && written
        && !value.uses.is_empty()
        && value.uses.iter().all(read)
}
