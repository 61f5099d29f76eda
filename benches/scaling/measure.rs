//! What is measured on two real threads.

use crate::cases::Job;
use dsd::kernels::crew;
use dsd::kernels::crew::simulate::Costs;
use rayon::ThreadPool;
use std::hint::black_box;
use std::time::Instant;

/// Rounds of one and of two threads in turn.
const ROUNDS: usize = 9;

/// Seconds of one thread's turn in a round, at least.
const TURN: f64 = 0.4;

/// Threads as a pass has them: on a processor each.
fn pool(threads: usize) -> ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.start_handler(crew::pin).build().expect("threads")
}

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The time of a job of two pieces, one for each of two threads, less that of a piece; and of a pass without work.
pub fn costs() -> Costs {
    const JOBS: usize = 1000;
    /// Products of a piece: long enough for the other thread to come.
    const WORK: usize = 2000;
    let piece = || {
        let mut x = 1.0f32;
        (0..WORK).for_each(|_| x = black_box(x * 0.999));
    };
    let pool = pool(2);
    let (mut jobs, mut passes) = (Vec::new(), Vec::new());
    for _ in 0..51 {
        let alone = seconds(|| (0..JOBS).for_each(|_| piece()));
        let both = pool.install(|| {
            let work = || crew::lead(|crew| (0..JOBS).for_each(|_| crew.for_each(2, |_| piece())));
            seconds(work)
        });
        jobs.push((both - alone) / JOBS as f64);
        let empty = || (0..100).for_each(|_| crew::run(2, |_, _| ()));
        passes.push(pool.install(|| seconds(empty)) / 100.0);
    }
    let ns = |values: Vec<f64>| (1e9 * median(values)).max(0.0) as u64;
    Costs {
        job: ns(jobs),
        pass: ns(passes),
    }
}

/// How many times faster two threads are than one. A turn is of so many passes that a processor which has slept wakes
/// in a small part of it.
pub fn two_threads(job: &mut Job) -> f64 {
    let pools = [pool(1), pool(2)];
    pools.iter().for_each(|p| p.install(|| job.run()));
    let pass = pools[0].install(|| seconds(|| job.run()));
    let passes = (TURN / pass).ceil() as usize;
    let mut turn =
        |pool: &ThreadPool| pool.install(|| seconds(|| (0..passes).for_each(|_| job.run())));
    let ratio = |_| {
        let [one, two] = [0, 1].map(|i| turn(&pools[i]));
        one / two
    };
    median((0..ROUNDS).map(ratio).collect())
}
