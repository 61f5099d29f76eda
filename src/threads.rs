//! How many threads a run has, and which processor each stays on.
//!
//! Two hyperthreads of one core share its multipliers, so a core has one thread. Threads that wake each other every
//! 100 µs do best when each stays on a processor of its own; but who pins must know that nobody else pins to the same
//! ones, so it is done only where the whole machine is ours.

mod machine;

use crate::kernels::crew;
use anyhow::{Context, Result};
use machine::Machine;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

/// Held by the one process of the machine whose threads are pinned.
const LOCK: &str = "/tmp/dsd_pinned.lock";

/// Variables by which launchers of many processes say how many there are.
const RANKS: [&str; 7] = [
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "PMIX_SIZE",
    "MPI_LOCALNRANKS",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_NTASKS",
    "SLURM_STEP_NUM_TASKS",
];

/// The threads of a process, and why so many and where.
#[derive(Debug)]
pub struct Threads {
    /// How many.
    pub count: usize,
    /// Why so many.
    pub why: Why,
    /// Where they are.
    pub place: Place,
    /// Cores that the process may use.
    pub cores: usize,
    /// Logical processors that it may use.
    pub processors: usize,
    /// Held as long as the threads are pinned.
    _lock: Option<File>,
}

/// Why a process has so many threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// `--threads` says so.
    Asked,
    /// One a core of those that the process may use.
    Cores,
    /// The control group gives the time of so many processors.
    Quota(f64),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Asked => write!(f, "--threads"),
            Self::Cores => write!(f, "one a core"),
            Self::Quota(time) => write!(f, "the control group's limit is the time of {time}"),
        }
    }
}

/// Where threads run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Each on its processor: the numbers.
    Pinned(Vec<usize>),
    /// Wherever the system puts them, because …
    Free(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Pinned(_) => write!(f, "each pinned to a core"),
            Self::Free(why) => write!(f, "not pinned: {why}"),
        }
    }
}

impl Threads {
    /// Looks at the machine. `asked` is `--threads`; `variable` gives the environment.
    pub fn choose(asked: Option<usize>, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let machine = Machine::read(Path::new("/"));
        Self::plan(&machine, asked, variable, Path::new(LOCK))
    }

    fn plan(
        machine: &Machine,
        asked: Option<usize>,
        variable: &dyn Fn(&str) -> Option<OsString>,
        lock: &Path,
    ) -> Self {
        let cores = machine.usable();
        let (count, why) = match (asked, machine.quota) {
            (Some(n), _) => (n, Why::Asked),
            (None, Some(time)) if time.ceil() < cores.len() as f64 => {
                ((time.ceil() as usize).max(1), Why::Quota(time))
            }
            (None, _) => (cores.len().max(1), Why::Cores),
        };
        let (place, lock) = match own(machine, count, variable).and_then(|()| take(lock)) {
            Ok(lock) => (Place::Pinned(cores.clone()), Some(lock)),
            Err(why) => (Place::Free(why), None),
        };
        Self {
            count,
            why,
            place,
            cores: cores.len(),
            processors: machine.allowed.len(),
            _lock: lock,
        }
    }

    /// Starts them, as the pool that all work of this process runs on.
    ///
    /// # Errors
    /// The system does not give so many, or the pool has been started before.
    pub fn start(&self) -> Result<()> {
        let mut pool = rayon::ThreadPoolBuilder::new().num_threads(self.count);
        if let Place::Pinned(processors) = self.place.clone() {
            pool = pool.start_handler(move |i| crew::pin(processors[i]));
        }
        pool.build_global()
            .context("cannot start the threads; try a smaller --threads")
    }
}

/// Whether the whole machine is this process's, as far as that can be seen; why not.
fn own(
    machine: &Machine,
    count: usize,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(), &'static str> {
    let many = |name: &&str| {
        let text = variable(name)?.into_string().ok()?;
        (text.trim().parse::<u64>() != Ok(1)).then_some(())
    };
    if machine.cores.is_empty() {
        Err("the system does not say which cores there are")
    } else if machine.quota.is_some() {
        Err("a control group limits the time of processors")
    } else if !machine.whole() {
        Err("the process may not use all processors of the machine")
    } else if machine.contained {
        Err("a container may share the machine with others")
    } else if RANKS.iter().find_map(many).is_some() {
        Err("this is one of several processes of a job")
    } else if count != machine.usable().len() {
        Err("the number of threads is not the number of cores")
    } else {
        Ok(())
    }
}

/// The lock of the machine's one pinned process.
fn take(path: &Path) -> Result<File, &'static str> {
    // Another user's file can be read and locked, but not be opened to be made.
    let file = File::open(path).or_else(|error| match error.kind() {
        ErrorKind::NotFound => {
            let made = OpenOptions::new().write(true).create_new(true).open(path);
            made.or_else(|_| File::open(path))
        }
        _ => Err(error),
    });
    let file = file.map_err(|_| "the lock file /tmp/dsd_pinned.lock cannot be opened")?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err("another dsd runs pinned"),
        Err(TryLockError::Error(_)) => Err("the file system of /tmp has no locks"),
    }
}

#[cfg(test)]
mod tests;
