//! Does SqueezeNet v1.0's pooling run as fast as its bytes can be copied? It has no arithmetic to speak of:
//! gigabytes a second read and written on one thread, one picture at a time, beside those of a plain copy of
//! an array as large as the input.

mod common;

use common::{best, noise, one, short};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use dsd::kernels::convolution::im2col::Axis;
use dsd::kernels::crew::Crew;
use dsd::kernels::pooling::NONE;
use dsd::kernels::pooling::channels_last;
use dsd::report::table::{Align, Table};
use std::hint::black_box;

/// Name, channels, window.
const LAYERS: [(&str, usize, Axis); 4] = [
    ("pool1", 96, window(111, 3, 2)),
    ("pool4", 256, window(55, 3, 2)),
    ("pool8", 512, window(27, 3, 2)),
    ("pool10", 1000, window(15, 15, 1)),
];

/// The window of a pool without padding that ends where the picture does.
const fn window(input: usize, kernel: usize, stride: usize) -> Axis {
    Axis {
        input,
        kernel,
        stride,
        pad: 0,
        dilation: 1,
        output: (input - kernel) / stride + 1,
    }
}

/// What was measured.
struct Row {
    layer: &'static str,
    what: &'static str,
    bytes: usize,
    seconds: Option<f64>,
}

fn main() {
    let mut criterion = short();
    let mut rows = Vec::new();
    let mut group = criterion.benchmark_group("pooling");
    for (layer, channels, window) in LAYERS {
        pooling(&mut group, &mut rows, layer, channels, window);
    }
    group.finish();
    criterion.final_summary();
    show(&rows);
}

/// Measures a layer's copy and pools.
fn pooling(
    group: &mut BenchmarkGroup<WallTime>,
    rows: &mut Vec<Row>,
    layer: &'static str,
    channels: usize,
    window: Axis,
) {
    let axes = [window; 2];
    let x = noise(1, channels * window.input * window.input);
    let dy = noise(2, channels * window.output * window.output);
    let (mut y, mut dx) = (dy.clone(), x.clone());
    let mut indices = vec![NONE; y.len()];
    let (input, output) = (4 * x.len(), 4 * y.len());
    let mut measure = |what: &'static str, bytes: usize, work: &mut dyn FnMut()| {
        group.throughput(Throughput::Bytes(bytes as u64));
        rows.push(Row {
            layer,
            what,
            bytes,
            seconds: best(group, format!("{layer} {what}"), work),
        });
    };
    measure("copy", 2 * input, &mut || {
        black_box(&mut dx).copy_from_slice(black_box(&x));
    });
    if layer == "pool10" {
        measure("average", input + output, &mut || {
            channels_last::average(&Crew::alone(), &x, channels, axes, &mut y);
        });
        measure("gradient of average", input + output, &mut || {
            channels_last::average_backward(&Crew::alone(), &dy, channels, axes, &mut dx);
        });
        return;
    }
    measure("maximum", input + output, &mut || {
        channels_last::max(&Crew::alone(), &x, channels, axes, &mut y, None);
    });
    measure("maximum and place", input + 2 * output, &mut || {
        channels_last::max(
            &Crew::alone(),
            &x,
            channels,
            axes,
            &mut y,
            Some(&mut indices),
        );
    });
    // Places that are real, also where only this is asked for on the command line.
    channels_last::max(
        &Crew::alone(),
        &x,
        channels,
        axes,
        &mut y,
        Some(&mut indices),
    );
    measure("gradient of maximum", input + 2 * output, &mut || {
        channels_last::max_backward(&Crew::alone(), &dy, &indices, channels, axes, &mut dx);
    });
}

/// Each beside the copy of the same layer.
fn show(rows: &[Row]) {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("layer", Left),
        ("work", Left),
        ("ms", Right),
        ("GB/s", Right),
        ("% of copy", Right),
    ]);
    let rate = |row: &Row| row.seconds.map(|s| 1e-9 * row.bytes as f64 / s);
    for row in rows.iter().filter(|r| r.seconds.is_some()) {
        let copy = rows.iter().find(|r| r.layer == row.layer).and_then(rate);
        let part = rate(row).zip(copy).map(|(r, c)| 100.0 * r / c);
        let ms = row.seconds.map(|s| format!("{:.3}", 1e3 * s));
        table.row([
            row.layer.to_string(),
            row.what.to_string(),
            ms.unwrap_or_default(),
            one(rate(row)),
            one(part),
        ]);
    }
    println!();
    print!("{table}");
}
