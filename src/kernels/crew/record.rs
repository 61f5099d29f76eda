//! What a leaf's work consists of: times of pieces and of what lies between them, to foretell how it would
//! run on other numbers of threads.

use super::Crew;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::time::Instant;

/// A stretch of a leaf's work, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// On the leader's thread.
    Serial(u64),
    /// Pieces that any thread can do, all of them before the next stretch.
    Job(Vec<u64>),
}

/// Runs pieces one after the other, cut as for more threads, and notes their times.
#[derive(Debug)]
pub(super) struct Recorder {
    since: Cell<Instant>,
    events: RefCell<Vec<Event>>,
}

impl Recorder {
    fn new() -> Self {
        Self {
            since: Cell::new(Instant::now()),
            events: RefCell::default(),
        }
    }

    /// Nanoseconds since the last call.
    fn lap(&self) -> u64 {
        let now = Instant::now();
        (now - self.since.replace(now)).as_nanos() as u64
    }

    pub fn job(&self, n: usize, f: impl Fn(usize)) {
        let before = self.lap();
        let pieces = (0..n).map(|i| {
            f(i);
            self.lap()
        });
        let pieces = pieces.collect();
        let mut events = self.events.borrow_mut();
        events.push(Event::Serial(before));
        events.push(Event::Job(pieces));
        drop(events);
        self.lap();
    }

    fn end(self) -> Vec<Event> {
        let rest = self.lap();
        let mut events = self.events.into_inner();
        events.push(Event::Serial(rest));
        events
    }
}

/// Runs `work(crew, i)` for all leaves on this thread, each as if it had `threads / leaves` threads, at least 1;
/// gives the events of each leaf.
pub fn record(threads: usize, leaves: usize, work: impl Fn(&Crew, usize)) -> Vec<Vec<Event>> {
    let share = (threads / leaves.max(1)).max(1);
    let one = |i: usize| {
        let recorder = Recorder::new();
        work(
            &Crew {
                shared: None,
                threads: Cell::new(share),
                recorder: Some(&recorder),
                leader: PhantomData,
            },
            i,
        );
        recorder.end()
    };
    (0..leaves).map(one).collect()
}
