//! Tests of the kernel.

use super::*;
use crate::kernels::noise;

fn cases() -> Vec<[Axis; 2]> {
    let mut out = Vec::new();
    for (input, kernel, stride, pad, dilation) in [
        (7, 3, 1, 0, 1),
        (7, 3, 1, 1, 1),
        (9, 3, 2, 1, 1),
        (10, 7, 2, 3, 1),
        (8, 1, 2, 0, 1),
        (5, 1, 1, 1, 1),
        (11, 3, 1, 2, 2),
        (12, 2, 3, 1, 3),
        (2, 5, 1, 4, 1),
        (3, 3, 4, 0, 1),
    ] {
        out.push(Axis::new(input, kernel, stride, pad, dilation).unwrap());
    }
    out.iter()
        .flat_map(|a| out.iter().map(move |b| [*a, *b]))
        .collect()
}

/// The definition, element by element.
fn naive(x: &[f32], [h, w]: [Axis; 2]) -> Vec<f32> {
    let mut col = Vec::new();
    for plane in x.chunks(h.input * w.input) {
        for ky in 0..h.kernel {
            for kx in 0..w.kernel {
                for oy in 0..h.output {
                    for ox in 0..w.output {
                        let y = (oy * h.stride + ky * h.dilation) as isize - h.pad as isize;
                        let z = (ox * w.stride + kx * w.dilation) as isize - w.pad as isize;
                        let inside =
                            y >= 0 && z >= 0 && y < h.input as isize && z < w.input as isize;
                        col.push(if inside {
                            plane[y as usize * w.input + z as usize]
                        } else {
                            0.0
                        });
                    }
                }
            }
        }
    }
    col
}

#[test]
fn equals_the_definition_whole_and_in_rows() {
    for [h, w] in cases() {
        let x = noise(5, 3 * h.input * w.input);
        let want = naive(&x, [h, w]);
        let mut col = vec![f32::NAN; want.len()];
        im2col(&x, [h, w], 0..h.output, &mut col);
        assert_eq!(col, want, "{h:?} {w:?}");
        let mut nd = vec![f32::NAN; want.len()];
        im2col_nd(&x, &[h, w], &mut nd);
        assert_eq!(nd, want, "{h:?} {w:?}");

        let rows = h.output / 3..h.output.min(h.output / 3 + 2);
        let mut part = vec![f32::NAN; want.len() / h.output * rows.len()];
        im2col(&x, [h, w], rows.clone(), &mut part);
        let width = h.output * w.output;
        for (line, whole) in part.chunks(rows.len() * w.output).zip(want.chunks(width)) {
            assert_eq!(line, &whole[rows.start * w.output..rows.end * w.output]);
        }
    }
}

#[test]
fn col2im_is_the_transpose_of_im2col() {
    for [h, w] in cases() {
        let x = noise(6, 2 * h.input * w.input);
        let col = naive(&x, [h, w]);
        let y = noise(7, col.len());
        let mut back = vec![0.0; x.len()];
        let cut = h.output / 2;
        let width = h.output * w.output;
        let part = |rows: Range<usize>| {
            y.chunks(width)
                .flat_map(|l| l[rows.start * w.output..rows.end * w.output].to_vec())
                .collect::<Vec<_>>()
        };
        col2im(&part(0..cut), [h, w], 0..cut, &mut back);
        col2im(&part(cut..h.output), [h, w], cut..h.output, &mut back);
        let mut nd = vec![0.0; x.len()];
        col2im_nd(&y, &[h, w], &mut nd);
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let want = dot(&col, &y);
        assert!((dot(&x, &back) - want).abs() < 1e-4, "{h:?} {w:?}");
        assert!((dot(&x, &nd) - want).abs() < 1e-4, "{h:?} {w:?}");
    }
}
