//! How a run stands, told by its folder alone: also of one that is going on, or was killed.

use super::run_record::RunRecord;
use super::{LOG, METRICS, Record, RunFolder, lock};
use crate::flow::Flow;
use crate::phase::Phase;
use crate::report::course::{Course, Part, TrainRow};
use anyhow::Result;
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Points that a pace is taken over.
const PACE: usize = 20;
/// The end of a log that is looked at for why it ended.
const TAIL: u64 = 1 << 14;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A process is at work.
    Running,
    /// All phases ran to their ends.
    Done,
    /// It was stopped or killed, and goes on with `--resume`.
    Stopped,
    /// It ended with an error.
    Failed,
    /// A run of an experiment that has not begun.
    Waiting,
}

impl State {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
        }
    }
}

/// How a run stands.
#[derive(Clone, Debug)]
pub struct Stand {
    /// Its folder.
    pub root: PathBuf,
    /// What it does.
    pub state: State,
    /// The process at work.
    pub holder: Option<lock::Holder>,
    /// The phase that it is in, or ended in.
    pub phase: String,
    /// Its place among the run's phases from 1 on, and how many they are.
    pub place: (usize, usize),
    /// Iterations done of that phase …
    pub iteration: u64,
    /// … of so many, where that is known.
    pub max_iter: Option<u64>,
    /// The last point of training.
    pub last: Option<TrainRow>,
    /// The smoothed loss.
    pub loss: f64,
    /// The last test's outputs.
    pub outputs: Vec<(String, f64)>,
    /// The time that the rest of the phase takes at the pace of the last points.
    pub left: Option<Duration>,
    /// Bytes of all files in the folder.
    pub disk: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Stand {
    /// How the run in the folder `root` stands; nothing if no run is there.
    ///
    /// # Errors
    /// Its records or its course cannot be read.
    pub fn read(root: &Path) -> Result<Option<Self>> {
        let folder = RunFolder::new(root.to_path_buf());
        let holder = lock::holder(root);
        let (started, records) = (RunRecord::read(root)?, folder.records()?);
        if started.is_none() && records.is_empty() {
            return Ok(None);
        }
        let course = Course::read(&root.join(METRICS))?;
        let started = started.unwrap_or_default();
        let names = phases(&folder, &started, &records);
        let record = |name: &String| records.iter().find(|r| r.phase == *name);
        let open = |name: &String| record(name).is_none_or(|r| !r.done);
        let at = names.iter().position(open);
        let error = last_error(root);
        let state = match (&holder, at, &error) {
            (Some(_), ..) => State::Running,
            (None, None, _) => State::Done,
            (None, Some(_), Some(_)) => State::Failed,
            (None, Some(_), None) => State::Stopped,
        };
        // A run that stopped between two phases stands at the end of the first of them.
        let at = at.unwrap_or(names.len().saturating_sub(1));
        let part = |k: usize| course.parts.iter().find(|p| p.phase == names[k]);
        let known = |k: usize| record(&names[k]).is_some() || part(k).is_some();
        let at = match state {
            State::Running => at,
            _ => (0..=at).rev().find(|k| known(*k)).unwrap_or(at),
        };
        let nothing = Part::default();
        let (part, record) = (part(at).unwrap_or(&nothing), record(&names[at]));
        Ok(Some(Self {
            root: root.to_path_buf(),
            state,
            holder,
            phase: names[at].clone(),
            place: (at + 1, names.len()),
            error: error.filter(|_| state == State::Failed),
            disk: bytes_in(root),
            ..Self::of(part, record, began(&started))
        }))
    }

    /// What a phase's course and record tell; `began` is when the last process began, in seconds since 1970.
    fn of(part: &Part, record: Option<&Record>, began: f64) -> Self {
        let last = part.train.last().copied();
        let tested = part.test.last();
        let max_iter = record.and_then(|r| r.max_iter);
        let done = record.is_some_and(|r| r.done);
        let iteration = [
            record.map(|r| r.iterations),
            last.map(|r| r.iteration),
            tested.map(|r| r.iteration),
        ];
        let recorded = record.map_or(f64::NAN, |r| as_written(r.loss));
        let own = record.iter().flat_map(|r| &r.outputs);
        let own = own.map(|(name, v)| (name.clone(), as_written(*v)));
        // Before that the run stood still.
        let since = part.train.partition_point(|r| r.time < began);
        let rows = &part.train[since..];
        Self {
            root: PathBuf::new(),
            state: State::Waiting,
            holder: None,
            phase: part.phase.clone(),
            place: (1, 1),
            iteration: iteration.into_iter().flatten().max().unwrap_or(0),
            max_iter,
            loss: match last {
                Some(row) if !done => row.loss,
                _ => recorded,
            },
            outputs: match tested {
                Some(row) => row.outputs.clone(),
                None => own.collect(),
            },
            left: max_iter.filter(|_| !done).and_then(|n| left(rows, n)),
            last,
            disk: 0,
            error: None,
        }
    }

    /// A run of an experiment that has not begun.
    pub fn waiting(root: &Path) -> Self {
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let phase = name.rsplit('+').next().unwrap_or_default().to_string();
        let part = Part {
            phase,
            ..Part::default()
        };
        Self {
            root: root.to_path_buf(),
            ..Self::of(&part, None, f64::NAN)
        }
    }
}

/// A number with the digits of its float32, and no more.
fn as_written(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

/// The names of a run's phases, by how it was started; by its records where that is not to be found out.
fn phases(folder: &RunFolder, started: &RunRecord, records: &[Record]) -> Vec<String> {
    let flow = folder.flow_copy();
    let flow = flow.and_then(|path| Flow::read_from(&path, Path::new("")).ok());
    let names: Vec<String> = match (flow, started.phase.as_deref()) {
        (Some(flow), _) => flow.steps.into_iter().map(|s| s.name).collect(),
        (None, Some("dsd")) => dsd(),
        (None, Some(one)) => vec![one.to_string()],
        (None, None) if started.settings.solver.is_some() => vec![Phase::Dense.to_string()],
        (None, None) if started.sittings.is_empty() => Vec::new(),
        (None, None) => dsd(),
    };
    match names.is_empty() {
        true => records.iter().map(|r| r.phase.clone()).collect(),
        false => names,
    }
}

fn dsd() -> Vec<String> {
    Flow::dsd().steps.into_iter().map(|s| s.name).collect()
}

/// When the last process of a run began.
fn began(started: &RunRecord) -> f64 {
    let last = started.sittings.last();
    let time = last.and_then(|s| s.time.parse::<Timestamp>().ok());
    time.map_or(f64::NEG_INFINITY, |t| t.as_millisecond() as f64 / 1e3)
}

/// The time that the rest of a phase of `all` iterations takes, at the pace of its last points.
pub fn left(rows: &[TrainRow], all: u64) -> Option<Duration> {
    let last = rows.last()?;
    let first = &rows[rows.len().saturating_sub(PACE)];
    let done = last.iteration.checked_sub(first.iteration);
    let each = (last.time - first.time) / done.filter(|n| *n > 0)? as f64;
    let rest = all.saturating_sub(last.iteration) as f64;
    Duration::try_from_secs_f64(each * rest).ok()
}

/// The error with which the log of a run ends, if it does.
fn last_error(root: &Path) -> Option<String> {
    let mut file = File::open(root.join(LOG)).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().last()?.strip_prefix("error: ")?;
    Some(line.to_owned())
}

/// The bytes of the files in a folder and those below it; what cannot be read counts nothing.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_in(&entry.path()),
        Ok(meta) if meta.is_file() => meta.len(),
        _ => 0,
    };
    entries.map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(iteration: u64, time: f64) -> TrainRow {
        TrainRow {
            iteration,
            global: iteration,
            time,
            lr: 0.1,
            loss: 1.0,
            images_per_s: 1.0,
            density: 1.0,
            waited: 0.0,
        }
    }

    #[test]
    fn the_pace_is_that_since_the_run_went_on() {
        let rows = vec![row(0, 0.0), row(10, 10.0), row(20, 1000.0), row(30, 1005.0)];
        let part = Part {
            phase: "dense".into(),
            train: rows,
            test: Vec::new(),
        };
        let record = Record {
            max_iter: Some(130),
            iterations: 10,
            ..Record::default()
        };
        let stand = Stand::of(&part, Some(&record), 999.0);
        assert_eq!((stand.iteration, stand.max_iter), (30, Some(130)));
        assert_eq!(stand.left, Some(Duration::from_secs(50)));
        assert_eq!(left(&part.train[..1], 100), None);
    }

    #[test]
    fn a_folder_of_other_files_is_no_run() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOG), "error: disk full").unwrap();
        assert!(Stand::read(folder.path()).unwrap().is_none());
        assert_eq!(last_error(folder.path()).unwrap(), "disk full");
        assert_eq!(bytes_in(folder.path()), 16);
    }
}
