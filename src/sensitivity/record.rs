//! The file of a sensitivity run: JSON, written whole each time, from which the next run goes on.

use super::layers::Prunable;
use super::points::{Point, Points};
use super::score::{Bench, Measure, Score};
use super::suggest::Suggestion;
use crate::files;
use crate::net::graph::Graph;
use crate::report::metrics::outputs as as_json;
use crate::tensor::Tensor;
use anyhow::{Context, Result, bail};
use prost::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What the file calls itself.
pub const FORMAT: &str = "dsd sensitivity 1";

/// What was measured: two runs of the same subject may share a file. The sums are CRC-32C, in hex.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The net's file or name.
    pub net: String,
    /// Of the test net's layers.
    pub net_crc: String,
    /// The files of the weights.
    pub weights: Vec<String>,
    /// Of all parameters' values.
    pub weights_crc: String,
    /// `--source`, as an absolute path.
    pub source: Option<String>,
    /// Of the batches, or, where they are too many to keep, of the first.
    pub data_crc: String,
    /// The samples of a batch.
    pub batch: usize,
    /// The number of batches.
    pub iterations: usize,
}

impl Subject {
    /// What `bench` measures.
    pub fn new(bench: &Bench, weights: &[PathBuf], source: Option<&Path>) -> Self {
        let full = |p: &Path| std::fs::canonicalize(p).unwrap_or_else(|_| p.to_path_buf());
        let graph = bench.net.graph();
        Self {
            net: graph.file.clone(),
            net_crc: hex(graph_crc(graph)),
            weights: weights.iter().map(|w| w.display().to_string()).collect(),
            weights_crc: hex(tensors_crc(&bench.weights)),
            source: source.map(|s| full(s).display().to_string()),
            data_crc: hex(tensors_crc(bench.kept().iter().flatten())),
            batch: bench.net.batch(),
            iterations: bench.iterations,
        }
    }

    /// In what `other` is another subject; where a file lies does not matter.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let mut check = |same: bool, what: &str, own: String, theirs: String| {
            if !same {
                all.push(match own == theirs {
                    true => format!("{what} ({own}) has changed since"),
                    false => format!("{what} is {theirs}, here {own}"),
                });
            }
        };
        let (a, b) = (self, other);
        check(
            a.net_crc == b.net_crc,
            "the net",
            a.net.clone(),
            b.net.clone(),
        );
        let names = |s: &Self| s.weights.join(",");
        check(
            a.weights_crc == b.weights_crc,
            "the weights file",
            names(a),
            names(b),
        );
        let number = |n: usize| n.to_string();
        let length = a.iterations == b.iterations;
        check(
            length,
            "--iterations",
            number(a.iterations),
            number(b.iterations),
        );
        check(
            a.batch == b.batch,
            "the batch size",
            number(a.batch),
            number(b.batch),
        );
        let source = |s: &Self| s.source.clone().unwrap_or_else(|| "the net's own".into());
        // Of other numbers of batches the sums differ anyhow.
        let same =
            a.source == b.source && (!length || a.batch != b.batch || a.data_crc == b.data_crc);
        check(same, "the data source", source(a), source(b));
        all
    }
}

fn hex(crc: u32) -> String {
    format!("{crc:08x}")
}

fn graph_crc(graph: &Graph) -> u32 {
    let append = |crc, node: &crate::net::graph::Node| {
        let bytes = node.param.encode_length_delimited_to_vec();
        crc32c::crc32c_append(crc, &bytes)
    };
    graph.nodes.iter().fold(0, append)
}

fn tensors_crc<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> u32 {
    let mut bytes = Vec::new();
    let mut crc = 0;
    for values in tensors.into_iter().flat_map(|t| t.data.chunks(4096)) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        crc = crc32c::crc32c_append(crc, &bytes);
    }
    crc
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    format: String,
    /// What was measured.
    pub subject: Subject,
    /// The output that tables and pictures show.
    pub measure: String,
    layers: Vec<LayerRecord>,
    baseline: Option<ScoreRecord>,
    points: Vec<PointRecord>,
    /// Densities proposed, if any were asked for.
    pub suggestion: Option<Suggestion>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LayerRecord {
    name: String,
    weights: usize,
    /// Those that are not 0.
    alive: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PointRecord {
    layer: String,
    density: f64,
    kept: usize,
    #[serde(flatten)]
    score: ScoreRecord,
}

/// A score as JSON; what is not finite is null.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoreRecord {
    #[serde(serialize_with = "write_outputs", deserialize_with = "read_outputs")]
    outputs: Vec<(String, f32)>,
    #[serde(deserialize_with = "read_number")]
    loss: f32,
}

