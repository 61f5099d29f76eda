//! Are the costs by which kernels are chosen (`kernels/convolution/choice.rs`) those of this processor?
//!
//! `cargo bench --bench costs` times the direct, Winograd's and the sparse kernel over layers of SqueezeNet and ResNet
//! at several densities, on one thread, in turns; prints the table's row for this kind of processor beside the row that
//! fits these times best; and the layers for which the kernel that is chosen takes 10% more time than the fastest.
//! `-- --check` fails if there are such; `DSD_ISA` picks the instruction set.

mod common;

use common::noise;
use dsd::kernels::convolution::Convolution;
use dsd::kernels::convolution::channels_last::{ChannelsLast, Order, Packed, Then, UseSparse};
use dsd::kernels::convolution::choice::{Costs, Dense};
use dsd::kernels::convolution::im2col::Axis;
use dsd::kernels::crew::Crew;
use dsd::kernels::processor::Processor;
use dsd::kernels::simd::Isa;
use dsd::report::table::{Align, Table};
use dsd::solver::mask::{Mask, pruned_count};
use std::process::ExitCode;
use std::time::Instant;

/// Channels in and out, size of the picture, and kernel, stride and pad.
#[rustfmt::skip]
const LAYERS: [([usize; 2], usize, [usize; 3]); 20] = [
    ([3, 96], 227, [7, 2, 0]),
    ([96, 16], 55, [1, 1, 0]),
    ([16, 64], 55, [1, 1, 0]),
    ([16, 64], 55, [3, 1, 1]),
    ([32, 128], 55, [1, 1, 0]),
    ([32, 128], 55, [3, 1, 1]),
    ([256, 48], 27, [1, 1, 0]),
    ([48, 192], 27, [3, 1, 1]),
    ([64, 256], 27, [1, 1, 0]),
    ([64, 256], 27, [3, 1, 1]),
    ([64, 256], 13, [3, 1, 1]),
    ([512, 1000], 13, [1, 1, 1]),
    ([64, 64], 56, [3, 1, 1]),
    ([256, 64], 56, [1, 1, 0]),
    ([128, 128], 28, [3, 1, 1]),
    ([128, 128], 56, [3, 2, 1]),
    ([256, 256], 14, [3, 1, 1]),
    ([1024, 256], 14, [1, 1, 0]),
    ([512, 512], 7, [3, 1, 1]),
    ([2048, 512], 7, [1, 1, 0]),
];

const DENSITIES: [f64; 5] = [1.0, 0.5, 1.0 / 3.0, 0.2, 0.1];

/// A choice that takes so much more time than the best is wrong.
const WRONG: f64 = 1.1;

/// Rounds of which the fastest counts.
const ROUNDS: usize = 40;

/// What a layer took at a density, in nanoseconds.
struct Timed {
    name: String,
    density: f64,
    direct: f64,
    winograd: Option<f64>,
    sparse: f64,
    chosen: &'static str,
}

impl Timed {
    fn best(&self) -> f64 {
        let dense = self.direct.min(self.winograd.unwrap_or(f64::INFINITY));
        dense.min(self.sparse)
    }

    /// The time of the kernel that is chosen.
    fn own(&self) -> f64 {
        match self.chosen {
            name if name.starts_with("sparse") => self.sparse,
            name if name.starts_with("winograd") => self.winograd.unwrap_or(self.direct),
            _ => self.direct,
        }
    }
}

/// Counts of what a kernel does, and the time that it took.
#[derive(Default)]
struct Rows<const N: usize>(Vec<([f64; N], f64)>);

impl<const N: usize> Rows<N> {
    /// The costs, none below 0, whose times are the nearest to those measured, each in proportion: by descent along
    /// one cost after the other.
    fn fit(&self, start: [f64; N]) -> [f64; N] {
        let mut costs = start;
        for _ in 0..20_000 {
            for k in 0..N {
                let (mut along, mut square) = (0.0, 0.0);
                for (counts, time) in &self.0 {
                    let rest: f64 = (0..N)
                        .filter(|i| *i != k)
                        .map(|i| costs[i] * counts[i])
                        .sum();
                    let unit = counts[k] / time;
                    along += unit * (1.0 - rest / time);
                    square += unit * unit;
                }
                if square > 0.0 {
                    costs[k] = (along / square).max(0.0);
                }
            }
        }
        costs
    }
}

