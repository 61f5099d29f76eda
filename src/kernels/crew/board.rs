//! The leaves of a pass and the threads that run them.

use super::Crew;
use super::line::Line;
use super::team::Team;
use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Looks for work before a thread without lets others run, where every thread has a processor.
const PATIENCE: usize = 1 << 12;

/// So many where threads share processors: who spins keeps another from its work.
const IMPATIENCE: usize = 1 << 4;

/// What the threads of a pass share.
pub(super) struct Board {
    threads: usize,
    leaves: usize,
    /// One for each thread, to lead.
    teams: Box<[Team]>,
    /// Threads that have come.
    come: Line<AtomicUsize>,
    /// The next leaf that nobody has.
    next: Line<AtomicUsize>,
    /// Leaves that are not done.
    unfinished: Line<AtomicUsize>,
    failed: AtomicBool,
    patience: usize,
}

impl Board {
    pub fn new(threads: usize, leaves: usize) -> Self {
        let patience = patience(threads);
        Self {
            threads,
            leaves,
            teams: (0..threads).map(|_| Team::new(patience)).collect(),
            come: Line::default(),
            next: Line::default(),
            unfinished: Line(AtomicUsize::new(leaves)),
            failed: AtomicBool::new(false),
            patience,
        }
    }

    /// Threads that have something to do.
    pub fn useful(&self) -> usize {
        if self.leaves == 0 { 1 } else { self.threads }
    }

    /// Whether a leaf has panicked.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The threads for each leaf that is not done: more than one as soon as one has nothing else to do.
    pub fn share(&self) -> usize {
        let unfinished = self.unfinished.load(Ordering::Relaxed);
        self.threads.div_ceil(unfinished.max(1))
    }

    /// Runs leaves while there are some, then helps until all are done.
    pub fn serve(&self, work: &(impl Fn(&Crew, usize) + Sync)) {
        let me = self.come.fetch_add(1, Ordering::Relaxed) % self.threads;
        let crew = Crew {
            shared: Some((self, &self.teams[me])),
            threads: Cell::new(1),
            recorder: None,
            leader: PhantomData,
        };
        loop {
            let leaf = self.next.fetch_add(1, Ordering::Relaxed);
            if leaf >= self.leaves {
                break;
            }
            crew.next_step();
            if catch_unwind(AssertUnwindSafe(|| work(&crew, leaf))).is_err() {
                self.failed.store(true, Ordering::Release);
            }
            self.unfinished.fetch_sub(1, Ordering::AcqRel);
        }
        let mut idle = 0usize;
        while self.unfinished.load(Ordering::Acquire) > 0 {
            let mut teams = (0..self.threads).map(|k| &self.teams[(me + k) % self.threads]);
            if teams.any(Team::piece) {
                idle = 0;
                continue;
            }
            idle += 1;
            std::hint::spin_loop();
            if idle.is_multiple_of(self.patience) {
                std::thread::yield_now();
            }
        }
    }
}

/// How long threads spin, where so many work.
fn patience(threads: usize) -> usize {
    use std::sync::OnceLock;
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    let processors =
        *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
    match threads <= processors {
        true => PATIENCE,
        false => IMPATIENCE,
    }
}
