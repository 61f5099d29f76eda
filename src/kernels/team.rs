//! Threads that share the work of one sample, layer by layer.
//!
//! A layer of one picture takes some 100 µs. To wake a sleeping thread for it takes nearly as long, so while
//! a pass is under way the threads of the pool stay awake: one leads, the others serve and look for the
//! next piece of work without pause. Outside a team the pieces are rayon's.

#![allow(unsafe_code)]

use rayon::prelude::*;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Looks for work before a serving thread lets others run.
const PATIENCE: usize = 1 << 12;

/// Pieces in a job are counted in the low half of [`Team::next`].
const PIECES: u64 = u32::MAX as u64;

/// A job: `run(data, i)` does piece i.
type Run = unsafe fn(*const (), usize);

/// One pass's threads, and the job that its leader has last given them.
struct Team {
    /// Number of the job and of the next piece of it that nobody has; all ones below: no more pieces.
    next: AtomicU64,
    /// The job. It is written only while `next` says that there are no pieces, and whoever takes a
    /// piece after reading it knows that both belong together: `next` has not changed in between.
    run: AtomicPtr<()>,
    data: AtomicPtr<()>,
    pieces: AtomicUsize,
    /// Pieces done.
    done: AtomicUsize,
    failed: AtomicBool,
    over: AtomicBool,
}

thread_local! {
    /// The team that this thread leads.
    static LED: Cell<*const Team> = const { Cell::new(ptr::null()) };
    /// Whether this thread does a piece of a team's job. A team has one job at a time, so work within a piece is
    /// not shared out again: a second job would take the place of the one that the others still read.
    static WORKING: Cell<bool> = const { Cell::new(false) };
}

/// The time of one piece on this thread.
struct Working {
    before: bool,
}

impl Working {
    fn start() -> Self {
        Self {
            before: WORKING.replace(true),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.set(self.before);
    }
}

/// Runs `f`, within which [`for_each`] on this thread uses all threads of the pool without waking them
/// anew.
///
/// Within a piece of [`for_each`] this is no more than a call of `f`.
pub fn with<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    if WORKING.get() {
        return f();
    }
    if rayon::current_num_threads() == 1 {
        // On the pool's thread, so that what is rayon's need not change threads.
        return rayon::scope(|_| f());
    }
    let team = Team {
        next: AtomicU64::new(PIECES),
        run: AtomicPtr::new(ptr::null_mut()),
        data: AtomicPtr::new(ptr::null_mut()),
        pieces: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        over: AtomicBool::new(false),
    };
    rayon::scope(|scope| {
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|_| team.serve());
        }
        let _lead = Lead {
            team: &team,
            before: LED.replace(&team),
        };
        f()
    })
}

/// Ends a team, also when its leader panics.
struct Lead<'a> {
    team: &'a Team,
    before: *const Team,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        LED.set(self.before);
        self.team.over.store(true, Ordering::Release);
    }
}

