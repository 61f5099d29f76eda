//! What recurrent layers carry from one batch to the next: the states after the last step, from which the next
//! batch goes on where cont says that a sequence does.
//!
//! It is the only thing that a pass leaves to the next. So it stays outside of the net, as the weights do: whoever
//! runs a net over batches holds one [`Carried`] for it, and can store it.

use super::{Net, Outputs, Pass};
use crate::layers::Keep;
use anyhow::{Result, bail};

/// States by the names of their layers.
pub type Named = Vec<(String, Vec<Vec<f32>>)>;

/// The states of a net's recurrent layers between two batches; empty before the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// Index of the layer, and its states (of an LSTM h and c), each by stream and value.
    layers: Vec<(usize, Vec<Vec<f32>>)>,
}

impl Carried {
    /// Takes over what a pass has left.
    pub fn take(&mut self, outputs: &mut Outputs) {
        if !outputs.carried.layers.is_empty() {
            *self = std::mem::take(&mut outputs.carried);
        }
    }

    /// Whether there is nothing: the next batch starts from zeros.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    pub(super) fn add(&mut self, layer: usize, states: Vec<Vec<f32>>) {
        self.layers.push((layer, states));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[Vec<f32>])> {
        self.layers.iter().map(|(i, states)| (*i, &states[..]))
    }

    pub(super) fn append(&mut self, other: &mut Self) {
        self.layers.append(&mut other.layers);
    }
}

impl Net {
    /// The states that layer `i` carries on, their sizes.
    fn carries(&self, i: usize) -> &[usize] {
        &self.facts[i].carries
    }

    /// Whether a batch depends on the one before.
    pub fn is_recurrent(&self) -> bool {
        (0..self.layers.len()).any(|i| !self.carries(i).is_empty())
    }

    /// Gives layer `i` the states from which this pass starts. Those of another number of streams (the net is
    /// another for batches of another shape) do not fit and count as zeros.
    pub(super) fn start_states(&self, pass: &Pass, i: usize, keep: &mut Keep) {
        keep.after.clear();
        keep.before.clear();
        let Some(carried) = pass.carried else {
            return;
        };
        if let Some((_, states)) = carried.layers.iter().find(|(layer, _)| *layer == i)
            && states
                .iter()
                .map(Vec::len)
                .eq(self.carries(i).iter().copied())
        {
            keep.before.clone_from(states);
        }
    }

    /// The states with the names of their layers, to be stored.
    pub fn name_carried(&self, carried: &Carried) -> Named {
        let named = |(i, states): &(usize, Vec<Vec<f32>>)| {
            (self.graph.nodes[*i].name().to_string(), states.clone())
        };
        carried.layers.iter().map(named).collect()
    }

    /// The reverse of [`Net::name_carried`].
    ///
    /// # Errors
    /// A layer that the net does not have, or whose states have other sizes.
    pub fn find_carried(&self, named: Named) -> Result<Carried> {
        let mut carried = Carried::default();
        for (name, states) in named {
            let mut layers = (0..self.layers.len()).filter(|&i| {
                self.graph.nodes[i].name() == name
                    && !carried.layers.iter().any(|(taken, _)| *taken == i)
            });
            let sizes: Vec<usize> = states.iter().map(Vec::len).collect();
            let Some(i) = layers.find(|&i| !sizes.is_empty() && self.carries(i) == sizes) else {
                bail!(
                    "the states of layer '{name}' ({sizes:?} values) fit no recurrent layer of the net {}",
                    self.graph.file
                );
            };
            carried.add(i, states);
        }
        Ok(carried)
    }
}
