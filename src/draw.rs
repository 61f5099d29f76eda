//! Pictures of nets: boxes for layers, octagons for blobs, coloured as Caffe's `draw_net.py` does it.
//!
//! [`dot::dot`] writes what graphviz reads. The rest draws by itself: [`net::Drawing`] says what is to be seen,
//! [`layout`] where it stands, [`picture::scene`] in which shapes; [`svg::svg`], [`png::png`] and [`pdf::pdf`] write
//! these.

pub mod chart;
mod describe;
pub mod dot;
pub mod forest;
mod layout;
pub mod net;
mod order;
pub mod pdf;
pub mod picture;
pub mod png;
pub mod scene;
pub mod svg;
pub mod terminal;
mod text;

pub use net::Drawing;

/// Which way the data runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Left to right.
    LeftRight,
    /// Right to left.
    RightLeft,
    /// Top to bottom.
    TopBottom,
    /// Bottom to top.
    BottomTop,
}

impl Direction {
    /// Whether the data run up or down.
    pub fn is_upright(self) -> bool {
        matches!(self, Self::TopBottom | Self::BottomTop)
    }

    /// Graphviz's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeftRight => "LR",
            Self::RightLeft => "RL",
            Self::TopBottom => "TB",
            Self::BottomTop => "BT",
        }
    }
}
