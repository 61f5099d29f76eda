//! How fast this machine can multiply and add at best: what the kernels' speed is measured against.
//!
//! Chains of multiply-adds in registers, as many side by side as hide their latency, touch no memory. The
//! clock depends on what else runs, so the peak is measured when it is needed and not looked up.

#![allow(unsafe_code)]

use super::simd::{Isa, Lanes, Set, dispatch};
use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A run shall take so long: long enough for a stable clock, with the threads' start out of sight.
const RUN: Duration = Duration::from_millis(3);
/// The best of so many runs counts: the others were disturbed.
const RUNS: usize = 6;

/// Multiply-adds of an instruction set, in GFLOP/s (one is two operations).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The instruction set.
    pub isa: Set,
    /// Of one thread that runs alone.
    pub one: f64,
    /// Of all threads of the rayon pool together.
    pub all: f64,
    /// How many these are.
    pub threads: usize,
}

impl Peak {
    /// Measures `isa` on this thread and then on all of the rayon pool that it
    /// belongs to. It takes some 40 ms, in which the pool should have nothing else to do.
    pub fn measure(isa: Isa) -> Self {
        let rounds = rounds(isa);
        let threads = rayon::current_num_threads();
        let one = best(|| vec![run(isa, rounds)]);
        let all = match threads {
            1 => one,
            _ => best(|| rayon::broadcast(|_| run(isa, rounds))),
        };
        Self {
            isa: isa.set(),
            one,
            all,
            threads,
        }
    }

    /// The better of two peaks of the same set and threads.
    pub fn or(self, other: Self) -> Self {
        Self {
            one: self.one.max(other.one),
            all: self.all.max(other.all),
            ..self
        }
    }
}

impl fmt::Display for Peak {
    /// `100.3 GFLOP/s on one thread, 198.0 on 2 (avx2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} GFLOP/s on one thread", self.one)?;
        if self.threads > 1 {
            write!(f, ", {:.1} on {}", self.all, self.threads)?;
        }
        write!(f, " ({})", self.isa.name())
    }
}

/// What a thread has done.
struct Run {
    start: Instant,
    end: Instant,
    operations: f64,
}

/// The rounds that fill [`RUN`].
fn rounds(isa: Isa) -> usize {
    let mut rounds = 1 << 12;
    loop {
        // The shortest of three: a thread may have been interrupted.
        let spent = (0..3).map(|_| run(isa, rounds)).map(|r| r.end - r.start);
        let spent = spent.min().unwrap_or_default().as_secs_f64();
        // Far above the ticks of the clock that tells the time, and while the processor's is still rising.
        if spent > 0.2 * RUN.as_secs_f64() {
            return (rounds as f64 * RUN.as_secs_f64() / spent) as usize;
        }
        rounds *= 2;
    }
}

/// GFLOP/s of the best of several calls of `work`, which gives what each thread has done.
fn best(work: impl Fn() -> Vec<Run>) -> f64 {
    let rate = |_| {
        let runs = work();
        let start = runs.iter().map(|r| r.start).min();
        let end = runs.iter().map(|r| r.end).max();
        // More threads than cores take turns: only the whole span tells what they do together.
        let span = end.zip(start).map_or(0.0, |(e, s)| (e - s).as_secs_f64());
        1e-9 * runs.iter().map(|r| r.operations).sum::<f64>() / span.max(1e-9)
    };
    (0..RUNS).map(rate).fold(0.0, f64::max)
}

/// So many rounds on this thread.
fn run(isa: Isa, rounds: usize) -> Run {
    let mut sums = [0.0; 16];
    let mut chains = 0;
    let start = Instant::now();
    // SAFETY: the sums are sixteen floats.
    unsafe { multiply_add(isa, rounds, &mut sums, &mut chains) };
    let end = Instant::now();
    black_box(sums);
    Run {
        start,
        end,
        operations: 2.0 * 16.0 * chains as f64 * rounds as f64,
    }
}

#[inline(always)]
unsafe fn multiply_add_body<L: Lanes, const M: usize>(
    rounds: usize,
    sums: &mut [f32; 16],
    chains: &mut usize,
) {
    // SAFETY: the caller has the instruction set of `L`; the loads and the store are of sixteen floats.
    unsafe {
        let factor = L::load(black_box([0.5f32; 16]).as_ptr());
        let mut x = [L::splat(1.0); M];
        // All accumulators of a register tile; of plain Rust's four, which fill the sixteen registers that
        // every x86-64 has, one makes room for the factor.
        let used = if M > 4 { M } else { M - 1 };
        for _ in 0..rounds {
            // x ← ½ + x·½ stays 1. Each product needs the last sum, so that none can be computed once for all.
            for x in &mut x[..used] {
                *x = factor.mul_add(*x, factor);
            }
        }
        let mut sum = L::zero();
        for x in &x[..used] {
            sum = sum.add(*x);
        }
        sum.store(sums.as_mut_ptr());
        *chains = used;
    }
}

dispatch! {
    /// Runs `rounds` multiply-adds in each of `chains` chains of sixteen lanes, and leaves the sums.
    unsafe fn multiply_add(rounds: usize, sums: &mut [f32; 16], chains: &mut usize) = multiply_add_body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_this_machine_has_a_peak() {
        for isa in Isa::all() {
            let peak = Peak::measure(isa);
            for rate in [peak.one, peak.all] {
                assert!(rate.is_finite() && rate > 0.0, "{peak}");
            }
            let mut sums = [0.0; 16];
            let mut chains = 0;
            // SAFETY: the sums are sixteen floats.
            unsafe { multiply_add(isa, 10, &mut sums, &mut chains) };
            assert_eq!(sums, [chains as f32; 16], "{peak}");
        }
    }

    #[test]
    fn a_peak_reads_as_a_sentence() {
        let mut peak = Peak {
            isa: Set::Avx2,
            one: 100.26,
            all: 198.0,
            threads: 2,
        };
        let text = "100.3 GFLOP/s on one thread, 198.0 on 2 (avx2)";
        assert_eq!(peak.to_string(), text);
        peak.threads = 1;
        assert_eq!(peak.to_string(), "100.3 GFLOP/s on one thread (avx2)");
    }
}
