//! How many images a second does SqueezeNet v1.0 take at its real size? Inference at batch 1 and 32, one
//! training step at batch 32 (forward, backward and a plain update), on all threads.

mod common;

use common::{Around, best, one};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use dsd::kernels::peak::Peak;
use dsd::layers::Mode;
use dsd::models::{self, Family};
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass};
use dsd::random::{Purpose, Random};
use dsd::report::table::{Align, Table};
use dsd::tensor::{Shape, Tensor};
use std::hint::black_box;
use std::time::Duration;

/// What was measured.
struct Row {
    what: &'static str,
    images: usize,
    /// Multiply-adds of one image's forward.
    macs: u64,
    seconds: Option<f64>,
}

/// Pictures of noise around the mean, and labels.
fn batch(n: usize, labels: bool) -> Vec<Tensor> {
    let random = Random::new(1, Purpose::Transform, 0);
    let mut pictures = Tensor::zeros(Shape::new([n, 3, 227, 227]));
    for (i, v) in pictures.data.iter_mut().enumerate() {
        *v = 50.0 * random.normal(i as u64);
    }
    let mut batch = vec![pictures];
    if labels {
        let mut classes = Tensor::zeros(Shape::new([n]));
        classes
            .data
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v = (i % 1000) as f32);
        batch.push(classes);
    }
    batch
}

/// The net of that mode and a batch for it.
fn net(n: usize, mode: Mode) -> (Net, Vec<Tensor>) {
    let model = models::find("squeezenet_v1.0").expect("built in");
    let train = mode == Mode::Train;
    let parsed = if train {
        model.train_val(Family::Release)
    } else {
        model.deploy(Family::Release)
    };
    let graph = Graph::new(&parsed.expect("parses"), &State::new(mode)).expect("a graph");
    let batch = batch(n, train);
    let shapes: Vec<Shape> = batch.iter().map(|t| t.shape.clone()).collect();
    let options = Options {
        backward: train,
        ..Default::default()
    };
    (Net::new(graph, &shapes, &options).expect("a net"), batch)
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(10))
        .configure_from_args();
    let around = Around::begin();
    let mut rows = Vec::new();
    let mut group = criterion.benchmark_group("squeezenet_v1.0");
    for (n, mode) in [(1, Mode::Test), (32, Mode::Test), (32, Mode::Train)] {
        rows.push(squeezenet(&mut group, n, mode));
    }
    group.finish();
    criterion.final_summary();
    show(&rows, around.end());
}

/// Measures inference or a training step.
fn squeezenet(group: &mut BenchmarkGroup<WallTime>, n: usize, mode: Mode) -> Row {
    let (net, batch) = net(n, mode);
    let mut weights = net.fill(1).expect("weights");
    let mut gradients = net.zero_gradients();
    let pass = Pass::new(1, 0);
    group.throughput(Throughput::Elements(n as u64));
    let macs = (0..net.graph().nodes.len()).map(|i| net.macs(i)).sum();
    let row = |what, seconds| Row {
        what,
        images: n,
        macs,
        seconds,
    };
    if mode == Mode::Test {
        let seconds = best(group, format!("inference, batch {n}"), || {
            black_box(net.forward(&pass, &weights, &batch).expect("runs"));
        });
        return row("inference", seconds);
    }
    let seconds = best(group, format!("training step, batch {n}"), || {
        gradients.iter_mut().for_each(|g| g.fill(0.0));
        let outputs = net.forward_backward(&pass, &weights, &batch, &mut gradients);
        black_box(outputs.expect("runs"));
        // So that the weights must be packed anew, as in training, but stay what they are: a net that diverges
        // has another speed.
        for (w, g) in weights.iter_mut().zip(&gradients) {
            w.data.iter_mut().zip(g).for_each(|(w, g)| *w -= 1e-9 * g);
        }
    });
    row("training step", seconds)
}

/// Images a second, and the arithmetic beside the peak of all threads.
fn show(rows: &[Row], peak: Peak) {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("work", Left),
        ("batch", Right),
        ("ms", Right),
        ("images/s", Right),
        ("GFLOP/s", Right),
        ("% of peak", Right),
    ]);
    for row in rows {
        let Some(seconds) = row.seconds else {
            continue;
        };
        let images = row.images as f64 / seconds;
        // Training has two gradients beside forward (but for that of the picture).
        let passes = if row.what == "inference" { 1.0 } else { 3.0 };
        let rate = 2e-9 * passes * row.macs as f64 * images;
        table.row([
            row.what.to_string(),
            row.images.to_string(),
            format!("{:.2}", 1e3 * seconds),
            one(Some(images)),
            one(Some(rate)),
            one(Some(100.0 * rate / peak.all)),
        ]);
    }
    print!("{table}");
}
