//! How fast SqueezeNet v1.0 runs at its real size: inference at batch 1 and 8, one training step at
//! batch 8, in images a second.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dsd::layers::Mode;
use dsd::models::{self, Family};
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass};
use dsd::random::{Purpose, Random};
use dsd::tensor::{Shape, Tensor};
use std::hint::black_box;

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

fn squeezenet(c: &mut Criterion) {
    let mut group = c.benchmark_group("squeezenet_v1.0");
    group.sample_size(10);
    for n in [1, 8] {
        let (net, batch) = net(n, Mode::Test);
        let weights = net.fill(1).expect("weights");
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(format!("inference, batch {n}"), |b| {
            b.iter(|| {
                black_box(
                    net.forward(&Pass::new(1, 0), &weights, &batch)
                        .expect("runs"),
                )
            });
        });
    }
    let (net, batch) = net(8, Mode::Train);
    let weights = net.fill(1).expect("weights");
    let mut gradients = net.zero_gradients();
    group.throughput(Throughput::Elements(8));
    group.bench_function("training step, batch 8", |b| {
        let pass = Pass::new(1, 0);
        b.iter(|| {
            black_box(
                net.forward_backward(&pass, &weights, &batch, &mut gradients)
                    .expect("runs"),
            )
        });
    });
    group.finish();
}

criterion_group!(benches, squeezenet);
criterion_main!(benches);
