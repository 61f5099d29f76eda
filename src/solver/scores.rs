//! The sums of a net's outputs over the batches of a test.

use crate::net::graph::ValueId;
use crate::net::{Net, Outputs};

/// Sums in f32, as Caffe's: the published figures come out only so.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// For every output its values of the first batch, with those of later batches added.
    sums: Vec<(ValueId, Vec<f32>)>,
    batches: u64,
    /// Outputs that had another number of values in a later batch.
    uneven: Vec<ValueId>,
}

impl Scores {
    /// Adds a batch. An output whose size depends on the data (behind a Filter, or of pictures of different sizes)
    /// counts with as many values as it had in the first batch.
    pub fn add(&mut self, net: &Net, outputs: &Outputs) {
        let values = net.outputs().iter();
        let values = values.filter_map(|&v| Some((v, &outputs.values.get(&v)?.data)));
        self.batches += 1;
        if self.batches == 1 {
            self.sums = values.map(|(v, data)| (v, data.clone())).collect();
            return;
        }
        for (v, data) in values {
            let Some((_, sums)) = self.sums.iter_mut().find(|(of, _)| *of == v) else {
                continue;
            };
            sums.iter_mut().zip(data).for_each(|(sum, x)| *sum += x);
            if sums.len() != data.len() && !self.uneven.contains(&v) {
                self.uneven.push(v);
            }
        }
    }

    /// The sums over the number of batches, in the order of the outputs.
    pub fn means(&self) -> Vec<(ValueId, f32)> {
        let n = self.batches as f32;
        let each = self
            .sums
            .iter()
            .flat_map(|(v, s)| s.iter().map(|x| (*v, *x)));
        each.map(|(v, sum)| (v, sum / n)).collect()
    }

    /// What must be said of outputs whose size changed.
    pub fn notes(&self, net: &Net) -> Vec<String> {
        let note = |v: &ValueId| {
            let name = &net.graph().values[*v].name;
            let first = self.sums.iter().find(|(of, _)| of == v);
            let n = first.map_or(0, |(_, s)| s.len());
            format!(
                "Output {name} has another number of values from batch to batch: the means are those of the first \
                 batch's {n}, and values that a batch lacks count as 0"
            )
        };
        self.uneven.iter().map(note).collect()
    }
}
