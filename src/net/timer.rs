//! Where the time of passes goes.

use super::Net;
use super::program::Step;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Nanoseconds, forward and backward.
type Both = [AtomicU64; 2];

/// The time spent in each layer, and beside the layers in moving numbers, summed over threads.
#[derive(Debug, Default)]
pub struct Timer {
    layers: Vec<Both>,
    moves: [Both; MOVES.len()],
}

/// The steps that are no layer's own work.
pub const MOVES: [&str; 6] = [
    "turn layout",
    "round",
    "clear gradient",
    "loss weight",
    "mask by ReLU",
    "add gradients",
];

/// Milliseconds of both since the last call.
fn take(both: &Both) -> (f64, f64) {
    let ms = |k: usize| both[k].swap(0, Ordering::Relaxed) as f64 * 1e-6;
    (ms(0), ms(1))
}

impl Timer {
    /// A timer for a net's layers, at zero.
    pub fn new(net: &Net) -> Self {
        Self {
            layers: net.layers.iter().map(|_| Both::default()).collect(),
            moves: Default::default(),
        }
    }

    /// Milliseconds of layer `i` (forward, backward) since the last call, summed over threads.
    pub fn take(&self, i: usize) -> (f64, f64) {
        take(&self.layers[i])
    }

    /// Milliseconds of the steps called [`MOVES`]\[k\].
    pub fn take_moves(&self, k: usize) -> (f64, f64) {
        take(&self.moves[k])
    }

    pub(super) fn add(timer: Option<&Self>, step: &Step, started: Option<Instant>, forward: bool) {
        let (Some(timer), Some(started)) = (timer, started) else {
            return;
        };
        let to = match MOVES.iter().position(|name| *name == step.work.name()) {
            Some(k) => &timer.moves[k],
            None => &timer.layers[step.layer],
        };
        let nanos = started.elapsed().as_nanos() as u64;
        to[usize::from(!forward)].fetch_add(nanos, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::program::{Operand, Place, Work};
    use crate::tensor::{Layout, Shape};

    #[test]
    fn moves_are_steps() {
        let at = Operand {
            value: 0,
            place: Place::Nowhere,
            first: 0,
            layout: Layout::Planes,
            shape: Shape::default(),
            rounds: false,
        };
        let rounded = Operand {
            rounds: true,
            ..at.clone()
        };
        let (from, to, by) = (at.clone(), at.clone(), at.clone());
        let works = [
            Work::Turn {
                from: from.clone(),
                to: to.clone(),
            },
            Work::Turn {
                from: from.clone(),
                to: rounded,
            },
            Work::Clear { at: at.clone() },
            Work::Weigh {
                at: at.clone(),
                weight: 1.0,
            },
            Work::Mask { by, at },
            Work::Add { from, to },
        ];
        assert_eq!(works.map(|w| w.name()), MOVES);
    }
}
