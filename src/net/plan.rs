//! The plan of a net: which gradients are needed, how a batch is cut into groups, and which values
//! share a buffer. All of it follows from shapes, before any number exists.

use super::form::Form;
use super::graph::{Graph, ValueId};
use super::needs::Needs;
use crate::layers::{Coupling, Layer};
use crate::tensor::Shape;
use std::ops::Range;

/// A batch is cut into at most this many groups: enough for the threads of a large machine. It must not depend on
/// the machine: the cut decides the order in which gradients are added.
const MAX_GROUPS: usize = 64;

/// So many where each group costs the memory or the reading of more than [`HEAVY`] parameters.
const MAX_HEAVY_GROUPS: usize = 4;

/// Parameters that no cache holds.
const HEAVY: u64 = 8 << 20;

/// In training a group has at least so many samples.
const LEAST_TRAINING: u64 = 2;

/// Multiply-adds, forward, that a group's gradient costs for each parameter: it is zeroed, written and added.
const GRADIENT: u64 = 20;

/// What the cut of a batch depends on beside its rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Samples are coupled: they must stay together.
    pub whole: bool,
    /// Backward will follow.
    pub backward: bool,
    pub params: u64,
    /// Those that a group reads once whatever its size: an inner product's.
    pub thin: u64,
    /// Multiply-adds of a sample's forward.
    pub macs: u64,
}

/// Where a value's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// In the batch: input number `k` of the net.
    Feed(usize),
    /// In buffer `s` of the group's workspace.
    Slot(usize),
}

/// How the values of the groups become the value of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gather {
    /// Rows are stacked.
    Rows,
    /// Sums are added and divided by the layer's normaliser.
    Mean,
}

/// The plan.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The rows of each group; one group of all rows where samples are coupled.
    pub groups: Vec<Range<usize>>,
    /// Whether the net must see its batch whole, and the layer that says so.
    pub whole: Option<usize>,
    pub gather: Vec<Gather>,
    pub homes: Vec<Home>,
    /// Floats in each data buffer, for the largest group.
    pub slots: Vec<usize>,
    /// For every value: the gradient buffer, where it has a gradient.
    pub diff_homes: Vec<Option<usize>>,
    pub diff_slots: Vec<usize>,
    pub needs: Needs,
    pub form: Form,
}

/// The groups of a batch of `rows`.
pub(crate) fn groups(rows: usize, load: Load) -> Vec<Range<usize>> {
    if load.whole {
        return std::iter::once(0..rows).collect();
    }
    // Each group of a batch that trains has a gradient.
    let each = if load.backward {
        load.params
    } else {
        load.thin
    };
    let most = match each > HEAVY {
        true => MAX_HEAVY_GROUPS,
        false => MAX_GROUPS,
    };
    let least = match load.backward {
        true => (GRADIENT * load.params / load.macs.max(1)).max(LEAST_TRAINING),
        false => 1,
    };
    let least = usize::try_from(least).unwrap_or(usize::MAX);
    let size = rows.div_ceil(most).max(least).min(rows).max(1);
    (0..rows)
        .step_by(size)
        .map(|a| a..(a + size).min(rows))
        .collect()
}

/// The first layer for which the batch must stay whole, if any; and how each value is gathered.
pub(crate) fn coupling(
    graph: &Graph,
    layers: &[Option<Box<dyn Layer>>],
    shapes: &[Shape],
) -> (Option<usize>, Vec<Gather>) {
    let mut gather = vec![Gather::Rows; graph.values.len()];
    let sources: Vec<ValueId> = graph
        .nodes
        .iter()
        .filter(|n| n.is_source())
        .flat_map(|n| n.tops.iter().copied())
        .collect();
    // Without sources there are no rows to cut.
    let mut first_whole = sources.is_empty().then_some(0);
    let rows = sources.first().map_or(1, |&v| shapes[v].dim(0));
    for (i, node) in graph.nodes.iter().enumerate() {
        let mut whole = false;
        if let Some(layer) = &layers[i] {
            let bottoms: Vec<Shape> = node.bottoms.iter().map(|&v| shapes[v].clone()).collect();
            match layer.coupling(&bottoms) {
                Coupling::Whole => whole = true,
                Coupling::Free => whole |= node.bottoms.is_empty(),
                Coupling::Mean { labels } => {
                    let from_source =
                        |&v: &ValueId| graph.nodes[graph.values[v].producer].is_source();
                    let known = labels
                        .and_then(|k| node.bottoms.get(k))
                        .is_none_or(from_source);
                    if let Some(&top) = node.tops.first() {
                        gather[top] = Gather::Mean;
                        whole = !known || !graph.values[top].uses.is_empty();
                    }
                }
            }
        }
        let stacked = |&v: &ValueId| gather[v] == Gather::Mean || shapes[v].dim(0) == rows;
        whole |= !node.tops.iter().chain(&node.bottoms).all(stacked);
        if whole {
            first_whole = first_whole.or(Some(i));
        }
    }
    (first_whole, gather)
}

