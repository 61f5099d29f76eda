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

/// At most this many leaves where each has a gradient of more than [`HEAVY`] parameters, or reads so many once
/// whatever its size. More threads work inside of the leaves.
const MAX_HEAVY_LEAVES: usize = 4;

/// Parameters that no cache holds.
const HEAVY: u64 = 8 << 20;

/// Multiply-adds, forward, that a leaf's gradient costs for each parameter: it is cleared, written and added.
const GRADIENT: u64 = 20;

/// What the cut of a batch depends on beside its rows.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// Samples are coupled: they must stay together.
    whole: bool,
    /// Backward will follow.
    backward: bool,
    params: u64,
    /// Those that a leaf reads once whatever its size: the inner products', which take all rows at once.
    thin: u64,
    /// Multiply-adds of a sample's forward.
    macs: u64,
}

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
        let nodes = source.graph.nodes.iter().enumerate();
        let thin = nodes.filter(|(_, n)| n.param.r#type() == "InnerProduct");
        let macs = |i: usize| source.facts[i].macs / rows.max(1) as u64;
        let load = Load {
            whole: whole.is_some(),
            backward: source.backward,
            params: params as u64,
            // Each of them is used once a sample.
            thin: thin.map(|(i, _)| macs(i)).sum(),
            macs: (0..source.facts.len()).map(macs).sum(),
        };
        Self {
            leaves: leaves(rows, load),
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

/// The leaves of a batch of `rows`.
fn leaves(rows: usize, load: Load) -> Vec<Range<usize>> {
    if load.whole {
        return std::iter::once(0..rows).collect();
    }
    let each = if load.backward {
        load.params
    } else {
        load.thin
    };
    let most = match each > HEAVY {
        true => MAX_HEAVY_LEAVES,
        false => MAX_LEAVES,
    };
    let least = match load.backward {
        true => LEAST_TRAINED.max((GRADIENT * load.params / load.macs.max(1)) as usize),
        false => 1,
    };
    let size = rows.div_ceil(most).max(least.min(rows)).max(1);
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

    const SQUEEZENET: Load = Load {
        whole: false,
        backward: false,
        params: 1_248_424,
        thin: 0,
        macs: 860_000_000,
    };

    const ALEXNET: Load = Load {
        params: 60_965_224,
        thin: 58_621_952,
        macs: 724_000_000,
        ..SQUEEZENET
    };

    fn count(rows: usize, load: Load) -> usize {
        let leaves = leaves(rows, load);
        assert_eq!(leaves.iter().map(|l| l.len()).sum::<usize>(), rows);
        assert!(leaves.windows(2).all(|w| w[0].end == w[1].start));
        leaves.len()
    }

    #[test]
    fn leaves_follow_from_the_batch_and_the_net() {
        let training = |load| Load {
            backward: true,
            ..load
        };
        assert_eq!(count(1, training(SQUEEZENET)), 1);
        assert_eq!(count(5, training(SQUEEZENET)), 3);
        assert_eq!(count(5, SQUEEZENET), 5);
        assert_eq!(count(32, training(SQUEEZENET)), 16);
        assert_eq!(count(256, training(SQUEEZENET)), 64);
        // Each leaf has a gradient, or reads the inner products' weights.
        assert_eq!(count(256, training(ALEXNET)), 4);
        assert_eq!(count(64, ALEXNET), 4);
        let resnet50 = Load {
            params: 25_557_032,
            thin: 2_048_000,
            macs: 4_000_000_000,
            ..SQUEEZENET
        };
        assert_eq!(count(64, resnet50), 64);
        // LeNet: the gradient of a sample costs more than the sample.
        let lenet = Load {
            params: 431_080,
            thin: 405_510,
            macs: 2_293_000,
            ..SQUEEZENET
        };
        assert_eq!(count(64, training(lenet)), 22);
        let whole = Load {
            whole: true,
            ..SQUEEZENET
        };
        assert_eq!(leaves(100, whole).first(), Some(&(0..100)));
        for rows in 0..300 {
            count(rows, training(SQUEEZENET));
            count(rows, ALEXNET);
        }
    }
}
