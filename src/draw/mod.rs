//! Pictures of nets: boxes for layers, octagons for blobs, coloured as Caffe's `draw_net.py` does it.
//!
//! [`dot::dot`] writes what graphviz reads; [`svg::svg`] draws by itself: [`net::Drawing`] says what is to be
//! seen, [`layout`] where it stands.

pub mod chart;
mod describe;
pub mod dot;
mod layout;
pub mod net;
mod order;
pub mod svg;
mod text;

pub use net::Drawing;

/// Which way the data runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Left to right.
    LeftRight,
    /// Top to bottom.
    TopBottom,
    /// Bottom to top.
    BottomTop,
}

impl Direction {
    /// Graphviz's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeftRight => "LR",
            Self::TopBottom => "TB",
            Self::BottomTop => "BT",
        }
    }
}