/// Buffers that are given out and come back.
#[derive(Default)]
struct Pool {
    /// Floats in each.
    slots: Vec<usize>,
    /// What is still to happen before each is free again.
    pending: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// A free buffer of at least `count` floats if there is one, the tightest; else the largest free
    /// one, grown; else a new one.
    fn take(&mut self, count: usize) -> usize {
        let (slots, free) = (&self.slots, &self.free);
        let fits = (0..free.len())
            .filter(|&k| slots[free[k]] >= count)
            .min_by_key(|&k| slots[free[k]]);
        let pick = fits.or_else(|| (0..free.len()).max_by_key(|&k| slots[free[k]]));
        match pick {
            Some(k) => {
                let s = self.free.swap_remove(k);
                self.slots[s] = self.slots[s].max(count);
                s
            }
            None => {
                self.slots.push(count);
                self.pending.push(0);
                self.slots.len() - 1
            }
        }
    }

    fn hold(&mut self, s: usize, times: usize) {
        self.pending[s] += times;
    }

    fn release(&mut self, s: usize) {
        self.pending[s] -= 1;
        if self.pending[s] == 0 {
            self.free.push(s);
        }
    }
}

/// Assigns values to buffers. With `keep_all` (backward will follow) only what is written in place, or
/// is a slice, shares a buffer; else a buffer is free for others after its last reader.
pub(crate) fn buffers(
    graph: &Graph,
    layers: &[Option<Box<dyn Layer>>],
    counts: &[usize],
    keep_all: bool,
    form: &Form,
) -> (Vec<Home>, Vec<usize>) {
    let nowhere = Home::Slot(usize::MAX);
    let mut homes = vec![nowhere; graph.values.len()];
    let mut pool = Pool::default();
    let mut feeds = 0;
    for (i, node) in graph.nodes.iter().enumerate() {
        if layers[i].is_none() {
            for &top in &node.tops {
                homes[top] = Home::Feed(feeds);
                feeds += 1;
            }
            continue;
        }
        // A buffer is held by the readers of its values, and until the layer that makes it has run.
        let mut made = Vec::new();
        for (k, &top) in node.tops.iter().enumerate() {
            let reads = |v: ValueId| graph.values[v].uses.len();
            let in_place = k == 0
                && shares(graph, layers, form, i, keep_all)
                && matches!(homes[node.bottoms[0]], Home::Slot(_));
            if let Some(other) = form.onto[top] {
                homes[top] = homes[other];
            } else if in_place {
                homes[top] = homes[node.bottoms[0]];
            } else if let Some((wide, _)) = form.slices[top] {
                if homes[wide] == nowhere {
                    let s = pool.take(counts[wide]);
                    pool.hold(s, reads(wide) + 1);
                    homes[wide] = Home::Slot(s);
                }
                homes[top] = homes[wide];
            } else if let (Home::Slot(s), false) = (homes[top], homes[top] == nowhere) {
                made.push(s);
                continue;
            } else {
                let s = pool.take(counts[top]);
                pool.hold(s, 1);
                homes[top] = Home::Slot(s);
                made.push(s);
            }
            if let Home::Slot(s) = homes[top] {
                pool.hold(s, reads(top));
            }
        }
        if keep_all {
            continue;
        }
        made.into_iter().for_each(|s| pool.release(s));
        for &v in &node.bottoms {
            if let Home::Slot(s) = homes[v] {
                pool.release(s);
            }
        }
    }
    (homes, pool.slots)
}

