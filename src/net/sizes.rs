//! A net for batches of other shapes than its first: Caffe reshapes a net to each batch, so pictures of different
//! sizes can be tested, and trained on, one at a time.
//!
//! Shapes are fixed in a [`Net`], so here a net is built for each; the last few are kept. All share the parameters,
//! which the shapes of pictures must not change.

use super::{Net, Options};
use crate::feed::Feed;
use crate::tensor::Shape;
use anyhow::{Context, Result, bail};

/// So many nets are kept beside the first.
const KEPT: usize = 8;

/// The nets of other shapes than the first one.
pub struct Sizes {
    options: Options,
    /// The one used last is the last.
    nets: Vec<Net>,
}

impl Sizes {
    /// None yet, of a net that was built with `options`.
    pub fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            nets: Vec::new(),
        }
    }

    /// The net for `batch`: `first` if the shapes are its, else one of its layers for these shapes.
    ///
    /// # Errors
    /// The layers do not fit these shapes, or a parameter would have another one.
    pub fn fit<'a>(&'a mut self, first: &'a Net, batch: &dyn Feed) -> Result<&'a Net> {
        if fits(first, batch) || batch.count() != first.inputs.len() {
            return Ok(first);
        }
        // A ratio that has changed since makes a net another one.
        self.nets.retain(|n| n.ratios == first.ratios);
        match self.nets.iter().position(|n| fits(n, batch)) {
            Some(k) => {
                let net = self.nets.remove(k);
                self.nets.push(net);
            }
            None => {
                let net = self.build(first, batch)?;
                // One at a time works: the others need no buffers.
                self.nets.iter_mut().for_each(Net::free_buffers);
                if self.nets.len() == KEPT {
                    self.nets.remove(0);
                }
                self.nets.push(net);
            }
        }
        Ok(self.nets.last().unwrap_or(first))
    }

    fn build(&self, first: &Net, batch: &dyn Feed) -> Result<Net> {
        let shapes: Vec<Shape> = (0..batch.count()).map(|k| batch.shape(k).clone()).collect();
        let shown = || {
            let of = |v: &usize| first.graph.values[*v].name.clone();
            let names = first.inputs.iter().map(of).zip(&shapes);
            let all: Vec<String> = names.map(|(n, s)| format!("'{n}' of {s}")).collect();
            format!("reshaping the net to a batch with {}", all.join(" and "))
        };
        let mut net = Net::new(first.graph.clone(), &shapes, &self.options).with_context(shown)?;
        for (now, before) in net.params.iter().zip(&first.params) {
            if now.shape != before.shape {
                bail!(
                    "{}: the weights {} would have the shape {} instead of {}: layer '{}' wants inputs of one \
                     size; resize or crop the pictures to the first one's",
                    shown(),
                    now.label(),
                    now.shape,
                    before.shape,
                    now.layer
                );
            }
        }
        for &(i, ratio) in &first.ratios {
            net.set_dropout_ratio(i, ratio);
        }
        net.check_memory(rayon::current_num_threads(), 0, false)?;
        Ok(net)
    }
}

fn fits(net: &Net, batch: &dyn Feed) -> bool {
    batch.fits(net.inputs.iter().map(|&v| &net.shapes[v]))
}

impl Net {
    fn free_buffers(&mut self) {
        self.spare
            .get_mut()
            .unwrap_or_else(|e| e.into_inner())
            .clear();
        self.spare_grads
            .get_mut()
            .unwrap_or_else(|e| e.into_inner())
            .clear();
    }
}