impl Team {
    /// Does pieces of the leader's jobs until the pass is over.
    fn serve(&self) {
        // The leader itself comes here if it waits for rayon before another thread does; and so does a thread
        // whose piece waits for rayon, which would then wait for the end of the pass that waits for its piece.
        if LED.get() == ptr::from_ref(self) || WORKING.get() {
            return;
        }
        let mut idle = 0usize;
        while !self.over.load(Ordering::Acquire) {
            if self.piece() {
                idle = 0;
                continue;
            }
            idle += 1;
            std::hint::spin_loop();
            if idle.is_multiple_of(PATIENCE) {
                // Some layers give their work to rayon; and others may want the processor.
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Does one piece of the job at hand, if there is one left.
    fn piece(&self) -> bool {
        let at = self.next.load(Ordering::Acquire);
        let i = at & PIECES;
        if i == PIECES {
            return false;
        }
        // Acquire: who sees anything of a later job sees also that `next` has changed, and takes no piece below.
        let run = self.run.load(Ordering::Acquire);
        let data = self.data.load(Ordering::Acquire);
        if i as usize >= self.pieces.load(Ordering::Acquire) {
            return false;
        }
        let taken = self
            .next
            .compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_err() {
            return true;
        }
        let _working = Working::start();
        // SAFETY: `next` was the same before and after the job was read, and a job is changed only after
        // `next` has, so this is the job of number `at`: `run` was made of a `Run` in `Team::job`, whose
        // `data` lives until all pieces are done, this one included.
        let done = catch_unwind(AssertUnwindSafe(|| unsafe {
            let run = std::mem::transmute::<*mut (), Run>(run);
            run(data, i as usize);
        }));
        if done.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::Release);
        true
    }

    /// Does all pieces of a job, with whoever serves.
    fn job<F: Fn(usize) + Sync>(&self, pieces: usize, f: &F) {
        unsafe fn run<F: Fn(usize) + Sync>(data: *const (), i: usize) {
            // SAFETY: `data` is the `f` below, which outlives the job.
            unsafe { (*data.cast::<F>())(i) }
        }
        assert!((pieces as u64) < PIECES);
        let number = (self.next.load(Ordering::Relaxed) >> 32) + 1;
        self.next.store(number << 32 | PIECES, Ordering::SeqCst);
        self.run.store(run::<F> as Run as *mut (), Ordering::SeqCst);
        self.data
            .store(ptr::from_ref(f).cast_mut().cast(), Ordering::SeqCst);
        self.pieces.store(pieces, Ordering::SeqCst);
        self.done.store(0, Ordering::SeqCst);
        self.next.store(number << 32, Ordering::SeqCst);
        while self.piece() {}
        let mut idle = 0usize;
        while self.done.load(Ordering::Acquire) < pieces {
            idle += 1;
            std::hint::spin_loop();
            if idle.is_multiple_of(PATIENCE) {
                std::thread::yield_now();
            }
        }
        assert!(
            !self.failed.swap(false, Ordering::Relaxed),
            "a piece of a layer's work failed"
        );
    }
}

/// Calls `f` for 0, 1 … n − 1, on several threads if `parallel`. Which thread does which is open. A call within
/// a piece of a team's job does all of its pieces itself, one after the other.
pub fn for_each(parallel: bool, n: usize, f: impl Fn(usize) + Sync) {
    if !parallel || n < 2 || WORKING.get() || rayon::current_num_threads() == 1 {
        return (0..n).for_each(f);
    }
    let team = LED.get();
    if team.is_null() {
        return (0..n).into_par_iter().for_each(&f);
    }
    // SAFETY: `with` resets `LED` before its team goes. The team has no other job: one is over when `job`
    // returns, this thread alone gives it jobs, and it is not in a piece of one (`WORKING`).
    unsafe { (*team).job(n, &f) }
}

/// Keeps this thread on the processor of that number. Two threads that wake each other every 100 µs are else often put
/// on one processor, for milliseconds, beside an idle one. Where the processor is not there, nothing happens.
pub fn pin(processor: usize) {
    #[cfg(target_os = "linux")]
    if processor < libc::CPU_SETSIZE as usize {
        // SAFETY: all zeros is a valid set; the number is one that a set holds; the call reads the set, whose size
        // it is told.
        unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(processor, &mut one);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = processor;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build();
        let pool = pool.unwrap();
        for _ in 0..20 {
            pool.install(|| {
                with(|| {
                    for n in (0..200).chain([5000]) {
                        let counts: Vec<AtomicUsize> =
                            (0..n).map(|_| AtomicUsize::new(0)).collect();
                        for_each(true, n, |i| {
                            counts[i].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                    }
                    // Rayon's own work goes on beside.
                    let sum: usize = (0..1000usize).into_par_iter().sum();
                    assert_eq!(sum, 499_500);
                });
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_leader_and_ends_the_team() {
        let caught = catch_unwind(|| {
            with(|| for_each(true, 100, |i| assert!(i != 50, "fifty")));
        });
        assert!(caught.is_err());
        with(|| for_each(true, 10, |_| {}));
    }

    /// A team of four: pieces that share out work of their own, from the leader's thread and the others, two
    /// levels deep and in a team of their own. Were the inner job to take the outer one's place, threads would
    /// run `f` of the inner closure after it is gone, and outer pieces would be lost or done twice.
    #[test]
    fn work_within_a_piece_is_done_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build();
        pool.unwrap().install(|| {
            for round in 0..200 {
                let counts: Vec<AtomicUsize> =
                    (0..8 * 8 * 8).map(|_| AtomicUsize::new(0)).collect();
                let inner = |i: usize| {
                    for_each(true, 8, |j| {
                        let own = vec![i, j, round];
                        for_each(true, 8, |k| {
                            assert_eq!(own, [i, j, round]);
                            counts[(i * 8 + j) * 8 + k].fetch_add(1, Ordering::Relaxed);
                        });
                    });
                };
                with(|| {
                    for_each(true, 8, |i| match i % 2 {
                        0 => inner(i),
                        _ => with(|| inner(i)),
                    });
                    // The team is of use after it.
                    let sum = AtomicUsize::new(0);
                    for_each(true, 100, |i| {
                        sum.fetch_add(i, Ordering::Relaxed);
                    });
                    assert_eq!(sum.into_inner(), 4950);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        });
    }

    /// A piece that gives work to rayon may be handed the serving of its own team, of which it would see no end.
    #[test]
    fn a_piece_may_wait_for_rayon() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        pool.unwrap().install(|| {
            for _ in 0..200 {
                let total = AtomicUsize::new(0);
                with(|| {
                    for_each(true, 16, |_| {
                        let sum: usize = (0..64usize).into_par_iter().sum();
                        total.fetch_add(sum, Ordering::Relaxed);
                    });
                });
                assert_eq!(total.into_inner(), 16 * 2016);
            }
        });
    }

    #[test]
    fn a_panic_within_a_piece_within_a_piece_ends_the_team() {
        let caught = catch_unwind(|| {
            with(|| {
                for_each(true, 8, |i| {
                    for_each(true, 8, |j| assert!(i * j != 12, "twelve"))
                })
            });
        });
        assert!(caught.is_err());
        let done = AtomicUsize::new(0);
        with(|| {
            for_each(true, 10, |_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(done.into_inner(), 10);
    }

    #[test]
    fn teams_side_by_side() {
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..50 {
                        let total = AtomicUsize::new(0);
                        with(|| {
                            for_each(true, 64, |i| {
                                total.fetch_add(i, Ordering::Relaxed);
                            });
                        });
                        assert_eq!(total.into_inner(), 63 * 32);
                    }
                });
            }
        });
    }
}
