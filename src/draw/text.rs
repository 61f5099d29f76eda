//! What the nodes of a picture say, and how much room that takes.

use super::describe;
use super::layout::Pair;
use super::net::Node;
use crate::proto::caffe::LayerParameter;

/// Font size of names.
pub const BIG: f64 = 13.0;
/// Font size of everything else.
pub const SMALL: f64 = 11.0;
/// From one line of text to the next.
pub const LINE: f64 = 15.0;
/// Free space inside a box.
pub const PAD: f64 = 8.0;
/// How much of an octagon's height its corners take.
pub const CORNER: f64 = 0.3;

/// A line of text and whether it is a name.
pub type Line = (String, bool);

/// What a node says: for each of its boxes some lines.
pub fn lines(node: &Node, lr_mult: bool, upright: bool) -> Vec<Vec<Line>> {
    match node {
        Node::Blob(name, shape) => {
            let shape = shape.iter().map(|s| (s.clone(), false));
            let name = std::iter::once((name.clone(), false));
            vec![name.chain(shape).collect()]
        }
        Node::Layers(stack) => stack
            .iter()
            .enumerate()
            .map(|(k, layer)| match k {
                0 => box_lines(layer, lr_mult, upright),
                _ => vec![(format!("{} {}", layer.name(), describe::kind(layer)), false)],
            })
            .collect(),
    }
}

fn box_lines(layer: &LayerParameter, lr_mult: bool, upright: bool) -> Vec<Line> {
    let mut lines = vec![
        (layer.name().to_string(), true),
        (describe::kind(layer), false),
    ];
    let window = describe::window(layer);
    let words = window.iter().map(|(what, size)| {
        let what = what.strip_suffix(" size").unwrap_or(what);
        format!("{what} {size}")
    });
    let words: Vec<String> = words.collect();
    match upright {
        true if !words.is_empty() => lines.push((words.join(", "), false)),
        _ => lines.extend(words.into_iter().map(|w| (w, false))),
    }
    lines.extend(
        describe::lr_mult(layer)
            .filter(|_| lr_mult)
            .map(|l| (l, false)),
    );
    lines
}

/// The width of a text, a little too large for most fonts.
pub fn width((text, big): &Line) -> f64 {
    let unit = |c: char| match c {
        'i' | 'j' | 'l' | 'f' | 't' | 'r' | 'I' | '.' | ',' | ':' | ' ' | '(' | ')' | '/' | '|' => {
            0.38
        }
        'm' | 'w' | 'M' | 'W' => 0.95,
        'A'..='Z' => 0.72,
        _ if c.is_ascii() => 0.6,
        _ => 1.0,
    };
    let size = if *big { BIG * 1.06 } else { SMALL };
    size * text.chars().map(unit).sum::<f64>()
}

/// The height of one box of a node.
pub fn part_height(part: &[Line]) -> f64 {
    part.len() as f64 * LINE + PAD
}

/// Width and height of a node.
pub fn extent(node: &Node, parts: &[Vec<Line>]) -> Pair {
    let text = parts.iter().flatten().map(width).fold(0.0, f64::max);
    match node {
        Node::Blob(..) => {
            let height = parts
                .iter()
                .map(|p| p.len() as f64 * (LINE - 1.0) + 6.0)
                .sum();
            [text + 2.0 * PAD + CORNER * 14.0, height]
        }
        Node::Layers(_) => [
            text + 2.0 * PAD,
            parts.iter().map(|part| part_height(part)).sum(),
        ],
    }
}
