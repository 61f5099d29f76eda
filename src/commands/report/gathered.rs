//! What a run's folder tells.

use crate::commands::model_folder::ModelFolder;
use crate::commands::run_folder::run_record::{NAME, RunRecord};
use crate::commands::run_folder::{METRICS, Record, RunFolder};
use crate::files;
use crate::page::Band;
use crate::phase::Phase;
use crate::report::course::{Course, Part, is_loss};
use crate::weights_file::{self, Stored};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// A run.
pub struct Gathered {
    /// What the page calls it.
    pub name: String,
    /// Its folder.
    pub folder: RunFolder,
    /// How it was started.
    pub started: RunRecord,
    /// Its phases, in the order of time.
    pub phases: Vec<Record>,
    /// Its course.
    pub course: Course,
}

impl Gathered {
    /// The runs in these folders.
    ///
    /// # Errors
    /// One is no run's, or damaged.
    pub fn all(folders: &[PathBuf]) -> Result<Vec<Self>> {
        let mut runs: Vec<Self> = Vec::new();
        for folder in folders {
            let mut run = Self::read(&ModelFolder::run_of(folder))?;
            if !folder.join(NAME).is_file()
                && let Some(name) = folder.file_name()
            {
                run.name = name.to_string_lossy().into_owned();
            }
            runs.push(run);
        }
        let names: Vec<String> = runs.iter().map(|r| r.name.clone()).collect();
        let twice = |name: &String| names.iter().filter(|n| *n == name).count() > 1;
        for (run, folder) in runs.iter_mut().zip(folders) {
            if twice(&run.name) {
                run.name = folder.display().to_string();
            }
        }
        Ok(runs)
    }

    fn read(root: &Path) -> Result<Self> {
        let folder = RunFolder::new(root.to_path_buf());
        let mut phases = folder.records()?;
        phases.sort_by_key(|r| r.before);
        if phases.is_empty() {
            bail!(
                "{}: no run is here: expected a folder a phase with a phase.json in it, as dsd train --out {} writes them",
                root.display(),
                root.display()
            );
        }
        let full = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        let name = full.file_name().unwrap_or(root.as_os_str());
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            started: RunRecord::read(root)?.unwrap_or_default(),
            course: Course::read(&root.join(METRICS))?,
            phases,
            folder,
        })
    }

    /// Whether all its phases have run to their ends.
    pub fn is_done(&self) -> bool {
        self.phases.iter().all(|r| r.done)
    }

    /// The file of a phase's weights, once it has ended.
    pub fn weights_of(&self, record: &Record) -> Option<PathBuf> {
        let path = self.folder.path(&record.phase).join(&record.weights);
        (record.done && path.is_file()).then_some(path)
    }

    /// A path of the run's records, which counts from where the run was started.
    pub fn path(&self, path: &Path) -> PathBuf {
        match path.exists() {
            true => path.to_path_buf(),
            false => self.started.folder.join(path),
        }
    }

    /// The course of a phase.
    pub fn part(&self, phase: &str) -> Option<&Part> {
        self.course.parts.iter().find(|p| p.phase == phase)
    }

    /// Iterations done in a phase, also of one that is running.
    pub fn iterations(&self, record: &Record) -> u64 {
        let seen = self.part(&record.phase).map_or(0, |p| {
            let last = p.train.last().map(|r| r.iteration);
            last.max(p.test.last().map(|r| r.iteration)).unwrap_or(0)
        });
        record.iterations.max(seen)
    }

    /// What a phase's last test gave: from its record, else from the course.
    pub fn outputs(&self, record: &Record) -> Vec<(String, f64)> {
        if !record.outputs.is_empty() {
            let wide = |(n, v): &(String, f32)| (n.clone(), f64::from(*v));
            return record.outputs.iter().map(wide).collect();
        }
        let last = self.part(&record.phase).and_then(|p| p.test.last());
        last.map_or_else(Vec::new, |r| r.outputs.clone())
    }

    /// The output that is looked at first: the first that is no loss, else the first.
    pub fn main_output(&self) -> Option<String> {
        let all = self.phases.iter().flat_map(|r| self.outputs(r));
        let names: Vec<String> = all.map(|o| o.0).collect();
        let score = names.iter().find(|n| !is_loss(n));
        score.or(names.first()).cloned()
    }

    /// Where its phases begin.
    pub fn bands(&self) -> Vec<Band> {
        let band = |r: &Record| Band {
            from: r.before as f64,
            name: r.phase.clone(),
        };
        self.phases.iter().map(band).collect()
    }
}

/// What kind a phase is.
pub fn kind(phase: &str) -> Option<Phase> {
    let name = phase.split('-').next().unwrap_or(phase);
    name.parse().ok()
}

/// The weights in a file.
///
/// # Errors
/// It cannot be read.
pub fn stored(path: &Path) -> Result<Stored> {
    weights_file::read_named(path, &files::read(path)?)
}
