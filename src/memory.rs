//! How much memory is there, and arrays that are refused in words where there is too little.
//!
//! Sizes come from files: a batch size, a shape, a header. An allocation that fails ends the process with a
//! signal, and one that the system promises and cannot give gets it killed later; so whatever a file can make
//! large asks here first.

use crate::cgroup;
use crate::report::human::HumanBytes;
use anyhow::{Result, anyhow, bail};
use std::fs;
use std::path::Path;

/// Arrays of fewer bytes are not worth asking the system for each.
const SMALL: u128 = 32 << 20;

/// Bytes that this process can still use: what the machine has free (with what it can drop, and swap), at most
/// what its control groups and its own limit leave. `None` where the system does not say.
pub fn available() -> Option<u64> {
    let sources = [machine(), groups(), own_limit()];
    sources.into_iter().flatten().min()
}

/// Refuses what needs more `bytes` than there are. `what` is the subject of the sentence ("a batch of …"), and
/// `advice` what to do ("lower batch_size").
///
/// # Errors
/// The bytes needed and there.
pub fn require(bytes: u128, what: impl FnOnce() -> String, advice: &str) -> Result<()> {
    if bytes <= SMALL {
        return Ok(());
    }
    match available() {
        Some(there) if bytes > u128::from(there) => {
            bail!("{}", refusal(bytes, there, &what(), advice))
        }
        None if bytes > isize::MAX as u128 => {
            bail!(
                "{} needs {bytes} bytes, more than any machine has; {advice}",
                what()
            )
        }
        _ => Ok(()),
    }
}

fn refusal(bytes: u128, there: u64, what: &str, advice: &str) -> String {
    let shown = match u64::try_from(bytes) {
        Ok(n) => format!("{} ({bytes} bytes)", HumanBytes(n)),
        Err(_) => format!("{bytes} bytes"),
    };
    format!(
        "{what} needs {shown} of memory, but {} ({there} bytes) are free here; {advice}",
        HumanBytes(there)
    )
}

/// The bytes of `count` float32 numbers.
pub fn floats(count: usize) -> u128 {
    4 * count as u128
}

/// `count` zeros.
///
/// # Errors
/// There is no memory for them; see [`require`].
pub fn zeros(count: usize, what: impl FnOnce() -> String, advice: &str) -> Result<Vec<f32>> {
    let bytes = floats(count);
    if bytes <= SMALL {
        return Ok(vec![0.0; count]);
    }
    let what = what();
    require(bytes, || what.clone(), advice)?;
    // Fresh pages of zeros cost nothing until they are written; a reserved vector is asked for first, since
    // only that can fail in words.
    let mut probe: Vec<f32> = Vec::new();
    probe.try_reserve_exact(count).map_err(|_| {
        anyhow!("{what} needs {bytes} bytes of memory, which the system refuses; {advice}")
    })?;
    drop(probe);
    Ok(vec![0.0; count])
}

/// Makes room for `more` items behind those of `vec`. `what` and `advice` are [`require`]'s.
///
/// # Errors
/// There is no memory for them.
pub fn reserve<T>(
    vec: &mut Vec<T>,
    more: usize,
    what: impl FnOnce() -> String,
    advice: &str,
) -> Result<()> {
    if more <= vec.capacity() - vec.len() {
        return Ok(());
    }
    let bytes = more as u128 * size_of::<T>() as u128;
    let mut what = Some(what);
    let mut name = || what.take().map_or_else(String::new, |what| what());
    require(bytes, &mut name, advice)?;
    vec.try_reserve_exact(more).map_err(|_| {
        anyhow!(
            "{} needs {bytes} bytes of memory, which the system refuses; {advice}",
            name()
        )
    })
}

/// Whether `bytes` can be had now, for work that takes them piece by piece and cannot fail. `what` and `advice` are
/// [`require`]'s.
///
/// # Errors
/// There is no memory for them.
pub fn room(bytes: u128, what: impl FnOnce() -> String, advice: &str) -> Result<()> {
    let most = isize::MAX as usize;
    let bytes = usize::try_from(bytes).unwrap_or(most).min(most);
    reserve(&mut Vec::<u8>::new(), bytes, what, advice)
}

/// A number of kB behind `name` in a file of /proc.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let number = line.trim_start_matches(':').split_whitespace().next()?;
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// The most bytes of memory that this process has taken so far. `None` where the system does not say.
pub fn peak() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// What the machine can give.
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let free = kilobytes(&text, "MemAvailable").or_else(|| kilobytes(&text, "MemFree"))?;
    Some(free.saturating_add(kilobytes(&text, "SwapFree").unwrap_or(0)))
}

/// What `ulimit -v` leaves.
fn own_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(limit.saturating_sub(kilobytes(&status, "VmSize")?))
}

/// What the control groups leave that this process is in.
fn groups() -> Option<u64> {
    let groups = cgroup::folders(Path::new("/"), "memory").into_iter();
    groups
        .filter_map(|(version, folder)| match version {
            cgroup::Version::One => left_in(&folder, &Names::ONE),
            cgroup::Version::Two => left_in(&folder, &Names::TWO),
        })
        .min()
}

/// The files of a control group.
struct Names {
    limit: &'static str,
    used: &'static str,
    droppable: &'static str,
}

impl Names {
    const ONE: Self = Self {
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        droppable: "total_inactive_file ",
    };
    const TWO: Self = Self {
        limit: "memory.max",
        used: "memory.current",
        droppable: "inactive_file ",
    };
}

fn left_in(folder: &Path, names: &Names) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let (limit, used) = (number(names.limit)?, number(names.used)?);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let droppable = stat.lines().find_map(|l| l.strip_prefix(names.droppable));
    let droppable: u64 = droppable.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(droppable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_machine_has_is_refused_in_numbers() {
        let huge = floats(usize::MAX / 8);
        let told = require(huge, || "a batch".into(), "lower batch_size").unwrap_err();
        let told = told.to_string();
        assert!(told.starts_with("a batch needs "), "{told}");
        assert!(
            told.contains(&huge.to_string()) && told.ends_with("; lower batch_size"),
            "{told}"
        );
        let told = zeros(usize::MAX / 8, || "it".into(), "x")
            .unwrap_err()
            .to_string();
        assert!(told.contains("bytes"), "{told}");
        assert_eq!(zeros(3, || unreachable!(), "").unwrap(), [0.0; 3]);
        let mut vec = vec![1u16, 2];
        let told = reserve(&mut vec, usize::MAX / 8, || "it".into(), "x").unwrap_err();
        assert!(told.to_string().starts_with("it needs "), "{told}");
        reserve(&mut vec, 100, || unreachable!(), "x").unwrap();
        assert!(vec == [1, 2] && vec.capacity() >= 102);
        let told = room(u128::MAX, || "it".into(), "x").unwrap_err();
        assert!(told.to_string().starts_with("it needs "), "{told}");
    }

    #[test]
    fn this_machine_has_some() {
        if cfg!(target_os = "linux") {
            assert!(available().is_some_and(|n| n > 1 << 20));
        }
    }

    #[test]
    fn the_files_of_proc_are_read() {
        let text = "MemTotal:       32 kB\nMemAvailable:   1234 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable"), Some(1234 * 1024));
        assert_eq!(kilobytes(text, "SwapFree"), None);
        let words = refusal(2048, 1024, "the run", "lower batch_size");
        assert_eq!(
            words,
            "the run needs 2.00 KiB (2048 bytes) of memory, but 1.00 KiB (1024 bytes) are free here; lower batch_size"
        );
    }
}
