//! What runs instead of a layer's own forward and backward where weights are better rewritten for it first.

use super::{Backward, Forward};
use crate::kernels::convolution::choice::UseSparse;
use crate::kernels::crew::Crew;
use crate::layers::Precision;
use crate::tensor::{Layout, Shape, View};
use anyhow::Result;
use std::borrow::Cow;

/// What [`Layer::lower`](super::Layer::lower) gets.
pub struct Lower<'a, 'b> {
    /// The layer's parameters.
    pub params: &'b [View<'a>],
    /// The shapes of the bottoms.
    pub bottoms: &'b [Shape],
    /// Their layouts.
    pub layouts: &'b [Layout],
    /// The layout of top 0.
    pub top: Layout,
    /// y ← y·scale + shift for each channel of top 0, after all else.
    pub affine: Option<(Vec<f32>, Vec<f32>)>,
    /// Whether backward will follow, and a bottom's gradient be asked for.
    pub backward: bool,
    /// When weights that are 0 are left out.
    pub sparse: UseSparse,
    /// The numbers that are multiplied. The parameters are float32.
    pub precision: Precision,
    /// The threads to make it with.
    pub crew: &'b Crew<'b>,
}

impl<'a> Lower<'a, '_> {
    /// Parameter 0 as it is multiplied.
    pub fn weights(&self) -> Cow<'a, [f32]> {
        let weights = self.params[0].data;
        if !self.precision.rounds() {
            return Cow::Borrowed(weights);
        }
        let mut rounded = weights.to_vec();
        self.precision.round(self.crew, &mut rounded);
        Cow::Owned(rounded)
    }
}

/// What computes a layer for sizes, layouts and weights that are given: made once for all groups of a batch, and
/// again only when the weights change.
pub trait Kernel: Send + Sync {
    /// Its name, for `dsd time`.
    fn name(&self) -> &'static str;

    /// Takes new values of the same parameters, reusing its memory; all else in `l` is as it was when the kernel
    /// was made. False if it cannot: then [`Layer::lower`](super::Layer::lower) is to be asked anew.
    fn repack(&mut self, l: &Lower) -> bool;

    /// The memory of what it has made of the weights.
    fn bytes(&self) -> usize;

    /// Whether forward, and backward, round what they are told to (`round`).
    fn rounds(&self) -> [bool; 2] {
        [false; 2]
    }

    /// As [`Layer::forward`](super::Layer::forward).
    fn forward(&self, f: &mut Forward) -> Result<()>;

    /// As [`Layer::backward`](super::Layer::backward).
    fn backward(&self, b: &mut Backward) -> Result<()>;
}
