//! `--keep N`: of the snapshots that a solver writes at its interval only the newest stay.

use super::Solver;
use super::config::Config;
use super::snapshot;
use crate::info;
use std::fs;

impl Solver {
    /// Keeps only the newest `count` snapshots of the solver's own interval, from now on; all where it is not said.
    pub fn keep(&mut self, count: Option<u64>) {
        self.keep = count;
    }

    /// Removes the snapshots of the interval that are no longer kept. Called when a newer one is whole, so that there is
    /// always one to go on from; what a kill leaves is removed the next time.
    ///
    /// They are those at multiples of the interval up to this iteration, which this run has written or would have written
    /// over: what signals or the clock asked for, and snapshots of other lengths under the same name, stay.
    pub(super) fn remove_old_snapshots(&self) {
        let Some(keep) = self.keep.and_then(|n| usize::try_from(n).ok()) else {
            return;
        };
        let every = u64::try_from(self.config.param.snapshot()).unwrap_or(0);
        let own = |iter: u64| every > 0 && iter.is_multiple_of(every) && iter <= self.iter;
        let mut whole = snapshot::iterations(&self.prefix);
        whole.retain(|iter| own(*iter));
        whole.sort_unstable();
        let Some(oldest) = whole.len().checked_sub(keep).and_then(|k| whole.get(k)) else {
            return;
        };
        for (iter, path) in snapshot::parts(&self.prefix) {
            if iter < *oldest && own(iter) && fs::remove_file(&path).is_ok() {
                info!("Removed {} (--keep {keep})", path.display());
            }
        }
    }
}

/// The most snapshots that the rest of a phase from iteration `iter` on has on disk at one time, its last included.
pub fn snapshots_left(config: &Config, iter: u64, keep: Option<u64>) -> u64 {
    let every = u64::try_from(config.param.snapshot()).unwrap_or(0);
    let max_iter = config.max_iter();
    if every == 0 {
        // The newest one by the clock stays beside the last.
        return 2;
    }
    let written = max_iter / every - iter.min(max_iter) / every;
    // An old one goes when the newer one is whole.
    let kept = keep.map_or(written, |n| written.min(n.saturating_add(1)));
    kept + u64::from(!max_iter.is_multiple_of(every))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::text;

    #[test]
    fn the_disk_is_that_of_the_snapshots_kept_and_one_being_written() {
        let left = |snapshot: i32, max_iter: i32, iter, keep| {
            let solver = format!(
                "net_param {{ name: 'n' }} base_lr: 0.1 lr_policy: 'fixed' snapshot: {snapshot} max_iter: {max_iter}"
            );
            let parsed = text::parse(&solver, "s.prototxt").unwrap();
            let load = |_: &str| unreachable!();
            let config = Config::new(parsed, "".into(), &load, 0, &[]).unwrap();
            snapshots_left(&config, iter, keep)
        };
        assert_eq!(left(10, 100, 0, None), 10);
        assert_eq!(left(10, 105, 50, None), 6);
        assert_eq!(left(10, 100, 0, Some(2)), 3);
        assert_eq!(left(10, 105, 0, Some(2)), 4);
        assert_eq!(left(10, 20, 0, Some(u64::MAX)), 2);
        assert_eq!(left(0, 100, 0, Some(1)), 2);
    }
}
