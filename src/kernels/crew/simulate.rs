//! Foretells how long recorded work would take on a number of threads, by playing it: as in [`super::run`], each
//! thread takes the next leaf, and one that finds none left takes pieces of the jobs of those that still run.
//!
//! It does not know of what threads share: memory, caches and the processor's heat.

use super::record::{Event, Stage};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

/// What sharing out costs beside the work, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// Of a job that others help with: until they see it, and its leader that they are done.
    pub job: u64,
    /// Of a pass on several threads: until they have come.
    pub pass: u64,
}

/// Nanoseconds that the stages take one after the other.
pub fn simulate(stages: &[Stage], threads: usize, costs: Costs) -> u64 {
    stages
        .iter()
        .map(|s| Play::new(s, threads, costs).run())
        .sum()
}

/// Where a leaf stands.
#[derive(Clone, Default)]
struct Leaf {
    /// The event at hand.
    event: usize,
    /// Whether the leader has come to the job at hand; pieces that somebody has, those that are done, and whether
    /// others had some.
    open: bool,
    taken: usize,
    done: usize,
    helped: bool,
    /// The leader, if it waits for others' pieces.
    waiting: Option<usize>,
}

/// What a thread is at.
#[derive(Clone, Copy)]
enum Role {
    /// Looks for something to do.
    Free,
    /// Leads a leaf and is ready for its next stretch.
    Leads(usize),
    /// Leads a leaf and has done a piece of its job.
    LedPiece(usize),
    /// Has done a piece of another's job.
    Helped(usize),
}

struct Play<'a> {
    stage: &'a Stage,
    costs: Costs,
    leaves: Vec<Leaf>,
    /// The next leaf that nobody has.
    next: usize,
    roles: Vec<Role>,
    idle: Vec<usize>,
    /// When which thread is ready.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    end: u64,
}

impl<'a> Play<'a> {
    fn new(stage: &'a Stage, threads: usize, costs: Costs) -> Self {
        let several = threads > 1 && stage.iter().any(|leaf| leaf.len() > 1);
        let start = if several || stage.len() > 1 && threads > 1 {
            costs.pass
        } else {
            0
        };
        Self {
            stage,
            costs,
            leaves: vec![Leaf::default(); stage.len()],
            next: 0,
            roles: vec![Role::Free; threads],
            idle: Vec::new(),
            queue: (0..threads).map(|i| Reverse((start, i))).collect(),
            end: 0,
        }
    }

    fn run(mut self) -> u64 {
        while let Some(Reverse((now, thread))) = self.queue.pop() {
            self.end = self.end.max(now);
            match self.roles[thread] {
                Role::Free => self.seek(now, thread),
                Role::Leads(leaf) => self.lead(now, thread, leaf),
                Role::LedPiece(leaf) => {
                    self.leaves[leaf].done += 1;
                    self.lead(now, thread, leaf);
                }
                Role::Helped(leaf) => {
                    self.leaves[leaf].done += 1;
                    if self.leaves[leaf].done == self.pieces(leaf).len()
                        && let Some(leader) = self.leaves[leaf].waiting.take()
                    {
                        self.ready(now, leader, Role::Leads(leaf));
                    }
                    self.seek(now, thread);
                }
            }
        }
        self.end
    }

    fn ready(&mut self, at: u64, thread: usize, role: Role) {
        self.roles[thread] = role;
        self.queue.push(Reverse((at, thread)));
    }

