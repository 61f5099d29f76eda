use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `f` with a crew of `threads` threads.
pub(crate) fn with<T: Send>(threads: usize, f: impl FnOnce(&Crew) -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap().install(|| lead(f))
}

/// Calls `f` with a thread alone and with crews of two sizes.
pub(crate) fn each(f: impl Fn(&Crew) + Sync) {
    f(&Crew::alone());
    with(2, &f);
    with(5, &f);
}

fn once_each(crew: &Crew, n: usize) {
    let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
    crew.for_each(n, |i| {
        counts[i].fetch_add(1, Ordering::Relaxed);
    });
    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
}

#[test]
fn every_piece_is_done_once() {
    for threads in [1, 4, 33] {
        with(threads, |crew| {
            assert_eq!(crew.threads(), threads);
            (0..100).chain([5000]).for_each(|n| once_each(crew, n));
            let sum = Mutex::new(0);
            crew.each([1, 2, 3, 4], |k| *sum.lock().unwrap() += k);
            assert_eq!(sum.into_inner().unwrap(), 10);
        });
    }
}

#[test]
fn every_leaf_is_run_once_and_has_a_crew() {
    for (threads, leaves) in [(1, 3), (2, 5), (3, 3), (7, 2), (16, 5), (4, 0), (3, 64)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let counts: Vec<AtomicUsize> = (0..leaves).map(|_| AtomicUsize::new(0)).collect();
        pool.unwrap().install(|| {
            run(leaves, |crew, leaf| {
                for n in [1, 3, 40] {
                    once_each(crew, n);
                }
                counts[leaf].fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn a_panic_reaches_the_caller_and_others_go_on() {
    let caught = catch_unwind(|| with(3, |crew| crew.for_each(100, |i| assert!(i != 50, "fifty"))));
    assert!(caught.is_err());
    let ended = AtomicUsize::new(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    let pool = pool.unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        pool.install(|| {
            run(8, |crew, leaf| {
                assert!(leaf != 5, "five");
                once_each(crew, 10);
                ended.fetch_add(1, Ordering::Relaxed);
            });
        });
    }));
    assert!(caught.is_err());
    assert_eq!(ended.into_inner(), 7);
    pool.install(|| lead(|crew| once_each(crew, 10)));
}

#[test]
fn passes_side_by_side_and_within_a_pass() {
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..50).for_each(|_| lead(|crew| once_each(crew, 64))));
        }
    });
    // A pass that a piece starts is a pass of its own.
    let total = AtomicUsize::new(0);
    with(3, |crew| {
        crew.for_each(8, |_| {
            run(2, |crew, _| {
                once_each(crew, 16);
                total.fetch_add(1, Ordering::Relaxed);
            });
        });
    });
    assert_eq!(total.into_inner(), 16);
}

#[test]
fn a_record_has_all_pieces() {
    let (value, stages) = record::record(8, || {
        run(2, |crew, _| {
            assert_eq!(crew.threads(), 4);
            crew.for_each(3, |_| ());
            crew.for_each(1, |_| ());
        });
        // What a piece starts is part of the piece.
        lead(|crew| crew.for_each(2, |_| run(5, |_, _| ())));
        7
    });
    assert_eq!(value, 7);
    let pieces = |stage: &record::Stage| -> Vec<Vec<usize>> {
        let jobs = |leaf: &Vec<record::Event>| {
            let jobs = leaf.iter().filter_map(|e| match e {
                record::Event::Job(pieces) => Some(pieces.len()),
                _ => None,
            });
            jobs.collect()
        };
        stage.iter().map(jobs).collect()
    };
    let all: Vec<Vec<Vec<usize>>> = stages.iter().map(pieces).collect();
    let between = vec![vec![]];
    let want = [
        between.clone(),
        vec![vec![3]; 2],
        between.clone(),
        vec![vec![2]],
        between,
    ];
    assert_eq!(all, want);
    assert_eq!(record::faster(&stages, &stages), Some(stages.clone()));
    assert_eq!(record::faster(&stages, &stages[1..]), None);
}
