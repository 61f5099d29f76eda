//! Narrow groups as fewer, wider ones.
//!
//! A group of few outputs leaves most of a register empty. Several together, with zeros for what they do not share, are
//! a convolution of full registers.

use crate::kernels::convolution::Convolution;

/// How the groups of a convolution are joined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    /// Narrow groups in a wide one.
    groups: usize,
    /// Outputs of a narrow group, and weights of each.
    outputs: usize,
    weights: usize,
}

impl Join {
    /// `None` where the groups are wide enough, or do not fill a register together.
    pub fn of(c: &Convolution) -> Option<Self> {
        let outputs = c.outputs / c.groups;
        let narrow = (1..=8).contains(&outputs);
        let fits = |n: &usize| c.groups.is_multiple_of(*n) && n * outputs >= 16;
        let groups = (2..=16).find(fits).filter(|_| narrow)?;
        Some(Self {
            groups,
            outputs,
            weights: c.weights() / c.outputs,
        })
    }

    /// The convolution of the joined groups.
    pub fn sizes(&self, c: &Convolution) -> Convolution {
        Convolution {
            groups: c.groups / self.groups,
            ..c.clone()
        }
    }

    /// Weights of the joined groups.
    pub fn wide(&self, narrow: usize) -> usize {
        narrow * self.groups
    }

    /// Where in the weights of its wide group's output the weights of output o are.
    fn first(&self, o: usize) -> usize {
        o / self.outputs % self.groups * self.weights
    }

    /// The weights of the joined groups.
    pub fn widen(&self, w: &[f32]) -> Vec<f32> {
        let mut wide = vec![0.0; self.wide(w.len())];
        let rows = wide.chunks_exact_mut(self.wide(self.weights));
        for (o, (to, w)) in rows.zip(w.chunks_exact(self.weights)).enumerate() {
            to[self.first(o)..][..self.weights].copy_from_slice(w);
        }
        wide
    }

    /// dW += those of `wide` that are weights.
    pub fn narrow_onto(&self, wide: &[f32], dw: &mut [f32]) {
        let rows = wide.chunks_exact(self.wide(self.weights));
        for (o, (from, dw)) in rows.zip(dw.chunks_exact_mut(self.weights)).enumerate() {
            let from = &from[self.first(o)..][..self.weights];
            dw.iter_mut().zip(from).for_each(|(dw, v)| *dw += v);
        }
    }
}
