//! The course of a run, read back from its `metrics.jsonl` (see [`metrics`](super::metrics)): also of one that is being
//! written.

use crate::files;
use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A point of training; what a line does not tell is no number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainRow {
    /// The iteration, from 0 in each phase.
    pub iteration: u64,
    /// The iteration over all phases.
    pub global: u64,
    /// Seconds since 1970.
    pub time: f64,
    /// The learning rate.
    pub lr: f64,
    /// The smoothed loss.
    pub loss: f64,
    /// Speed.
    pub images_per_s: f64,
    /// The fraction of weights that are not 0.
    pub density: f64,
    /// The fraction of the time in which the run waited for data.
    pub waited: f64,
}

/// A point of testing.
#[derive(Clone, Debug, PartialEq)]
pub struct TestRow {
    /// The iteration, from 0 in each phase.
    pub iteration: u64,
    /// The iteration over all phases.
    pub global: u64,
    /// Seconds since 1970.
    pub time: f64,
    /// The outputs by name; of one with several values the first.
    pub outputs: Vec<(String, f64)>,
}

/// The course of a phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// The phase's name.
    pub phase: String,
    /// Points of training.
    pub train: Vec<TrainRow>,
    /// Points of testing.
    pub test: Vec<TestRow>,
}

/// The course of a run: its phases in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// The phases.
    pub parts: Vec<Part>,
}

impl Course {
    /// Reads a file; a last line that is being written is left out.
    ///
    /// # Errors
    /// It cannot be read, or a line is not of a course.
    pub fn read(path: &Path) -> Result<Self> {
        let mut follower = Follower::new(path);
        follower.look()?;
        Ok(follower.course)
    }

    /// The names of what tests give, in the order in which they appear.
    pub fn outputs(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let rows = self.parts.iter().flat_map(|p| &p.test);
        for (name, _) in rows.flat_map(|r| &r.outputs) {
            if !names.contains(&&name[..]) {
                names.push(name);
            }
        }
        names
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let line: Map<String, Value> = serde_json::from_str(line).ok()?;
        let whole = |name: &str| line.get(name).and_then(Value::as_u64);
        let number = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let (phase, iteration) = (line.get("phase")?.as_str()?, whole("iteration")?);
        let global = whole("global_iteration").unwrap_or(iteration);
        let time = line.get("time").and_then(Value::as_str);
        let time = time.and_then(|t| t.parse::<Timestamp>().ok());
        let time = time.map_or(f64::NAN, |t| t.as_millisecond() as f64 / 1e3);
        let part = match self.parts.iter().position(|p| p.phase == phase) {
            Some(k) => &mut self.parts[k],
            None => {
                self.parts.push(Part {
                    phase: phase.to_owned(),
                    ..Part::default()
                });
                self.parts.last_mut()?
            }
        };
        match line.get("outputs").and_then(Value::as_object) {
            Some(outputs) => part.test.push(TestRow {
                iteration,
                global,
                time,
                outputs: outputs.iter().map(|(n, v)| (n.clone(), first(v))).collect(),
            }),
            None => part.train.push(TrainRow {
                iteration,
                global,
                time,
                lr: number("lr"),
                loss: number("loss"),
                images_per_s: number("images_per_s"),
                density: number("density"),
                waited: number("waited"),
            }),
        }
        Some(())
    }
}

fn first(value: &Value) -> f64 {
    let value = match value {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    };
    value.as_f64().unwrap_or(f64::NAN)
}

/// Whether an output of a test is a loss, by its name.
pub fn is_loss(name: &str) -> bool {
    name.to_ascii_lowercase().contains("loss")
}

/// Reads a course as it grows.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// What has been read so far of this file, in bytes and lines.
    file: Option<u64>,
    offset: u64,
    lines: usize,
    /// What was read.
    pub course: Course,
}

impl Follower {
    /// Of this file, which may not be there yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            offset: 0,
            lines: 0,
            course: Course::default(),
        }
    }

    /// Reads what is new: whole lines. A run that goes on takes lines out; then all is read again.
    ///
    /// # Errors
    /// It is there and cannot be read, or a line is not of a course.
    pub fn look(&mut self) -> Result<()> {
        let failed = |e: std::io::Error| {
            anyhow!("cannot read {}: {}", self.path.display(), files::reason(&e))
        };
        let meta = match fs::metadata(&self.path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        let file = number_of(&meta);
        let mut open = File::open(&self.path).map_err(failed)?;
        if self.file != Some(file) || meta.len() < self.offset {
            (self.file, self.offset, self.lines) = (Some(file), 0, 0);
            self.course = Course::default();
        }
        let mut bytes = Vec::new();
        open.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        open.read_to_end(&mut bytes).map_err(failed)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |k| k + 1);
        self.offset += whole as u64;
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            self.lines += 1;
            if self.course.add(line).is_none() {
                return Err(anyhow!(
                    "{}:{}: expected a JSON object with \"iteration\" and \"phase\", as dsd train --metrics writes them",
                    self.path.display(),
                    self.lines
                ));
            }
        }
        Ok(())
    }
}

/// What tells a file from one that took its place.
fn number_of(meta: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    {
        std::os::unix::fs::MetadataExt::ino(meta)
    }
    #[cfg(not(unix))]
    {
        let _ = meta;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TRAIN: &str = r#"{"iteration":5,"global_iteration":15,"phase":"sparse","time":"2026-11-30T20:18:53.13Z","lr":0.1,"loss":null,"images_per_s":3.0,"density":0.7,"densities":{}}"#;
    const TEST: &str = r#"{"iteration":5,"global_iteration":15,"phase":"sparse","outputs":{"accuracy":0.5,"prob":[0.25,1]},"densities":{}}"#;

    #[test]
    fn lines_are_read_as_they_come_and_half_ones_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        let mut follower = Follower::new(&path);
        follower.look().unwrap();
        assert!(follower.course.parts.is_empty());
        let mut file = File::create(&path).unwrap();
        write!(file, "{TRAIN}\n{}", &TEST[..20]).unwrap();
        follower.look().unwrap();
        let part = &follower.course.parts[0];
        assert_eq!((part.train.len(), part.test.len()), (1, 0));
        assert!(part.train[0].loss.is_nan() && part.train[0].waited.is_nan());
        assert_eq!((part.train[0].global, part.train[0].lr), (15, 0.1));
        assert!((part.train[0].time.fract() - 0.13).abs() < 1e-6);
        writeln!(file, "{}", &TEST[20..]).unwrap();
        follower.look().unwrap();
        // NaN is not itself, so in words.
        let whole = Course::read(&path).unwrap();
        assert_eq!(format!("{:?}", follower.course), format!("{whole:?}"));
        assert_eq!(follower.course.outputs(), ["accuracy", "prob"]);
        assert_eq!(follower.course.parts[0].test[0].outputs[1].1, 0.25);
        // A run that goes on has written the file anew.
        files::write_atomic(&path, |w| Ok(writeln!(w, "{TEST}")?)).unwrap();
        follower.look().unwrap();
        assert!(follower.course.parts[0].train.is_empty());
    }

    #[test]
    fn another_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        fs::write(&path, format!("{TRAIN}\nhello\n")).unwrap();
        let error = Course::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("m.jsonl:2: expected a JSON object"),
            "{error}"
        );
    }
}
