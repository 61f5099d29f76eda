//! The file of a sensitivity run: JSON, written whole each time, from which the next run goes on.

use super::layers::Prunable;
use super::points::{Point, Points};
use super::score::{Measure, Score};
use super::subject::Subject;
use super::suggest::Suggestion;
use crate::files;
use crate::report::metrics::outputs as as_json;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::path::Path;

/// What the file calls itself.
pub const FORMAT: &str = "dsd sensitivity 1";

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

    /// The fewest weights of a layer that stayed at any point.
    pub fn least(&self, layer: &str) -> Option<usize> {
        let own = self.points.iter().filter(|p| p.layer == layer);
        own.map(|p| p.kept).min()
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
