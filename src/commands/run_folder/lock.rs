//! One process at a time writes to a run's folder.

use crate::commands::Usage;
use crate::{files, warn};
use anyhow::{Result, anyhow};
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The file that a running process holds locked, with its number in it.
const NAME: &str = ".lock";

/// The lock of a run's folder. The system lifts it when the process ends, however it ends.
pub struct Lock {
    root: PathBuf,
    made: bool,
    _file: File,
}

impl Lock {
    /// Locks the folder `root`, which is made if it is not there.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written.
    pub fn take(root: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| {
            anyhow!(
                "cannot write to the run's folder {}: {}",
                root.display(),
                files::reason(&e)
            )
        };
        let made = !root.exists();
        fs::create_dir_all(root).map_err(failed)?;
        let path = root.join(NAME);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                // Only told to people; the lock itself is the system's.
                let _ = file.set_len(0);
                let _ = writeln!(file, "{}", std::process::id());
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(in_use(root, holder.trim()).into());
            }
            Err(TryLockError::Error(e)) => warn!(
                "{}: this file system has no locks ({}); see to it that no second run writes here",
                root.display(),
                files::reason(&e)
            ),
        }
        Ok(Self {
            root: root.to_path_buf(),
            made,
            _file: file,
        })
    }

    /// Takes back what was made for a run that could not start: `names`, and the folder if it was not there before and
    /// nothing else is in it.
    pub fn undo(self, names: &[&str]) {
        if !self.made {
            return;
        }
        let phases = fs::read_dir(&self.root).into_iter().flatten().flatten();
        if phases.into_iter().any(|e| e.path().is_dir()) {
            return;
        }
        for name in names.iter().chain([&NAME]) {
            let _ = fs::remove_file(self.root.join(name));
        }
        let _ = fs::remove_dir(&self.root);
    }
}

fn in_use(root: &Path, holder: &str) -> Usage {
    let by = match holder {
        "" => String::new(),
        number => format!(" (process {number})"),
    };
    Usage(format!(
        "{}: another dsd{by} is training in this folder; give this run another --out, or wait for the other to end",
        root.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_free_again_when_the_lock_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/run");
        let lock = Lock::take(&root).unwrap();
        let Err(error) = Lock::take(&root) else {
            panic!("locked twice");
        };
        let number = format!("(process {})", std::process::id());
        assert!(
            error.is::<Usage>() && error.to_string().contains(&number),
            "{error}"
        );
        drop(lock);
        let lock = Lock::take(&root).unwrap();
        lock.undo(&[]);
        assert!(root.exists(), "it was there before");
    }

    #[test]
    fn a_lock_whose_holder_was_killed_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "1\n").unwrap();
        drop(Lock::take(folder.path()).unwrap());
        let own = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(folder.path().join(NAME)).unwrap(), own);
    }

    #[test]
    fn a_run_that_could_not_start_leaves_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let lock = Lock::take(&root).unwrap();
        fs::write(root.join("log.txt"), "x").unwrap();
        lock.undo(&["log.txt", "run.json"]);
        assert!(!root.exists());
    }
}
