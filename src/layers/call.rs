//! What a layer, or its kernel, gets in a pass and fills.

use crate::kernels::crew::Crew;
use crate::kernels::elementwise::copy;
use crate::layers::Precision;
use crate::random::Random;
use crate::tensor::{View, ViewMut};

/// What a layer's backward needs from its forward of the same group, and scratch space that lasts.
#[derive(Debug, Default)]
pub struct Keep {
    /// Numbers (softmax probabilities, dropout scales …); the layer sizes them.
    pub floats: Vec<f32>,
    /// Indices (pooling's arg-max …); the layer sizes them.
    pub indices: Vec<u32>,
    /// Scratch whose content does not outlive a call (im2col columns …).
    pub scratch: Vec<f32>,
    /// The states before the first step, of a layer that carries some ([`Facts::carries`](super::Facts::carries)): what the batch before has
    /// left. Empty at the start, which is the same as zeros.
    pub before: Vec<Vec<f32>>,
    /// Those after the last step, for the next batch; such a layer's forward leaves them.
    pub after: Vec<Vec<f32>>,
}

impl Keep {
    /// `n` floats of scratch with any content, reusing what is there.
    pub fn scratch(&mut self, n: usize) -> &mut [f32] {
        if self.scratch.len() < n {
            self.scratch.resize(n, 0.0);
        }
        &mut self.scratch[..n]
    }
}

/// What a forward pass gets and fills.
pub struct Forward<'a, 'b> {
    /// The layer's parameters, in order.
    pub params: &'b [View<'a>],
    /// The bottoms. Bottom 0 of an in-place layer has its shape but no data: the numbers are in top 0.
    pub bottoms: &'b [View<'a>],
    /// The tops, to be overwritten. A layer whose top's size only the data decide (Filter) sets a
    /// shape of fewer elements than planned.
    pub tops: &'b mut [ViewMut<'a>],
    /// What backward will need.
    pub keep: &'b mut Keep,
    /// Negative results shall become 0 (of a [`Role::Convolution`](super::Role::Convolution)).
    pub relu: bool,
    /// The results shall be added to what is in top 0 (of such a layer).
    pub add: bool,
    /// The results shall be rounded to bfloat16 (of a kernel that says that it [`rounds`](super::Kernel::rounds)).
    pub round: bool,
    /// Random numbers of this layer and iteration.
    pub random: Random,
    /// The number within the batch of the group's first sample: random indices count from it.
    pub first: usize,
    /// The numbers that are multiplied. Bottoms, weights and tops are the net's care; this is for what a layer
    /// multiplies inside.
    pub precision: Precision,
    /// The threads that may share the work. The result must not depend on them.
    pub crew: &'b Crew<'b>,
    /// New values of the layer's own parameters, by their index, where forward changes them
    /// (BatchNorm's running statistics in TRAIN mode; such a layer couples the whole batch).
    pub updates: &'b mut Vec<(usize, Vec<f32>)>,
}

impl Forward<'_, '_> {
    /// For layers that work in place: top 0, holding bottom 0's numbers.
    pub fn carry(&mut self) -> &mut [f32] {
        let top = &mut *self.tops[0].data;
        if !self.bottoms[0].data.is_empty() {
            copy(self.crew, self.bottoms[0].data, top);
        }
        top
    }
}

/// What a backward pass gets and fills.
pub struct Backward<'a, 'b> {
    /// The layer's parameters.
    pub params: &'b [View<'a>],
    /// The bottoms' data. Of an in-place layer, bottom 0's data is gone (empty).
    pub bottoms: &'b [View<'a>],
    /// The tops' data.
    pub tops: &'b [View<'a>],
    /// The gradients of the tops (of a loss, its weight). Of an in-place layer, top 0's is empty: it is
    /// in bottom 0's gradient.
    pub top_diffs: &'b [View<'a>],
    /// The gradients of the bottoms, to be overwritten; `None` where nobody asks.
    pub bottom_diffs: &'b mut [Option<ViewMut<'a>>],
    /// The gradients of the parameters, to be *added to*; `None` where nobody asks.
    pub param_diffs: &'b mut [Option<&'a mut [f32]>],
    /// What forward left.
    pub keep: &'b mut Keep,
    /// As [`Forward::round`], for the gradients of the bottoms.
    pub round: bool,
    /// [`Layer::normaliser`](super::Layer::normaliser) of the whole batch.
    pub normaliser: f32,
    /// As [`Forward::precision`].
    pub precision: Precision,
    /// The threads that may share the work. The result must not depend on them.
    pub crew: &'b Crew<'b>,
}

impl Backward<'_, '_> {
    /// For layers that work in place: bottom 0's gradient, holding top 0's; `None` where nobody asks.
    pub fn carry(&mut self) -> Option<&mut [f32]> {
        let top = self.top_diffs[0].data;
        let diff = &mut *self.bottom_diffs[0].as_mut()?.data;
        if !top.is_empty() {
            copy(self.crew, top, diff);
        }
        Some(diff)
    }
}
