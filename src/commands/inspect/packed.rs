//! What a model in one file says beside its weights.

use super::{Description, counted, dims, things};
use crate::commands::run_folder::Record;
use crate::compress::container::Part;
use crate::report::number::G;
use crate::session::Packed;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;

/// The most classes that are named in the text.
const NAMED: usize = 12;

/// Adds the net, the preprocessing, the classes and the record of `model`, whose file has `parts`.
///
/// # Errors
/// The record is none.
pub fn add(model: &Packed, parts: &[Part], description: &mut Description) -> Result<()> {
    let mut text = "a model by itself:\n".to_string();
    let net = &model.net.message;
    let layers = things(net.layer.len(), "layer");
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(text, "  net            {} ({layers})", net.name());
    if let Some(size) = model.given.stored {
        let seen = model.input.filter(|input| *input != size);
        let seen = seen.map(|input| format!(", of which the net sees {}", dims(&input)));
        let _ = writeln!(
            text,
            "  pictures       {}{}",
            dims(&size),
            seen.unwrap_or_default()
        );
    }
    if let Some(labels) = &model.labels {
        let names = labels.iter().take(NAMED).map(String::as_str);
        let mut names = names.collect::<Vec<_>>().join(", ");
        if labels.len() > NAMED {
            names += ", …";
        }
        let _ = writeln!(
            text,
            "  {:<13}  {names}",
            things(labels.len(), "class").replace("classs", "classes")
        );
    }
    for phase in phases(model)? {
        let _ = writeln!(text, "  {:<13}  {}", phase.phase, told(&phase));
    }
    let command = model.record.as_ref().and_then(command);
    if let Some(command) = command {
        let _ = writeln!(text, "  made by        {command}");
    }
    description.text += &text;
    let sizes = parts.iter().map(|p| (p.name.clone(), p.bytes.len().into()));
    description.json["model"] = json!({
        "net": net.name(),
        "layers": net.layer.len(),
        "size": model.given.stored,
        "input": model.input,
        "classes": model.labels,
        "record": model.record,
        "parts": sizes.collect::<serde_json::Map<String, Value>>(),
    });
    Ok(())
}

/// The phases of the run that the weights are of.
fn phases(model: &Packed) -> Result<Vec<Record>> {
    let mut record = model.record.as_ref();
    // Of a file made of another one, the first has them.
    while let Some(before) = record.map(|r| &r["before"]).filter(|b| b.is_object()) {
        record = Some(before);
    }
    let phases = record.map(|r| r["phases"].clone());
    Ok(phases
        .map(serde_json::from_value)
        .transpose()?
        .unwrap_or_default())
}

fn told(phase: &Record) -> String {
    let iterations = usize::try_from(phase.iterations).unwrap_or(usize::MAX);
    let mut text = format!(
        "{} iterations, density {}",
        counted(iterations),
        G(phase.density)
    );
    for (name, value) in &phase.outputs {
        text += &format!(", {name} {}", G(*value));
    }
    text
}

fn command(record: &Value) -> Option<String> {
    let words = record["command"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str);
    let words: Vec<&str> = words.collect();
    let version = record["version"].as_str()?;
    Some(format!("dsd {version}: {}", words.join(" ")))
}
