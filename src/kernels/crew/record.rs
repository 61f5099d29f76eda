//! What work consists of: times of pieces and of what lies between them, to foretell ([`super::simulate`]) how it
//! would run on other numbers of threads.
//!
//! The times are the thread's own, where the system counts them: what other programs take does not count.

#![allow(unsafe_code)]

use super::Crew;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

/// A stretch of a leaf's work, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// On the leader's thread.
    Serial(u64),
    /// Pieces that any thread can do, all of them before the next stretch.
    Job(Vec<u64>),
    /// What follows belongs to the step of this name.
    Step(String),
}

/// The leaves of a pass, or one of what runs between passes; all of it before the next stage.
pub type Stage = Vec<Vec<Event>>;

/// The events of all that `f` does, as if there were `threads` threads: all of it runs on one thread, but cut as for so
/// many. What is not given to a crew counts as serial.
pub fn record<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> (T, Vec<Stage>) {
    let all = || {
        COURSE.set(Some(Course::new(threads)));
        let value = f();
        let stages = COURSE.take().map(Course::end);
        (value, stages.unwrap_or_default())
    };
    // A pool of one thread, so that what is rayon's counts as serial too.
    match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(pool) => pool.install(all),
        Err(_) => all(),
    }
}

/// What was recorded of two runs of one thing, each stretch as long as in the faster one: another program may
/// have held up either. `None` if they differ in more than times.
pub fn faster(one: &[Stage], two: &[Stage]) -> Option<Vec<Stage>> {
    fn both<T, U>(one: &[T], two: &[T], f: impl Fn(&T, &T) -> Option<U>) -> Option<Vec<U>> {
        let pairs = one.iter().zip(two).map(|(a, b)| f(a, b));
        (one.len() == two.len()).then(|| pairs.collect())?
    }
    let event = |one: &Event, two: &Event| match (one, two) {
        (Event::Serial(a), Event::Serial(b)) => Some(Event::Serial(*a.min(b))),
        (Event::Step(a), Event::Step(b)) if a == b => Some(one.clone()),
        (Event::Job(a), Event::Job(b)) => both(a, b, |a, b| Some(*a.min(b))).map(Event::Job),
        _ => None,
    };
    both(one, two, |a, b| both(a, b, |a, b| both(a, b, event)))
}

/// Nanoseconds that this thread has run.
fn now() -> u64 {
    #[cfg(unix)]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call writes to the struct that it is given.
        if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } == 0 {
            return time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        }
    }
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

thread_local! {
    /// The recording under way.
    static COURSE: RefCell<Option<Course>> = const { RefCell::new(None) };
}

/// Stages, and what lies between them.
struct Course {
    threads: usize,
    since: u64,
    stages: Vec<Stage>,
}

impl Course {
    fn new(threads: usize) -> Self {
        Self {
            threads,
            since: now(),
            stages: Vec::new(),
        }
    }

    /// Ends a stretch between stages.
    fn between(&mut self) {
        let ns = now() - self.since;
        self.stages.push(vec![vec![Event::Serial(ns)]]);
    }

    fn end(mut self) -> Vec<Stage> {
        self.between();
        self.stages
    }
}

/// Records the pass of these leaves, if this thread is recording; else gives false.
pub(super) fn stage(leaves: usize, work: &impl Fn(&Crew, usize)) -> bool {
    let Some(mut course) = COURSE.take() else {
        return false;
    };
    course.between();
    course.stages.push(leaves_of(course.threads, leaves, work));
    course.since = now();
    COURSE.set(Some(course));
    true
}

/// The events of each leaf.
fn leaves_of(threads: usize, leaves: usize, work: impl Fn(&Crew, usize)) -> Stage {
    let share = threads.div_ceil(leaves.max(1));
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

/// Runs pieces one after the other, cut as for more threads, and notes their times.
#[derive(Debug)]
pub(super) struct Recorder {
    since: Cell<u64>,
    events: RefCell<Vec<Event>>,
}

impl Recorder {
    fn new() -> Self {
        Self {
            since: Cell::new(now()),
            events: RefCell::default(),
        }
    }

    /// Nanoseconds since the last call.
    fn lap(&self) -> u64 {
        let now = now();
        now - self.since.replace(now)
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

    pub fn step(&self, name: String) {
        let before = self.lap();
        let mut events = self.events.borrow_mut();
        events.extend([Event::Serial(before), Event::Step(name)]);
    }

    fn end(self) -> Vec<Event> {
        let rest = self.lap();
        let mut events = self.events.into_inner();
        events.push(Event::Serial(rest));
        events
    }
}
