//! Tests of the kernel against the planar one, which has naive twins of its own.

use super::*;
use crate::kernels::bf16::{from_halves, nearest, to_halves};
use crate::kernels::crew;
use crate::kernels::{noise, pooling};

/// Windows with and without overlap, padding, gaps and parts beyond the padding.
fn axes() -> Vec<Axis> {
    [
        (7, 3, 2, 0, 3),
        (8, 3, 2, 0, 4),
        (6, 2, 2, 1, 4),
        (10, 5, 4, 2, 4),
        (5, 5, 1, 0, 1),
        (5, 1, 3, 0, 3),
        (4, 3, 1, 1, 4),
        (29, 3, 2, 0, 14),
    ]
    .map(|(input, kernel, stride, pad, output)| Axis {
        input,
        kernel,
        stride,
        pad,
        dilation: 1,
        output,
    })
    .to_vec()
}

const SAMPLES: usize = 2;

/// Each sample's [rows][channels] of [channels][rows].
fn last(x: &[f32], channels: usize) -> Vec<f32> {
    turned(x, channels)
}

/// Each sample's [channels][rows] of [rows][channels].
fn planar(x: &[f32], channels: usize) -> Vec<f32> {
    turned(x, x.len() / SAMPLES / channels)
}

fn turned(x: &[f32], rows: usize) -> Vec<f32> {
    let sample = x.len() / SAMPLES;
    let turn = |x: &[f32]| {
        let columns = (0..sample / rows).flat_map(|c| (0..rows).map(move |r| (r, c)));
        let values = columns.map(|(r, c)| x[r * (sample / rows) + c]);
        values.collect::<Vec<_>>()
    };
    x.chunks_exact(sample).flat_map(turn).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 2e-6, "{got} {want}");
    }
}

/// Runs `f` alone and with a crew under every instruction set: its results must be the same bits.
fn same<const N: usize>(
    x: usize,
    y: usize,
    channels: usize,
    axes: [Axis; 2],
    f: impl Fn(&Windows, &Crew) -> [Vec<u32>; N] + Sync,
) {
    let want = f(
        &Windows::new(Isa::PORTABLE, channels, axes, x, y),
        &Crew::alone(),
    );
    for isa in Isa::all() {
        let g = Windows::new(isa, channels, axes, x, y);
        crew::tests::each(|crew| {
            assert!(f(&g, crew) == want, "{isa:?} {} {axes:?}", crew.threads());
        });
    }
}

#[test]
fn equal_the_planar_kernels() {
    for (channels, h, w) in [1, 3, 8, 20, 33, 96]
        .into_iter()
        .flat_map(|c| axes().into_iter().map(move |h| (c, h)))
        .flat_map(|(c, h)| axes().into_iter().map(move |w| (c, h, w)))
    {
        let planes = [h.input * w.input, h.output * w.output];
        let [input, output] = planes.map(|n| SAMPLES * channels * n);
        // Few values, so that equal maxima occur; and some that never win.
        let mut x: Vec<f32> = noise(1, input).iter().map(|v| (v * 3.0).round()).collect();
        x[0] = f32::NAN;
        x[input / 2..][..planes[0]].fill(f32::NEG_INFINITY);
        let dy = noise(2, output);
        let (mut y, mut at) = (vec![0.0; output], vec![0; output]);
        let mut dx = vec![f32::NAN; input];
        pooling::max_indices(&Crew::alone(), &x, [h, w], &mut y, &mut at);
        pooling::max_backward(&Crew::alone(), &dy, &at, planes, &mut dx);

        let (x_last, dy_last) = (last(&x, channels), last(&dy, channels));
        let (mut y_last, mut at_last) = (vec![f32::NAN; output], vec![0; output]);
        crew::tests::with(3, |crew| {
            max(crew, &x_last, channels, [h, w], &mut y_last, None)
        });
        assert_eq!(planar(&y_last, channels), y, "{channels} {h:?} {w:?}");
        y_last.fill(f32::NAN);
        let places = Some(&mut at_last[..]);
        crew::tests::with(3, |crew| {
            max(crew, &x_last, channels, [h, w], &mut y_last, places)
        });
        assert_eq!(planar(&y_last, channels), y, "{channels} {h:?} {w:?}");
        let at_float: Vec<f32> = at_last.iter().map(|i| f32::from_bits(*i)).collect();
        assert_eq!(bits(&planar(&at_float, channels)), at);
        let mut dx_last = vec![f32::NAN; input];
        crew::tests::with(3, |crew| {
            max_backward(crew, &dy_last, &at_last, channels, [h, w], &mut dx_last)
        });
        assert_eq!(planar(&dx_last, channels), dx, "{channels} {h:?} {w:?}");

        let x = noise(3, input);
        pooling::average(&Crew::alone(), &x, [h, w], &mut y);
        pooling::average_backward(&Crew::alone(), &dy, [h, w], &mut dx);
        crew::tests::with(3, |crew| {
            average(crew, &last(&x, channels), channels, [h, w], &mut y_last)
        });
        crew::tests::with(3, |crew| {
            average_backward(crew, &dy_last, channels, [h, w], &mut dx_last)
        });
        close(&planar(&y_last, channels), &y);
        close(&planar(&dx_last, channels), &dx);
    }
}

