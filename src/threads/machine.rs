//! The processors of this machine and what of them this process may use, as Linux's files tell it.

use crate::cgroup::{self, Version};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The pid namespace of the machine itself; containers have others.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Processors, and this process's share of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Machine {
    /// The processors of each core that are online, ascending; cores by socket, then by their first processor. Empty
    /// where the system does not say.
    pub cores: Vec<Vec<usize>>,
    /// The processors that the process may run on.
    pub allowed: Vec<usize>,
    /// Processors' time that its control groups give it, as a number of processors.
    pub quota: Option<f64>,
    /// Whether other processes of the machine may be out of sight.
    pub contained: bool,
}

impl Machine {
    /// Reads /sys and /proc below `root`, which is `/` but for tests.
    pub fn read(root: &Path) -> Self {
        let processors = root.join("sys/devices/system/cpu");
        let online = list_in(&processors.join("online")).unwrap_or_default();
        let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .and_then(parse_list);
        // The mask may name processors that do not exist.
        let allowed = match (allowed, online.is_empty()) {
            (Some(mut allowed), false) => {
                allowed.retain(|p| online.contains(p));
                allowed
            }
            (None, false) => online.clone(),
            (_, true) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
        };
        let mut cores = BTreeMap::<Core, Vec<usize>>::new();
        for &p in &online {
            let core = Core::of(&processors.join(format!("cpu{p}/topology")), p);
            cores.entry(core).or_default().push(p);
        }
        let namespace = fs::read_link(root.join("proc/self/ns/pid"));
        Self {
            cores: cores.into_values().collect(),
            allowed,
            quota: quota(root),
            contained: namespace.is_ok_and(|n| n != Path::new(FIRST_NAMESPACE)),
        }
    }

    /// The first usable processor of each core that has one; all processors where cores are unknown.
    pub fn usable(&self) -> Vec<usize> {
        if self.cores.is_empty() {
            return self.allowed.clone();
        }
        let first = |core: &Vec<usize>| core.iter().copied().find(|p| self.allowed.contains(p));
        self.cores.iter().filter_map(first).collect()
    }

    /// Whether the process may use every processor.
    pub fn whole(&self) -> bool {
        let mut all = self.cores.iter().flatten();
        all.all(|p| self.allowed.contains(p))
    }
}

/// What tells a core from others: its socket, and its first processor or else its number there.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Core {
    socket: i64,
    number: i64,
}

impl Core {
    fn of(folder: &Path, processor: usize) -> Self {
        let number = |name: &str| -> Option<i64> {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        // Cores of one socket may have one number, in different dies; the list of siblings is always right.
        let siblings = ["core_cpus_list", "thread_siblings_list"];
        let first = siblings
            .iter()
            .find_map(|name| list_in(&folder.join(name))?.first().copied())
            .map(|p| p as i64);
        Self {
            socket: number("physical_package_id").unwrap_or(0),
            number: first
                .or_else(|| number("core_id"))
                .unwrap_or(processor as i64),
        }
    }
}

/// A list of processors in a file.
fn list_in(path: &Path) -> Option<Vec<usize>> {
    parse_list(&fs::read_to_string(path).ok()?)
}

/// A list of processors as Linux writes it: `0-3,8,10-11`. Ascending.
fn parse_list(text: &str) -> Option<Vec<usize>> {
    /// More than Linux can have; a list of more is none.
    const MOST: usize = 1 << 16;
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= MOST {
            return None;
        }
        all.extend(first..=last);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// The least of what the control groups give, in processors.
fn quota(root: &Path) -> Option<f64> {
    let groups = cgroup::folders(root, "cpu").into_iter();
    let share = |(version, folder): (Version, std::path::PathBuf)| {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let (quota, period) = match version {
            // `150000 100000`, or `max 100000`.
            Version::Two => {
                let text = read("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.to_string(), period.to_string())
            }
            // -1 where there is no limit.
            Version::One => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
        };
        let quota: f64 = quota.trim().parse().ok()?;
        let period: f64 = period.trim().parse().ok()?;
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    };
    groups.filter_map(share).min_by(f64::total_cmp)
}