impl From<&Score> for ScoreRecord {
    fn from(score: &Score) -> Self {
        Self {
            outputs: score.outputs.clone(),
            loss: score.loss,
        }
    }
}

impl From<ScoreRecord> for Score {
    fn from(record: ScoreRecord) -> Self {
        Self {
            outputs: record.outputs,
            loss: record.loss,
        }
    }
}

fn write_outputs<S: Serializer>(outputs: &[(String, f32)], to: S) -> Result<S::Ok, S::Error> {
    as_json(outputs.iter().map(|(n, v)| (n.as_str(), *v))).serialize(to)
}

fn read_outputs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, f32)>, D::Error> {
    let map: Map<String, Value> = Map::deserialize(from)?;
    let number = |v: &Value| v.as_f64().map_or(f32::NAN, |v| v as f32);
    let mut outputs = Vec::new();
    for (name, value) in map {
        match &value {
            Value::Array(list) => outputs.extend(list.iter().map(|v| (name.clone(), number(v)))),
            one => outputs.push((name, number(one))),
        }
    }
    Ok(outputs)
}

fn read_number<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f32::NAN))
}

impl Record {
    /// What is to be written of a run.
    pub fn new(
        subject: Subject,
        measure: &Measure,
        layers: &[Prunable],
        baseline: Option<&Score>,
        rows: Vec<Point>,
        suggestion: Option<Suggestion>,
    ) -> Self {
        let layer = |l: &Prunable| LayerRecord {
            name: l.name.clone(),
            weights: l.weights(),
            alive: l.alive(),
        };
        let point = |p: Point| PointRecord {
            layer: layers[p.layer].name.clone(),
            density: p.density,
            kept: p.kept,
            score: (&p.score).into(),
        };
        Self {
            format: FORMAT.into(),
            subject,
            measure: measure.name.clone(),
            layers: layers.iter().map(layer).collect(),
            baseline: baseline.map(Into::into),
            points: rows.into_iter().map(point).collect(),
            suggestion,
        }
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(path)?;
        let what = || {
            format!(
                "{}: not a record of `dsd sensitivity`; pass another --out",
                path.display()
            )
        };
        let record: Self = serde_json::from_str(&text).with_context(what)?;
        if record.format != FORMAT {
            bail!(
                "{}: its format is '{}', not '{FORMAT}'",
                what(),
                record.format
            );
        }
        Ok(Some(record))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        files::write_atomic(path, |w| Ok(writeln!(w, "{text}")?))
    }

    /// What it has measured of `subject`, whose layers these are.
    ///
    /// # Errors
    /// It is of another subject; says in what.
    pub fn points(&self, path: &Path, subject: &Subject, layers: &[Prunable]) -> Result<Points> {
        let differences = subject.differences(&self.subject);
        if !differences.is_empty() {
            bail!(
                "{} holds measurements of something else: {}; pass another --out, or remove the file",
                path.display(),
                differences.join("; ")
            );
        }
        let mut points = Points::new(self.baseline.clone().map(Into::into));
        for point in &self.points {
            let layer = layers.iter().position(|l| l.name == point.layer);
            let layer = layer.filter(|&l| layers[l].alive_at(point.density) == point.kept);
            let Some(layer) = layer else {
                bail!(
                    "{}: layer '{}' at density {} does not fit the net; pass another --out, or remove the file",
                    path.display(),
                    point.layer,
                    point.density
                );
            };
            if point.kept < layers[layer].alive() {
                points.insert(layers, layer, point.density, point.score.clone().into());
            }
        }
        Ok(points)
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
