//! What the benches share: how long criterion measures, and a table at the end of what it has measured,
//! beside what the machine could do.

// Each bench is a program of its own and uses some of this.
#![allow(dead_code)]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use dsd::kernels::peak::Peak;
use dsd::kernels::simd::Isa;
use dsd::random::{Purpose, Random};
use std::time::{Duration, Instant};

/// Criterion for kernels of micro- to milliseconds, dozens of them: short, so that all of a bench takes a
/// minute.
pub fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .nresamples(2000)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .configure_from_args()
}

/// Lets criterion measure `work` under `name`; the seconds of one call in the best sample. `None` where
/// criterion does not run it (another is asked for on the command line).
pub fn best(
    group: &mut BenchmarkGroup<WallTime>,
    name: String,
    mut work: impl FnMut(),
) -> Option<f64> {
    // As many calls in every sample: the slow ones would not fit otherwise.
    group.sampling_mode(SamplingMode::Flat);
    let mut best: Option<f64> = None;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|calls| {
            let start = Instant::now();
            (0..calls).for_each(|_| work());
            let spent = start.elapsed();
            let each = spent.as_secs_f64() / calls.max(1) as f64;
            best = Some(best.map_or(each, |best| best.min(each)));
            spent
        });
    });
    best
}

/// The peak before and after a bench: the clock may have changed in between.
pub struct Around {
    isa: Isa,
    before: Peak,
}

impl Around {
    /// Measures the peak before.
    pub fn begin() -> Self {
        if let Some(name) = std::env::var_os("DSD_ISA") {
            Isa::asked(&name).expect("DSD_ISA").choose();
        }
        let isa = Isa::current();
        Self {
            isa,
            before: Peak::measure(isa),
        }
    }

    /// Measures the peak after, prints both and gives the higher one.
    pub fn end(self) -> Peak {
        let after = Peak::measure(self.isa);
        println!("\nPeak before: {}", self.before);
        println!("Peak after:  {after}\n");
        self.before.or(after)
    }
}

/// A number with one decimal, or nothing.
pub fn one(x: Option<f64>) -> String {
    x.map_or(String::new(), |x| format!("{x:.1}"))
}

/// Numbers in [-1, 1), a function of the seed and the index.
pub fn noise(seed: u64, n: usize) -> Vec<f32> {
    let random = Random::new(seed, Purpose::Layer, 0);
    (0..n as u64).map(|i| 2.0 * random.unit(i) - 1.0).collect()
}
