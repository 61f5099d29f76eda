//! Convolution: its sizes, and a file a method.
//!
//! [`channels_last`] picks among the methods for pixels with their channels side by side: `direct`, `winograd`, `sparse`
//! and `depthwise`, three of which multiply by the tiles of `tile`. What none of them takes is done in `planes`, over the
//! columns of [`im2col`]. [`choice`] knows what each would cost.

pub mod channels_last;
pub mod choice;
mod depthwise;
mod direct;
pub mod im2col;
mod planes;
mod sparse;
mod tile;
mod winograd;

use im2col::Axis;

/// The sizes of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Number of groups; input and output channels are divided among them.
    pub groups: usize,
    /// Input channels of all groups.
    pub inputs: usize,
    /// Output channels of all groups.
    pub outputs: usize,
    /// The spatial axes, any number of them.
    pub axes: Vec<Axis>,
}

impl Convolution {
    /// Elements of a kernel for one input channel.
    fn kernel(&self) -> usize {
        self.axes.iter().map(|a| a.kernel).product()
    }

    /// Elements of one input channel.
    fn plane(&self) -> usize {
        self.axes.iter().map(|a| a.input).product()
    }

    /// K, the rows of a group's column matrix.
    fn depth(&self) -> usize {
        self.inputs / self.groups * self.kernel()
    }

    /// P, the number of output positions.
    pub fn positions(&self) -> usize {
        self.axes.iter().map(|a| a.output).product()
    }

    /// Weights of all groups.
    pub fn weights(&self) -> usize {
        self.outputs * self.depth()
    }

    /// Multiply-accumulates of one sample.
    pub fn macs(&self) -> u64 {
        self.outputs as u64 * self.depth() as u64 * self.positions() as u64
    }
}
