//! One process at a time writes to a run's folder.

use crate::commands::Usage;
use crate::{files, warn};
use anyhow::{Result, anyhow};
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that a running process holds locked, with its number and its machine's name in it.
const NAME: &str = ".lock";

/// How often a lock is asked for, and how long between: [`holder`] has it for a moment, and must not keep a run from starting.
const ASKED: usize = 5;
const BETWEEN: Duration = Duration::from_millis(20);

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
        let mut locked = file.try_lock();
        for _ in 1..ASKED {
            if matches!(locked, Err(TryLockError::WouldBlock)) {
                std::thread::sleep(BETWEEN);
                locked = file.try_lock();
            }
        }
        match locked {
            Ok(()) => {
                // Only told to people; the lock itself is the system's.
                let _ = file.set_len(0);
                let _ = writeln!(file, "{}\n{}", std::process::id(), machine());
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(in_use(root, &Holder::parse(&text)).into());
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

/// Who works in a run's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The number of the process, as its machine or container counts.
    pub process: String,
    /// The name of another machine that it is on; empty for this one.
    pub machine: String,
}

impl Holder {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(|l| l.trim().to_owned());
        let (process, other) = (lines.next(), lines.next());
        Self {
            process: process.unwrap_or_default(),
            machine: other.filter(|m| *m != machine()).unwrap_or_default(),
        }
    }

    /// Whether its number is that of a living process, where only that can be asked.
    fn seems_alive(&self) -> bool {
        let all = Path::new("/proc");
        let known = self.machine.is_empty() && !self.process.is_empty();
        known && (!all.join("self").exists() || all.join(&self.process).exists())
    }
}

/// Who works in the folder `root` now. The lock tells, not the number in it: that may be another process's after a
/// reboot, and on another machine it means nothing.
pub fn holder(root: &Path) -> Option<Holder> {
    let mut file = File::open(root.join(NAME)).ok()?;
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let holder = Holder::parse(&text);
    let held = match file.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => holder.seems_alive(),
    };
    held.then_some(holder)
}

/// The name of this machine, which is empty where it has none.
fn machine() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

fn in_use(root: &Path, holder: &Holder) -> Usage {
    let by = match (&holder.process[..], &holder.machine[..]) {
        ("", _) => String::new(),
        (number, "") => format!(" (process {number})"),
        (number, machine) => format!(" (process {number} on {machine})"),
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
        let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert_eq!(Holder::parse(&text).process, std::process::id().to_string());
    }

    #[test]
    fn who_holds_a_folder_is_known_while_it_does() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), None);
        let lock = Lock::take(folder.path()).unwrap();
        let own = Holder {
            process: std::process::id().to_string(),
            machine: String::new(),
        };
        assert_eq!(holder(folder.path()), Some(own));
        drop(lock);
        // The number of a living process that has not locked it: as after a reboot.
        fs::write(folder.path().join(NAME), "1\n").unwrap();
        assert_eq!(holder(folder.path()), None);
        let other = Holder::parse("12\nno.such.machine\n");
        assert!(
            in_use(folder.path(), &other)
                .0
                .contains("(process 12 on no.such.machine)")
        );
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
