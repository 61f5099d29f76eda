//! A drawing as SVG: boxes for layers, octagons for blobs, curves for edges. No other program is needed.

use super::layout::{Layout, Pair, layout};
use super::net::{Drawing, Node};
use super::text::{BIG, CORNER, LINE, Line, PAD, SMALL, extent, lines, part_height, width};
use super::{Direction, describe};
use std::fmt::{self, Write};

/// Free space around the whole.
const MARGIN: f64 = 20.0;
/// The height of the line with the net's name.
const TITLE: f64 = 28.0;

/// The text of the picture.
pub fn svg(drawing: &Drawing, direction: Direction, lr_mult: bool) -> String {
    let upright = direction != Direction::LeftRight;
    let boxes: Vec<Vec<Vec<Line>>> = drawing
        .nodes
        .iter()
        .map(|node| lines(node, lr_mult, upright))
        .collect();
    let sizes: Vec<Pair> = drawing
        .nodes
        .iter()
        .zip(&boxes)
        .map(|(node, parts)| extent(node, parts))
        .collect();
    // The layout knows along and across.
    let turn = |[width, height]: Pair| {
        if upright {
            [height, width]
        } else {
            [width, height]
        }
    };
    let turned: Vec<Pair> = sizes.iter().map(|&s| turn(s)).collect();
    let edges: Vec<(usize, usize)> = drawing.edges.iter().map(|e| (e.from, e.to)).collect();
    let picture = Picture {
        drawing,
        direction,
        plan: layout(&turned, &edges),
        boxes,
        sizes,
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = picture.write(&mut text);
    text
}

struct Picture<'a> {
    drawing: &'a Drawing,
    direction: Direction,
    plan: Layout,
    boxes: Vec<Vec<Vec<Line>>>,
    sizes: Vec<Pair>,
}

impl Picture<'_> {
    /// A place of the layout as x and y.
    fn at(&self, [along, across]: Pair) -> Pair {
        let [x, y] = match self.direction {
            Direction::LeftRight => [along, across],
            Direction::TopBottom => [across, along],
            Direction::BottomTop => [across, self.plan.size[0] - along],
        };
        [x + MARGIN, y + MARGIN + TITLE]
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let name = match self.drawing.name.as_str() {
            "" => "Net",
            name => name,
        };
        let [along, across] = self.plan.size;
        let [w, h] = match self.direction {
            Direction::LeftRight => [along, across],
            _ => [across, along],
        };
        let title = width(&(name.to_string(), true)) * 1.4;
        let (w, h) = (w.max(title) + 2.0 * MARGIN, h + 2.0 * MARGIN + TITLE);
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
             font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\" font-size=\"{SMALL}\" text-anchor=\"middle\">"
        )?;
        writeln!(out, "<title>{}</title>", escaped(name))?;
        writeln!(
            out,
            "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0.8L8 4L0 7.2z\" fill=\"#555\"/></marker></defs>"
        )?;
        writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>")?;
        writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"{:.0}\" font-size=\"18\" font-weight=\"bold\" text-anchor=\"start\">{}</text>",
            MARGIN + 8.0,
            escaped(name)
        )?;
        writeln!(
            out,
            "<g fill=\"none\" stroke=\"#555\" stroke-width=\"1.1\">"
        )?;
        for route in &self.plan.routes {
            self.curve(out, route)?;
        }
        writeln!(out, "</g>")?;
        for n in 0..self.drawing.nodes.len() {
            self.node(out, n)?;
        }
        for (edge, route) in self.drawing.edges.iter().zip(&self.plan.routes) {
            self.label(out, &edge.label, route)?;
        }
        writeln!(out, "</svg>")
    }

    fn curve(&self, out: &mut String, route: &[Pair]) -> fmt::Result {
        let Some(&first) = route.first() else {
            return Ok(());
        };
        let [x, y] = self.at(first);
        write!(out, "<path d=\"M{x:.1} {y:.1}")?;
        for (k, pair) in route.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            let [x, y] = self.at(to);
            if k % 2 == 1 || (from[1] - to[1]).abs() < 0.5 {
                write!(out, "L{x:.1} {y:.1}")?;
            } else {
                let middle = (from[0] + to[0]) / 2.0;
                let [ax, ay] = self.at([middle, from[1]]);
                let [bx, by] = self.at([middle, to[1]]);
                write!(out, "C{ax:.1} {ay:.1} {bx:.1} {by:.1} {x:.1} {y:.1}")?;
            }
        }
        writeln!(out, "\" marker-end=\"url(#tip)\"/>")
    }

    /// The text beside the first piece of an edge.
    fn label(&self, out: &mut String, label: &str, route: &[Pair]) -> fmt::Result {
        let [from, to, ..] = route[..] else {
            return Ok(());
        };
        if label.is_empty() {
            return Ok(());
        }
        let [x, y] = self.at([(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0]);
        let (x, y, anchor) = match self.direction {
            Direction::LeftRight => (x, y - 4.0, "middle"),
            _ => (x + 5.0, y + 3.0, "start"),
        };
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"10\" fill=\"#333\">{}</text>",
            escaped(label)
        )
    }

    fn node(&self, out: &mut String, n: usize) -> fmt::Result {
        let [x, y] = self.at(self.plan.centres[n]);
        let [w, h] = self.sizes[n];
        let (left, mut top) = (x - w / 2.0, y - h / 2.0);
        match &self.drawing.nodes[n] {
            Node::Blob(..) => {
                octagon(out, [left, top], [w, h])?;
                self.text(out, x, top + 3.0, LINE - 1.0, &self.boxes[n][0])
            }
            Node::Layers(stack) => {
                for (layer, part) in stack.iter().zip(&self.boxes[n]) {
                    let height = part_height(part);
                    writeln!(
                        out,
                        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{w:.1}\" height=\"{height:.1}\" rx=\"3\" \
                         fill=\"{}\" stroke=\"#333\" stroke-width=\"0.8\"/>",
                        describe::colour(layer)
                    )?;
                    self.text(out, x, top + PAD / 2.0, LINE, part)?;
                    top += height;
                }
                Ok(())
            }
        }
    }

    /// Lines of text below each other, from `top` on.
    fn text(&self, out: &mut String, x: f64, top: f64, step: f64, lines: &[Line]) -> fmt::Result {
        for (k, (line, big)) in lines.iter().enumerate() {
            let y = top + (k as f64 + 0.5) * step + 0.36 * SMALL;
            let style = match big {
                true => format!(" font-size=\"{BIG}\" font-weight=\"bold\""),
                false => String::new(),
            };
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\"{style}>{}</text>",
                escaped(line)
            )?;
        }
        Ok(())
    }
}

fn octagon(out: &mut String, [left, top]: Pair, [w, h]: Pair) -> fmt::Result {
    let cut = CORNER * h.min(24.0);
    let (right, bottom) = (left + w, top + h);
    let points = [
        [left + cut, top],
        [right - cut, top],
        [right, top + cut],
        [right, bottom - cut],
        [right - cut, bottom],
        [left + cut, bottom],
        [left, bottom - cut],
        [left, top + cut],
    ];
    let words: Vec<String> = points
        .iter()
        .map(|[x, y]| format!("{x:.1},{y:.1}"))
        .collect();
    writeln!(
        out,
        "<polygon points=\"{}\" fill=\"{}\" stroke=\"#777\" stroke-width=\"0.8\"/>",
        words.join(" "),
        describe::BLOB
    )
}

/// Text as XML wants it; what XML cannot say is left out.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
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
