//! The course of a run as JSON, one object a line, flushed line by line: `metrics.jsonl` in a run's folder, and `--metrics`,
//! which may be CSV too ([`rows`]); and as TensorBoard's event files ([`tensorboard`]).
//!
//! Every line has `"iteration"` (from 0 in each phase), `"global_iteration"` (over all phases), `"phase"` (`redense-2` for
//! the second), `"time"` (UTC) and `"densities"` (a layer each). Training points add `"lr"`, `"loss"`, `"images_per_s"`, `"waited"`
//! (the fraction of the time that went by waiting for data) and `"density"`, test points `"outputs"`. A resumed run takes out what the stopped run wrote past the point of resumption,
//! so that the file is as if the run had never stopped.

mod rows;
mod tensorboard;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{files, info};
use rows::{Form, Stamp};
use tensorboard::Events;

/// The fraction of weights that are not 0, by layer.
pub type Densities = Vec<(String, f64)>;

/// A point of training.
#[derive(Clone, Copy, Debug)]
pub struct TrainPoint<'a> {
    /// The iteration, from 0 in each phase.
    pub iteration: u64,
    /// The learning rate.
    pub lr: f32,
    /// The loss, smoothed as in the log.
    pub loss: f32,
    /// Speed since the last point.
    pub images_per_s: f64,
    /// The fraction of the time since then in which the run waited for data.
    pub waited: f64,
    /// The fraction of weights that are not pruned.
    pub density: f64,
    /// The same for each layer.
    pub densities: &'a Densities,
}

/// A line of the file.
#[derive(Serialize)]
struct Line<'a> {
    iteration: u64,
    global_iteration: u64,
    phase: &'a str,
    time: String,
    #[serde(flatten)]
    point: Point,
    densities: Map<String, Value>,
}

/// What a line tells.
#[derive(Serialize)]
#[serde(untagged)]
enum Point {
    Train {
        lr: f32,
        loss: f32,
        images_per_s: f64,
        waited: f64,
        density: f64,
    },
    Test {
        outputs: Map<String, Value>,
    },
}

impl Point {
    /// The numbers by their names in tables and in TensorBoard.
    fn values(&self) -> Vec<(String, f64)> {
        let named = |name: &str, value: f64| (format!("train/{name}"), value);
        match self {
            Self::Train {
                lr,
                loss,
                images_per_s,
                waited,
                density,
            } => vec![
                named("loss", f64::from(*loss)),
                named("lr", f64::from(*lr)),
                named("density", *density),
                named("images_per_s", *images_per_s),
                named("waited", *waited),
            ],
            Self::Test { outputs } => {
                let mut values = Vec::new();
                for (name, value) in outputs {
                    let list = match value {
                        Value::Array(list) => list,
                        one => std::slice::from_ref(one),
                    };
                    let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
                    for (k, v) in list.iter().enumerate() {
                        let place = if list.len() > 1 {
                            format!("/{k}")
                        } else {
                            String::new()
                        };
                        values.push((format!("test/{name}{place}"), number(v)));
                    }
                }
                values
            }
        }
    }
}

