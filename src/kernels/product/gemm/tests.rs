//! Tests of the kernel.

use super::*;
use crate::kernels::crew;
use crate::kernels::noise;

/// Three loops in double precision.
fn naive(alpha: f32, c: &[f32], beta: f32, a: Mat, b: Mat) -> Vec<f32> {
    let mut out = c.to_vec();
    for i in 0..a.rows {
        for j in 0..b.cols {
            let sum: f64 = (0..a.cols)
                .map(|k| {
                    f64::from(a.data[i * a.row + k * a.col])
                        * f64::from(b.data[k * b.row + j * b.col])
                })
                .sum();
            let old = if alpha == 0.0 {
                0.0
            } else {
                f64::from(alpha) * f64::from(c[i * b.cols + j])
            };
            out[i * b.cols + j] = (old + f64::from(beta) * sum) as f32;
        }
    }
    out
}

fn close(got: &[f32], want: &[f32]) {
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= 1e-4 * w.abs().max(1.0), "{g} is not {w}");
    }
}

const SIZES: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (3, 5, 7),
    (1, 33, 65),
    (40, 1, 9),
    (17, 90, 2),
    (65, 70, 130),
    (200, 31, 40),
    (9, 300, 600),
];

#[test]
fn equals_the_naive_product_in_all_transpositions() {
    for (m, n, k) in SIZES {
        for (alpha, beta) in [(0.0, 1.0), (1.0, 1.0), (0.5, -2.0)] {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let (x, y, mut z) = (noise(1, m * k), noise(2, k * n), noise(3, m * n));
                let a = if ta {
                    Mat::new(&x, k, m).t()
                } else {
                    Mat::new(&x, m, k)
                };
                let b = if tb {
                    Mat::new(&y, n, k).t()
                } else {
                    Mat::new(&y, k, n)
                };
                if alpha == 0.0 {
                    z.fill(f32::NAN);
                }
                let want = naive(alpha, &z, beta, a, b);
                gemm(&Crew::alone(), alpha, MatMut::new(&mut z, m, n), beta, a, b);
                close(&z, &want);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_crew() {
    let sizes = [
        (96, 3025, 147),
        (256, 169, 576),
        (64, 729, 1100),
        (1000, 4, 512),
        (300, 300, 3),
        (577, 256, 43),
        (73, 146, 900),
    ];
    for (m, n, k) in sizes {
        let (x, y, z) = (noise(1, m * k), noise(2, k * n), noise(3, m * n));
        for (ta, tb) in [(false, false), (true, false), (false, true)] {
            let a = if ta {
                Mat::new(&x, k, m).t()
            } else {
                Mat::new(&x, m, k)
            };
            let b = if tb {
                Mat::new(&y, n, k).t()
            } else {
                Mat::new(&y, k, n)
            };
            let mut whole = z.clone();
            gemm(
                &Crew::alone(),
                1.0,
                MatMut::new(&mut whole, m, n),
                1.0,
                a,
                b,
            );
            for threads in [1, 2, 3] {
                let mut cut = z.clone();
                let c = MatMut::new(&mut cut, m, n);
                crew::tests::with(threads, |crew| gemm(crew, 1.0, c, 1.0, a, b));
                assert!(cut == whole, "{m} x {n} x {k} with {threads} threads");
            }
        }
    }
}

#[test]
fn cut_matrices_are_disjoint_and_whole() {
    let mut data = vec![0.0; 7 * 10];
    for (i, mut part) in MatMut::strided(&mut data, 7, 8, 10)
        .split_columns(&[3, 5])
        .into_iter()
        .enumerate()
    {
        for r in 0..7 {
            part.row(r).iter_mut().for_each(|x| *x += i as f32 + 1.0);
        }
    }
    for row in data.chunks(10) {
        assert_eq!(row, [1., 1., 1., 2., 2., 3., 3., 3., 0., 0.]);
    }
}
