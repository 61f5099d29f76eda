//! Weights of any format, and plain arrays: shapes and how many values are not pruned.
//!
//! The density of a layer is that of its weights, blob 0 and all matrices after it (an LSTM's recurrent weights); biases
//! are never pruned and not counted. In the whole density, layers whose blob 0 is a vector (BatchNorm, Scale …) have no weights to prune either.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::net::{self, Built};
use super::{Description, counted, density, dims, noted, things};
use super::{compressed, packed};
use crate::compress::container;
use crate::report::human::HumanBytes;
use crate::report::number::G;
use crate::report::table::{Align, Table};
use crate::session::{Model, Packed};
use crate::tensor::Tensor;
use crate::weights_file::{Stored, StoredLayer};
use crate::{npz as arrays, weights_file};

/// Describes a file that names its layers, and compares it with `model` if one is given.
pub fn named(path: &Path, bytes: &[u8], model: Option<&Path>) -> Result<Description> {
    let stored = weights_file::read_named(path, bytes)?;
    let mut notes = Vec::new();
    if stored.layers.is_empty() {
        notes.push("a net without weights".to_string());
    }
    if let Some(model) = model {
        notes.push(compared(&stored, model, path)?);
    }
    let rows: Vec<Row> = stored.layers.iter().map(Row::of_layer).collect();
    let size = HumanBytes(bytes.len() as u64);
    let mut model = Vec::new();
    let (format, what) = match weights_file::kind(bytes, &[]) {
        weights_file::Kind::Hdf5 => ("hdf5", format!("weights in HDF5, {size}")),
        weights_file::Kind::Container => {
            let values = rows.iter().map(|r| r.values).sum();
            let smaller = compressed::smaller(values, bytes.len());
            model = container::parts(bytes)?;
            ("dsdz", format!("compressed weights, {smaller}"))
        }
        _ => ("caffemodel", format!("weights in a caffemodel, {size}")),
    };
    let table = Rows {
        rows,
        word: "layer",
        notes,
    };
    let mut description = table.describe(path, &what, format);
    if let Some(packed) = Packed::at(path)? {
        packed::add(&packed, &model, &mut description)?;
    }
    Ok(description)
}

/// How far the weights are those of a net.
fn compared(stored: &Stored, model: &Path, path: &Path) -> Result<String> {
    let shown = model.display();
    let found = Model::find(Some(model), &[path.to_path_buf()])?;
    let (Built::Whole(net), _) = net::build(&found)? else {
        return Ok(format!(
            "the shapes of {shown} are unknown, so the weights cannot be compared"
        ));
    };
    let mut weights = net
        .params()
        .iter()
        .map(|p| Tensor::zeros(p.shape.clone()))
        .collect();
    let plan = match net.load(&mut weights, stored) {
        Ok(plan) => plan,
        Err(e) => return Ok(format!("does not fit {shown}: {e:#}")),
    };
    let mut text = format!(
        "{} of {shown} find their weights here",
        things(plan.loaded.len(), "layer")
    );
    for (what, names) in [
        ("without weights in the file", &plan.missing),
        ("in the file only", &plan.unused),
    ] {
        if !names.is_empty() {
            text += &format!("; {what}: {}", names.join(", "));
        }
    }
    Ok(text)
}

/// Describes a .npz: weights where every name is LAYER:K, else arrays.
pub fn npz(path: &Path, size: HumanBytes, model: Option<&Path>) -> Result<Description> {
    let all = arrays::read(path)?;
    let named = all.keys().all(|name| {
        let parts = name.rsplit_once(':');
        parts.is_some_and(|(_, k)| k.parse::<usize>().is_ok())
    });
    if named && !all.is_empty() {
        let stored = Stored::from_arrays(all, &path.display().to_string())?;
        let notes = model.map(|m| compared(&stored, m, path)).transpose()?;
        let rows = stored.layers.iter().map(Row::of_layer).collect();
        let table = Rows {
            rows,
            word: "layer",
            notes: notes.into_iter().collect(),
        };
        return Ok(table.describe(path, &format!("weights in a .npz, {size}"), "npz"));
    }
    let rows = all.iter().map(|(name, t)| Row::of_array(name, t)).collect();
    let table = Rows {
        rows,
        word: "array",
        notes: Vec::new(),
    };
    Ok(table.describe(path, &format!("a .npz of arrays, {size}"), "npz"))
}

/// Whether a blob has more than one axis of its own: old files store biases as 1 x 1 x 1 x N.
fn is_matrix(blob: &Tensor) -> bool {
    blob.shape.dims().iter().filter(|&&d| d > 1).count() > 1
}

