//! A picture as shapes, the same for SVG, PNG and PDF: x to the right, y down, in pixels.

use super::layout::Pair;

/// A picture.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// What it shows.
    pub title: String,
    /// Width and height.
    pub size: Pair,
    /// The shapes, those in front last.
    pub shapes: Vec<Shape>,
}

/// A colour: red, green, blue.
pub type Colour = [u8; 3];

/// The line around a shape: colour and width.
pub type Line = (Colour, f64);

/// A piece of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Piece {
    /// Straight to a point.
    Line(Pair),
    /// A Bezier curve by two points to a third.
    Bend(Pair, Pair, Pair),
}

impl Piece {
    /// Where it ends.
    pub fn end(&self) -> Pair {
        match self {
            Self::Line(to) | Self::Bend(_, _, to) => *to,
        }
    }
}

/// A shape.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A box with round corners.
    Box {
        /// Left and top.
        at: Pair,
        /// Width and height.
        size: Pair,
        /// The corners' radius.
        radius: f64,
        /// What it is filled with.
        fill: Colour,
        /// Its border.
        line: Line,
    },
    /// A polygon.
    Polygon {
        /// Its corners.
        points: Vec<Pair>,
        /// What it is filled with.
        fill: Colour,
        /// Its border.
        line: Option<Line>,
    },
    /// A curve that is not filled.
    Curve {
        /// Where it starts.
        from: Pair,
        /// Its pieces.
        pieces: Vec<Piece>,
        /// How it is drawn.
        line: Line,
    },
    /// A line of text.
    Text {
        /// Where it starts, or where its middle is, on the line that letters stand on.
        at: Pair,
        /// Font size.
        size: f64,
        /// Whether it is bold.
        bold: bool,
        /// Whether `at` is its middle.
        middle: bool,
        /// The letters' colour.
        colour: Colour,
        /// What it says.
        text: String,
    },
}

/// A colour that is written `#rrggbb`; black if it is not.
pub fn colour(text: &str) -> Colour {
    let digits = text.strip_prefix('#').unwrap_or_default();
    match u32::from_str_radix(digits, 16) {
        Ok(number) if digits.len() == 6 => [16, 8, 0].map(|shift| (number >> shift) as u8),
        _ => [0; 3],
    }
}

/// The head of an arrow that ends in `tip`, coming from the side of `from`.
pub fn arrow_head(from: Pair, tip: Pair, fill: Colour) -> Shape {
    let [dx, dy] = [tip[0] - from[0], tip[1] - from[1]];
    let length = dx.hypot(dy).max(1e-9);
    let [ux, uy] = [dx / length, dy / length];
    let place = |back: f64, side: f64| {
        [
            tip[0] - back * ux - side * uy,
            tip[1] - back * uy + side * ux,
        ]
    };
    Shape::Polygon {
        points: vec![place(7.2, -3.1), place(-0.5, 0.0), place(7.2, 3.1)],
        fill,
        line: None,
    }
}