    /// The pieces of the job that a leaf is at; none where its leader is not at one.
    fn pieces(&self, leaf: usize) -> &'a [u64] {
        match self.stage[leaf].get(self.leaves[leaf].event) {
            Some(Event::Job(pieces)) if self.leaves[leaf].open => pieces,
            _ => &[],
        }
    }

    /// A thread without work takes a leaf, or a piece of somebody's job, or waits.
    fn seek(&mut self, now: u64, thread: usize) {
        if self.next < self.stage.len() {
            self.next += 1;
            return self.lead(now, thread, self.next - 1);
        }
        // Its neighbours first, as the threads of a pass.
        let n = self.leaves.len();
        let with_work = (0..n).map(|k| (thread + k) % n);
        let found = with_work
            .into_iter()
            .find(|&leaf| self.leaves[leaf].taken < self.pieces(leaf).len());
        match found {
            Some(leaf) => {
                let piece = self.pieces(leaf)[self.leaves[leaf].taken];
                self.leaves[leaf].taken += 1;
                self.leaves[leaf].helped = true;
                self.ready(now + piece, thread, Role::Helped(leaf));
            }
            None => {
                self.roles[thread] = Role::Free;
                self.idle.push(thread);
            }
        }
    }

    /// The leader goes on with its leaf.
    fn lead(&mut self, now: u64, thread: usize, leaf: usize) {
        let Some(event) = self.stage[leaf].get(self.leaves[leaf].event) else {
            return self.seek(now, thread);
        };
        let state = &mut self.leaves[leaf];
        match event {
            Event::Step(_) => {
                state.event += 1;
                self.lead(now, thread, leaf);
            }
            Event::Serial(ns) => {
                state.event += 1;
                self.ready(now + ns, thread, Role::Leads(leaf));
            }
            Event::Job(pieces) if state.taken < pieces.len() => {
                let first = !mem::replace(&mut state.open, true);
                let piece = pieces[state.taken];
                state.taken += 1;
                self.ready(now + piece, thread, Role::LedPiece(leaf));
                if first {
                    // Who waits sees the job now.
                    let idle = mem::take(&mut self.idle);
                    idle.into_iter().for_each(|i| self.seek(now, i));
                }
            }
            Event::Job(pieces) if state.done < pieces.len() => state.waiting = Some(thread),
            Event::Job(_) => {
                let barrier = if state.helped { self.costs.job } else { 0 };
                let event = state.event + 1;
                *state = Leaf {
                    event,
                    ..Leaf::default()
                };
                self.ready(now + barrier, thread, Role::Leads(leaf));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{Job, Serial};

    const COSTS: Costs = Costs { job: 3, pass: 0 };

    fn takes(stage: &Stage, threads: usize) -> u64 {
        simulate(std::slice::from_ref(stage), threads, COSTS)
    }

    #[test]
    fn serial_work_gains_nothing_and_pieces_all() {
        let leaf = vec![Serial(10), Job(vec![5; 8]), Serial(1)];
        assert_eq!(takes(&vec![leaf.clone()], 1), 51);
        assert_eq!(takes(&vec![leaf.clone()], 2), 10 + 20 + 3 + 1);
        assert_eq!(takes(&vec![leaf.clone()], 3), 10 + 15 + 3 + 1);
        assert_eq!(takes(&vec![leaf], 100), 10 + 5 + 3 + 1);
    }

    #[test]
    fn a_long_piece_holds_up_its_job() {
        assert_eq!(takes(&vec![vec![Job(vec![1, 1, 1, 40])]], 4), 43);
        // Taken in order: the long one starts when the first thread is free again.
        assert_eq!(takes(&vec![vec![Job(vec![1, 1, 1, 40])]], 3), 44);
    }

    #[test]
    fn leaves_have_a_thread_each_until_some_are_idle() {
        let leaf = vec![Serial(10), Job(vec![10; 4])];
        let leaves = vec![leaf; 3];
        assert_eq!(takes(&leaves, 1), 150);
        assert_eq!(takes(&leaves, 3), 50);
        // Two leaves side by side; at the third one the other thread helps.
        assert_eq!(takes(&leaves, 2), 50 + 10 + 20 + 3);
        // Three help the first leader that comes to its job; it helps with the last piece, after its barrier.
        assert_eq!(takes(&leaves, 6), 10 + 10 + 3 + 10 + 3);
    }

    #[test]
    fn stages_wait_for_each_other() {
        let stages = [vec![vec![Serial(5)]; 4], vec![vec![Serial(7)]]];
        assert_eq!(simulate(&stages, 4, Costs::default()), 12);
        assert_eq!(simulate(&stages, 1, Costs::default()), 27);
        assert_eq!(simulate(&[], 2, Costs::default()), 0);
    }

    #[test]
    fn never_slower_than_the_sum_nor_faster_than_shared_evenly() {
        let random = crate::random::Random::new(1, crate::random::Purpose::Layer, 0);
        let mut at = 0;
        let mut below = |n: u64| {
            at += 1;
            random.below(at, n as usize) as u64
        };
        for _ in 0..100 {
            let leaf = |below: &mut dyn FnMut(u64) -> u64| {
                let events = (0..1 + below(5)).map(|_| match below(2) {
                    0 => Serial(below(100)),
                    _ => Job((0..below(20)).map(|_| below(50)).collect()),
                });
                events.collect::<Vec<Event>>()
            };
            let stage: Stage = (0..1 + below(6)).map(|_| leaf(&mut below)).collect();
            let all = simulate(std::slice::from_ref(&stage), 1, Costs::default());
            for threads in [2, 5, 64] {
                let time = simulate(std::slice::from_ref(&stage), threads, Costs::default());
                assert!(time <= all && time * threads as u64 >= all);
            }
        }
    }
}
