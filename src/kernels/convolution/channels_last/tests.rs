//! Every kernel and instruction set against the plain twin: products over columns, in planes.

use super::*;
use crate::kernels::bf16::{from_halves, nearest, to_halves};
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::crew::{self, Crew};
use crate::kernels::layout::{to_nchw, to_nhwc};
use crate::kernels::noise;
use crate::random::{Purpose, Random};

/// Numbers in NHWC with a gap of `pitch` − channels floats after each pixel, which must stay NaN.
fn laid(x: &[f32], samples: usize, channels: usize, pitch: usize) -> Vec<f32> {
    let plane = x.len() / samples / channels;
    let mut y = vec![f32::NAN; samples * plane * pitch - (pitch - channels)];
    for (n, x) in x.chunks_exact(plane * channels).enumerate() {
        to_nhwc(x, channels, plane, &mut y[n * plane * pitch..], pitch);
    }
    y
}

/// The reverse of `laid`; fails if a gap was written.
fn planes(y: &[f32], samples: usize, channels: usize, pitch: usize) -> Vec<f32> {
    let plane = (y.len() + pitch - channels) / samples / pitch;
    for pixel in y.chunks(pitch) {
        assert!(pixel[channels..].iter().all(|v| v.is_nan()), "gap written");
    }
    let mut x = vec![0.0; samples * plane * channels];
    for (n, x) in x.chunks_exact_mut(plane * channels).enumerate() {
        to_nchw(&y[n * plane * pitch..], pitch, channels, plane, x);
    }
    x
}

fn close(name: &str, got: &[f32], want: &[f32]) {
    let scale = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        // A NaN is not close.
        let near = (g - w).abs() <= 3e-5 * scale;
        assert!(
            near,
            "{name}: element {i} is {g}, should be {w} (of up to {scale})"
        );
    }
    assert_eq!(got.len(), want.len(), "{name}");
}

/// All three directions, with gaps, with and without threads, with dense weights and with sparse ones.
fn check(c: &Convolution, samples: usize, order: Order, gaps: [usize; 2]) {
    check_with(c, samples, order, gaps, UseSparse::Never);
    check_with(c, samples, order, gaps, UseSparse::Always);
}

