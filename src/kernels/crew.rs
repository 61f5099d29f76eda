//! Crews: the threads that work on a pass, handed to each step explicitly.
//!
//! A pass is cut into leaves. Every thread takes a leaf, runs it from end to end, and takes the next; a thread that
//! finds none left helps those that still run one, piece by piece. So one leaf has all threads, a batch of as many
//! leaves as threads has one each, and nobody waits at the end of a batch that does not divide evenly. What runs a
//! leaf is handed a [`Crew`]: the right to share out pieces of work among the threads that may help it.
//!
//! A piece cannot share out work again: it would have to hold the crew, and a crew stays on the thread that leads
//! it.
//!
//! ```compile_fail,E0277
//! use dsd::kernels::crew;
//! crew::lead(|crew| {
//!     crew.for_each(8, |_| crew.for_each(8, |_| ()));
//! });
//! ```
//!
//! Nor can it be sent to another thread, or outlive its pass:
//!
//! ```compile_fail,E0277
//! use dsd::kernels::crew;
//! crew::lead(|crew| {
//!     std::thread::scope(|s| {
//!         s.spawn(|| crew.for_each(8, |_| ()));
//!     });
//! });
//! ```
//!
//! ```compile_fail,E0521
//! use dsd::kernels::crew::{self, Crew};
//! use std::sync::Mutex;
//! let kept: Mutex<Option<&'static Crew<'static>>> = Mutex::new(None);
//! crew::lead(|crew| *kept.lock().unwrap() = Some(crew));
//! ```

mod board;
mod line;
mod pin;
pub mod record;
pub mod simulate;
mod team;

use board::Board;
pub use pin::pin;
use record::Recorder;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Mutex;
use team::Team;

/// The threads that a step may use. Which of them does which piece is open, so no result may depend on it.
pub struct Crew<'a> {
    shared: Option<(&'a Board, &'a Team)>,
    /// Threads for the step at hand.
    threads: Cell<usize>,
    /// What is measured of this crew's work instead of being shared out.
    recorder: Option<&'a Recorder>,
    /// Only its thread leads it: neither `Send` nor `Sync`.
    leader: PhantomData<*const ()>,
}

impl Crew<'_> {
    /// The calling thread alone.
    pub const fn alone() -> Crew<'static> {
        Crew {
            shared: None,
            threads: Cell::new(1),
            recorder: None,
            leader: PhantomData,
        }
    }

    /// How many threads a step may count on: by this it cuts its work, never its sums.
    pub fn threads(&self) -> usize {
        self.threads.get()
    }

    /// Looks, between two steps, how many threads there are for the next.
    pub fn next_step(&self) {
        if let Some((board, _)) = self.shared {
            self.threads.set(board.share());
        }
    }

    /// Into how many parts, at least `least`, a step should cut each of `many` equal things, so that its threads share
    /// the parts evenly.
    pub fn share_of(&self, many: usize, least: usize) -> usize {
        let threads = self.threads();
        let even = |n: &usize| {
            let all = many * n;
            all >= 4 * threads || all.is_multiple_of(threads)
        };
        (least..=least + 4 * threads).find(even).unwrap_or(least)
    }

    /// Names the step at hand, where it is recorded.
    pub fn name_step(&self, name: impl FnOnce() -> String) {
        if let Some(recorder) = self.recorder {
            recorder.step(name());
        }
    }

    /// Whether there are others to share work with.
    pub fn is_shared(&self) -> bool {
        self.threads() > 1
    }

    /// Calls `f` for 0, 1 … n − 1, all at once as far as there are threads; returns when all are done.
    ///
    /// # Panics
    /// If `f` does, after all other pieces are done.
    pub fn for_each(&self, n: usize, f: impl Fn(usize) + Sync) {
        match (self.shared, self.recorder) {
            (_, Some(recorder)) if n > 1 => recorder.job(n, f),
            (Some((_, team)), None) if n > 1 && self.is_shared() => team.job(n, &f),
            _ => (0..n).for_each(f),
        }
    }

    /// Calls `f` for each of `items`, as [`Crew::for_each`] does.
    pub fn each<T: Send>(&self, items: impl IntoIterator<Item = T>, f: impl Fn(T) + Sync) {
        if !self.is_shared() {
            return items.into_iter().for_each(f);
        }
        let items: Vec<Mutex<Option<T>>> = items
            .into_iter()
            .map(|item| Mutex::new(Some(item)))
            .collect();
        self.for_each(items.len(), |i| {
            let item = items[i].lock().unwrap_or_else(|e| e.into_inner()).take();
            item.into_iter().for_each(&f);
        });
    }
}

/// Runs `work(crew, i)` for leaves 0, 1 … `leaves` − 1 on the threads of the rayon pool that this is called in.
///
/// # Panics
/// If `work` does, after all other leaves are done.
pub fn run(leaves: usize, work: impl Fn(&Crew, usize) + Sync) {
    if record::stage(leaves, &work) {
        return;
    }
    let threads = rayon::current_num_threads();
    if threads == 1 {
        // On the pool's thread, so that what is rayon's need not change threads.
        return rayon::scope(|_| (0..leaves).for_each(|i| work(&Crew::alone(), i)));
    }
    let board = Board::new(threads, leaves);
    rayon::scope(|scope| {
        for _ in 1..threads.min(board.useful()) {
            scope.spawn(|_| board.serve(&work));
        }
        board.serve(&work);
    });
    assert!(!board.failed(), "a part of a pass failed");
}

/// Runs `f` with a crew of all threads of the rayon pool that this is called in.
pub fn lead<T: Send>(f: impl FnOnce(&Crew) -> T + Send) -> T {
    let (f, result) = (Mutex::new(Some(f)), Mutex::new(None));
    run(1, |crew, _| {
        let f = f.lock().unwrap_or_else(|e| e.into_inner()).take();
        let value = f.map(|f| f(crew));
        *result.lock().unwrap_or_else(|e| e.into_inner()) = value;
    });
    match result.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(value) => value,
        None => unreachable!("a leaf that fails panics in `run`"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