/// The outputs of a test as JSON: a number each, a list where an output has several values.
pub fn outputs<'a>(values: impl IntoIterator<Item = (&'a str, f32)>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in values {
        let value = Value::from(value);
        match map.get_mut(name) {
            None => drop(map.insert(name.to_owned(), value)),
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    map
}

/// The course of one phase, on its way to one file or several.
#[derive(Debug)]
pub struct Metrics {
    phase: String,
    before: u64,
    files: Vec<(PathBuf, File)>,
    events: Vec<Events>,
}

impl Metrics {
    /// Of a phase of this name (its folder's), with `before` iterations of the phases that it follows.
    pub fn of(phase: &str, before: u64) -> Self {
        Self {
            phase: phase.to_owned(),
            before,
            files: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Writes to an empty file of that name; another run's file that is there gets another name (`m.jsonl.old1`).
    ///
    /// # Errors
    /// The file cannot be written, or is there and no metrics file (it is then left as it is).
    pub fn create(&mut self, path: &Path) -> Result<()> {
        if is_used(path) {
            let text = files::read_text(path)?;
            Form::of(path).lines(&text, path)?;
            let aside = files::aside(path);
            fs::rename(path, &aside).map_err(|e| {
                let reason = files::reason(&e);
                anyhow!("cannot move {} aside: {reason}", path.display())
            })?;
            info!(
                "{} holds another run's metrics; it is now {}",
                path.display(),
                aside.display()
            );
        }
        let file = File::create(path).map_err(|e| cannot_write(path, &e))?;
        self.add(path, file)
    }

    /// Goes on with a file, without the lines of this phase from `iteration` on, which come again; starts one if there
    /// is none.
    ///
    /// # Errors
    /// The file cannot be read and written, or is not a metrics file (it is then left as it is).
    pub fn resume(&mut self, path: &Path, iteration: u64) -> Result<()> {
        if is_used(path) {
            take_out(path, |s| s.phase == self.phase && s.iteration >= iteration)?;
        }
        let file = File::options().append(true).create(true).open(path);
        let file = file.map_err(|e| cannot_write(path, &e))?;
        self.add(path, file)
    }

    /// Writes TensorBoard's event files too, to a folder of this phase in `folder`; what earlier ones there say from
    /// `iteration` on comes again, or is another run's.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn tensorboard(&mut self, folder: &Path, iteration: u64) -> Result<()> {
        // A phase that begins replaces all of an earlier run's.
        let step = if iteration == 0 {
            0
        } else {
            self.before + iteration
        };
        self.events
            .push(Events::create(&folder.join(&self.phase), step)?);
        Ok(())
    }

    fn add(&mut self, path: &Path, mut file: File) -> Result<()> {
        let head = Form::of(path).head();
        if !is_used(path) {
            file.write_all(head.as_bytes())
                .map_err(|e| cannot_write(path, &e))?;
        }
        self.files.push((path.to_owned(), file));
        Ok(())
    }

    /// Writes a point of training.
    ///
    /// # Errors
    /// The file cannot be written (disk full …).
    pub fn train(&mut self, point: &TrainPoint<'_>) -> Result<()> {
        let train = Point::Train {
            lr: point.lr,
            loss: point.loss,
            images_per_s: point.images_per_s,
            waited: point.waited,
            density: point.density,
        };
        self.write(point.iteration, point.densities, train)
    }

    /// Writes a point of testing with the net's outputs.
    ///
    /// # Errors
    /// The file cannot be written (disk full …).
    pub fn test<'a>(
        &mut self,
        iteration: u64,
        densities: &Densities,
        values: impl IntoIterator<Item = (&'a str, f32)>,
    ) -> Result<()> {
        let outputs = outputs(values);
        self.write(iteration, densities, Point::Test { outputs })
    }

    fn write(&mut self, iteration: u64, densities: &Densities, point: Point) -> Result<()> {
        let now = jiff::Timestamp::now();
        let now = now.round(jiff::Unit::Millisecond).unwrap_or(now);
        let global = self.before + iteration;
        let values = point.values();
        for events in &mut self.events {
            events.point(global, now, &values)?;
        }
        if self.files.is_empty() {
            return Ok(());
        }
        let csv = rows::csv((&self.phase, iteration, global), &now.to_string(), &values);
        let density = |(layer, d): &(String, f64)| (layer.clone(), Value::from(*d));
        let mut json = serde_json::to_vec(&Line {
            iteration,
            global_iteration: global,
            phase: &self.phase,
            time: now.to_string(),
            point,
            densities: densities.iter().map(density).collect(),
        })?;
        json.push(b'\n');
        for (path, file) in &mut self.files {
            let text = match Form::of(path) {
                Form::Json => &json[..],
                Form::Csv => csv.as_bytes(),
            };
            file.write_all(text).map_err(|e| cannot_write(path, &e))?;
        }
        Ok(())
    }
}

/// Moves the lines of phase `phase` from one file to the end of another; whatever is wrong, nothing is lost.
///
/// # Errors
/// A file that cannot be read or written, or is no metrics file.
pub fn move_phase(from: &Path, phase: &str, to: &Path) -> Result<()> {
    if !is_used(from) {
        return Ok(());
    }
    let text = files::read_text(from)?;
    let own = Form::of(from).lines(&text, from)?.into_iter();
    let own: String = own
        .filter(|(stamp, _)| stamp.phase == phase)
        .map(|(_, line)| line)
        .collect();
    if own.is_empty() {
        return Ok(());
    }
    let file = File::options().append(true).create(true).open(to);
    file.and_then(|mut f| f.write_all(own.as_bytes()))
        .map_err(|e| cannot_write(to, &e))?;
    take_out(from, |stamp| stamp.phase == phase)
}

fn is_used(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0)
}

/// Takes lines out of a file, and a last one that a stopped run did not finish.
fn take_out(path: &Path, goes: impl Fn(&Stamp) -> bool) -> Result<()> {
    let text = files::read_text(path)?;
    let form = Form::of(path);
    let lines = form.lines(&text, path)?.into_iter();
    let kept = lines.filter(|(s, _)| !goes(s)).map(|(_, l)| l);
    let kept: String = std::iter::once(form.head().to_owned())
        .chain(kept)
        .collect();
    if kept != text {
        files::write_atomic(path, |w| Ok(w.write_all(kept.as_bytes())?))?;
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow!("cannot write {}: {}", path.display(), files::reason(error))
}

#[cfg(test)]
mod tests;