fn check_with(c: &Convolution, samples: usize, order: Order, gaps: [usize; 2], sparse: UseSparse) {
    let plane: usize = c.axes.iter().map(|a| a.input).product();
    let elements: usize = c.axes.iter().map(|a| a.kernel).product();
    let (input, output) = (c.inputs * plane, c.outputs * c.positions());
    // As bfloat16 has them, for the kernels that round.
    let numbers =
        |seed: u64, n: usize| -> Vec<f32> { noise(seed, n).into_iter().map(nearest).collect() };
    let x = numbers(1, samples * input);
    let mut w = numbers(2, c.outputs * c.inputs / c.groups * elements);
    if sparse == UseSparse::Always {
        let dropped = noise(5, w.len());
        let drop = w.iter_mut().zip(dropped).filter(|(_, d)| *d < 0.3);
        drop.for_each(|(w, _)| *w = 0.0);
    }
    let (b, dy) = (noise(3, c.outputs), numbers(4, samples * output));

    let mut scratch = vec![0.0; c.scratch(&Crew::alone())];
    let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    let (mut dw, mut db) = (vec![0.5; w.len()], vec![0.5; b.len()]);
    for n in 0..samples {
        let (x, dy) = (&x[n * input..][..input], &dy[n * output..][..output]);
        let (y, dx) = (
            &mut y[n * output..][..output],
            &mut dx[n * input..][..input],
        );
        c.forward(&Crew::alone(), x, &w, Some(&b), y, &mut scratch);
        c.backward_weights(&Crew::alone(), x, dy, &mut dw, &mut scratch);
        c.backward_bias(dy, &mut db);
        c.backward_data(&Crew::alone(), &w, dy, dx, &mut scratch);
    }

    let pitch = [c.inputs + gaps[0], c.outputs + gaps[1]];
    let x = match order {
        Order::Nchw => x,
        Order::Nhwc => laid(&x, samples, c.inputs, pitch[0]),
    };
    let dy_last = laid(&dy, samples, c.outputs, pitch[1]);
    let amx = Amx::here().map(|amx| (Isa::best(), Some(amx)));
    for (isa, amx) in Isa::all().map(|isa| (isa, None)).chain(amx) {
        let Some(kernel) = ChannelsLast::new(c, order, pitch, isa) else {
            panic!("no kernel for {c:?}");
        };
        let kernel = kernel.with_sparse(sparse).with_amx(amx);
        let mut packed = Packed::default();
        // The second time only values are new, the third time the pattern is.
        let halves: Vec<f32> = w.iter().map(|w| w / 2.0).collect();
        kernel.pack(&Crew::alone(), &halves, Some(&b), true, &mut packed);
        kernel.pack(&Crew::alone(), &w, Some(&b), true, &mut packed);
        let other = noise(6, w.len());
        let mut changed = packed.clone();
        kernel.pack(&Crew::alone(), &other, None, true, &mut changed);
        kernel.pack(&Crew::alone(), &w, Some(&b), true, &mut changed);
        let packed = changed;
        crew::tests::each(|crew| {
            let mut again = Packed::default();
            kernel.pack(crew, &w, Some(&b), true, &mut again);
            let bits = |s: &Side| -> Vec<u32> { s.dense.iter().map(|v| v.to_bits()).collect() };
            let same = |a: &Side, b: &Side| bits(a) == bits(b);
            assert!(
                same(&again.forward, &packed.forward) && same(&again.backward, &packed.backward)
            );
        });
        let run = |crew: &Crew| {
            let mut y = vec![f32::NAN; dy_last.len()];
            kernel.forward(crew, samples, &x, &packed, Then::default(), &mut y);
            let (mut dw, mut db) = (vec![0.5; w.len()], vec![0.5; b.len()]);
            kernel.weights(crew, samples, &x, &dy_last, &mut dw);
            kernel.bias(crew, samples, &dy_last, &mut db);
            let last = samples * plane * pitch[0] - gaps[0];
            let mut dx = vec![f32::NAN; last];
            kernel.data(crew, samples, &packed, &dy_last, Then::default(), &mut dx);
            let dx = planes(&dx, samples, c.inputs, pitch[0]);
            (planes(&y, samples, c.outputs, pitch[1]), dw, db, dx)
        };
        let one = run(&Crew::alone());
        let name = format!("{} {order:?} {c:?}", kernel.name_of(&packed));
        close(&format!("y of {name}"), &one.0, &y);
        close(&format!("dw of {name}"), &one.1, &dw);
        close(&format!("db of {name}"), &one.2, &db);
        close(&format!("dx of {name}"), &one.3, &dx);
        crew::tests::each(|crew| assert!(run(crew) == one, "threads change {name}"));
        let relu = Then {
            relu: true,
            ..Then::default()
        };
        let mut rectified = vec![f32::NAN; dy_last.len()];
        crew::tests::with(3, |crew| {
            kernel.forward(crew, samples, &x, &packed, relu, &mut rectified)
        });
        let rectified = planes(&rectified, samples, c.outputs, pitch[1]);
        assert!(
            rectified.iter().zip(&one.0).all(|(r, y)| *r == y.max(0.0)),
            "ReLU of {name}"
        );
        let both = Then {
            relu: true,
            add: true,
            ..Then::default()
        };
        let mut sum = dy_last.clone();
        crew::tests::with(3, |crew| {
            kernel.forward(crew, samples, &x, &packed, both, &mut sum)
        });
        let sum = planes(&sum, samples, c.outputs, pitch[1]);
        let terms = one.0.iter().zip(&dy);
        assert!(
            sum.iter()
                .zip(terms)
                .all(|(s, (y, d))| (s - (y + d).max(0.0)).abs() < 1e-4),
            "sum of {name}"
        );
        let round = Then {
            round: true,
            ..Then::default()
        };
        if kernel.rounds(&packed)[0] {
            let mut rounded = vec![f32::NAN; dy_last.len()];
            kernel.forward(&Crew::alone(), samples, &x, &packed, round, &mut rounded);
            let rounded = planes(&rounded, samples, c.outputs, pitch[1]);
            let wanted: Vec<f32> = one.0.iter().map(|y| nearest(*y)).collect();
            assert!(rounded == wanted, "rounded {name}");
            // The same from and to bfloat16, where floats hold two.
            let even = [pitch[0], pitch[1], c.inputs, c.outputs];
            let whole = even.iter().all(|n| n.is_multiple_of(2));
            if order == Order::Nhwc && whole {
                let kernel = kernel.clone().with_halves([true, true]);
                let x = to_halves(&x);
                let mut y = vec![0.0; dy_last.len().div_ceil(2)];
                crew::tests::with(3, |crew| {
                    kernel.forward(crew, samples, &x, &packed, round, &mut y)
                });
                let mut y = from_halves(&y);
                y.truncate(dy_last.len());
                for pixel in y.chunks_mut(pitch[1]) {
                    assert!(
                        pixel[c.outputs..].iter().all(|v| *v == 0.0),
                        "gap of {name}"
                    );
                    pixel[c.outputs..].fill(f32::NAN);
                }
                let y = planes(&y, samples, c.outputs, pitch[1]);
                assert!(y == wanted, "halves of {name}");
            }
        }
    }
}