/// What is told of a layer, or of an array.
pub struct Row {
    name: String,
    shapes: Vec<Vec<usize>>,
    /// All values, biases too.
    pub values: usize,
    weights: usize,
    nonzero: usize,
    /// The bits of its weights' codes, if the file codes them.
    bits: Option<u32>,
    /// Whether its weights count in the whole density.
    prunable: bool,
    /// NaN and infinite values.
    odd: usize,
}

impl Row {
    fn new<'a>(name: &str, blobs: impl Iterator<Item = &'a Tensor> + Clone) -> Self {
        let first = blobs.clone().next();
        let is_weight = |(k, b): &(usize, &Tensor)| *k == 0 || is_matrix(b);
        let weights = blobs.clone().enumerate().filter(is_weight);
        let weights = || weights.clone().flat_map(|(_, b)| &b.data);
        let odd = |b: &Tensor| b.data.iter().filter(|v| !v.is_finite()).count();
        Self {
            name: name.to_string(),
            shapes: blobs.clone().map(|b| b.shape.dims().to_vec()).collect(),
            values: blobs.clone().map(|b| b.data.len()).sum(),
            weights: weights().count(),
            bits: None,
            nonzero: weights().filter(|&&v| v != 0.0).count(),
            prunable: first.is_some_and(|b| b.shape.axes() > 1),
            odd: blobs.map(odd).sum(),
        }
    }

    pub fn of_layer(layer: &StoredLayer) -> Self {
        Self {
            bits: layer.codebook(0).map(|book| book.bits()),
            ..Self::new(&layer.name, layer.blobs.iter())
        }
    }

    fn of_array(name: &str, array: &Tensor) -> Self {
        let row = Self::new(name, std::iter::once(array));
        Self {
            prunable: true,
            ..row
        }
    }
}

/// The rows of a table, and what is noted under it.
pub struct Rows {
    pub rows: Vec<Row>,
    /// What a row is: a layer or an array.
    pub word: &'static str,
    pub notes: Vec<String>,
}

impl Rows {
    pub fn describe(mut self, path: &Path, what: &str, format: &str) -> Description {
        if self.rows.iter().all(|r| !r.prunable) {
            self.rows.iter_mut().for_each(|r| r.prunable = true);
        }
        for r in self.rows.iter().filter(|r| r.odd > 0) {
            let odd = things(r.odd, "value");
            self.notes.push(format!(
                "{} '{}' has {odd} NaN or infinite",
                self.word, r.name
            ));
        }
        let prunable = || self.rows.iter().filter(|r| r.prunable);
        let weights: usize = prunable().map(|r| r.weights).sum();
        let nonzero: usize = prunable().map(|r| r.nonzero).sum();
        let values: usize = self.rows.iter().map(|r| r.values).sum();
        let whole = density(nonzero, weights);
        let mut text = format!(
            "{}: {what}
{}",
            path.display(),
            self.table().shown()
        );
        text += &things(self.rows.len(), self.word);
        text += &format!(", {}", things(values, "value"));
        if self.word == "layer" {
            text += &format!("; {} without biases", things(weights, "weight"));
        }
        text += &format!(
            ", {} nonzero, density {}
",
            counted(nonzero),
            G(whole)
        );
        text += &noted(&self.notes);
        let list: Vec<Value> = self.rows.iter().map(row_json).collect();
        let mut json = json!({
            "kind": if self.word == "layer" { "weights" } else { "arrays" },
            "format": format,
            "values": values,
            "weights": weights,
            "nonzero": nonzero,
            "density": whole,
            "notes": self.notes,
        });
        json[format!("{}s", self.word)] = list.into();
        Description { text, json }
    }

    fn table(&self) -> Table {
        let counted_as = match self.word {
            "layer" => "weights",
            _ => "values",
        };
        let mut columns = vec![
            (self.word, Align::Left),
            ("shapes", Align::Left),
            (counted_as, Align::Right),
            ("nonzero", Align::Right),
            ("density", Align::Right),
        ];
        if self.rows.iter().any(|r| r.bits.is_some()) {
            columns.push(("bits", Align::Right));
        }
        let mut table = Table::new(columns);
        for r in &self.rows {
            let shapes: Vec<String> = r.shapes.iter().map(|s| dims(s)).collect();
            table.row([
                r.name.clone(),
                shapes.join("  "),
                counted(r.weights),
                counted(r.nonzero),
                format!("{:.4}", density(r.nonzero, r.weights)),
                r.bits.map_or("float".to_string(), |b| b.to_string()),
            ]);
        }
        table
    }
}

fn row_json(r: &Row) -> Value {
    json!({
        "name": r.name,
        "shapes": r.shapes,
        "values": r.values,
        "weights": r.weights,
        "nonzero": r.nonzero,
        "density": density(r.nonzero, r.weights),
        "bits": r.bits,
    })
}
