//! What do zeros among the weights save? SqueezeNet v1.0's layers and the whole net, dense and sparse, turn by
//! turn in one run: only the ratios of neighbours in time mean anything on a busy machine.
//!
//! `cargo bench --bench sparse` prints for each layer and density the time of the dense and of the sparse kernel
//! on one thread, what the cost model (`kernels/convolution/choice.rs`) says of both, and whether it chose the faster; then,
//! for the published 3x profile and for uniform sparsities, images a second on all threads.

mod common;

use common::noise;
use dsd::kernels::convolution::Convolution;
use dsd::kernels::convolution::channels_last::{ChannelsLast, Order, Packed, Then, UseSparse};
use dsd::kernels::convolution::im2col::Axis;
use dsd::kernels::crew::Crew;
use dsd::kernels::simd::Isa;
use dsd::layers::Mode;
use dsd::models::{self, Family};
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass, Weights};
use dsd::report::table::{Align, Table};
use dsd::solver::mask::{Mask, pruned_count};
use dsd::solver::sparsity::Sparsity;
use dsd::tensor::{Shape, Tensor};
use std::hint::black_box;
use std::time::Instant;

/// Name, channels in and out, size of the picture, and kernel, stride and pad.
#[rustfmt::skip]
const LAYERS: [(&str, [usize; 2], usize, [usize; 3]); 14] = [
    ("conv1", [3, 96], 227, [7, 2, 0]),
    ("fire2/squeeze1x1", [96, 16], 55, [1, 1, 0]),
    ("fire2/expand1x1", [16, 64], 55, [1, 1, 0]),
    ("fire2/expand3x3", [16, 64], 55, [3, 1, 1]),
    ("fire4/squeeze1x1", [128, 32], 55, [1, 1, 0]),
    ("fire4/expand1x1", [32, 128], 55, [1, 1, 0]),
    ("fire4/expand3x3", [32, 128], 55, [3, 1, 1]),
    ("fire6/squeeze1x1", [256, 48], 27, [1, 1, 0]),
    ("fire6/expand3x3", [48, 192], 27, [3, 1, 1]),
    ("fire8/squeeze1x1", [384, 64], 27, [1, 1, 0]),
    ("fire8/expand1x1", [64, 256], 27, [1, 1, 0]),
    ("fire8/expand3x3", [64, 256], 27, [3, 1, 1]),
    ("fire9/expand3x3", [64, 256], 13, [3, 1, 1]),
    ("conv10", [512, 1000], 13, [1, 1, 1]),
];

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    let quick = std::env::args().any(|a| a == "--test");
    let only = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let wanted = |what: &str| only.as_ref().is_none_or(|o| what.contains(o.as_str()));
    if wanted("layers") {
        layers(quick);
    }
    if wanted("net") {
        nets(quick);
    }
}

/// The median over `rounds` of each of `works`, which take turns.
fn turns(rounds: usize, works: &mut [&mut dyn FnMut()]) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::new(); works.len()];
    for round in 0..=rounds {
        for (times, work) in times.iter_mut().zip(works.iter_mut()) {
            let start = Instant::now();
            work();
            // The first round finds cold caches.
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    times
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn layers(quick: bool) {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("layer", Left),
        ("density", Right),
        ("dense", Left),
        ("ms", Right),
        ("sparse ms", Right),
        ("times faster", Right),
        ("model", Right),
        ("chosen", Left),
    ]);
    let isa = Isa::current();
    for (layer, [inputs, outputs], size, [kernel, stride, pad]) in LAYERS {
        let axis = Axis::new(size, kernel, stride, pad, 1).expect("fits");
        let c = Convolution {
            groups: 1,
            inputs,
            outputs,
            axes: vec![axis, axis],
        };
        let order = if inputs == 3 {
            Order::Nchw
        } else {
            Order::Nhwc
        };
        let x = noise(1, inputs * size * size);
        let mut y = [
            vec![0.0; outputs * c.positions()],
            vec![0.0; outputs * c.positions()],
        ];
        let all = noise(2, outputs * inputs * kernel * kernel);
        let bias = noise(3, outputs);
        for density in [0.5, 1.0 / 3.0, 0.2, 0.1] {
            let mut w = all.clone();
            let k = pruned_count(1.0 - density, w.len());
            Mask::prune_smallest(&noise(4, w.len()), k).apply(&mut w);
            let kernel = ChannelsLast::new(&c, order, [inputs, outputs], isa).expect("a kernel");
            let chosen = kernel.clone();
            let packed = [UseSparse::Never, UseSparse::Always].map(|sparse| {
                let mut packed = Packed::default();
                let kernel = kernel.clone().with_sparse(sparse);
                kernel.pack(&Crew::alone(), &w, Some(&bias), false, &mut packed);
                packed
            });
            let mut auto = Packed::default();
            chosen.pack(&Crew::alone(), &w, Some(&bias), false, &mut auto);
            let then = Then {
                relu: true,
                ..Then::default()
            };
            let [one, two] = &mut y;
            let mut dense = || kernel.forward(&Crew::alone(), 1, &x, &packed[0], then, one);
            let mut sparse = || kernel.forward(&Crew::alone(), 1, &x, &packed[1], then, two);
            let rounds = if quick { 1 } else { 60 };
            let times = turns(rounds, &mut [&mut dense, &mut sparse]);
            let best = |t: &[f64]| t.iter().copied().fold(f64::INFINITY, f64::min);
            let [dense, sparse] = [best(&times[0]), best(&times[1])];
            let name = chosen.name_of(&auto);
            let right = name.starts_with("sparse") == (sparse < dense);
            table.row([
                layer.to_string(),
                format!("{density:.2}"),
                kernel.name().to_string(),
                format!("{:.3}", 1e3 * dense),
                format!("{:.3}", 1e3 * sparse),
                format!("{:.2}", dense / sparse),
                format!("{:.2}", chosen.gain(&w)),
                format!("{}{}", name, if right { "" } else { " (slower)" }),
            ]);
        }
    }
    println!("{table}");
}

