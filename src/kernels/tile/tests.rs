//! Tiles of every height, width and ending, for every instruction set. The numbers are small integers: all sums
//! are exact, in any order and with or without fused products.

use super::*;
use crate::kernels::noise;
use crate::kernels::simd::{Isa, dispatch};

#[inline(always)]
unsafe fn run_body<L: Lanes, const M: usize>(a: Rows, b: *const f32, out: Out, rows: usize) {
    // SAFETY: as the caller says.
    unsafe { panel::<L, M>(a, b, out, rows, true) }
}

dispatch! {
    /// A panel.
    unsafe fn run(a: Rows, b: *const f32, out: Out, rows: usize) = run_body
}

/// Integers of up to ±`most`.
fn integers(seed: u64, n: usize, most: f32) -> Vec<f32> {
    let noise = noise(seed, n).into_iter();
    noise.map(|v| (v * most).round()).collect()
}

const DEPTH: usize = 5;
/// From row to row of the output: sixteen lanes and a gap.
const ROW: usize = 19;

/// What a panel writes over `y`.
fn written(
    isa: Isa,
    a: &[f32],
    b: &[f32],
    bias: Option<&[f32]>,
    lanes: usize,
    then: Then,
    y: &[f32],
) -> Vec<f32> {
    let mut y = y.to_vec();
    let rows = a.len() / DEPTH;
    assert!(b.len() == 16 * DEPTH && y.len() == rows * ROW && bias.is_none_or(|b| b.len() == 16));
    let from = Rows {
        start: a.as_ptr(),
        row: DEPTH,
        runs: [(1, 0); 2],
        len: DEPTH,
        far: true,
    };
    let out = Out {
        start: y.as_mut_ptr(),
        row: ROW,
        lanes,
        bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        then,
    };
    // SAFETY: the sizes are as asserted.
    unsafe { run(isa, from, b.as_ptr(), out, rows) };
    y
}

#[test]
fn every_height_width_and_ending() {
    let (b, bias) = (integers(1, 16 * DEPTH, 9.0), integers(2, 16, 40.0));
    for rows in 1..=26 {
        let (a, y) = (
            integers(3, rows * DEPTH, 9.0),
            integers(4, rows * ROW, 60.0),
        );
        for (lanes, ending) in (1..=16).flat_map(|lanes| (0..8).map(move |e| (lanes, e))) {
            let bias = (ending & 1 > 0).then_some(&bias[..]);
            let then = Then {
                add: ending & 2 > 0,
                relu: ending & 4 > 0,
            };
            let mut want = y.clone();
            for (r, want) in want.chunks_exact_mut(ROW).enumerate() {
                for (i, want) in want[..lanes].iter_mut().enumerate() {
                    let products = (0..DEPTH).map(|k| a[r * DEPTH + k] * b[16 * k + i]);
                    let mut sum = products.sum::<f32>() + bias.map_or(0.0, |b| b[i]);
                    if then.add {
                        sum += *want;
                    }
                    *want = if then.relu { sum.max(0.0) } else { sum };
                }
            }
            for isa in Isa::all() {
                let got = written(isa, &a, &b, bias, lanes, then, &y);
                assert_eq!(got, want, "{isa:?}, {rows} rows, {lanes} lanes, {then:?}");
            }
        }
    }
}

#[test]
fn a_nan_is_kept_in_whole_and_partial_rows() {
    let (b, y) = (integers(1, 16 * DEPTH, 9.0), vec![f32::NAN; 13 * ROW]);
    let a = integers(3, 13 * DEPTH, 9.0);
    let then = Then {
        add: true,
        relu: true,
    };
    for isa in Isa::all() {
        for lanes in [7, 16] {
            let got = written(isa, &a, &b, None, lanes, then, &y);
            assert!(got.iter().all(|v| v.is_nan()), "{isa:?}, {lanes} lanes");
        }
    }
}
