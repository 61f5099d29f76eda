//! How much faster than dense ones are pruned inner products of which the weights share 15 values, at batch 1?
//!
//! The nine layers of EIE (Han et al. 2016, table III), with their densities of weights and inputs; random
//! values, codes spread evenly. Compared are dense f32 (`matvec`), CSR (a plain loop, here; and SciPy's where a
//! Python that has it is given: `benches/peers/eie.py` does) and the compressed form.
//!
//! In every round each of them runs the layers of a net one after the other, as a forward pass does: once to warm
//! up, then four times. Then the same is done with each layer alone, where up to 32 MB of dense weights stay in the
//! cache that a net would need for its others. The table has medians over all rounds, and from them the ratios; with
//! `--best`, the best times, for a machine on which other things run. `--rounds N` (9), `--python PATH`.

use dsd::kernels::crew::{self, Crew};
use dsd::kernels::each_chunk;
use dsd::kernels::product::coded::{Coded, Inputs};
use dsd::kernels::product::matvec;
use dsd::random::{Purpose, Random};
use dsd::report::table::{Align, Table};
use scipy::SciPy;
use std::path::Path;
use std::time::Instant;

#[path = "common/scipy.rs"]
mod scipy;

/// Inputs, outputs, and the shares of weights and of inputs that are not 0.
type Sizes = (&'static str, usize, usize, f32, f32);

const NETS: [(&str, [Sizes; 3]); 3] = [
    (
        "AlexNet",
        [
            ("fc6", 9216, 4096, 0.09, 0.351),
            ("fc7", 4096, 4096, 0.09, 0.353),
            ("fc8", 4096, 1000, 0.25, 0.375),
        ],
    ),
    (
        "VGG-16",
        [
            ("fc6", 25088, 4096, 0.04, 0.183),
            ("fc7", 4096, 4096, 0.04, 0.375),
            ("fc8", 4096, 1000, 0.23, 0.411),
        ],
    ),
    (
        "NeuralTalk",
        [
            ("We", 4096, 600, 0.10, 1.0),
            ("Wd", 600, 8791, 0.11, 1.0),
            ("LSTM", 1201, 2400, 0.10, 1.0),
        ],
    ),
];

/// Timed passes in a round.
const PASSES: usize = 4;

/// What is compared.
const ENGINES: [&str; 4] = ["dense", "CSR", "coded", "SciPy"];
const DENSE: usize = 0;
const CSR: usize = 1;
const CODED: usize = 2;
const SCIPY: usize = 3;

/// A layer in all forms.
struct Layer {
    name: String,
    depth: usize,
    outputs: usize,
    x: Vec<f32>,
    dense: Vec<f32>,
    csr: Csr,
    coded: Coded,
}

/// Rows of positions and values.
#[derive(Default)]
struct Csr {
    starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Csr {
    fn of(dense: &[f32], depth: usize) -> Self {
        let mut this = Self::default();
        this.starts.push(0);
        for row in dense.chunks_exact(depth) {
            for (k, v) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                this.columns.push(k as u32);
                this.values.push(*v);
            }
            this.starts.push(this.columns.len() as u32);
        }
        this
    }

    fn forward(&self, crew: &Crew, x: &[f32], y: &mut [f32]) {
        let each = y.len().div_ceil(16);
        each_chunk(crew, each, y, |first, part| {
            for (i, y) in part.iter_mut().enumerate() {
                let range = self.starts[first + i] as usize..self.starts[first + i + 1] as usize;
                let entries = self.columns[range.clone()].iter().zip(&self.values[range]);
                *y = entries.map(|(k, v)| x[*k as usize] * v).sum();
            }
        });
    }
}

impl Layer {
    fn new(net: &str, (name, depth, outputs, density, active): Sizes) -> Self {
        let random = Random::new(1, Purpose::Layer, (depth + outputs) as u64);
        let book: Vec<f32> = (0..15).map(|i| 0.01 * (i as f32 - 7.3)).collect();
        let (kept, value) = (random.branch(1), random.branch(2));
        let dense: Vec<f32> = (0..(depth * outputs) as u64)
            .map(|i| match kept.unit(i) < density {
                true => book[value.below(i, book.len())],
                false => 0.0,
            })
            .collect();
        let (kept, value) = (random.branch(3), random.branch(4));
        let x: Vec<f32> = (0..depth as u64)
            .map(|i| match kept.unit(i) < active {
                true => 1.0 - value.unit(i),
                false => 0.0,
            })
            .collect();
        let inputs = if active < 1.0 {
            Inputs::Sparse
        } else {
            Inputs::Dense
        };
        Self {
            name: format!("{net} {name}"),
            depth,
            outputs,
            csr: Csr::of(&dense, depth),
            coded: Coded::pack(&dense, outputs, depth, inputs).expect("weights to count"),
            x,
            dense,
        }
    }

    /// y by one of the engines that run here.
    fn forward(&self, crew: &Crew, engine: usize, y: &mut [f32]) {
        match engine {
            DENSE => matvec::inner_products(crew, 1, &self.x, &self.dense, None, y),
            CSR => self.csr.forward(crew, &self.x, y),
            _ => self.coded.forward(crew, &self.x, None, y),
        }
    }

    /// What is wrong with a result, as a share of the largest output.
    fn difference(&self, y: &[f32]) -> f64 {
        let rows = self.dense.chunks_exact(self.depth);
        let want: Vec<f64> = rows
            .map(|row| {
                let terms = row.iter().zip(&self.x);
                terms.map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
            })
            .collect();
        let largest = want.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let errors = y.iter().zip(&want).map(|(y, w)| (f64::from(*y) - w).abs());
        errors.fold(0.0, f64::max) / largest
    }
}

/// Seconds of each layer in each timed pass.
fn run(layers: &[Layer], which: &[usize], engine: usize) -> Vec<Vec<f64>> {
    let mut ys: Vec<Vec<f32>> = which
        .iter()
        .map(|i| vec![0.0; layers[*i].outputs])
        .collect();
    let mut passes = vec![Vec::new(); PASSES + 1];
    crew::lead(|crew| {
        for pass in &mut passes {
            for (i, y) in which.iter().zip(&mut ys) {
                let start = Instant::now();
                layers[*i].forward(crew, engine, y);
                pass.push(start.elapsed().as_secs_f64());
            }
        }
    });
    passes.split_off(1)
}

/// SciPy with all layers.
fn start_scipy(python: &str, folder: &Path, layers: &[Layer]) -> std::io::Result<SciPy> {
    for (i, Layer { csr, x, .. }) in layers.iter().enumerate() {
        scipy::save(folder, i, "starts", csr.starts.iter().copied())?;
        scipy::save(folder, i, "columns", csr.columns.iter().copied())?;
        scipy::save(folder, i, "values", csr.values.iter().map(|v| v.to_bits()))?;
        scipy::save(folder, i, "x", x.iter().map(|v| v.to_bits()))?;
    }
    SciPy::start(python, folder)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(of: Vec<f64>) -> f64 {
    of.into_iter().fold(f64::NAN, f64::min)
}

/// The value behind an option on the command line.
fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.nth(1)
}

fn main() -> std::io::Result<()> {
    let rounds: usize = option("--rounds").map_or(9, |r| r.parse().expect("--rounds: a number"));
    let best_of = std::env::args().any(|a| a == "--best");
    let pool = rayon::ThreadPoolBuilder::new().start_handler(crew::pin);
    pool.build_global().expect("threads");
    let layers: Vec<Layer> = NETS
        .iter()
        .flat_map(|(net, layers)| layers.iter().map(|sizes| Layer::new(net, *sizes)))
        .collect();
    for layer in &layers {
        for engine in [DENSE, CSR, CODED] {
            let mut y = vec![f32::NAN; layer.outputs];
            layer.forward(&Crew::alone(), engine, &mut y);
            let difference = layer.difference(&y);
            assert!(
                difference < 1e-5,
                "{}, {}: {difference}",
                layer.name,
                ENGINES[engine]
            );
        }
    }
    let folder = tempfile::tempdir()?;
    let mut scipy = match option("--python") {
        Some(python) => Some(start_scipy(&python, folder.path(), &layers)?),
        None => None,
    };
    let threads = rayon::current_num_threads();
    println!("{rounds} rounds of {PASSES}, {threads} threads (SciPy: 1)");
    let together: Vec<Vec<usize>> = (0..3).map(|net| (3 * net..3 * net + 3).collect()).collect();
    let alone: Vec<Vec<usize>> = (0..layers.len()).map(|i| vec![i]).collect();
    for (title, groups) in [("One after the other", together), ("Each alone", alone)] {
        let mut samples = vec![[const { Vec::new() }; ENGINES.len()]; layers.len()];
        for group in (0..rounds).flat_map(|_| &groups) {
            for engine in [DENSE, CSR, CODED, SCIPY] {
                let passes = match (engine, &mut scipy) {
                    (SCIPY, None) => Vec::new(),
                    (SCIPY, Some(scipy)) => scipy.run(PASSES, group)?,
                    _ => run(&layers, group, engine),
                };
                for (i, s) in passes.iter().flat_map(|pass| group.iter().zip(pass)) {
                    samples[*i][engine].push(*s);
                }
            }
        }
        show(title, &layers, samples, best_of);
    }
    Ok(())
}

/// Medians, and their ratios; SciPy's best time is set against the coded form's median, too.
fn show(title: &str, layers: &[Layer], samples: Vec<[Vec<f64>; ENGINES.len()]>, best_of: bool) {
    use Align::{Left, Right};
    let heads = [
        ("layer", Left),
        ("form", Left),
        ("MB dense", Right),
        ("MB coded", Right),
        ("dense ms", Right),
        ("CSR ms", Right),
        ("SciPy ms", Right),
        ("coded ms", Right),
        ("× dense", Right),
        ("× CSR", Right),
        ("× SciPy", Right),
        ("× SciPy's best", Right),
    ];
    let mut table = Table::new(heads);
    let mut logarithms = [0.0; 4];
    for (layer, samples) in layers.iter().zip(samples) {
        let best = samples[SCIPY].iter().copied().reduce(f64::min);
        let [dense, csr, coded, scipy] = samples.map(if best_of { least } else { median });
        let ratios = [dense, csr, scipy, best.unwrap_or(f64::NAN)].map(|s| s / coded);
        for (sum, ratio) in logarithms.iter_mut().zip(ratios) {
            *sum += ratio.ln() / layers.len() as f64;
        }
        let mut cells = vec![layer.name.clone(), layer.coded.name().to_string()];
        let bytes = [size_of_val(&layer.dense[..]), layer.coded.bytes()];
        cells.extend(bytes.map(|b| format!("{:.2}", 1e-6 * b as f64)));
        cells.extend([dense, csr, scipy, coded].map(|s| format!("{:.4}", 1e3 * s)));
        cells.extend(ratios.map(|r| format!("{r:.1}")));
        table.row(cells);
    }
    let mut cells = vec!["geometric mean".to_string()];
    cells.resize(8, String::new());
    cells.extend(logarithms.map(|sum| format!("{:.1}", sum.exp())));
    table.row(cells);
    print!("\n{title}\n\n{table}");
}
