//! Tests of the kernel.

use super::*;
use crate::kernels::crew;
use crate::kernels::noise;

/// y and dx of [N, channels, plane], straight from the definition and in f64.
fn naive(a: &Across, x: &[f32], dy: &[f32], [channels, plane]: [usize; 2]) -> [Vec<f32>; 2] {
    let half = a.size / 2;
    let around = |c: usize| c.saturating_sub(half)..(c + half + 1).min(channels);
    let (share, beta) = (f64::from(a.alpha) / a.size as f64, f64::from(a.beta));
    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for start in (0..x.len()).step_by((channels * plane).max(1)) {
        for i in 0..plane {
            let at = |c: usize| start + c * plane + i;
            let of = |v: &[f32], c: usize| f64::from(v[at(c)]);
            let s = |c: usize| {
                f64::from(a.k) + share * around(c).map(|c| of(x, c).powi(2)).sum::<f64>()
            };
            let r = |c: usize| of(dy, c) * of(x, c) * s(c).powf(-beta - 1.0);
            for c in 0..channels {
                y[at(c)] = (of(x, c) * s(c).powf(-beta)) as f32;
                let sum: f64 = around(c).map(r).sum();
                let own = of(dy, c) * s(c).powf(-beta);
                dx[at(c)] = (own - 2.0 * share * beta * of(x, c) * sum) as f32;
            }
        }
    }
    [y, dx]
}

fn close(got: &[f32], want: &[f32], what: &str) {
    for (got, want) in got.iter().zip(want) {
        assert!(
            (got - want).abs() < 2e-6 * (1.0 + want.abs()),
            "{what}: {got} {want}"
        );
    }
}

fn cases() -> Vec<(Across, [usize; 3])> {
    let parameters = [
        (5, 1e-4, 0.75, 1.0),
        (5, 0.5, 0.75, 2.0),
        (3, 1.0, 0.5, 1.0),
        (1, 1.0, 1.0, 1.0),
        (9, 2.0, 1.3, 1.5),
        (usize::MAX / 2, 1e18, 0.75, 1.0),
    ];
    let shapes = [
        [0, 3, 4],
        [2, 0, 4],
        [2, 4, 0],
        [2, 1, 7],
        [1, 4, 300],
        [3, 20, 5],
        [2, 96, 270],
        [1, 33, 1],
    ];
    let all = parameters.map(|(size, alpha, beta, k)| Across {
        size,
        alpha,
        beta,
        k,
    });
    all.iter()
        .flat_map(|a| shapes.map(|shape| (*a, shape)))
        .collect()
}

#[test]
fn equals_the_naive_twin_in_both_layouts() {
    for (a, [samples, channels, plane]) in cases() {
        let n = samples * channels * plane;
        let (x, dy) = (noise(1, n), noise(2, n));
        let what = format!("{a:?} {samples} {channels} {plane}");
        let [want_y, want_dx] = naive(&a, &x, &dy, [channels, plane]);
        let mut got = vec![f32::NAN; n];
        crew::tests::with(3, |crew| {
            a.forward_planes(crew, &x, channels, plane, &mut got)
        });
        close(&got, &want_y, &what);
        crew::tests::with(3, |crew| {
            a.backward_planes(crew, &x, &dy, channels, plane, &mut got)
        });
        close(&got, &want_dx, &what);

        // The same with channels last: each number's place in the planar array.
        let of = |i: usize| {
            let (pixel, c) = (i / channels, i % channels);
            (pixel / plane * channels + c) * plane + pixel % plane
        };
        let last = |v: &[f32]| (0..n).map(|i| v[of(i)]).collect::<Vec<_>>();
        let (x, dy) = (last(&x), last(&dy));
        crew::tests::with(3, |crew| a.forward_last(crew, &x, channels, &mut got));
        close(&got, &last(&want_y), &what);
        crew::tests::with(3, |crew| a.backward_last(crew, &x, &dy, channels, &mut got));
        close(&got, &last(&want_dx), &what);
    }
}

#[test]
fn same_bits_for_all_instruction_sets_and_cuts() {
    for (a, [samples, channels, plane]) in cases() {
        let n = samples * channels * plane;
        let (x, dy) = (noise(1, n), noise(2, n));
        let all = |isa, crew: &Crew| {
            let mut out = [(); 4].map(|()| vec![f32::NAN; n]);
            let shape = [channels, plane];
            a.forward_last_by(isa, crew, &x, channels, &mut out[0]);
            a.backward_last_by(isa, crew, [&x, &dy], channels, &mut out[1]);
            a.forward_planes_by(isa, crew, &x, shape, &mut out[2]);
            a.backward_planes_by(isa, crew, [&x, &dy], shape, &mut out[3]);
            out.map(|v| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        let want = all(Isa::PORTABLE, &Crew::alone());
        for isa in Isa::all() {
            crew::tests::each(|crew| {
                assert!(all(isa, crew) == want, "{isa:?} {} {a:?}", crew.threads());
            });
        }
    }
}