/// SqueezeNet v1.0 with or without backward, and a batch of noise for it.
fn net(n: usize, mode: Mode, sparse: UseSparse) -> (Net, Vec<Tensor>) {
    let model = models::find("squeezenet_v1.0").expect("built in");
    let train = mode == Mode::Train;
    let parsed = match train {
        true => model.train_val(Family::Release),
        false => model.deploy(Family::Release),
    };
    let graph = Graph::new(&parsed.expect("parses"), &State::new(mode)).expect("a graph");
    let mut batch = vec![Tensor {
        shape: Shape::new([n, 3, 227, 227]),
        data: noise(5, n * 3 * 227 * 227),
    }];
    if train {
        batch.push(Tensor {
            shape: Shape::new([n]),
            data: (0..n).map(|i| i as f32).collect(),
        });
    }
    let shapes: Vec<Shape> = batch.iter().map(|t| t.shape.clone()).collect();
    let options = Options {
        backward: train,
        sparse,
        ..Default::default()
    };
    (Net::new(graph, &shapes, &options).expect("a net"), batch)
}

/// Weights of which `sparsity` is gone.
fn pruned(net: &Net, sparsity: &str) -> (Weights, f64) {
    let mut weights = net.fill(1).expect("weights");
    let sparsity = Sparsity::parse(sparsity).expect("a sparsity");
    let (mut alive, mut count) = (0, 0);
    for (id, p) in net.params().iter().enumerate().filter(|(_, p)| p.prunable) {
        let data = &mut weights[id].data;
        // A net for use has no fillers; these are about as large as trained ones.
        let scale = (data.len() / p.shape.dim(0)) as f32;
        *data = noise(id as u64, data.len());
        data.iter_mut().for_each(|w| *w *= (6.0 / scale).sqrt());
        let k = sparsity.of(&p.layer).map_or(0, |rule| rule.pruned(data));
        let mask = Mask::prune_smallest(data, k);
        mask.apply(data);
        (alive, count) = (alive + mask.alive(), count + data.len());
    }
    (weights, alive as f64 / count as f64)
}

fn nets(quick: bool) {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("sparsity", Left),
        ("density", Right),
        ("work", Left),
        ("batch", Right),
        ("dense images/s", Right),
        ("sparse images/s", Right),
        ("times faster", Right),
        ("range", Left),
    ]);
    for sparsity in ["@squeezenet_3x", "0.8", "0.9"] {
        for (mode, n) in [(Mode::Test, 1), (Mode::Test, 32), (Mode::Train, 32)] {
            let sides = [UseSparse::Never, UseSparse::Auto].map(|sparse| {
                let (net, batch) = net(n, mode, sparse);
                let (weights, density) = pruned(&net, sparsity);
                let gradients = net.zero_gradients();
                (net, batch, weights, gradients, density)
            });
            let density = sides[0].4;
            let [mut dense, mut sparse] =
                sides.map(|(net, batch, mut weights, mut gradients, _)| {
                    let pass = Pass::new(1, 0);
                    move || {
                        if mode == Mode::Test {
                            black_box(net.forward(&pass, &weights, &batch).expect("runs"));
                            return;
                        }
                        gradients.iter_mut().for_each(|g| g.fill(0.0));
                        let done = net.forward_backward(&pass, &weights, &batch, &mut gradients);
                        black_box(done.expect("runs"));
                        // As an update under the mask: zeros stay.
                        for (w, g) in weights.iter_mut().zip(&gradients) {
                            let alive = w.data.iter_mut().zip(g).filter(|(w, _)| **w != 0.0);
                            alive.for_each(|(w, g)| *w -= 1e-9 * g);
                        }
                    }
                });
            let rounds = match (quick, n) {
                (true, _) => 1,
                (false, 1) => 150,
                (false, _) => 9,
            };
            let times = turns(rounds, &mut [&mut dense, &mut sparse]);
            let ratios: Vec<f64> = times[0].iter().zip(&times[1]).map(|(d, s)| d / s).collect();
            let mut sorted = ratios.clone();
            sorted.sort_by(f64::total_cmp);
            let speed = |t: &[f64]| format!("{:.1}", n as f64 / median(t.iter().copied()));
            table.row([
                sparsity.to_string(),
                format!("{density:.3}"),
                match mode {
                    Mode::Test => "inference",
                    Mode::Train => "training step",
                }
                .to_string(),
                n.to_string(),
                speed(&times[0]),
                speed(&times[1]),
                format!("{:.2}", median(ratios)),
                format!(
                    "{:.2}-{:.2}",
                    sorted[sorted.len() / 10],
                    sorted[sorted.len() - 1 - sorted.len() / 10]
                ),
            ]);
        }
    }
    println!("{table}");
}
