//! Stochastic pooling (Zeiler and Fergus 2013): in training one number of each window, drawn with a
//! probability in proportion to it; in testing the numbers' mean with these probabilities as weights.
//! The numbers should not be negative. Windows are those of [`super::pooling`], without padding.

use super::pooling::{NONE, planes, span};
use super::{each_chunk, each_pair_of_chunks};
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::crew::Crew;
use std::ops::Range;

/// The elements of a window of a plane of rows of `width`, in C order.
fn window(
    rows: Range<usize>,
    columns: Range<usize>,
    width: usize,
) -> impl Iterator<Item = usize> + Clone {
    rows.flat_map(move |i| columns.clone().map(move |j| i * width + j))
}

/// Draws one number of each window: `x` is planes of [h.input, w.input], `y` of [h.output, w.output],
/// and `indices` tells each number's place in its plane. `draw(i)` gives output i its random number,
/// above 0 and up to 1. A window that has no sum to be divided gives its sum (NaN) and no index.
pub fn sample(
    crew: &Crew,
    x: &[f32],
    [h, w]: [Axis; 2],
    y: &mut [f32],
    indices: &mut [u32],
    draw: impl Fn(usize) -> f32 + Sync,
) {
    assert_eq!(y.len(), indices.len());
    let (input, output) = (h.input * w.input, h.output * w.output);
    let plane = |n: usize, y: &mut [f32], at: &mut [u32]| {
        let x = &x[n * input..][..input];
        for (i, (y, at)) in y.iter_mut().zip(at).enumerate() {
            let inside = window(span(&h, i / w.output), span(&w, i % w.output), w.input);
            let sum: f32 = inside.clone().map(|k| x[k]).sum();
            let threshold = draw(n * output + i) * sum;
            (*y, *at) = (sum, NONE);
            let mut reached = 0.0;
            for k in inside {
                reached += x[k];
                // The last one stays where negative numbers keep the sum from getting there.
                (*y, *at) = (x[k], k as u32);
                if reached >= threshold {
                    break;
                }
            }
            if sum.is_nan() {
                (*y, *at) = (sum, NONE);
            }
        }
    };
    let step = output.max(1);
    each_pair_of_chunks(crew, step, y, indices, |start, y, at| {
        plane(start / step, y, at)
    });
}

/// Each window's Σx² / Σx; 0 where the sum is not above 0.
pub fn expect(crew: &Crew, x: &[f32], [h, w]: [Axis; 2], y: &mut [f32]) {
    let (input, output) = (h.input * w.input, h.output * w.output);
    each_chunk(crew, planes(input) * output, y, |start, part| {
        for (i, y) in (start..).zip(part) {
            let x = &x[i / output * input..][..input];
            *y = expected(x, i % output, [h, w]).0;
        }
    });
}

/// The weighted mean of window `i` of a plane, and the sum.
fn expected(x: &[f32], i: usize, [h, w]: [Axis; 2]) -> (f32, f32) {
    let (mut sum, mut squares) = (0.0f32, 0.0f32);
    for k in window(span(&h, i / w.output), span(&w, i % w.output), w.input) {
        sum += x[k];
        squares += x[k] * x[k];
    }
    let mean = if sum > 0.0 || sum.is_nan() {
        squares / sum
    } else {
        0.0
    };
    (mean, sum)
}

/// The gradient of [`expect`]: each number gets (2x − y) / Σx of its windows' gradients.
pub fn expect_backward(crew: &Crew, x: &[f32], dy: &[f32], [h, w]: [Axis; 2], dx: &mut [f32]) {
    let (input, output) = (h.input * w.input, h.output * w.output);
    each_chunk(crew, planes(input) * input, dx, |start, part| {
        part.fill(0.0);
        for (n, dx) in (start / input..).zip(part.chunks_exact_mut(input)) {
            let (x, dy) = (&x[n * input..][..input], &dy[n * output..][..output]);
            for (i, dy) in dy.iter().enumerate() {
                let (y, sum) = expected(x, i, [h, w]);
                if sum > 0.0 {
                    let inside = window(span(&h, i / w.output), span(&w, i % w.output), w.input);
                    inside.for_each(|k| dx[k] += dy * (2.0 * x[k] - y) / sum);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::crew;
    use crate::kernels::noise;

    fn axes(input: [usize; 2], kernel: usize, stride: usize) -> [Axis; 2] {
        input.map(|n| Axis::new(n, kernel, stride, 0, 1).unwrap())
    }

    #[test]
    fn numbers_are_drawn_in_proportion() {
        let draws = 40_000;
        let x = [1.0, 0.0, 2.0, 5.0].repeat(draws);
        let (mut y, mut at) = (vec![0.0; draws], vec![0; draws]);
        let random = noise(5, draws);
        sample(
            &Crew::alone(),
            &x,
            axes([2, 2], 2, 1),
            &mut y,
            &mut at,
            |i| 1.0 - (random[i] + 1.0) / 2.0,
        );
        for (k, share) in [(0, 0.125), (1, 0.0), (2, 0.25), (3, 0.625)] {
            let found = at.iter().filter(|a| **a == k).count() as f64 / draws as f64;
            assert!((found - share).abs() < 0.01, "{k}: {found}");
        }
        assert!(y.iter().zip(&at).all(|(y, k)| *y == x[*k as usize]));
    }

    #[test]
    fn odd_windows() {
        let one = |x: &[f32], random: f32| {
            let (mut y, mut at) = ([9.0], [9]);
            sample(
                &Crew::alone(),
                x,
                axes([1, 3], 1, 1).map(|a| Axis {
                    kernel: a.input,
                    output: 1,
                    ..a
                }),
                &mut y,
                &mut at,
                |_| random,
            );
            (y[0], at[0])
        };
        assert_eq!(one(&[0.0, 0.0, 0.0], 0.5), (0.0, 0));
        assert_eq!(one(&[1.0, 2.0, 1.0], 1.0), (1.0, 2));
        assert_eq!(one(&[-1.0, -2.0, -1.0], 0.1).1, 2);
        let (y, at) = one(&[1.0, f32::NAN, 2.0], 0.5);
        assert!(y.is_nan() && at == NONE);
    }

    #[test]
    fn the_mean_is_weighted() {
        let x: Vec<f32> = noise(1, 3 * 35).iter().map(|v| v.abs()).collect();
        let axes = axes([5, 7], 3, 2);
        let mut y = vec![0.0; 3 * 6];
        crew::tests::with(3, |crew| expect(crew, &x, axes, &mut y));
        let (mut sum, mut squares) = (0.0, 0.0);
        for (i, j) in [
            (2, 2),
            (2, 3),
            (2, 4),
            (3, 2),
            (3, 3),
            (3, 4),
            (4, 2),
            (4, 3),
            (4, 4),
        ] {
            sum += x[35 + i * 7 + j];
            squares += x[35 + i * 7 + j].powi(2);
        }
        assert!((y[6 + 4] - squares / sum).abs() < 1e-6);
        expect(&Crew::alone(), &[0.0; 35], axes, &mut y[..6]);
        assert_eq!(y[..6], [0.0; 6]);
    }
}