fn axis(input: usize, kernel: usize, stride: usize, pad: usize, dilation: usize) -> Axis {
    Axis::new(input, kernel, stride, pad, dilation).unwrap()
}

#[test]
fn sizes_of_real_nets() {
    let square = |groups, inputs, outputs, a: Axis| Convolution {
        groups,
        inputs,
        outputs,
        axes: vec![a, a],
    };
    let nhwc = Order::Nhwc;
    // SqueezeNet: conv1, squeeze, both expands, conv10 with its padding.
    check(
        &square(1, 3, 96, axis(47, 7, 2, 0, 1)),
        2,
        Order::Nchw,
        [0, 0],
    );
    // ResNet's first: rows of whole registers.
    check(
        &square(1, 3, 16, axis(32, 7, 2, 3, 1)),
        1,
        Order::Nchw,
        [0, 0],
    );
    check(&square(1, 96, 16, axis(11, 1, 1, 0, 1)), 2, nhwc, [0, 0]);
    check(&square(1, 16, 64, axis(11, 1, 1, 0, 1)), 2, nhwc, [0, 64]);
    check(&square(1, 16, 64, axis(11, 3, 1, 1, 1)), 2, nhwc, [0, 64]);
    check(&square(1, 48, 100, axis(7, 1, 1, 1, 1)), 2, nhwc, [0, 0]);
    // AlexNet: conv1, conv2, conv4.
    check(
        &square(1, 3, 32, axis(67, 11, 4, 0, 1)),
        1,
        Order::Nchw,
        [0, 0],
    );
    check(&square(2, 32, 48, axis(13, 5, 1, 2, 1)), 2, nhwc, [0, 0]);
    check(&square(2, 64, 96, axis(13, 3, 1, 1, 1)), 2, nhwc, [0, 0]);
    // ResNeXt: narrow groups, joined for Winograd's kernel.
    check(&square(8, 32, 32, axis(14, 3, 1, 1, 1)), 2, nhwc, [0, 0]);
    check(&square(4, 32, 32, axis(9, 3, 1, 1, 1)), 2, nhwc, [3, 5]);
    check(
        &square(8, 32, 32, axis(9, 3, 1, 1, 1)),
        2,
        Order::Nchw,
        [0, 0],
    );
    // ResNet: strides.
    check(&square(1, 32, 48, axis(14, 1, 2, 0, 1)), 2, nhwc, [0, 0]);
    check(&square(1, 32, 48, axis(15, 3, 2, 1, 1)), 2, nhwc, [5, 7]);
}

/// Winograd's kernel takes the tiles of several small samples together.
#[test]
fn many_small_samples() {
    let nhwc = Order::Nhwc;
    for (groups, samples, a) in [
        (1, 9, axis(4, 3, 1, 1, 1)),
        (1, 23, axis(7, 3, 1, 1, 1)),
        (2, 13, axis(5, 3, 1, 0, 1)),
        (1, 40, axis(2, 3, 1, 2, 1)),
    ] {
        let c = Convolution {
            groups,
            inputs: 32 * groups,
            outputs: 80 * groups,
            axes: vec![a, a],
        };
        check_with(&c, samples, nhwc, [0, 16], UseSparse::Never);
    }
}

#[test]
fn gradients_over_groups_of_samples() {
    let nhwc = Order::Nhwc;
    for (inputs, outputs, a) in [
        (24, 40, axis(23, 1, 1, 0, 1)),
        (40, 24, axis(41, 3, 2, 1, 1)),
        (96, 32, axis(27, 3, 1, 1, 1)),
        (16, 80, axis(33, 3, 1, 0, 1)),
    ] {
        let c = Convolution {
            groups: 1,
            inputs,
            outputs,
            axes: vec![a, a],
        };
        check_with(&c, 7, nhwc, [0, 0], UseSparse::Never);
    }
}

