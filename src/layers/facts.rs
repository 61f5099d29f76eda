//! What shapes alone say about a layer: asked once, when a net is built, so that a pass asks nothing.

use crate::tensor::Shape;

/// How the samples of a batch depend on each other in a layer. Where they do not, the net runs the
/// batch in small groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coupling {
    /// Row n of every top depends on row n of the bottoms alone.
    #[default]
    Free,
    /// As `Free`, except that top 0 is a mean over the batch: forward leaves the *sum* over the rows
    /// at hand, and the net divides by [`Layer::normaliser`](super::Layer::normaliser) when all rows are in.
    /// `labels`: the bottom whose values the normaliser reads, if any.
    Mean {
        /// The bottom that the normaliser reads.
        labels: Option<usize>,
    },
    /// The layer must see the whole batch at once.
    Whole,
}

impl Coupling {
    /// `Free` where `free` holds, `Whole` elsewhere.
    pub(super) fn free_if(free: bool) -> Self {
        match free {
            true => Self::Free,
            false => Self::Whole,
        }
    }

    /// A mean over the labels in bottom 1 where the rows are independent but for it.
    pub(super) fn of_labels(by_rows: bool) -> Self {
        match by_rows {
            true => Self::Mean { labels: Some(1) },
            false => Self::Whole,
        }
    }

    /// That of a layer which works along `axis` of bottom 0, or on all axes from there on: `Free` unless it is
    /// the outermost one. Negative numbers count from the end.
    pub(super) fn along(axis: i32, bottoms: &[Shape]) -> Self {
        Self::free_if(bottoms.first().is_some_and(|x| x.axis(axis) != Some(0)))
    }
}

/// The layouts of pictures ([`Layout`](crate::tensor::Layout)) in which a layer can run. It sees all its bottoms and
/// tops in one, except for what [`Role::Convolution`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layouts {
    /// C order only.
    #[default]
    Planes,
    /// C order or channels last, whichever bottom 0 has.
    Either,
    /// Channels last.
    Pixels,
}

/// Whether a layer that runs channels last, forward alone, takes numbers that lie in bfloat16
/// ([`Layout::Halves`](crate::tensor::Layout)), where the net multiplies by AMX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Halves {
    /// No.
    #[default]
    Never,
    /// Its bottom, not its top.
    Bottom,
    /// Bottom and top, if both do.
    Alike,
    /// Bottom and top, each for itself.
    Either,
}

/// What a layer is to its neighbours: who can do whose work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing that others could do for it, or it for others.
    #[default]
    Other,
    /// Channels last it reads bottoms in C order too; writes top 0, and reads its gradient, as a slice of the
    /// channels of a wider array; and does on its results, before it stores them, what the Affine layers behind it
    /// say, then a sum with what is there, then a ReLU.
    Convolution,
    /// y = max(x, 0).
    Relu,
    /// y = x·scale + shift for each channel, with values from its parameters alone:
    /// [`Layer::affine`](super::Layer::affine).
    Affine,
    /// y = x₀ + x₁.
    Sum,
    /// Top 0 is nothing but the channels of all bottoms, one bottom after the other.
    Join,
}

/// What a layer says about itself for bottoms of given shapes. The default is that of most layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How samples depend on each other.
    pub coupling: Coupling,
    /// What the layer is to its neighbours.
    pub role: Role,
    /// The layouts in which it can run.
    pub layouts: Layouts,
    /// Whether it takes numbers in bfloat16.
    pub halves: Halves,
    /// Whether top 0 may be the same buffer as bottom 0 (the prototxt decides whether it is).
    pub in_place: bool,
    /// Whether backward reads bottom 0's data: a layer that works in place then does so only where no backward
    /// follows; in training the plan gives it a buffer of its own.
    pub reads_bottom: bool,
    /// Whether backward reads the tops' data, so that nothing may be written over them before.
    pub reads_tops: bool,
    /// Whether the layer has a backward at all (Accuracy has none).
    pub has_backward: bool,
    /// For every bottom, whether a gradient can flow to it (not to labels). Empty: to all. See [`Facts::flows_to`].
    pub flows: Vec<bool>,
    /// Bottoms, each with Caffe's sentence where it stops when it is asked for their gradient. Those of the other
    /// bottoms are computed, or passed over in silence.
    pub refuses: Vec<(usize, &'static str)>,
    /// Whether top 0 is a loss: its weight is 1 where the prototxt gives none.
    pub is_loss: bool,
    /// Whether only the data decide how many rows the tops have; [`Layer::shapes`](super::Layer::shapes) gives the
    /// most.
    pub data_decide_rows: bool,
    /// Multiply-accumulates of one forward pass over the bottoms.
    pub macs: u64,
    /// Bytes that one forward needs beside its tops, for the memory that is logged before a run.
    pub scratch_bytes: usize,
    /// Bytes of what [`Layer::lower`](super::Layer::lower) makes of dense weights: for forward, and for the gradient
    /// of the bottoms.
    pub packed_bytes: [usize; 2],
    /// The sizes of the states that the layer hands on from one batch to the next (LSTM, RNN; else none).
    pub carries: Vec<usize>,
    /// The name of what runs where [`Layer::lower`](super::Layer::lower) gives no kernel, for `dsd time`.
    pub kernel: &'static str,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            coupling: Coupling::default(),
            role: Role::default(),
            layouts: Layouts::default(),
            halves: Halves::default(),
            in_place: false,
            reads_bottom: false,
            reads_tops: false,
            has_backward: true,
            flows: Vec::new(),
            refuses: Vec::new(),
            is_loss: false,
            data_decide_rows: false,
            macs: 0,
            scratch_bytes: 0,
            packed_bytes: [0; 2],
            carries: Vec::new(),
            kernel: "plain",
        }
    }
}

impl Facts {
    /// Whether a gradient can flow to bottom `i`.
    pub fn flows_to(&self, i: usize) -> bool {
        self.flows.get(i).copied().unwrap_or(true)
    }

    /// Caffe's sentence where it stops when it is asked for the gradient of bottom `i`.
    pub fn refusal(&self, i: usize) -> Option<&'static str> {
        let mut refuses = self.refuses.iter();
        refuses.find(|(k, _)| *k == i).map(|(_, said)| *said)
    }

    /// The weight in the loss of top `i` where the prototxt gives none.
    pub fn loss_weight(&self, i: usize) -> f32 {
        match self.is_loss && i == 0 {
            true => 1.0,
            false => 0.0,
        }
    }
}