/// Assigns gradients to buffers: a gradient lives from the backward of its last reader to that of its
/// producer.
pub(crate) fn diff_buffers(
    graph: &Graph,
    layers: &[Option<Box<dyn Layer>>],
    counts: &[usize],
    homes: &[Home],
    needs: &Needs,
    form: &Form,
) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut diff_homes: Vec<Option<usize>> = vec![None; graph.values.len()];
    let mut pool = Pool::default();
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if !needs.layers[i] {
            continue;
        }
        for &t in &node.tops {
            if diff_homes[t].is_none() {
                let s = pool.take(counts[t]);
                pool.hold(s, 1);
                diff_homes[t] = Some(s);
            }
        }
        for (k, &v) in node.bottoms.iter().enumerate() {
            if !needs.bottoms[i][k] || diff_homes[v].is_some() {
                continue;
            }
            let top = node.tops.first();
            let in_place = k == 0
                && shares(graph, layers, form, i, true)
                && top.is_some_and(|&t| homes[v] == homes[t]);
            let slice = form.slices[v].is_some_and(|(wide, _)| top == Some(&wide));
            let shared = top.filter(|_| in_place || slice);
            let s = match shared.and_then(|&t| diff_homes[t]) {
                Some(s) => s,
                None => pool.take(counts[v]),
            };
            pool.hold(s, 1);
            diff_homes[v] = Some(s);
        }
        for s in node.tops.iter().filter_map(|&t| diff_homes[t]) {
            pool.release(s);
        }
    }
    (diff_homes, pool.slots)
}

/// Whether node `i` may write its top 0 over its bottom 0: the prototxt says so, the layer can, both lie in
/// one layout, nobody else reads the bottom, and (when backward follows) neither it nor the layer below
/// needs what is lost.
pub(crate) fn shares(
    graph: &Graph,
    layers: &[Option<Box<dyn Layer>>],
    form: &Form,
    i: usize,
    backward: bool,
) -> bool {
    let node = &graph.nodes[i];
    let (Some(&top), Some(layer)) = (node.tops.first(), &layers[i]) else {
        return false;
    };
    let Some(below) = graph.values[top].overwrites else {
        return false;
    };
    let reread = layers[graph.values[below].producer]
        .as_ref()
        .is_some_and(|l| l.backward_reads_tops());
    let turned = form.turns_diff[i].first() == Some(&true);
    layer.in_place()
        && !turned
        && graph.values[below].uses.len() == 1
        && !(backward && (reread || layer.backward_reads_bottom()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rows: usize, load: Load) -> (usize, usize) {
        let groups = groups(rows, load);
        assert_eq!(groups.iter().map(|g| g.len()).sum::<usize>(), rows);
        (
            groups.len(),
            groups.iter().map(|g| g.len()).max().unwrap_or(0),
        )
    }

    #[test]
    fn groups_follow_from_the_batch_and_the_net() {
        let squeezenet = Load {
            params: 1_248_424,
            macs: 860_000_000,
            ..Load::default()
        };
        let training = |load| Load {
            backward: true,
            ..load
        };
        assert_eq!(sizes(64, squeezenet), (64, 1));
        assert_eq!(sizes(100, squeezenet), (50, 2));
        assert_eq!(sizes(0, squeezenet), (0, 0));
        assert_eq!(sizes(32, training(squeezenet)), (16, 2));
        assert_eq!(sizes(256, training(squeezenet)), (64, 4));
        assert_eq!(sizes(1, training(squeezenet)), (1, 1));
        // LeNet: the gradient of a sample costs more than the sample.
        let lenet = Load {
            params: 431_080,
            thin: 405_510,
            macs: 2_293_000,
            ..Load::default()
        };
        assert_eq!(sizes(64, training(lenet)), (22, 3));
        assert_eq!(sizes(64, lenet), (64, 1));
        let alexnet = Load {
            params: 60_965_224,
            thin: 58_621_952,
            macs: 724_000_000,
            ..Load::default()
        };
        assert_eq!(sizes(64, alexnet), (4, 16));
        assert_eq!(sizes(64, training(alexnet)), (4, 16));
        let resnet50 = Load {
            params: 25_557_032,
            thin: 2_048_000,
            macs: 4_000_000_000,
            ..Load::default()
        };
        assert_eq!(sizes(64, resnet50), (64, 1));
        let whole = Load {
            whole: true,
            ..resnet50
        };
        assert_eq!(sizes(64, training(whole)), (1, 64));
    }
}
