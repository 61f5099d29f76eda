//! Tests of the kernel.

use super::*;
use crate::kernels::crew;
use crate::kernels::noise;

/// (input, kernel, stride, pad, output), the last with ceil and clipping as the layer has them.
fn axes() -> Vec<Axis> {
    [
        (7, 3, 2, 0, 3),
        (8, 3, 2, 0, 4),
        (6, 2, 2, 1, 4),
        (10, 5, 4, 2, 4),
        (5, 5, 1, 0, 1),
        (5, 1, 3, 0, 3),
        (4, 3, 1, 1, 4),
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

/// Each window's elements as (index, value) in C order.
fn windows(x: &[f32], h: Axis, w: Axis) -> Vec<Vec<(usize, f32)>> {
    let mut out = Vec::new();
    for oy in 0..h.output {
        for ox in 0..w.output {
            let mut window = Vec::new();
            for y in 0..h.input {
                for z in 0..w.input {
                    let (ky, kx) = (y + h.pad, z + w.pad);
                    let inside = |k: usize, o: usize, a: Axis| {
                        k >= o * a.stride && k < o * a.stride + a.kernel
                    };
                    if inside(ky, oy, h) && inside(kx, ox, w) {
                        window.push((y * w.input + z, x[y * w.input + z]));
                    }
                }
            }
            out.push(window);
        }
    }
    out
}

#[test]
fn equal_the_naive_twins() {
    for h in axes() {
        for w in axes() {
            let (input, output) = (h.input * w.input, h.output * w.output);
            // Few values, so that equal maxima occur; and one NaN.
            let mut x: Vec<f32> = noise(1, 3 * input)
                .iter()
                .map(|v| (v * 2.0).round())
                .collect();
            x[input] = f32::NAN;
            let mut y = vec![0.0; 3 * output];
            let mut at = vec![0; 3 * output];
            crew::tests::with(3, |crew| max_indices(crew, &x, [h, w], &mut y, &mut at));
            let dy = noise(2, y.len());
            let mut dx = vec![f32::NAN; x.len()];
            crew::tests::with(3, |crew| {
                max_backward(crew, &dy, &at, [input, output], &mut dx)
            });
            let mut want_dx = vec![0.0; x.len()];
            for (p, plane) in x.chunks(input).enumerate() {
                for (o, window) in windows(plane, h, w).iter().enumerate() {
                    let mut best = (NONE as usize, -f32::MAX);
                    for &(i, v) in window {
                        if v > best.1 {
                            best = (i, v);
                        }
                    }
                    let o = p * output + o;
                    assert_eq!((at[o] as usize, y[o]), best, "{h:?} {w:?}");
                    if best.0 != NONE as usize {
                        want_dx[p * input + best.0] += dy[o];
                    }
                }
            }
            assert_eq!(dx, want_dx);

            let x = noise(4, 3 * input);
            crew::tests::with(3, |crew| average(crew, &x, [h, w], &mut y));
            crew::tests::with(3, |crew| average_backward(crew, &dy, [h, w], &mut dx));
            want_dx.fill(0.0);
            for (p, plane) in x.chunks(input).enumerate() {
                for (o, window) in windows(plane, h, w).iter().enumerate() {
                    let size = |a: Axis, o: usize| {
                        let start = (o * a.stride) as isize - a.pad as isize;
                        (start + a.kernel as isize).min((a.input + a.pad) as isize) - start
                    };
                    let n = (size(h, o / w.output) * size(w, o % w.output)).max(1) as f32;
                    let o = p * output + o;
                    let mean = window.iter().map(|(_, v)| v).sum::<f32>() / n;
                    assert!((y[o] - mean).abs() < 1e-5, "{h:?} {w:?}: {} {mean}", y[o]);
                    window
                        .iter()
                        .for_each(|(i, _)| want_dx[p * input + i] += dy[o] / n);
                }
            }
            for (got, want) in dx.iter().zip(&want_dx) {
                assert!((got - want).abs() < 1e-5, "{h:?} {w:?}");
            }
        }
    }
}
