//! A single BlobProto, as `compute_image_mean` writes it: its shape and the means of its channels.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Description, decimal, dims, things};
use crate::proto::{binary, blob};
use crate::report::human::HumanBytes;
use crate::report::number::G;
use crate::report::table::{Align, Table};

/// Mean and range of some values.
struct Summary {
    mean: f64,
    min: f32,
    max: f32,
}

impl Summary {
    fn of(values: &[f32]) -> Self {
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        Self {
            mean: sum / values.len().max(1) as f64,
            min: values.iter().copied().fold(f32::INFINITY, f32::min),
            max: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        }
    }

    fn cells(&self, name: String, shape: &str) -> [String; 5] {
        let (mean, min, max) = (G(self.mean), G(self.min), G(self.max));
        [
            name,
            shape.to_string(),
            mean.to_string(),
            min.to_string(),
            max.to_string(),
        ]
    }

    fn json(&self) -> Value {
        json!({ "mean": self.mean, "min": decimal(self.min), "max": decimal(self.max) })
    }
}

/// Describes the blob in the file `path`.
pub fn describe(path: &Path, size: HumanBytes) -> Result<Description> {
    let place = || path.display().to_string();
    let message = binary::read_blob(path)?;
    let shape = blob::shape(&message).with_context(place)?;
    let values = blob::values(&message).with_context(place)?;
    ensure!(
        !values.is_empty(),
        "{}: expected a blob with values, found none in shape {shape:?}",
        place()
    );
    let whole = Summary::of(&values);
    // Channels are told apart where the shape is a picture's.
    let channels: Vec<Summary> = match shape[..] {
        [1, c, h, w] | [c, h, w] if c > 0 => values.chunks(h * w).map(Summary::of).collect(),
        _ => Vec::new(),
    };
    let mut table = Table::new([
        ("channel", Align::Left),
        ("shape", Align::Left),
        ("mean", Align::Right),
        ("min", Align::Right),
        ("max", Align::Right),
    ]);
    let plane = dims(&shape[shape.len().saturating_sub(2)..]);
    for (i, channel) in channels.iter().enumerate() {
        table.row(channel.cells(i.to_string(), &plane));
    }
    table.row(whole.cells("all".into(), &dims(&shape)));
    let table = table.shown();
    let of_channels = |f: fn(&Summary) -> Value| channels.iter().map(f).collect::<Vec<_>>();
    Ok(Description {
        text: format!(
            "{}: a mean or another single blob, {size}, {}\n{table}",
            path.display(),
            things(values.len(), "value")
        ),
        json: json!({
            "kind": "blob",
            "shape": shape,
            "mean": whole.mean,
            "min": decimal(whole.min),
            "max": decimal(whole.max),
            "channels": of_channels(Summary::json),
        }),
    })
}
