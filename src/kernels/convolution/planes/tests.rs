//! Tests of the kernel.

use super::*;
use crate::kernels::crew;
use crate::kernels::noise;

fn cases() -> Vec<Convolution> {
    let axis = |i, k, s, p, d| Axis::new(i, k, s, p, d).unwrap();
    let conv = |groups, inputs, outputs, axes: &[Axis]| Convolution {
        groups,
        inputs,
        outputs,
        axes: axes.to_vec(),
    };
    vec![
        conv(1, 3, 5, &[axis(9, 3, 2, 1, 1), axis(8, 2, 1, 0, 2)]),
        conv(2, 4, 6, &[axis(6, 3, 1, 1, 1), axis(7, 3, 1, 1, 1)]),
        conv(1, 5, 3, &[axis(4, 1, 1, 0, 1), axis(6, 1, 1, 0, 1)]),
        conv(
            1,
            2,
            3,
            &[
                axis(4, 2, 1, 1, 1),
                axis(5, 2, 2, 0, 1),
                axis(3, 3, 1, 1, 1),
            ],
        ),
        conv(1, 3, 2, &[axis(11, 3, 2, 0, 1)]),
        conv(1, 3, 2, &[]),
        // Large enough for several strips, parts and cut products.
        conv(1, 40, 70, &[axis(33, 3, 1, 1, 1), axis(31, 3, 1, 1, 1)]),
        conv(1, 3, 96, &[axis(61, 7, 2, 0, 1), axis(61, 7, 2, 0, 1)]),
    ]
}

/// Every product of the definition: (output element, input element, weight element).
fn walk(c: &Convolution, mut f: impl FnMut(usize, usize, usize)) {
    let (ci, co) = (c.inputs / c.groups, c.outputs / c.groups);
    let (kernel, plane, p) = (c.kernel(), c.plane(), c.positions());
    for k in 0..kernel {
        for at in 0..p {
            let (mut k2, mut p2, mut x, mut step, mut inside) = (k, at, 0, 1, true);
            for a in c.axes.iter().rev() {
                let i = (p2 % a.output * a.stride + k2 % a.kernel * a.dilation) as isize
                    - a.pad as isize;
                p2 /= a.output;
                k2 /= a.kernel;
                inside &= i >= 0 && i < a.input as isize;
                x += i.max(0) as usize * step;
                step *= a.input;
            }
            if inside {
                for o in 0..c.outputs {
                    for i in 0..ci {
                        f(
                            o * p + at,
                            (o / co * ci + i) * plane + x,
                            (o * ci + i) * kernel + k,
                        );
                    }
                }
            }
        }
    }
}

fn close(got: &[f32], want: &[f64]) {
    let norm = want.iter().map(|w| w * w).sum::<f64>().sqrt().max(1e-3);
    let error = got
        .iter()
        .zip(want)
        .map(|(g, w)| (f64::from(*g) - w).powi(2))
        .sum::<f64>()
        .sqrt();
    assert!(error < 1e-5 * norm, "{error} of {norm}");
}

#[test]
fn equals_the_definition_with_any_threads() {
    for c in cases() {
        let x = noise(1, c.inputs * c.plane());
        let w = noise(2, c.outputs * c.depth());
        let b = noise(3, c.outputs);
        let dy = noise(4, c.outputs * c.positions());
        let f = |v: f32| f64::from(v);
        let mut y_want: Vec<f64> = (0..dy.len()).map(|i| f(b[i / c.positions()])).collect();
        let (mut dx_want, mut dw_want) = (vec![0.0; x.len()], vec![1.0; w.len()]);
        walk(&c, |yi, xi, wi| {
            y_want[yi] += f(x[xi]) * f(w[wi]);
            dx_want[xi] += f(dy[yi]) * f(w[wi]);
            dw_want[wi] += f(dy[yi]) * f(x[xi]);
        });
        let mut first = None;
        for threads in [1, 2, 3] {
            let (mut y, mut dx, mut dw) = (
                vec![f32::NAN; dy.len()],
                vec![f32::NAN; x.len()],
                vec![1.0; w.len()],
            );
            let mut db = vec![0.0; b.len()];
            crew::tests::with(threads, |crew| {
                let mut scratch = vec![f32::NAN; c.scratch(crew)];
                c.forward(crew, &x, &w, Some(&b), &mut y, &mut scratch);
                c.backward_weights(crew, &x, &dy, &mut dw, &mut scratch);
                c.backward_data(crew, &w, &dy, &mut dx, &mut scratch);
            });
            c.backward_bias(&dy, &mut db);
            close(&y, &y_want);
            close(&dx, &dx_want);
            close(&dw, &dw_want);
            let got = (y, dx, dw, db);
            assert!(
                *first.get_or_insert_with(|| got.clone()) == got,
                "{c:?} with {threads} threads"
            );
        }
    }
}
