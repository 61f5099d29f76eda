//! `dsd parse_log`: the tables of a training log as files, as Caffe's parse_log.py writes them.

use crate::report::training_log::{self, Rows, TrainingLog};
use crate::{cli, files, info};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Writes LOGFILE.train and LOGFILE.test into the folder.
pub fn run(args: &cli::ParseLog) -> Result<()> {
    let log = args.logfile.display();
    let bytes = files::read(&args.logfile)?;
    let changed = std::fs::metadata(&args.logfile).and_then(|m| m.modified());
    let year = training_log::year_of(changed.ok());
    let parsed = TrainingLog::parse(&training_log::text(&bytes), year).with_context(|| {
        format!(
            "{log}: no log line says 'Solving …', as those of a training run do (in glog's form)"
        )
    })?;
    let name = args.logfile.file_name().unwrap_or_default();
    std::fs::create_dir_all(&args.output_dir).map_err(|e| {
        let folder = args.output_dir.display();
        anyhow::anyhow!("cannot make {folder}: {}", files::reason(&e))
    })?;
    let write = |rows: &Rows, end: &str| -> Result<()> {
        let mut file = name.to_os_string();
        file.push(end);
        let path: PathBuf = args.output_dir.join(file);
        if rows.count() == 0 {
            info!("Not writing {}: no lines to write", path.display());
            return Ok(());
        }
        let text = rows.csv(args.delimiter);
        files::write_atomic(&path, |w| Ok(w.write_all(text.as_bytes())?))?;
        info!("Wrote {} rows to {}", rows.count(), path.display());
        Ok(())
    };
    write(&parsed.train, ".train")?;
    write(&parsed.test, ".test")
}
