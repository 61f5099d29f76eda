//! The control groups that this process is in: limits of CPU time and memory hold in every group from its own up to
//! the root, in either version of Linux's interface.

use std::fs;
use std::path::{Path, PathBuf};

/// The version of a group's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy a controller.
    One,
    /// One for all.
    Two,
}

/// The folders of the groups that limit `controller` ("cpu", "memory") for this process, its own first, below
/// `root`, which is `/` but for tests. Not all of them need to exist: in a container the paths above its own may not
/// be visible, but its root is.
pub fn folders(root: &Path, controller: &str) -> Vec<(Version, PathBuf)> {
    let Ok(mine) = fs::read_to_string(root.join("proc/self/cgroup")) else {
        return Vec::new();
    };
    let mut folders = Vec::new();
    for line in mine.lines() {
        // Hierarchy, controllers, path.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (version, mounts) = match controllers {
            // Beside version 1, version 2 is mounted one lower.
            "" => (Version::Two, vec![String::new(), "unified".into()]),
            list if list.split(',').any(|c| c == controller) => {
                (Version::One, vec![list.to_string(), controller.to_string()])
            }
            _ => continue,
        };
        let mount = mounts
            .iter()
            .map(|name| root.join("sys/fs/cgroup").join(name))
            .find(|folder| folder.is_dir());
        let Some(mount) = mount else { continue };
        let path = Path::new(path.trim_matches('/'));
        folders.extend(path.ancestors().map(|p| (version, mount.join(p))));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_go_up_to_the_root_in_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::create_dir_all(root.join("sys/fs/cgroup/cpu,cpuacct")).unwrap();
        let mine = "4:cpu,cpuacct:/a/b\n3:memory:/m\n0::/x\n";
        fs::write(root.join("proc/self/cgroup"), mine).unwrap();
        let found = folders(root, "cpu");
        let shown: Vec<_> = found
            .iter()
            .map(|(v, p)| (*v, p.strip_prefix(root).unwrap().to_str().unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                (Version::One, "sys/fs/cgroup/cpu,cpuacct/a/b"),
                (Version::One, "sys/fs/cgroup/cpu,cpuacct/a"),
                (Version::One, "sys/fs/cgroup/cpu,cpuacct"),
                (Version::Two, "sys/fs/cgroup/x"),
                (Version::Two, "sys/fs/cgroup"),
            ]
        );
        assert!(folders(&root.join("none"), "cpu").is_empty());
    }
}