#[test]
fn random_sizes() {
    let random = Random::new(7, Purpose::Layer, 0);
    let mut next = 0u64;
    let mut draw = |from: usize, to: usize| {
        next += 1;
        from + (random.unit(next) * (to - from + 1) as f32) as usize % (to - from + 1)
    };
    let mut done = 0;
    while done < 120 {
        let kind = draw(0, 2);
        let groups = if draw(0, 3) == 0 { 2 } else { 1 };
        // A third is for Winograd's kernel.
        let (channels, outputs, kernel, stride, dilation) = if kind == 0 {
            (16 * draw(1, 3), 16 * draw(1, 5), 3, 1, 1)
        } else {
            (draw(1, 20), draw(8, 40), draw(1, 5), draw(1, 3), draw(1, 2))
        };
        let pad = draw(0, 2).min(dilation * (kernel - 1));
        let pad = if kernel == 1 { draw(0, 1) } else { pad };
        let sizes = [draw(1, 19), draw(1, 19)];
        let axes = sizes.map(|n| Axis::new(n, kernel, stride, pad, dilation));
        let [Some(h), Some(w)] = axes else { continue };
        let c = Convolution {
            groups,
            inputs: groups * channels,
            outputs: groups * outputs,
            axes: vec![h, w],
        };
        let order = if draw(0, 3) == 0 {
            Order::Nchw
        } else {
            Order::Nhwc
        };
        if ChannelsLast::new(&c, order, [c.inputs, c.outputs], Isa::PORTABLE).is_none() {
            continue;
        }
        check(&c, draw(1, 3), order, [draw(0, 3), draw(0, 20)]);
        done += 1;
    }
}

#[test]
fn depthwise_sizes() {
    // MobileNet: both strides, and channels that fill no register.
    for (channels, a) in [
        (32, axis(14, 3, 1, 1, 1)),
        (48, axis(15, 3, 2, 1, 1)),
        (24, axis(7, 3, 1, 1, 1)),
        (144, axis(9, 5, 2, 2, 1)),
    ] {
        let c = Convolution {
            groups: channels,
            inputs: channels,
            outputs: channels,
            axes: vec![a, a],
        };
        let kernel = ChannelsLast::new(&c, Order::Nhwc, [channels; 2], Isa::PORTABLE).unwrap();
        assert_eq!(kernel.name(), "depthwise portable");
        check(&c, 2, Order::Nhwc, [0, 0]);
        check(&c, 1, Order::Nchw, [0, 0]);
    }
    let random = Random::new(8, Purpose::Layer, 0);
    let mut next = 0u64;
    let mut draw = |from: usize, to: usize| {
        next += 1;
        from + (random.unit(next) * (to - from + 1) as f32) as usize % (to - from + 1)
    };
    let mut done = 0;
    while done < 80 {
        let channels = draw(2, 40);
        let mut axis = || {
            let (kernel, dilation) = (draw(1, 5), draw(1, 2));
            let pad = match kernel {
                1 => draw(0, 1),
                _ => draw(0, dilation * (kernel - 1)),
            };
            Axis::new(draw(1, 19), kernel, draw(1, 3), pad, dilation)
        };
        let (Some(h), Some(w)) = (axis(), axis()) else {
            continue;
        };
        let c = Convolution {
            groups: channels,
            inputs: channels,
            outputs: channels,
            axes: vec![h, w],
        };
        let order = [Order::Nhwc, Order::Nchw][usize::from(draw(0, 3) == 0)];
        if ChannelsLast::new(&c, order, [c.inputs, c.outputs], Isa::PORTABLE).is_none() {
            continue;
        }
        check_with(
            &c,
            draw(1, 3),
            order,
            [draw(0, 3), draw(0, 20)],
            UseSparse::Never,
        );
        done += 1;
    }
}

