//! A picture as SVG. No other program is needed.

use super::layout::Pair;
use super::scene::{Colour, Line, Piece, Scene, Shape};
use super::text::SMALL;
use std::fmt::{self, Write};

/// The text of the picture.
pub fn svg(scene: &Scene) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(scene, &mut text);
    text
}

fn write(scene: &Scene, out: &mut String) -> fmt::Result {
    let [w, h] = scene.size;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
         font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\" font-size=\"{SMALL}\">"
    )?;
    writeln!(out, "<title>{}</title>", escaped(&scene.title))?;
    writeln!(
        out,
        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    )?;
    for one in &scene.shapes {
        shape(one, out)?;
    }
    writeln!(out, "</svg>")
}

fn shape(shape: &Shape, out: &mut String) -> fmt::Result {
    match shape {
        Shape::Box {
            at: [x, y],
            size: [w, h],
            radius,
            fill,
            line,
        } => writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"{radius}\" fill=\"{}\"{}/>",
            hex(*fill),
            stroke(Some(*line))
        ),
        Shape::Polygon { points, fill, line } => {
            let words: Vec<String> = points.iter().map(|p| point(*p)).collect();
            writeln!(
                out,
                "<polygon points=\"{}\" fill=\"{}\"{}/>",
                words.join(" "),
                hex(*fill),
                stroke(*line)
            )
        }
        Shape::Curve { from, pieces, line } => {
            write!(out, "<path d=\"M{}", point(*from))?;
            for piece in pieces {
                match piece {
                    Piece::Line(to) => write!(out, "L{}", point(*to))?,
                    Piece::Bend(a, b, to) => {
                        write!(out, "C{} {} {}", point(*a), point(*b), point(*to))?;
                    }
                }
            }
            writeln!(out, "\" fill=\"none\"{}/>", stroke(Some(*line)))
        }
        Shape::Text {
            at: [x, y],
            size,
            bold,
            middle,
            colour,
            text,
        } => {
            write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\"")?;
            if *middle {
                write!(out, " text-anchor=\"middle\"")?;
            }
            if *size != SMALL {
                write!(out, " font-size=\"{size}\"")?;
            }
            if *bold {
                write!(out, " font-weight=\"bold\"")?;
            }
            if *colour != [0; 3] {
                write!(out, " fill=\"{}\"", hex(*colour))?;
            }
            writeln!(out, ">{}</text>", escaped(text))
        }
    }
}

fn point([x, y]: Pair) -> String {
    format!("{x:.1},{y:.1}")
}

fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn stroke(line: Option<Line>) -> String {
    match line {
        Some((colour, width)) => format!(" stroke=\"{}\" stroke-width=\"{width}\"", hex(colour)),
        None => String::new(),
    }
}

/// Text as XML wants it; what XML cannot say is left out.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in crate::files::encoding::shown(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
