//! `dsd plot`: the curves of runs and logs in one picture, and the reading of logs for it and for `plot_training_log`.

use super::curves::{Drawn, picture};
use super::model_folder::ModelFolder;
use super::run_folder::{LOG, METRICS};
use crate::report::course::Course;
use crate::report::training_log::{self, TrainingLog};
use crate::{cli, files, info};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Writes the picture.
pub fn run(args: &cli::Plot) -> Result<()> {
    let mut drawn = Vec::new();
    for path in &args.logs {
        let metrics = ModelFolder::run_of(path).join(METRICS);
        let one = match metrics.is_file() {
            true => Drawn::of_course(label(path), &Course::read(&metrics)?),
            false => Drawn::of_log(label(path), &read(path)?),
        };
        if one.is_empty() {
            bail!(
                "{}: no iteration and no test is shown in it yet",
                path.display()
            );
        }
        drawn.push(one);
    }
    let text = picture(&drawn);
    files::write_atomic(&args.out, |w| Ok(w.write_all(text.as_bytes())?))?;
    info!("Drew the curves in {}", args.out.display());
    Ok(())
}

/// Reads a training log, or that of a run's folder.
///
/// # Errors
/// It is no such file or folder.
pub fn read(path: &Path) -> Result<TrainingLog> {
    let mut file = PathBuf::from(path);
    if path.is_dir() {
        file.push(LOG);
        if !file.is_file() {
            bail!(
                "{}: no run is here: expected {LOG} in it, as dsd train --out writes it; give such a folder or a log",
                path.display()
            );
        }
    }
    let bytes = files::read(&file)?;
    let changed = std::fs::metadata(&file).and_then(|m| m.modified());
    let year = training_log::year_of(changed.ok());
    TrainingLog::parse(&training_log::text(&bytes), year).with_context(|| {
        let log = file.display();
        format!(
            "{log}: no log line says 'Solving …', as those of a training run do (in glog's form)"
        )
    })
}

/// What the legend calls a log: its file without `.log`; a run by its folder.
pub fn label(path: &Path) -> String {
    let full = path.file_name().map(Into::into);
    let full = full.or_else(|| std::fs::canonicalize(path).ok());
    let name = full.unwrap_or_else(|| path.to_path_buf());
    let name = name
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    name.strip_suffix(".log").unwrap_or(&name).to_string()
}
