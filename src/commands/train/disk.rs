//! What a run's snapshots will take of the disk, said before it starts.

use crate::report::human::HumanBytes;
use crate::{files, info, warn};
use std::path::Path;

/// Says what `count` snapshots of `each` bytes will take in the run's folder, and warns where that is more than is free;
/// nothing of none.
pub(super) fn announce(each: u64, count: u64, root: &Path) {
    if count == 0 {
        return;
    }
    let (need, free) = (each.saturating_mul(count), files::free_space(root));
    info!("{}", said(need, count, free, root));
    if let Some(free) = free.filter(|free| *free < need) {
        warn!(
            "{}: {} are free, but the snapshots will take up to {}; give --keep N, a longer snapshot interval or another --out",
            root.display(),
            HumanBytes(free),
            HumanBytes(need)
        );
    }
}

fn said(need: u64, count: u64, free: Option<u64>, root: &Path) -> String {
    let free = free.map_or(String::new(), |free| {
        format!("; {} are free", HumanBytes(free))
    });
    format!(
        "Disk: up to {} for {count} snapshots in {}{free}",
        HumanBytes(need),
        root.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_will_be_taken_and_what_is_free() {
        let root = Path::new("run");
        assert_eq!(
            said(3 << 20, 3, Some(1 << 30), root),
            "Disk: up to 3.00 MiB for 3 snapshots in run; 1.00 GiB are free"
        );
        assert_eq!(
            said(10, 1, None, root),
            "Disk: up to 10 bytes for 1 snapshots in run"
        );
        assert!(files::free_space(Path::new("no/such/folder")).is_some());
    }
}
