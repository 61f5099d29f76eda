//! One leader's job, which other threads take pieces of.

#![allow(unsafe_code)]

use super::line::Line;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Pieces in a job are counted in the low half of [`Team::next`].
const PIECES: u64 = u32::MAX as u64;

/// A job: `run(data, i)` does piece i.
type Run = unsafe fn(*const (), usize);

/// The job that a leader has last given out.
pub(super) struct Team {
    /// Number of the job and of the next piece of it that nobody has; all ones below: no more pieces.
    next: Line<AtomicU64>,
    /// The job. It is written only while `next` says that there are no pieces, and whoever takes a
    /// piece after reading it knows that both belong together: `next` has not changed in between.
    run: AtomicPtr<()>,
    data: AtomicPtr<()>,
    pieces: AtomicUsize,
    /// Pieces done.
    done: Line<AtomicUsize>,
    failed: AtomicBool,
    patience: usize,
}

impl Team {
    /// A team without a job, whose leader spins for `patience` looks before it lets others run.
    pub fn new(patience: usize) -> Self {
        Self {
            next: Line(AtomicU64::new(PIECES)),
            run: AtomicPtr::new(ptr::null_mut()),
            data: AtomicPtr::new(ptr::null_mut()),
            pieces: AtomicUsize::new(0),
            done: Line::default(),
            failed: AtomicBool::new(false),
            patience,
        }
    }

    /// Does one piece of the job at hand, if there is one left.
    pub fn piece(&self) -> bool {
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

    /// Does all pieces of a job, with whoever helps. Only a [`super::Crew`] calls it: on its leader's thread, and
    /// never within a piece, so that there is one job at a time.
    pub fn job<F: Fn(usize) + Sync>(&self, pieces: usize, f: &F) {
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
            if idle.is_multiple_of(self.patience) {
                std::thread::yield_now();
            }
        }
        assert!(
            !self.failed.swap(false, Ordering::Relaxed),
            "a piece of a layer's work failed"
        );
    }
}
