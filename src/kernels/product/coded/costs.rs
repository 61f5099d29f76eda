//! What the forms cost, as measured on a Zen 3 at 3.1 GHz: one thread's nanoseconds. The comparisons are of ratios,
//! so that a faster machine, or more threads, change little.

use super::sums::BLOCK;
use super::{Coded, Inputs};

/// Cost of a weight in a column of quads, one that is rounded up to included: two loads, a store, an addition.
const SCATTERED: f64 = 0.38;
/// In a row of quads.
const GATHERED: f64 = 0.29;
/// Of a weight in nibbles, 0 or not.
const LOOKED_UP: f64 = 0.083;
/// Of a weight in columns with codes of 8 bits, or without codes.
const PLAIN: f64 = 0.75;
/// Of a line (one column of a block, one row): its end is not predicted.
const LINE: f64 = 12.0;
/// Weights that rounding up to quads adds for each code in a line.
const ROUNDING: f64 = 1.5;
/// Inputs of [`Inputs::Sparse`] that are not 0, as behind a ReLU: 18% to 41% in AlexNet and VGG-16.
const ACTIVE: f64 = 0.4;
/// Of a dense weight, up to these bytes of them: in a core's own cache, in the one they share, and further away.
const DENSE: [(usize, f64); 3] = [(1 << 19, 0.045), (1 << 22, 0.075), (usize::MAX, 0.13)];

/// The forms of weights of which there are few values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Few {
    Columns,
    Rows,
    Nibbles,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub outputs: usize,
    pub depth: usize,
    pub nonzeros: usize,
    /// Different values beside 0.
    pub values: usize,
    pub inputs: Inputs,
}

impl Layer {
    /// The cheapest form for few values, and its cost.
    pub fn few(self) -> (Few, f64) {
        let active = self.active();
        let (outputs, depth) = (self.outputs as f64, self.depth as f64);
        let of_lines = |each: f64, lines: f64| {
            let rounded = self.nonzeros as f64 + ROUNDING * self.values as f64 * lines;
            each * rounded + LINE * lines
        };
        let columns = active * of_lines(SCATTERED, depth * self.outputs.div_ceil(BLOCK) as f64);
        let nibbles = active * (LOOKED_UP * outputs + LINE) * depth;
        let rows = if self.depth > super::rows::Rows::DEEPEST {
            f64::INFINITY
        } else {
            of_lines(GATHERED, outputs)
        };
        let all = [
            (Few::Columns, columns),
            (Few::Rows, rows),
            (Few::Nibbles, nibbles),
        ];
        let least = all.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        least.expect("three forms")
    }

    /// Whether a compressed form is faster than [`matvec`](crate::kernels::product::matvec).
    pub fn pays(self) -> bool {
        let weights = self.outputs * self.depth;
        let dense = DENSE.iter().find(|(most, _)| 4 * weights <= *most);
        let dense = dense.map_or(0.0, |(_, each)| each * weights as f64);
        let coded = if self.values <= Coded::FEW {
            self.few().1
        } else {
            self.active() * (PLAIN * self.nonzeros as f64 + LINE * self.depth as f64)
        };
        coded < dense
    }

    fn active(self) -> f64 {
        match self.inputs {
            Inputs::Sparse => ACTIVE,
            Inputs::Dense => 1.0,
        }
    }
}
