//! How a batch is cut into leaves, and how their results become those of the batch.

use super::Source;
use crate::layers::Coupling;
use crate::net::graph::ValueId;
use crate::tensor::Shape;
use std::ops::Range;

/// A batch is cut into at most this many leaves: enough for the threads of a large machine, few enough that adding
/// up their gradients costs little. The cut must not depend on the machine: it decides the order in which gradients
/// are added.
const MAX_LEAVES: usize = 64;

/// The fewest samples of a leaf in training: it has a gradient of its own to clear and to add.
const LEAST_TRAINED: usize = 2;

/// In training at most this many leaves where the parameters are more than [`HEAVY`]: each has a gradient of their
/// size. More threads work inside of the leaves.
const MAX_HEAVY_LEAVES: usize = 4;

/// Parameters that no cache holds.
const HEAVY: usize = 8 << 20;

/// How the values of the leaves become the value of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gather {
    /// Rows are stacked.
    Rows,
    /// Sums are added and divided by the layer's normaliser.
    Mean,
}

/// The cut of a batch.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The rows of each leaf; one leaf of all rows where samples are coupled.
    pub leaves: Vec<Range<usize>>,
    /// Whether the net must see its batch whole, and the layer that says so.
    pub whole: Option<usize>,
    pub gather: Vec<Gather>,
}

impl Cut {
    /// The cut of a batch of `rows` of a net of so many `params`.
    pub fn new(source: Source, rows: usize, params: usize) -> Self {
        let (whole, gather) = coupling(source);
        Self {
            leaves: leaves(rows, params, source.backward, whole.is_some()),
            whole,
            gather,
        }
    }

    /// The rows of the largest leaf.
    pub fn most(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.len()).max().unwrap_or(0)
    }

    /// The shape, in a leaf of `rows` rows, of value `v`, which has `shape` in the batch.
    pub fn shape(&self, shape: &Shape, v: ValueId, rows: usize) -> Shape {
        match self.whole.is_some() || self.gather[v] == Gather::Mean {
            true => shape.clone(),
            false => shape.with_rows(rows),
        }
    }
}

/// The leaves of a batch of `rows` in a net of so many `params`.
fn leaves(rows: usize, params: usize, backward: bool, whole: bool) -> Vec<Range<usize>> {
    if whole {
        return std::iter::once(0..rows).collect();
    }
    let (most, least) = match backward {
        true if params > HEAVY => (MAX_HEAVY_LEAVES, LEAST_TRAINED),
        true => (MAX_LEAVES, LEAST_TRAINED),
        false => (MAX_LEAVES, 1),
    };
    let size = rows.div_ceil(most).max(least);
    (0..rows)
        .step_by(size)
        .map(|a| a..(a + size).min(rows))
        .collect()
}

/// The first layer for which the batch must stay whole, if any; and how each value is gathered.
fn coupling(source: Source) -> (Option<usize>, Vec<Gather>) {
    let Source { graph, shapes, .. } = source;
    let mut gather = vec![Gather::Rows; graph.values.len()];
    let sources = graph.nodes.iter().filter(|n| n.is_source());
    let sources: Vec<ValueId> = sources.flat_map(|n| n.tops.iter().copied()).collect();
    // Without sources there are no rows to cut.
    let mut first_whole = sources.is_empty().then_some(0);
    let rows = sources.first().map_or(1, |&v| shapes[v].dim(0));
    for (i, node) in graph.nodes.iter().enumerate() {
        let mut whole = false;
        if !node.is_source() {
            match source.facts[i].coupling {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_follow_from_the_batch_alone() {
        let count = |rows, params, backward| leaves(rows, params, backward, false).len();
        assert_eq!(count(1, 1000, true), 1);
        assert_eq!(count(5, 1000, true), 3);
        assert_eq!(count(5, 1000, false), 5);
        assert_eq!(count(256, 1000, true), 64);
        assert_eq!(count(256, 60_000_000, true), 4);
        assert_eq!(count(256, 60_000_000, false), 64);
        assert_eq!(leaves(100, 1000, true, true), [0..100]);
        for rows in 0..300 {
            let all = leaves(rows, 1000, true, false);
            assert_eq!(all.iter().map(|l| l.len()).sum::<usize>(), rows);
            assert!(all.windows(2).all(|w| w[0].end == w[1].start));
        }
    }
}
