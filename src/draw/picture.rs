//! A drawing as shapes: boxes for layers, octagons for blobs, curves for edges.

use super::layout::{Layout, Pair, layout};
use super::net::{Drawing, Node};
use super::scene::{Colour, Piece, Scene, Shape, arrow_head, colour};
use super::text::{BIG, CORNER, LINE, Line, PAD, SMALL, extent, lines, part_height, width};
use super::{Direction, describe};

/// Free space around the whole.
const MARGIN: f64 = 20.0;
/// The height of the line with the net's name, and its font size.
const TITLE: f64 = 28.0;
const TITLE_SIZE: f64 = 18.0;
/// The font size of what stands beside edges.
const LABEL: f64 = 10.0;
/// Free space around that, along the edge.
const LABEL_GAP: f64 = 16.0;

const INK: Colour = [0; 3];
const EDGE: Colour = [0x55; 3];
const BORDER: Colour = [0x33; 3];
const BLOB_BORDER: Colour = [0x77; 3];

/// The shapes of a drawing.
pub fn scene(drawing: &Drawing, direction: Direction, lr_mult: bool) -> Scene {
    let upright = direction.is_upright();
    let boxes: Vec<Vec<Vec<Line>>> = drawing
        .nodes
        .iter()
        .map(|node| lines(node, lr_mult, upright))
        .collect();
    let each = drawing.nodes.iter().zip(&boxes);
    let sizes: Vec<Pair> = each.map(|(node, parts)| extent(node, parts)).collect();
    // The layout knows along and across.
    let turn = |[width, height]: Pair| match upright {
        true => [height, width],
        false => [width, height],
    };
    let turned: Vec<Pair> = sizes.iter().map(|&s| turn(s)).collect();
    let edges: Vec<(usize, usize)> = drawing.edges.iter().map(|e| (e.from, e.to)).collect();
    // What stands beside an edge needs room between the boxes that it joins, or it would lie on them.
    let room = |label: &String| match (label.is_empty(), upright) {
        (true, _) => 0.0,
        (false, true) => LABEL + LABEL_GAP,
        (false, false) => width(&(label.clone(), false)) * LABEL / SMALL + LABEL_GAP,
    };
    let rooms: Vec<f64> = drawing.edges.iter().map(|e| room(&e.label)).collect();
    let picture = Picture {
        drawing,
        direction,
        plan: layout(&turned, &edges, &rooms),
        boxes,
        sizes,
    };
    picture.scene()
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
            Direction::RightLeft => [self.plan.size[0] - along, across],
            Direction::TopBottom => [across, along],
            Direction::BottomTop => [across, self.plan.size[0] - along],
        };
        [x + MARGIN, y + MARGIN + TITLE]
    }

    fn scene(&self) -> Scene {
        let name = match self.drawing.name.as_str() {
            "" => "Net",
            name => name,
        };
        let [along, across] = self.plan.size;
        let [w, h] = match self.direction.is_upright() {
            false => [along, across],
            true => [across, along],
        };
        let title = width(&(name.to_string(), true)) * 1.4;
        let mut shapes = vec![Shape::Text {
            at: [MARGIN, MARGIN + 8.0],
            size: TITLE_SIZE,
            bold: true,
            middle: false,
            colour: INK,
            text: name.to_string(),
        }];
        for route in &self.plan.routes {
            self.curve(&mut shapes, route);
        }
        for n in 0..self.drawing.nodes.len() {
            self.node(&mut shapes, n);
        }
        for (edge, route) in self.drawing.edges.iter().zip(&self.plan.routes) {
            self.label(&mut shapes, &edge.label, route);
        }
        Scene {
            title: name.to_string(),
            size: [w.max(title) + 2.0 * MARGIN, h + 2.0 * MARGIN + TITLE],
            shapes,
        }
    }

    fn curve(&self, shapes: &mut Vec<Shape>, route: &[Pair]) {
        let Some(&first) = route.first() else {
            return;
        };
        let piece = |(k, pair): (usize, &[Pair])| {
            let (from, to) = (pair[0], pair[1]);
            if k % 2 == 1 || (from[1] - to[1]).abs() < 0.5 {
                return Piece::Line(self.at(to));
            }
            let middle = (from[0] + to[0]) / 2.0;
            let (a, b) = (self.at([middle, from[1]]), self.at([middle, to[1]]));
            Piece::Bend(a, b, self.at(to))
        };
        let pieces: Vec<Piece> = route.windows(2).enumerate().map(piece).collect();
        let from = self.at(first);
        let Some(last) = pieces.last() else {
            return;
        };
        let before = match last {
            Piece::Bend(_, b, _) => *b,
            Piece::Line(_) => pieces.iter().rev().nth(1).map_or(from, Piece::end),
        };
        let head = arrow_head(before, last.end(), EDGE);
        let line = (EDGE, 1.1);
        shapes.push(Shape::Curve { from, pieces, line });
        shapes.push(head);
    }

    /// The text beside the first piece of an edge.
    fn label(&self, shapes: &mut Vec<Shape>, label: &str, route: &[Pair]) {
        let [from, to, ..] = route[..] else {
            return;
        };
        if label.is_empty() {
            return;
        }
        let [x, y] = self.at([(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0]);
        let upright = self.direction.is_upright();
        shapes.push(Shape::Text {
            at: if upright {
                [x + 5.0, y + 3.0]
            } else {
                [x, y - 4.0]
            },
            size: LABEL,
            bold: false,
            middle: !upright,
            colour: BORDER,
            text: label.to_string(),
        });
    }

    fn node(&self, shapes: &mut Vec<Shape>, n: usize) {
        let [x, y] = self.at(self.plan.centres[n]);
        let [w, h] = self.sizes[n];
        let (left, mut top) = (x - w / 2.0, y - h / 2.0);
        match &self.drawing.nodes[n] {
            Node::Blob(..) => {
                shapes.push(octagon([left, top], [w, h]));
                text(shapes, x, top + 3.0, LINE - 1.0, &self.boxes[n][0]);
            }
            Node::Layers(stack) => {
                for (layer, part) in stack.iter().zip(&self.boxes[n]) {
                    let height = part_height(part);
                    shapes.push(Shape::Box {
                        at: [left, top],
                        size: [w, height],
                        radius: 3.0,
                        fill: colour(describe::colour(layer)),
                        line: (BORDER, 0.8),
                    });
                    text(shapes, x, top + PAD / 2.0, LINE, part);
                    top += height;
                }
            }
        }
    }
}

/// Lines of text below each other, from `top` on.
fn text(shapes: &mut Vec<Shape>, x: f64, top: f64, step: f64, lines: &[Line]) {
    for (k, (line, big)) in lines.iter().enumerate() {
        shapes.push(Shape::Text {
            at: [x, top + (k as f64 + 0.5) * step + 0.36 * SMALL],
            size: if *big { BIG } else { SMALL },
            bold: *big,
            middle: true,
            colour: INK,
            text: line.clone(),
        });
    }
}

fn octagon([left, top]: Pair, [w, h]: Pair) -> Shape {
    let cut = CORNER * h.min(24.0);
    let (right, bottom) = (left + w, top + h);
    Shape::Polygon {
        points: vec![
            [left + cut, top],
            [right - cut, top],
            [right, top + cut],
            [right, bottom - cut],
            [right - cut, bottom],
            [left + cut, bottom],
            [left, bottom - cut],
            [left, top + cut],
        ],
        fill: colour(describe::BLOB),
        line: Some((BLOB_BORDER, 0.8)),
    }
}
