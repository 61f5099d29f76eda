//! BatchNorm's running statistics before anything has been gathered: a net that divides by them gives no numbers.

use super::graph::Node;
use super::{Net, ParamUse, Weights};
use crate::layers::Mode;

/// The blobs of the variance and of the count of a BatchNorm layer, which is 0 at first.
const VARIANCE: usize = 1;
const COUNT: usize = 2;

impl Net {
    /// The numbers of the variance and of the count of every layer that divides by statistics of which there are none
    /// yet: in testing, or with `use_global_stats`.
    fn empty_statistics(&self, weights: &Weights) -> Vec<[usize; 2]> {
        let nodes = self.graph.nodes.iter().zip(&self.uses);
        let one = |(node, uses): (&Node, &Vec<ParamUse>)| {
            let tests = node.mode(self.mode()) == Mode::Test;
            let stored = node.param.batch_norm_param.as_ref();
            let stored = stored.and_then(|p| p.use_global_stats);
            let reads = node.param.r#type() == "BatchNorm" && stored.unwrap_or(tests);
            let [variance, count] = [uses.get(VARIANCE)?.id, uses.get(COUNT)?.id];
            let none = weights[count].data.iter().all(|n| *n == 0.0);
            (reads && none).then_some([variance, count])
        };
        nodes.filter_map(one).collect()
    }

    /// The first layer that divides by statistics of which there are none yet.
    pub fn without_statistics(&self, weights: &Weights) -> Option<&str> {
        let empty = self.empty_statistics(weights);
        empty.first().map(|[_, n]| &*self.params[*n].layer)
    }

    /// Gives such layers a variance of 1; whether there were any.
    pub fn unit_statistics(&self, weights: &mut Weights) -> bool {
        let empty = self.empty_statistics(weights);
        for &[variance, count] in &empty {
            weights[variance].data.fill(1.0);
            weights[count].data.fill(1.0);
        }
        !empty.is_empty()
    }
}
