//! What a phase of straight-through gradients keeps; what it does is in `solver/through.rs`.

use std::fmt;

/// λ_W where it is not said: the paper's.
pub const DECAY: f32 = 2e-4;

/// Masks that are taken anew after every update of the dense weights behind them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SrSte {
    /// The rules, as [`Sparsity::parse`](super::Sparsity::parse) reads them.
    pub sparsity: String,
    /// λ_W, the decay of weights that are left out.
    pub decay: f32,
}

impl fmt::Display for SrSte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "srste, decay {}", self.decay)
    }
}
