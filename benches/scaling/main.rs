//! How would a net scale on machines with more processors than this one has?
//!
//! Each case runs on one thread, cut as for many, and the time of every piece of it is noted; then the pieces are
//! played on 1 to 128 threads ([`dsd::kernels::crew::simulate`]). What threads share (memory, caches, heat) is not
//! in it. Two threads are also measured, beside what is foretold for them.
//!
//! `cargo bench --bench scaling -- [--quick] [--steps] [WORD…]`: only the cases whose names hold a word; `--quick`
//! records once and measures nothing; `--steps` says which steps hold up 64 threads.

mod cases;
mod measure;

use cases::{CASES, Case, Job};
use dsd::kernels::crew::record::{Event, Stage, faster, record};
use dsd::kernels::crew::simulate::{Costs, simulate};
use dsd::report::table::{Align, Table};
use std::collections::HashMap;

/// For how many threads it is foretold.
const THREADS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Recordings of a case, of which the fastest of every piece counts.
const ROUNDS: usize = 3;

/// The threads whose steps are shown.
const SHOWN: usize = 64;

struct Asked {
    quick: bool,
    steps: bool,
    words: Vec<String>,
}

fn main() {
    let all: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| all.iter().any(|a| a == name);
    let asked = Asked {
        quick: has("--quick"),
        steps: has("--steps"),
        words: all
            .iter()
            .filter(|a| !a.starts_with("--"))
            .cloned()
            .collect(),
    };
    let costs = measure::costs();
    println!(
        "A job that is shared out costs {:.1} µs, a pass {:.1} µs (measured with 2 threads).\n",
        1e-3 * costs.job as f64,
        1e-3 * costs.pass as f64
    );
    use Align::{Left, Right};
    let heads = THREADS.map(|t| t.to_string());
    let heads = heads.iter().map(|t| (t.as_str(), Right));
    let left = [("net", Left), ("mode", Left), ("batch", Right)];
    let right = [("2 measured", Right)];
    let mut table = Table::new(left.into_iter().chain(heads).chain(right));
    for case in &CASES {
        let name = case.name();
        if !asked.words.is_empty() && !asked.words.iter().any(|w| name.contains(w)) {
            continue;
        }
        eprintln!("{name}");
        table.row(row(case, &asked, costs));
    }
    print!("{table}");
}

fn row(case: &Case, asked: &Asked, costs: Costs) -> Vec<String> {
    let mut job = case.job();
    job.run();
    let mut alone = 0;
    let mut cells = case.cells();
    let mut last: Option<(usize, Vec<Stage>)> = None;
    for threads in THREADS {
        let cut = case.cut_for(threads);
        let stages = match last.take().filter(|(of, _)| *of == cut) {
            Some((_, stages)) => stages,
            None => recorded(&mut job, cut, if asked.quick { 1 } else { ROUNDS }),
        };
        if threads == 1 {
            alone = simulate(&stages, 1, costs);
        }
        let time = simulate(&stages, threads, costs);
        cells.push(format!("{:.2}", alone as f64 / time as f64));
        if asked.steps && threads == SHOWN {
            show_steps(&case.name(), &stages, costs);
        }
        last = Some((cut, stages));
    }
    cells.push(match asked.quick {
        true => String::new(),
        false => format!("{:.2}", measure::two_threads(&mut job)),
    });
    cells
}

/// The fastest of some recordings.
fn recorded(job: &mut Job, threads: usize, rounds: usize) -> Vec<Stage> {
    let mut best = record(threads, || job.run()).1;
    for _ in 1..rounds {
        let next = record(threads, || job.run()).1;
        best = faster(&best, &next).expect("every iteration has the same steps");
    }
    best
}

/// Prints the steps that lose most: the time that the threads spend beyond an even share of the work.
fn show_steps(name: &str, stages: &[Stage], costs: Costs) {
    let mut steps: HashMap<String, (u64, u64)> = HashMap::new();
    let leaves = stages.iter().flatten();
    for leaf in leaves {
        let mut at = 0;
        while at < leaf.len() {
            let (name, from) = match &leaf[at] {
                Event::Step(name) => (name.clone(), at + 1),
                _ => ("between passes".to_string(), at),
            };
            let next = leaf[from..]
                .iter()
                .position(|e| matches!(e, Event::Step(_)));
            let to = next.map_or(leaf.len(), |n| from + n);
            let own = [vec![leaf[from..to].to_vec()]];
            let time = |threads: usize| simulate(&own, threads, costs);
            let sum = steps.entry(name).or_default();
            *sum = (sum.0 + time(1), sum.1 + time(SHOWN));
            at = to;
        }
    }
    let loss = |(one, many): (u64, u64)| many as f64 - one as f64 / SHOWN as f64;
    let mut steps: Vec<_> = steps.into_iter().collect();
    steps.sort_by(|a, b| loss(b.1).total_cmp(&loss(a.1)));
    println!("{name}: the steps that lose most on {SHOWN} threads, if each leaf has all of them");
    for (step, times) in steps.iter().take(40) {
        println!(
            "{:9.3} ms alone {:9.3} ms on {SHOWN} ({:5.1} times) {step}",
            1e-6 * times.0 as f64,
            1e-6 * times.1 as f64,
            times.0 as f64 / times.1.max(1) as f64,
        );
    }
    println!();
}
