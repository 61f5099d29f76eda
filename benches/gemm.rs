//! How much of the peak do inner products get? SqueezeNet has none: the shapes are AlexNet's, GoogLeNet's
//! and ResNet-50's, with a batch of 1 (which reads each weight for one product: memory decides) and of 32, on
//! all threads.

mod common;

use common::{Around, best, noise, one, short};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use dsd::kernels::crew;
use dsd::kernels::peak::Peak;
use dsd::kernels::product::gemm::{Mat, MatMut, gemm};
use dsd::kernels::product::matvec;
use dsd::report::table::{Align, Table};

/// Name, inputs, outputs.
const LAYERS: [(&str, usize, usize); 5] = [
    ("alexnet fc6", 9216, 4096),
    ("alexnet fc7", 4096, 4096),
    ("alexnet fc8", 4096, 1000),
    ("resnet50 fc1000", 2048, 1000),
    ("googlenet classifier", 1024, 1000),
];

/// What was measured.
struct Row {
    layer: &'static str,
    batch: usize,
    what: &'static str,
    operations: f64,
    seconds: Option<f64>,
}

fn main() {
    let mut criterion = short();
    let around = Around::begin();
    let mut rows = Vec::new();
    let mut group = criterion.benchmark_group("gemm");
    for (layer, inputs, outputs) in LAYERS {
        let w = noise(1, inputs * outputs);
        for batch in [1, 32] {
            products(&mut group, &mut rows, (layer, batch), &w, outputs);
        }
    }
    group.finish();
    criterion.final_summary();
    show(&rows, around.end());
}

/// Measures the three products of an InnerProduct layer with `weights`, [`outputs`, inputs].
fn products(
    group: &mut BenchmarkGroup<WallTime>,
    rows: &mut Vec<Row>,
    (layer, batch): (&'static str, usize),
    weights: &[f32],
    outputs: usize,
) {
    let inputs = weights.len() / outputs;
    let (pictures, dy) = (noise(2, batch * inputs), noise(3, batch * outputs));
    let (mut y, mut dx) = (dy.clone(), pictures.clone());
    let mut dw = vec![0.0; weights.len()];
    let w = Mat::new(weights, outputs, inputs);
    let x = Mat::new(&pictures, batch, inputs);
    let dy = Mat::new(&dy, batch, outputs);
    let operations = 2 * batch * inputs * outputs;
    group.throughput(Throughput::Elements(operations as u64));
    let mut measure = |what: &'static str, work: &mut dyn FnMut()| {
        let name = format!("{layer}, batch {batch}, {what}");
        rows.push(Row {
            layer,
            batch,
            what,
            operations: operations as f64,
            seconds: best(group, name, work),
        });
    };
    // As the layer does it.
    measure("forward", &mut || {
        crew::lead(|crew| match batch <= matvec::MOST {
            true => matvec::inner_products(crew, batch, &pictures, weights, None, &mut y),
            false => gemm(
                crew,
                0.0,
                MatMut::new(&mut y, batch, outputs),
                1.0,
                x,
                w.t(),
            ),
        })
    });
    measure("gradient of weights", &mut || {
        let dw = MatMut::new(&mut dw, outputs, inputs);
        crew::lead(|crew| gemm(crew, 1.0, dw, 1.0, dy.t(), x));
    });
    measure("gradient of input", &mut || {
        let dx = MatMut::new(&mut dx, batch, inputs);
        crew::lead(|crew| gemm(crew, 0.0, dx, 1.0, dy, w));
    });
}

/// GFLOP/s, and what part of all threads' peak they are.
fn show(rows: &[Row], peak: Peak) {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("layer", Left),
        ("batch", Right),
        ("product", Left),
        ("ms", Right),
        ("GFLOP/s", Right),
        ("% of peak", Right),
        ("weights GB/s", Right),
    ]);
    for row in rows {
        let Some(seconds) = row.seconds else {
            continue;
        };
        let rate = 1e-9 * row.operations / seconds;
        table.row([
            row.layer.to_string(),
            row.batch.to_string(),
            row.what.to_string(),
            format!("{:.3}", 1e3 * seconds),
            one(Some(rate)),
            one(Some(100.0 * rate / peak.all)),
            // Two operations and a sample for each weight of four bytes.
            one(Some(2.0 * rate / row.batch as f64)),
        ]);
    }
    print!("{table}");
}