fn main() -> ExitCode {
    let has = |flag: &str| std::env::args().any(|a| a == flag);
    // `cargo test --benches` only wants to see that it runs.
    let rounds = if has("--test") { 1 } else { ROUNDS };
    let isa = match std::env::var_os("DSD_ISA") {
        Some(name) => Isa::asked(&name).expect("an instruction set"),
        None => Isa::best(),
    };
    let processor = Processor::of(isa);
    let table = Costs::of(processor);
    println!(
        "{}, {}; the table's row: {}",
        processor.name(),
        isa.name(),
        table.measured.unwrap_or("not measured, but guessed")
    );
    let mut direct = Rows::default();
    let mut winograd = Rows::default();
    let mut sparse = Rows::default();
    let mut all = Vec::new();
    for (channels, size, window) in LAYERS {
        for density in DENSITIES {
            let layer = Layer::new(channels, size, window, isa);
            let timed = layer.time(density, rounds);
            let (dense, tiles) = layer.kernel.dense_work();
            let note = |rows: &mut Rows<3>, work: &Dense, time| {
                rows.0.push((Costs::dense_counts(work), time));
            };
            if density == 1.0 {
                note(&mut direct, &dense, timed.direct);
                if let (Some(work), Some(time)) = (tiles, timed.winograd) {
                    note(&mut winograd, &work, time);
                }
            } else if let Some(work) = layer.kernel.sparse_work(layer.alive(density)) {
                sparse.0.push((Costs::sparse_counts(&work), timed.sparse));
            }
            all.push(timed);
        }
    }
    show_costs(&[
        ("direct", &table.direct, &direct.fit(table.direct)),
        ("winograd", &table.winograd, &winograd.fit(table.winograd)),
        ("sparse", &table.sparse, &sparse.fit(table.sparse)),
    ]);
    let wrong = show_choices(&all);
    match has("--check") && wrong > 0 && !has("--test") {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

struct Layer {
    name: String,
    kernel: ChannelsLast,
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    results: usize,
}

impl Layer {
    fn new([inputs, outputs]: [usize; 2], size: usize, window: [usize; 3], isa: Isa) -> Self {
        let [kernel, stride, pad] = window;
        let axis = Axis::new(size, kernel, stride, pad, 1).expect("fits");
        let c = Convolution {
            groups: 1,
            inputs,
            outputs,
            axes: vec![axis, axis],
        };
        let order = match inputs {
            3 => Order::Nchw,
            _ => Order::Nhwc,
        };
        let kernel_of = ChannelsLast::new(&c, order, [inputs, outputs], isa);
        Self {
            name: format!("{inputs} to {outputs}, {size} x {size}, {kernel} x {kernel} / {stride}"),
            kernel: kernel_of.expect("a kernel"),
            x: noise(1, inputs * size * size),
            weights: noise(2, outputs * inputs * kernel * kernel),
            bias: noise(3, outputs),
            results: outputs * c.positions(),
        }
    }

    fn pruned(&self, density: f64) -> usize {
        pruned_count(1.0 - density, self.weights.len())
    }

    fn alive(&self, density: f64) -> usize {
        self.weights.len() - self.pruned(density)
    }

    /// The fastest of some rounds, in which the kernels take turns.
    fn time(&self, density: f64, rounds: usize) -> Timed {
        let mut w = self.weights.clone();
        let importance = noise(4, w.len());
        Mask::prune_smallest(&importance, self.pruned(density)).apply(&mut w);
        let own = |kernel: &ChannelsLast, sparse| kernel.clone().with_sparse(sparse);
        let direct = own(&self.kernel.clone().without_winograd(), UseSparse::Never);
        let winograd = self.kernel.dense_work().1;
        let winograd = winograd.map(|_| own(&self.kernel, UseSparse::Never));
        let sparse = own(&self.kernel, UseSparse::Always);
        let kernels: Vec<&ChannelsLast> = [&direct, &sparse].into_iter().chain(&winograd).collect();
        let packed: Vec<Packed> = kernels.iter().map(|k| self.pack(k, &w)).collect();
        let mut y = vec![0.0; self.results];
        let mut best = vec![f64::INFINITY; kernels.len()];
        let then = Then {
            relu: true,
            ..Then::default()
        };
        for _ in 0..rounds {
            for ((kernel, packed), best) in kernels.iter().zip(&packed).zip(&mut best) {
                let start = Instant::now();
                kernel.forward(&Crew::alone(), 1, &self.x, packed, then, &mut y);
                *best = best.min(1e9 * start.elapsed().as_secs_f64());
            }
        }
        let auto = own(&self.kernel, UseSparse::Auto);
        Timed {
            name: self.name.clone(),
            density,
            direct: best[0],
            sparse: best[1],
            winograd: best.get(2).copied(),
            chosen: auto.name_of(&self.pack(&auto, &w)),
        }
    }

    fn pack(&self, kernel: &ChannelsLast, w: &[f32]) -> Packed {
        let mut packed = Packed::default();
        kernel.pack(&Crew::alone(), w, Some(&self.bias), false, &mut packed);
        packed
    }
}

/// The table's costs, and those that fit.
fn show_costs(kernels: &[(&str, &[f64], &[f64])]) {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("kernel", Left),
        ("table", Left),
        ("found here", Left),
        ("ratio of the first", Right),
    ]);
    let list = |costs: &[f64]| {
        let all: Vec<String> = costs.iter().map(|c| format!("{c:.4}")).collect();
        all.join(", ")
    };
    for (name, costs, found) in kernels {
        table.row([
            name.to_string(),
            list(costs),
            list(found),
            format!("{:.2}", found[0] / costs[0]),
        ]);
    }
    println!("\nNanoseconds (see Costs for what each is of)\n{table}");
}

/// The layers whose chosen kernel is not the fastest, all if none is; how many are wrong.
fn show_choices(all: &[Timed]) -> usize {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("layer", Left),
        ("density", Right),
        ("direct µs", Right),
        ("winograd µs", Right),
        ("sparse µs", Right),
        ("chosen", Left),
        ("more than the best", Right),
    ]);
    let mut wrong = 0;
    for t in all {
        let more = t.own() / t.best();
        wrong += usize::from(more > WRONG);
        let us = |ns: f64| format!("{:.1}", 1e-3 * ns);
        table.row([
            t.name.clone(),
            format!("{:.2}", t.density),
            us(t.direct),
            t.winograd.map_or("-".to_string(), us),
            us(t.sparse),
            t.chosen.to_string(),
            match more > WRONG {
                true => format!("{:.0}%  <-", 100.0 * (more - 1.0)),
                false => format!("{:.0}%", 100.0 * (more - 1.0)),
            },
        ]);
    }
    print!("{table}");
    println!(
        "{wrong} of {} choices take over {:.0}% more than the best",
        all.len(),
        100.0 * (WRONG - 1.0)
    );
    wrong
}
