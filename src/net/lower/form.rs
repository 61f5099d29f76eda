//! How the values of a net lie in memory, and which layers need not run: layouts, fused layers, and
//! Concats whose bottoms are written straight into their top. All of it follows from shapes.

use super::Source;
use crate::layers::{Layouts, Role};
use crate::net::graph::ValueId;
use crate::tensor::{Layout, Shape};

/// What is decided about every layer and value.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// For every layer: whether it runs channels last.
    pub pixels: Vec<bool>,
    /// For every layer: whether it runs channels last, but reads all its bottoms in C order, as they lie.
    pub reads_planes: Vec<bool>,
    /// For every layer and bottom: whether it must be turned into the layer's layout first.
    pub turns: Vec<Vec<bool>>,
    /// For every layer and bottom: whether its gradient, which comes in the layer's layout, must be turned.
    pub turns_diff: Vec<Vec<bool>>,
    /// How each value lies.
    pub layouts: Vec<Layout>,
    /// The value of whose channels a value is a part, and its first channel there.
    pub slices: Vec<Option<(ValueId, usize)>>,
    /// The value onto which a value is added, so that both share a buffer.
    pub onto: Vec<Option<ValueId>>,
    /// For every layer: the one that does its work.
    pub absorbed: Vec<Option<usize>>,
    /// For every layer: those whose work it does, in order.
    pub chains: Vec<Vec<usize>>,
    /// Layers whose top is there when its bottoms are.
    pub free: Vec<bool>,
}

impl Form {
    /// Where in its buffer value `v` starts.
    pub fn first(&self, v: ValueId) -> usize {
        self.slices[v].map_or(0, |(_, first)| first)
    }
}

/// Whether both layouts of a shape are the same bytes.
fn is_trivial(shape: &Shape) -> bool {
    shape.axes() != 4 || shape.dim(1) == 1 || shape.count_from(2) == 1
}

/// Decides for a net.
pub(super) fn form(source: Source) -> Form {
    let (nodes, values) = (source.graph.nodes.len(), source.graph.values.len());
    let mut form = Form {
        pixels: vec![false; nodes],
        reads_planes: vec![false; nodes],
        turns: vec![Vec::new(); nodes],
        turns_diff: vec![Vec::new(); nodes],
        layouts: vec![Layout::Planes; values],
        slices: vec![None; values],
        onto: vec![None; values],
        absorbed: vec![None; nodes],
        chains: vec![Vec::new(); nodes],
        free: vec![false; nodes],
    };
    (0..nodes).for_each(|i| lay_out(source, i, &mut form));
    if source.plain {
        return form;
    }
    for i in 0..nodes {
        absorb(source, i, &mut form);
        if !source.backward && !source.every_blob {
            add_onto(source, i, &mut form);
        }
    }
    (0..nodes).for_each(|i| slice(source, i, &mut form));
    form
}

/// Decides in which layout layer `i` runs, and which of its bottoms must be turned.
fn lay_out(source: Source, i: usize, form: &mut Form) {
    if source.graph.nodes[i].is_source() {
        return;
    }
    let (node, facts, shapes) = (&source.graph.nodes[i], &source.facts[i], source.shapes);
    let pixels = match facts.layouts {
        _ if source.plain => false,
        Layouts::Planes => false,
        Layouts::Pixels => true,
        Layouts::Either => node
            .bottoms
            .first()
            .is_some_and(|&v| form.layouts[v].is_pixels()),
    };
    form.pixels[i] = pixels;
    for &t in node.tops.iter().filter(|_| pixels) {
        form.layouts[t] = Layout::pixels(&shapes[t]);
    }
    let other = |&v: &ValueId| form.layouts[v].is_pixels() != pixels && !is_trivial(&shapes[v]);
    let others: Vec<bool> = node.bottoms.iter().map(other).collect();
    // A layer sees all its bottoms in one layout: they go through one kernel.
    let in_planes = node.bottoms.iter().all(|&v| !form.layouts[v].is_pixels());
    let takes = pixels && facts.role == Role::Convolution && in_planes;
    form.reads_planes[i] = takes;
    form.turns[i] = others.iter().map(|other| *other && !takes).collect();
    form.turns_diff[i] = others;
}

/// Whether layer `i`, as it runs, can do on its results what layers behind it say.
fn fuses(source: Source, i: usize, form: &Form) -> bool {
    form.pixels[i]
        && source.facts[i].role == Role::Convolution
        && source.graph.nodes[i].bottoms.len() == 1
}

/// Lets layer `i` do the work of the in-place layers behind it, as far as it can.
fn absorb(source: Source, i: usize, form: &mut Form) {
    let graph = source.graph;
    let ([top], true) = (graph.nodes[i].tops.as_slice(), fuses(source, i, form)) else {
        return;
    };
    let mut last = *top;
    while let [(next, 0)] = graph.values[last].uses.as_slice() {
        let (j, reader) = (*next, &graph.nodes[*next]);
        let ([_], [top]) = (reader.bottoms.as_slice(), reader.tops.as_slice()) else {
            return;
        };
        if graph.values[*top].overwrites != Some(last) || !shares(source, form, j) {
            return;
        }
        let affine = match source.facts[j].role {
            Role::Relu => false,
            Role::Affine if !source.backward => true,
            _ => return,
        };
        form.absorbed[j] = Some(i);
        form.chains[i].push(j);
        if !affine {
            return;
        }
        last = *top;
    }
}

