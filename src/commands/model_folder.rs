//! A folder that is a model: as `dsd new` makes it, with its run in `run`, or the folder of a run.

use super::run_folder::run_record::RunRecord;
use super::run_folder::{Record, RunFolder};
use crate::data::class_list::CLASSES;
use crate::proto;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The run of a folder of `dsd new`, and the one with a control.
pub const RUN: &str = "run";
pub const CONTROL: &str = "control";

/// The flow of such a folder.
const FLOW: &str = "flow.toml";

/// The net, of such a folder and of a phase's.
const NET: &str = "train_val.prototxt";
const COPY: &str = "net.prototxt";

/// The solver of a phase, beside that copy.
const SOLVER: &str = "solver.prototxt";

/// A folder that is a model.
pub struct ModelFolder {
    root: PathBuf,
    /// Whether `dsd new` made it, or somebody in its manner.
    made: bool,
}

impl ModelFolder {
    /// The model in the folder `path`; `None` if that is no such folder.
    pub fn at(path: &Path) -> Option<Self> {
        let is_made = |path: &Path| path.join(FLOW).is_file() && path.join(NET).is_file();
        let above = path.parent().filter(|_| path.ends_with(RUN));
        if let Some(above) = above.filter(|above| is_made(above)) {
            // The net beside its run, wherever both have been moved.
            return Some(Self {
                root: above.to_path_buf(),
                made: true,
            });
        }
        let made = is_made(path);
        let ran = path.join(super::run_folder::run_record::NAME).is_file();
        (path.is_dir() && (made || ran)).then(|| Self {
            root: path.to_path_buf(),
            made,
        })
    }

    /// The model in the folder `path`.
    ///
    /// # Errors
    /// It is no such folder.
    pub fn expect(path: &Path) -> Result<Self> {
        let shown = path.display();
        let error = || {
            format!(
                "{shown} is no folder of a model: expected one that dsd new PICTURES --out {shown} has made, or of a run; for \
                 other nets give --model and --weights"
            )
        };
        Self::at(path).with_context(error)
    }

    /// The flow that trains it.
    ///
    /// # Errors
    /// The folder is a run's.
    pub fn flow(&self) -> Result<PathBuf> {
        let shown = self.root.display();
        match self.made {
            true => Ok(self.root.join(FLOW)),
            false => bail!("{shown} is a run: dsd train --out {shown} --resume goes on with it"),
        }
    }

    /// The folder of its run.
    pub fn run(&self) -> PathBuf {
        match self.made {
            true => self.root.join(RUN),
            false => self.root.clone(),
        }
    }

    /// The folder of the run at `path`: that of a model's folder, else `path`.
    pub fn run_of(path: &Path) -> PathBuf {
        Self::at(path).map_or_else(|| path.to_path_buf(), |model| model.run())
    }

    /// The folder of its run with a control.
    pub fn control(&self) -> PathBuf {
        self.root.join(CONTROL)
    }

    /// The last phase that has weights, and these.
    fn last(&self) -> Result<(Record, PathBuf)> {
        let folder = RunFolder::new(self.run());
        let mut records = folder.records()?;
        records.sort_by_key(|r| r.before);
        let found = records.into_iter().rev().find_map(|r| {
            let path = folder.path(&r.phase).join(&r.weights);
            (!r.weights.as_os_str().is_empty() && path.is_file()).then_some((r, path))
        });
        let shown = self.root.display();
        found.with_context(|| match self.made {
            true => format!("{shown} has not been trained yet: dsd train {shown}"),
            false => format!("{shown}: no phase of this run has ended; dsd train --out {shown} --resume goes on with it"),
        })
    }

    /// The weights of its last phase.
    ///
    /// # Errors
    /// None has ended.
    pub fn weights(&self) -> Result<PathBuf> {
        Ok(self.last()?.1)
    }

    /// Its net, with data layers.
    ///
    /// # Errors
    /// No phase has ended, or the run's net is gone.
    pub fn net(&self) -> Result<PathBuf> {
        if self.made {
            return Ok(self.root.join(NET));
        }
        let (record, _) = self.last()?;
        // Its own file, beside which its data may lie; else the copy.
        let started = RunRecord::read(&self.root)?.unwrap_or_default();
        let copy = RunFolder::new(self.run()).path(&record.phase).join(COPY);
        let own = record.nets.get(COPY).map(|own| started.folder.join(own));
        match own.filter(|own| own.is_file()) {
            Some(own) => Ok(own),
            None if copy.is_file() => Ok(copy),
            None => bail!("{}: its net is gone; give --model", self.root.display()),
        }
    }

    /// How many batches the tests of its last phase had, if its solver tells.
    pub fn tests(&self) -> Option<usize> {
        let (record, _) = self.last().ok()?;
        let solver = RunFolder::new(self.run()).path(&record.phase).join(SOLVER);
        let param = proto::read_solver(&solver).ok()?.message;
        param
            .test_iter
            .first()
            .and_then(|n| usize::try_from(*n).ok())
    }

    /// The names of its classes, if it has any.
    pub fn labels(&self) -> Option<PathBuf> {
        let at = |folder: &Path| Some(folder.join(CLASSES)).filter(|p| p.is_file());
        let beside = || self.net().ok().and_then(|net| at(net.parent()?));
        at(&self.root).or_else(beside)
    }
}