#[test]
fn same_bits_for_all_instruction_sets_and_cuts() {
    let square = |input, kernel, stride, pad, output| {
        [Axis {
            input,
            kernel,
            stride,
            pad,
            dilation: 1,
            output,
        }; 2]
    };
    for (channels, axes) in [
        (96, square(27, 3, 2, 0, 13)),
        (20, square(24, 2, 2, 0, 12)),
        (333, square(13, 13, 1, 0, 1)),
        (7, square(40, 3, 2, 1, 21)),
    ] {
        let [h, w] = axes;
        let input = SAMPLES * channels * h.input * w.input;
        let output = SAMPLES * channels * h.output * w.output;
        let (x, dy) = (noise(1, input), noise(2, output));
        same(input, output, channels, axes, |g, crew| {
            let (mut y, mut at) = (vec![0.0; output], vec![0; output]);
            let (mut plain, mut mean) = (y.clone(), y.clone());
            let (mut dx, mut spread) = (vec![f32::NAN; input], vec![f32::NAN; input]);
            g.max(crew, &x, &mut plain, None);
            g.max(crew, &x, &mut y, Some(&mut at));
            g.max_backward(crew, &dy, &at, &mut dx);
            g.average(crew, &x, &mut mean);
            g.average_backward(crew, &dy, &mut spread);
            assert_eq!(plain, y);
            [bits(&y), at, bits(&dx), bits(&mean), bits(&spread)]
        });
    }
}

#[test]
fn nothing_is_pooled_to_nothing() {
    let axes = axes();
    let axes = [axes[0], axes[1]];
    max(&Crew::alone(), &[], 3, axes, &mut [], Some(&mut []));
    crew::tests::with(3, |crew| max(crew, &[], 0, axes, &mut [], Some(&mut [])));
    crew::tests::with(3, |crew| max_backward(crew, &[], &[], 0, axes, &mut []));
    crew::tests::with(3, |crew| average(crew, &[], 0, axes, &mut []));
    crew::tests::with(3, |crew| average_backward(crew, &[], 0, axes, &mut []));
}

#[test]
fn halves_are_pooled_as_the_floats_that_they_are() {
    for (h, w, channels) in axes()
        .into_iter()
        .zip(axes().into_iter().rev())
        .flat_map(|(h, w)| [2, 6, 34, 100].map(|c| (h, w, c)))
    {
        let [input, output] = [h.input * w.input, h.output * w.output];
        let x = noise(8, SAMPLES * input * channels)
            .into_iter()
            .map(nearest);
        let x: Vec<f32> = x.collect();
        let half = to_halves(&x);
        crew::tests::each(|crew| {
            let count = SAMPLES * output * channels;
            let (mut want, mut got) = (vec![0.0; count], vec![0.0; count / 2]);
            max(crew, &x, channels, [h, w], &mut want, None);
            max_halves(crew, &half, channels, [h, w], &mut got);
            // A window of padding alone has the least number, which bfloat16 does not have.
            let want: Vec<f32> = want
                .into_iter()
                .map(|v| f32::from_bits(v.to_bits() & 0xffff_0000))
                .collect();
            assert_eq!(from_halves(&got), want, "{h:?} {w:?} {channels}");
            let (mut want, mut got) = (vec![0.0; count], vec![0.0; count]);
            average(crew, &x, channels, [h, w], &mut want);
            average_halves(crew, &half, channels, [h, w], &mut got);
            assert_eq!(got, want, "{h:?} {w:?} {channels}");
        });
    }
}