#[test]
fn random_strides() {
    let random = Random::new(8, Purpose::Layer, 0);
    let mut next = 0u64;
    let mut draw = |from: usize, to: usize| {
        next += 1;
        from + (random.unit(next) * (to - from + 1) as f32) as usize % (to - from + 1)
    };
    let mut done = 0;
    while done < 150 {
        let groups = [1, 1, 1, 2, 3][draw(0, 4)];
        let (channels, outputs) = (draw(1, 36), draw(8, 24));
        let axes = [0; 2].map(|_| {
            let kernel = [1, 1, 2, 3, 3, 4, 5, 6, 7][draw(0, 8)];
            let (stride, dilation) = (draw(1, 4), [1, 1, 2, 3, 4][draw(0, 4)]);
            let pad = draw(0, dilation * (kernel - 1));
            // Often there are pixels behind the last window.
            Axis::new(draw(1, 24), kernel, stride, pad, dilation)
        });
        let [Some(h), Some(w)] = axes else { continue };
        if h.stride * w.stride == 1 {
            continue;
        }
        let c = Convolution {
            groups,
            inputs: groups * channels,
            outputs: groups * outputs,
            axes: vec![h, w],
        };
        let order = [Order::Nhwc, Order::Nchw][usize::from(draw(0, 3) == 0)];
        let gaps = [draw(0, 1) * draw(0, 3), draw(0, 1) * draw(0, 20)];
        check_with(&c, draw(1, 3), order, gaps, UseSparse::Never);
        done += 1;
    }
}

#[test]
fn strided_gradients_are_large_enough_to_be_cut() {
    for (inputs, outputs, a) in [
        (20, 40, axis(56, 1, 2, 0, 1)),
        (40, 24, axis(41, 3, 2, 1, 1)),
        (33, 17, axis(29, 2, 2, 0, 1)),
        (18, 32, axis(47, 5, 3, 2, 1)),
    ] {
        let c = Convolution {
            groups: 1,
            inputs,
            outputs,
            axes: vec![a, a],
        };
        check_with(&c, 1, Order::Nhwc, [0, 0], UseSparse::Never);
        check_with(&c, 5, Order::Nhwc, [16, 16], UseSparse::Never);
    }
}

#[test]
fn a_nan_is_not_hidden() {
    let a = axis(9, 3, 1, 1, 1);
    let c = Convolution {
        groups: 1,
        inputs: 16,
        outputs: 16,
        axes: vec![a, a],
    };
    for isa in Isa::all() {
        for order in [Order::Nchw, Order::Nhwc] {
            let kernel = ChannelsLast::new(&c, order, [16, 16], isa).unwrap();
            let mut packed = Packed::default();
            kernel.pack(
                &Crew::alone(),
                &noise(1, 16 * 16 * 9),
                None,
                false,
                &mut packed,
            );
            let mut x = noise(2, 16 * 81);
            x[700] = f32::NAN;
            let mut y = vec![0.0; 16 * 81];
            let relu = Then {
                relu: true,
                ..Then::default()
            };
            kernel.forward(&Crew::alone(), 1, &x, &packed, relu, &mut y);
            assert!(y.iter().any(|v| v.is_nan()));
        }
    }
}

#[test]
fn dense_weights_are_sparse_on_no_machine_and_a_tenth_of_them_on_every_one() {
    // SqueezeNet's and ResNet's, at full size.
    let sizes = [
        (96, 16, 55, 1),
        (16, 64, 55, 1),
        (16, 64, 55, 3),
        (384, 64, 27, 1),
        (64, 256, 27, 3),
        (512, 1000, 13, 1),
        (256, 64, 56, 1),
        (1024, 256, 14, 1),
        (2048, 512, 7, 1),
        (512, 512, 7, 3),
    ];
    for (inputs, outputs, size, kernel) in sizes {
        let a = axis(size, kernel, 1, kernel / 2, 1);
        let c = Convolution {
            groups: 1,
            inputs,
            outputs,
            axes: vec![a, a],
        };
        let mut w = vec![1.0; inputs * outputs * kernel * kernel];
        for set in Processor::ALL {
            let conv = ChannelsLast::new(&c, Order::Nhwc, [inputs, outputs], Isa::PORTABLE);
            let conv = conv.unwrap().with_sparse(UseSparse::AutoFor(set));
            w.fill(1.0);
            assert!(conv.gain(&w) < MARGIN, "{set:?} {c:?}: {}", conv.gain(&w));
            for (i, w) in w.iter_mut().enumerate() {
                *w = if i % 10 == 0 { 1.0 } else { 0.0 };
            }
            let few = conv.gain(&w);
            // Winograd's kernel needs a quarter of the products, and narrow layers are turned more than multiplied.
            let pays = kernel == 1 && inputs * outputs > 1 << 14;
            assert!(!pays || few > MARGIN, "{set:?} {c:?}: {few}");
        }
    }
}
