//! Machines made of files.

use super::*;
use std::fs;
use tempfile::TempDir;

/// A folder with the files of a machine: processors of `cores` by core and socket, all online but those in no core.
struct Made(TempDir);

impl Made {
    fn new(cores: &[(usize, &[usize])], allowed: &str) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        let mut online: Vec<usize> = Vec::new();
        for (number, (socket, core)) in cores.iter().enumerate() {
            for p in *core {
                let folder = format!("sys/devices/system/cpu/cpu{p}/topology");
                made.file(
                    &format!("{folder}/physical_package_id"),
                    &format!("{socket}\n"),
                );
                made.file(&format!("{folder}/core_id"), &format!("{number}\n"));
                let siblings: Vec<String> = core.iter().map(ToString::to_string).collect();
                made.file(
                    &format!("{folder}/thread_siblings_list"),
                    &siblings.join(","),
                );
                online.push(*p);
            }
        }
        let online: Vec<String> = online.iter().map(ToString::to_string).collect();
        made.file("sys/devices/system/cpu/online", &online.join(","));
        let status = format!("Name:\tdsd\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}\n");
        made.file("proc/self/status", &status);
        made
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn plan_with(&self, asked: Option<usize>, variables: &[(&str, &str)]) -> Threads {
        let variable = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name)?;
            Some(OsString::from(found.1))
        };
        let lock = self.0.path().join("lock");
        Threads::plan(&Machine::read(self.0.path()), asked, &variable, &lock)
    }

    fn plan(&self) -> Threads {
        self.plan_with(None, &[])
    }
}

/// Two sockets of two cores of two hyperthreads, numbered as Intel's are.
fn eight() -> Made {
    Made::new(
        &[(0, &[0, 4]), (1, &[1, 5]), (0, &[2, 6]), (1, &[3, 7])],
        "0-7",
    )
}

#[test]
fn hyperthreads_of_a_core_have_one_thread() {
    let made = eight();
    let threads = made.plan();
    assert_eq!((threads.count, threads.why), (4, Why::Cores));
    assert_eq!((threads.cores, threads.processors), (4, 8));
    // Neighbours share a socket.
    assert_eq!(threads.place, Place::Pinned(vec![0, 2, 1, 3]));
    assert_eq!(threads.place.to_string(), "each pinned to a core");
}

#[test]
fn cores_are_told_apart_without_lists_of_siblings() {
    let made = eight();
    for p in 0..8 {
        let folder = format!("sys/devices/system/cpu/cpu{p}/topology/thread_siblings_list");
        fs::remove_file(made.0.path().join(folder)).unwrap();
    }
    assert_eq!(made.plan().count, 4);
}

#[test]
fn a_second_run_is_not_pinned_until_the_first_has_ended() {
    let made = eight();
    let first = made.plan();
    assert!(matches!(first.place, Place::Pinned(_)));
    let second = made.plan();
    assert_eq!(second.count, 4);
    assert_eq!(second.place, Place::Free("another dsd runs pinned"));
    drop(first);
    assert!(matches!(made.plan().place, Place::Pinned(_)));
}

#[test]
fn quotas_are_rounded_up_and_never_pinned() {
    for (text, count) in [
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("700000 100000", 4),
    ] {
        let made = eight();
        made.file("proc/self/cgroup", "0::/pod/me\n");
        made.file("sys/fs/cgroup/pod/me/cpu.max", "max 100000\n");
        made.file("sys/fs/cgroup/pod/cpu.max", text);
        let threads = made.plan();
        assert_eq!(threads.count, count, "{text}");
        assert!(matches!(threads.place, Place::Free(_)), "{text}");
    }
    let made = eight();
    made.file("proc/self/cgroup", "3:cpu,cpuacct:/pod\n");
    made.file("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "250000\n");
    made.file(
        "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us",
        "100000\n",
    );
    made.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    made.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    let threads = made.plan();
    assert_eq!((threads.count, threads.why), (3, Why::Quota(2.5)));
    let said = threads.why.to_string();
    assert_eq!(said, "the control group's limit is the time of 2.5");
}

#[test]
fn a_narrower_mask_counts_its_cores_and_is_not_pinned() {
    // Both threads of core 0, one of another.
    let made = Made::new(
        &[(0, &[0, 4]), (0, &[1, 5]), (0, &[2, 6]), (0, &[3, 7])],
        "0,4-5",
    );
    let threads = made.plan();
    assert_eq!((threads.count, threads.processors), (2, 3));
    let why = "the process may not use all processors of the machine";
    assert_eq!(threads.place, Place::Free(why));
}

#[test]
fn processors_that_are_offline_do_not_count() {
    // The mask still names them.
    let made = Made::new(&[(0, &[0]), (0, &[2])], "0-63");
    let threads = made.plan();
    assert_eq!(threads.count, 2);
    assert_eq!(threads.place, Place::Pinned(vec![0, 2]));
}

#[test]
fn without_sys_there_is_a_thread_a_processor_and_no_pin() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::read(folder.path());
    let threads = Threads::plan(&machine, None, &|_| None, &folder.path().join("lock"));
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!((threads.count, threads.why), (all, Why::Cores));
    assert!(matches!(threads.place, Place::Free(_)));
}

#[test]
fn containers_and_ranks_are_not_pinned() {
    let made = eight();
    let ranks = made.plan_with(None, &[("OMPI_COMM_WORLD_SIZE", "2")]);
    let one = made.plan_with(None, &[("SLURM_NTASKS", "1")]);
    let why = "this is one of several processes of a job";
    assert_eq!(ranks.place, Place::Free(why));
    assert!(matches!(one.place, Place::Pinned(_)));
    drop(one);
    #[cfg(unix)]
    {
        let link = made.0.path().join("proc/self/ns/pid");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("pid:[4026532000]", &link).unwrap();
        let why = "a container may share the machine with others";
        assert_eq!(made.plan().place, Place::Free(why));
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("pid:[4026531836]", &link).unwrap();
        assert!(matches!(made.plan().place, Place::Pinned(_)));
    }
}

#[test]
fn as_many_threads_as_asked_are_pinned_only_if_each_has_a_core() {
    let made = eight();
    for (asked, pinned) in [(3, false), (4, true), (8, false)] {
        let threads = made.plan_with(Some(asked), &[]);
        assert_eq!((threads.count, threads.why), (asked, Why::Asked));
        assert_eq!(matches!(threads.place, Place::Pinned(_)), pinned, "{asked}");
    }
}

#[test]
fn a_lock_that_cannot_be_opened_means_no_pin() {
    let made = eight();
    let machine = Machine::read(made.0.path());
    let nowhere = made.0.path().join("no/such/folder/lock");
    let threads = Threads::plan(&machine, None, &|_| None, &nowhere);
    assert!(matches!(threads.place, Place::Free(_)));
}
