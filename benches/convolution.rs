//! How much of one thread's peak do SqueezeNet v1.0's convolutions get: forward, the gradient of the weights
//! and that of the input, one picture at a time?
//!
//! The direct kernel should get 85% or more. Winograd's needs 2.25 or more times less arithmetic, which is
//! counted as the layer's definition says, and should be above 200%. (So is conv10's at its border, where its
//! 1 × 1 window meets only padding and the kernel has nothing to do.)

mod common;

use common::{Around, best, noise, one, short};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use dsd::kernels::convolution::Convolution;
use dsd::kernels::convolution::channels_last::{ChannelsLast, Order, Packed, Then};
use dsd::kernels::convolution::im2col::Axis;
use dsd::kernels::crew::Crew;
use dsd::kernels::peak::Peak;
use dsd::report::table::{Align, Table};

/// Name, channels in and out, size of the picture, and kernel, stride and pad; each shape once.
#[rustfmt::skip]
const LAYERS: [(&str, [usize; 2], usize, [usize; 3]); 22] = [
    ("conv1", [3, 96], 227, [7, 2, 0]),
    ("fire2/squeeze1x1", [96, 16], 55, [1, 1, 0]),
    ("fire2/expand1x1", [16, 64], 55, [1, 1, 0]),
    ("fire2/expand3x3", [16, 64], 55, [3, 1, 1]),
    ("fire3/squeeze1x1", [128, 16], 55, [1, 1, 0]),
    ("fire4/squeeze1x1", [128, 32], 55, [1, 1, 0]),
    ("fire4/expand1x1", [32, 128], 55, [1, 1, 0]),
    ("fire4/expand3x3", [32, 128], 55, [3, 1, 1]),
    ("fire5/squeeze1x1", [256, 32], 27, [1, 1, 0]),
    ("fire5/expand1x1", [32, 128], 27, [1, 1, 0]),
    ("fire5/expand3x3", [32, 128], 27, [3, 1, 1]),
    ("fire6/squeeze1x1", [256, 48], 27, [1, 1, 0]),
    ("fire6/expand1x1", [48, 192], 27, [1, 1, 0]),
    ("fire6/expand3x3", [48, 192], 27, [3, 1, 1]),
    ("fire7/squeeze1x1", [384, 48], 27, [1, 1, 0]),
    ("fire8/squeeze1x1", [384, 64], 27, [1, 1, 0]),
    ("fire8/expand1x1", [64, 256], 27, [1, 1, 0]),
    ("fire8/expand3x3", [64, 256], 27, [3, 1, 1]),
    ("fire9/squeeze1x1", [512, 64], 13, [1, 1, 0]),
    ("fire9/expand1x1", [64, 256], 13, [1, 1, 0]),
    ("fire9/expand3x3", [64, 256], 13, [3, 1, 1]),
    ("conv10", [512, 1000], 13, [1, 1, 1]),
];

/// What was measured of a layer.
struct Row {
    layer: &'static str,
    kernel: &'static str,
    operations: f64,
    /// Seconds of forward, the gradient of the weights, that of the input.
    seconds: [Option<f64>; 3],
}

fn main() {
    let mut criterion = short();
    let around = Around::begin();
    let mut rows = Vec::new();
    let mut group = criterion.benchmark_group("convolution");
    for (layer, channels, size, window) in LAYERS {
        rows.push(convolution(&mut group, layer, channels, size, window));
    }
    group.finish();
    criterion.final_summary();
    show(&rows, around.end());
}

/// Measures the three directions of a layer.
fn convolution(
    group: &mut BenchmarkGroup<WallTime>,
    layer: &'static str,
    [inputs, outputs]: [usize; 2],
    size: usize,
    [kernel, stride, pad]: [usize; 3],
) -> Row {
    let axis = Axis::new(size, kernel, stride, pad, 1).expect("a window fits");
    let sizes = Convolution {
        groups: 1,
        inputs,
        outputs,
        axes: vec![axis; 2],
    };
    // The picture is as it came; its gradient is not wanted.
    let first = layer == "conv1";
    let order = if first { Order::Nchw } else { Order::Nhwc };
    let isa = dsd::kernels::simd::Isa::current();
    let kernel = ChannelsLast::new(&sizes, order, [inputs, outputs], isa).expect("a kernel");
    let x = noise(1, inputs * size * size);
    let w = noise(2, sizes.macs() as usize / sizes.positions());
    let bias = noise(3, outputs);
    let dy = noise(4, outputs * sizes.positions());
    let mut packed = Packed::default();
    kernel.pack(&Crew::alone(), &w, Some(&bias), !first, &mut packed);
    let operations = 2 * sizes.macs();
    group.throughput(Throughput::Elements(operations));
    let mut seconds = [None; 3];
    let mut measure = |direction: usize, name: &str, work: &mut dyn FnMut()| {
        seconds[direction] = best(group, format!("{layer} {name}"), work);
    };
    let mut y = vec![0.0; dy.len()];
    measure(0, "forward", &mut || {
        let relu = Then {
            relu: true,
            ..Then::default()
        };
        kernel.forward(&Crew::alone(), 1, &x, &packed, relu, &mut y);
    });
    let mut dw = vec![0.0; w.len()];
    measure(1, "gradient of weights", &mut || {
        kernel.weights(&Crew::alone(), 1, &x, &dy, &mut dw);
    });
    if !first {
        let mut dx = vec![0.0; x.len()];
        measure(2, "gradient of input", &mut || {
            kernel.data(&Crew::alone(), 1, &packed, &dy, Then::default(), &mut dx);
        });
    }
    Row {
        layer,
        kernel: kernel.name(),
        operations: operations as f64,
        seconds,
    }
}

/// GFLOP/s, and what part of one thread's peak they are.
fn show(rows: &[Row], peak: Peak) {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("layer", Left),
        ("kernel", Left),
        ("forward GFLOP/s", Right),
        ("% of peak", Right),
        ("weights GFLOP/s", Right),
        ("% of peak", Right),
        ("input GFLOP/s", Right),
        ("% of peak", Right),
    ]);
    for row in rows
        .iter()
        .filter(|r| r.seconds.iter().any(Option::is_some))
    {
        let mut cells = vec![row.layer.to_string(), row.kernel.to_string()];
        for seconds in row.seconds {
            let rate = seconds.map(|s| 1e-9 * row.operations / s);
            cells.push(one(rate));
            cells.push(one(rate.map(|r| 100.0 * r / peak.one)));
        }
        table.row(cells);
    }
    print!("{table}");
}
