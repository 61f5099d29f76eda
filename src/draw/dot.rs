//! A net in graphviz's language, as Caffe's `draw_net.py` hands it to graphviz.

use super::{Direction, describe};
use crate::proto::caffe::LayerParameter;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// The text of a graph of these layers.
pub fn dot(name: &str, layers: &[LayerParameter], direction: Direction, lr_mult: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, name, layers, direction, lr_mult);
    text
}

fn write(
    out: &mut String,
    name: &str,
    layers: &[LayerParameter],
    direction: Direction,
    lr_mult: bool,
) -> fmt::Result {
    let name = if name.is_empty() { "Net" } else { name };
    writeln!(out, "digraph {} {{", quoted(name))?;
    writeln!(out, "rankdir={};", direction.name())?;
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    let mut edges = String::new();
    let mut blobs: Vec<&str> = Vec::new();
    for layer in layers {
        // Layers of one name, as the data layers of both phases are, stay apart.
        let mut id = format!("{}_{}", layer.name(), layer.r#type());
        let count = ids.entry(id.clone()).or_default();
        *count += 1;
        if *count > 1 {
            write!(id, "_{count}")?;
        }
        let id = quoted(&id);
        let label = label(layer, direction, lr_mult);
        let colour = describe::colour(layer);
        writeln!(
            out,
            "{id} [label={label}, shape=record, style=filled, fillcolor=\"{colour}\"];"
        )?;
        for bottom in &layer.bottom {
            blobs.push(bottom);
            writeln!(edges, "{} -> {id};", blob_id(bottom))?;
        }
        for top in &layer.top {
            blobs.push(top);
            write!(edges, "{id} -> {}", blob_id(top))?;
            match describe::edge(layer) {
                label if label.is_empty() => writeln!(edges, ";")?,
                label => writeln!(edges, " [label={}];", quoted(&label))?,
            }
        }
    }
    blobs.sort_unstable();
    blobs.dedup();
    for blob in blobs {
        let (id, label, colour) = (blob_id(blob), quoted(blob), describe::BLOB);
        writeln!(
            out,
            "{id} [label={label}, shape=octagon, style=filled, fillcolor=\"{colour}\"];"
        )?;
    }
    out.push_str(&edges);
    writeln!(out, "}}")
}

fn blob_id(name: &str) -> String {
    quoted(&format!("{name}_blob"))
}

/// What the box says: words apart by spaces where there is room sideways, else by line breaks.
fn label(layer: &LayerParameter, direction: Direction, lr_mult: bool) -> String {
    let mut parts = vec![layer.name().to_string(), describe::kind(layer)];
    let window = describe::window(layer);
    parts.extend(window.iter().map(|(what, size)| format!("{what}: {size}")));
    parts.extend(describe::lr_mult(layer).filter(|_| lr_mult));
    let separator = match direction {
        Direction::LeftRight | Direction::RightLeft => "\\n",
        _ => " ",
    };
    let escaped: Vec<String> = parts.iter().map(|part| record(part)).collect();
    format!("\"{}\"", escaped.join(separator))
}

/// Text in a record, where some letters have a meaning.
fn record(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '{' | '}' | '|' | '<' | '>') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
