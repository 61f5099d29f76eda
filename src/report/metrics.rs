//! `--metrics F.jsonl`: the course of a run as JSON, one object a line, flushed line by line.
//!
//! Training points are `{"iteration","phase","lr","loss","images_per_s","density"}`, test points
//! `{"iteration","phase","outputs":{NAME:V}}`. A resumed run cuts off what the stopped run wrote past the point of
//! resumption, so that the file is as if the run had never stopped.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A point of training.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TrainPoint<'a> {
    /// The iteration, from 0 in each phase.
    pub iteration: u64,
    /// The phase's name.
    pub phase: &'a str,
    /// The learning rate.
    pub lr: f32,
    /// The loss, smoothed as in the log.
    pub loss: f32,
    /// Speed since the last point.
    pub images_per_s: f64,
    /// The fraction of weights that are not pruned.
    pub density: f64,
}

#[derive(Serialize)]
struct TestPoint<'a> {
    iteration: u64,
    phase: &'a str,
    outputs: Map<String, Value>,
}

/// Where a resumed run goes on.
#[derive(Clone, Copy, Debug)]
pub struct Resume<'a> {
    /// The phase's name.
    pub phase: &'a str,
    /// How many phases of that name came before it in the flow.
    pub nth: usize,
    /// The first iteration that will run again.
    pub iteration: u64,
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

/// The open file.
#[derive(Debug)]
pub struct Metrics {
    file: File,
    path: PathBuf,
}

impl Metrics {
    /// Starts an empty file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Goes on with a file, without the lines that `from` will write again; starts one if there is none.
    ///
    /// # Errors
    /// The file cannot be read and written, or is not a metrics file (it is then left as it is).
    pub fn resume(path: &Path, from: Resume<'_>) -> Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let end = kept(&file, path, from)?;
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Writes a point of training.
    ///
    /// # Errors
    /// The file cannot be written (disk full …).
    pub fn train(&mut self, point: &TrainPoint<'_>) -> Result<()> {
        self.write(point)
    }

    /// Writes a point of testing with the net's outputs.
    ///
    /// # Errors
    /// The file cannot be written (disk full …).
    pub fn test<'a>(
        &mut self,
        iteration: u64,
        phase: &str,
        values: impl IntoIterator<Item = (&'a str, f32)>,
    ) -> Result<()> {
        self.write(&TestPoint {
            iteration,
            phase,
            outputs: outputs(values),
        })
    }

    fn write(&mut self, point: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(point)?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// What a resumption must know of a line.
#[derive(Deserialize)]
struct Stamp {
    iteration: u64,
    phase: String,
}

/// The number of bytes that come before what `from` will write again.
fn kept(file: &File, path: &Path, from: Resume<'_>) -> Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut end, mut number) = (0, 0);
    let mut line = Vec::new();
    let mut phase = String::new();
    let mut phases_of_name = 0;
    loop {
        line.clear();
        let read = reader
            .read_until(b'\n', &mut line)
            .with_context(|| format!("cannot read {}", path.display()))?;
        number += 1;
        // No line, or one that the stopped run did not finish.
        if !line.ends_with(b"\n") {
            if number == 1 && read > 0 && !line.starts_with(b"{") {
                bail!(not_metrics(path, number));
            }
            return Ok(end);
        }
        let Ok(stamp) = serde_json::from_slice::<Stamp>(&line) else {
            bail!(not_metrics(path, number));
        };
        if stamp.phase != phase {
            phases_of_name += usize::from(stamp.phase == from.phase);
            phase = stamp.phase;
        }
        let here = phase == from.phase && phases_of_name == from.nth + 1;
        if here && stamp.iteration >= from.iteration || phases_of_name > from.nth && !here {
            return Ok(end);
        }
        end += read as u64;
    }
}

fn not_metrics(path: &Path, line: usize) -> String {
    format!(
        "{}:{line}: expected a JSON object with \"iteration\" and \"phase\": not a metrics file; give \
         another name to --metrics",
        path.display()
    )
}

#[cfg(test)]
mod tests;
