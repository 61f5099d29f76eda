//! What a net has been lowered to: a flat list of steps, forward and backward, in which nothing is left to be asked.
//!
//! Beside the layers' own work there are steps that move numbers: turning a layout, clearing, adding and masking
//! gradients. They have threads and a time like any other.

use crate::net::graph::ValueId;
use crate::tensor::{Layout, Shape};

/// Where an array is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the batch: the leaf's rows of input number `k` of the net.
    Feed(usize),
    /// In buffer `b` of the leaf's frame.
    Buffer(usize),
    /// Nowhere: it has the shape alone.
    Nowhere,
}

/// An array that a step reads or writes.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    /// The value that it holds, or whose gradient.
    pub value: ValueId,
    pub place: Place,
    /// Where in its buffer it starts.
    pub first: usize,
    pub layout: Layout,
    /// The shape, if the data do not decide another.
    pub shape: Shape,
    /// Whether a step that computes it rounds it to bfloat16.
    pub rounds: bool,
}

impl Operand {
    /// Its buffer, of one that is written.
    pub fn buffer(&self) -> Option<usize> {
        match self.place {
            Place::Buffer(b) => Some(b),
            _ => None,
        }
    }
}

/// A layer's forward.
#[derive(Debug)]
pub(crate) struct Run {
    pub bottoms: Vec<Operand>,
    pub tops: Vec<Operand>,
    /// Negative results become 0.
    pub relu: bool,
    /// Results are added to what is in top 0.
    pub add: bool,
    /// What the sum in top 0 is divided by is found out from the bottoms, as they are whole.
    pub counts: bool,
    /// Top 0 is divided by it.
    pub divides: bool,
}

/// A layer's backward.
#[derive(Debug)]
pub(crate) struct Back {
    pub bottoms: Vec<Operand>,
    pub tops: Vec<Operand>,
    pub top_diffs: Vec<Operand>,
    /// Where the bottoms' gradients go; `None` where none is wanted.
    pub bottom_diffs: Vec<Option<Operand>>,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Work {
    /// The layer's forward.
    Run(Run),
    /// The layer is another's work or nothing at all; its tops' shapes follow where the data decide them.
    Follow,
    /// `to` ← `from`, the same numbers in another layout, or rounded, or both.
    Turn { from: Operand, to: Operand },
    /// The gradient at `at` ← 0.
    Clear { at: Operand },
    /// `at` ← `at` + `weight`: the share of a value in the loss.
    Weigh { at: Operand, weight: f32 },
    /// The gradient at `at` ← 0 where the ReLU that made `by` has given 0.
    Mask { by: Operand, at: Operand },
    /// `to` ← `to` + `from`, of one layout and without gaps.
    Add { from: Operand, to: Operand },
    /// The layer's backward.
    Back(Back),
}

impl Work {
    /// Its name, where a step is shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "forward",
            Self::Back(_) => "backward",
            Self::Follow => "follow",
            Self::Turn { from, to } if to.rounds && from.layout == to.layout => "round",
            Self::Turn { .. } => "turn layout",
            Self::Clear { .. } => "clear gradient",
            Self::Weigh { .. } => "loss weight",
            Self::Mask { .. } => "mask by ReLU",
            Self::Add { .. } => "add gradients",
        }
    }
}

/// A step, and the layer that it is for.
#[derive(Debug)]
pub(crate) struct Step {
    pub layer: usize,
    pub work: Work,
}

/// The steps for a leaf of so many rows.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub rows: usize,
    pub forward: Vec<Step>,
    pub backward: Vec<Step>,
    /// For every value, as it is in its place after [`Program::made`] forward steps.
    pub values: Vec<Operand>,
    pub made: Vec<usize>,
    /// For every value, its gradient's place; and after how many backward steps the readers' shares are there, and
    /// after how many it is whole (`usize::MAX`: never).
    pub diffs: Vec<Option<Operand>>,
    pub begun: Vec<usize>,
    pub whole: Vec<usize>,
}