/// Lets layer `i` add its results onto the other bottom of a sum that nobody else will read any more: the
/// end of a residual block, in testing. A ReLU in place behind the sum goes with it.
fn add_onto(source: Source, i: usize, form: &mut Form) {
    let (graph, facts) = (source.graph, source.facts);
    let ([top], true) = (graph.nodes[i].tops.as_slice(), fuses(source, i, form)) else {
        return;
    };
    let chain = form.chains[i].iter();
    let own: Vec<ValueId> = std::iter::once(*top)
        .chain(chain.clone().map(|&j| graph.nodes[j].tops[0]))
        .collect();
    let rectified = chain.clone().any(|&j| facts[j].role == Role::Relu);
    let last = own[own.len() - 1];
    let [(j, k)] = graph.values[last].uses.as_slice() else {
        return;
    };
    let (j, sum) = (*j, &graph.nodes[*j]);
    if rectified || facts[j].role != Role::Sum {
        return;
    }
    let other = sum.bottoms[1 - k];
    let producer = graph.values[other].producer;
    let readers = &graph.values[other].uses;
    let earlier = |&(n, _): &(usize, usize)| n == j || n < i;
    let fits = producer < i
        && !graph.nodes[producer].is_source()
        && form.layouts[other] == form.layouts[last]
        && form.slices[other].is_none()
        && readers.iter().filter(|(n, _)| *n == j).count() == 1
        && readers.iter().all(earlier);
    if !fits {
        return;
    }
    form.absorbed[j] = Some(i);
    form.chains[i].push(j);
    for v in own.into_iter().chain([sum.tops[0]]) {
        form.onto[v] = Some(other);
    }
    if let [(r, 0)] = graph.values[sum.tops[0]].uses.as_slice()
        && let [top] = graph.nodes[*r].tops.as_slice()
        && facts[*r].role == Role::Relu
        && graph.values[*top].overwrites == Some(sum.tops[0])
        && shares(source, form, *r)
    {
        form.absorbed[*r] = Some(i);
        form.chains[i].push(*r);
    }
}

/// Makes the bottoms of a Concat slices of its top, where their layers can write them so.
fn slice(source: Source, i: usize, form: &mut Form) {
    let (node, shapes) = (&source.graph.nodes[i], source.shapes);
    let joins = form.pixels[i] && source.facts[i].role == Role::Join;
    let ([top], true) = (node.tops.as_slice(), joins) else {
        return;
    };
    let pitch = shapes[*top].dim(1);
    let mut first = 0;
    form.free[i] = true;
    for &v in &node.bottoms {
        let values = writer(source, form, v);
        form.free[i] &= values.is_some();
        for v in values.unwrap_or_default() {
            form.slices[v] = Some((*top, first));
            form.layouts[v] = Layout::Pixels { pitch };
        }
        first += shapes[v].dim(1);
    }
}

/// The values in the buffer of `v`, itself included, if one layer writes them and can write a slice, and
/// nobody but a Concat reads `v`.
fn writer(source: Source, form: &Form, v: ValueId) -> Option<Vec<ValueId>> {
    let graph = source.graph;
    let producer = graph.values[v].producer;
    let base = form.absorbed[producer].unwrap_or(producer);
    let one = graph.values[v].uses.len() == 1 && graph.nodes[base].tops.len() == 1;
    let writes = form.pixels[base] && source.facts[base].role == Role::Convolution;
    let fits = one && form.slices[v].is_none() && writes;
    let chain = form.chains[base].iter().map(|&j| graph.nodes[j].tops[0]);
    let values: Vec<ValueId> = std::iter::once(graph.nodes[base].tops[0])
        .chain(chain)
        .collect();
    (fits && values.last() == Some(&v)).then_some(values)
}

/// Whether node `i` may write its top 0 over its bottom 0: the prototxt says so, the layer can, both lie in
/// one layout, nobody else reads the bottom, and (when backward follows) neither it nor the layer below
/// needs what is lost.
pub(super) fn shares(source: Source, form: &Form, i: usize) -> bool {
    let graph = source.graph;
    let Some(&top) = graph.nodes[i].tops.first() else {
        return false;
    };
    let Some(below) = graph.values[top].overwrites else {
        return false;
    };
    let facts = &source.facts[i];
    let reread = source.facts[graph.values[below].producer].reads_tops;
    let turned = form.turns_diff[i].first() == Some(&true);
    facts.in_place
        && !turned
        && graph.values[below].uses.len() == 1
        && !(source.backward && (reread || facts.reads_bottom))
}
