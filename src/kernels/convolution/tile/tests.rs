//! Tiles of every height, width and ending, for every instruction set. The numbers are small integers: all sums
//! are exact, in any order and with or without fused products.

use super::*;
use crate::kernels::noise;
use crate::kernels::simd::{Isa, dispatch};

#[inline(always)]
unsafe fn run_body<L: Lanes, const M: usize>(a: Rows, b: Panels, out: Out, rows: usize) {
    let of = (b.start, b.step);
    // SAFETY: as the caller says.
    unsafe {
        // The wide ones for every set, whether the kernels take them there or not.
        match b.count {
            1 => tiles::<L, 1, M>(a, of, out, rows, true),
            2 => tiles::<L, 2, 14>(a, of, out, rows, true),
            3 => tiles::<L, 3, 9>(a, of, out, rows, true),
            _ => tiles::<L, 4, 6>(a, of, out, rows, true),
        }
    }
}

dispatch! {
    /// Panels in one tile's width.
    unsafe fn run(a: Rows, b: Panels, out: Out, rows: usize) = run_body
}

/// Integers of up to ±`most`.
fn integers(seed: u64, n: usize, most: f32) -> Vec<f32> {
    let noise = noise(seed, n).into_iter();
    noise.map(|v| (v * most).round()).collect()
}

const DEPTH: usize = 5;
/// From row to row of the output: the lanes of four panels and a gap.
const ROW: usize = 67;
/// From panel to panel: they need not follow each other.
const STEP: usize = 16 * DEPTH + 3;

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
    let count = lanes.div_ceil(16);
    assert!(b.len() >= count * STEP && bias.is_none_or(|b| b.len() >= 16 * count));
    assert!(lanes <= 64 && y.len() == rows * ROW);
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
    unsafe {
        let panels = Panels {
            start: b.as_ptr(),
            step: STEP,
            count,
        };
        run(isa, from, panels, out, rows);
    }
    y
}

#[test]
fn every_height_width_and_ending() {
    let (b, bias) = (integers(1, 4 * STEP, 9.0), integers(2, 64, 40.0));
    for rows in 1..=29 {
        let (a, y) = (
            integers(3, rows * DEPTH, 9.0),
            integers(4, rows * ROW, 60.0),
        );
        let lanes = (1..=16).chain([17, 31, 32, 33, 41, 48, 49, 63, 64]);
        for (lanes, ending) in lanes.flat_map(|lanes| (0..8).map(move |e| (lanes, e))) {
            let bias = (ending & 1 > 0).then_some(&bias[..]);
            let then = Then {
                add: ending & 2 > 0,
                relu: ending & 4 > 0,
                round: false,
            };
            let mut want = y.clone();
            for (r, want) in want.chunks_exact_mut(ROW).enumerate() {
                for (i, want) in want[..lanes].iter_mut().enumerate() {
                    let products =
                        (0..DEPTH).map(|k| a[r * DEPTH + k] * b[i / 16 * STEP + 16 * k + i % 16]);
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
    let (b, y) = (integers(1, 4 * STEP, 9.0), vec![f32::NAN; 13 * ROW]);
    let a = integers(3, 13 * DEPTH, 9.0);
    let then = Then {
        add: true,
        relu: true,
        ..Then::default()
    };
    for isa in Isa::all() {
        for lanes in [7, 16, 40, 64] {
            let got = written(isa, &a, &b, None, lanes, then, &y);
            assert!(got.iter().all(|v| v.is_nan()), "{isa:?}, {lanes} lanes");
        }
    }
}

#[test]
fn columns_leave_no_panel_alone() {
    use crate::kernels::simd::Portable;
    for count in 1..200 {
        assert_eq!(columns::<Portable>(count, 0), 1);
    }
    #[cfg(target_arch = "x86_64")]
    for count in 1..200 {
        use crate::kernels::simd::Avx512;
        let (mut left, mut widths) = (count, Vec::new());
        while left > 0 {
            widths.push(columns::<Avx512>(left, 0));
            left -= widths[widths.len() - 1];
        }
        assert!(count == 1 || !widths.contains(&1), "{count}: {widths:?}");
        let narrow = widths.iter().filter(|w| **w == 2).count();
        assert!(narrow <= 1, "{count}: {widths:?}");
        let mut left = count;
        while left > 1 {
            left -= columns::<Avx512>(left, LONG);
        }
        assert!(left == 0 || count == 1, "{count} long ones");
    }
}

#[inline(always)]
unsafe fn run_outer_body<L: Lanes, const M: usize>(
    a: (*const f32, usize),
    n: usize,
    d: Lines,
    out: Sums,
) {
    // SAFETY: as the caller says.
    unsafe {
        match d.count {
            1 => outers::<L, 1, M>(a, n, d, out),
            2 => outers::<L, 2, 14>(a, n, d, out),
            3 => outers::<L, 3, 9>(a, n, d, out),
            _ => outers::<L, 4, 6>(a, n, d, out),
        }
    }
}

dispatch! {
    /// An outer product in one tile's width.
    unsafe fn run_outer(a: (*const f32, usize), n: usize, d: Lines, out: Sums) = run_outer_body
}

#[test]
fn outer_products_of_every_height_and_width() {
    const PIXELS: usize = 7;
    for n in 1..=30 {
        for count in 1..=4 {
            let (a, d) = (integers(5, PIXELS * n, 9.0), integers(6, PIXELS * 70, 9.0));
            let before = integers(7, count * (16 * n + 5), 60.0);
            for fresh in [false, true] {
                let mut want = before.clone();
                for (c, i, lane) in (0..count)
                    .flat_map(|c| (0..n).flat_map(move |i| (0..16).map(move |l| (c, i, l))))
                {
                    let products = (0..PIXELS).map(|r| a[r * n + i] * d[r * 70 + 16 * c + lane]);
                    let sum = &mut want[c * (16 * n + 5) + 16 * i + lane];
                    *sum = products.sum::<f32>() + if fresh { 0.0 } else { *sum };
                }
                for isa in Isa::all() {
                    let mut got = before.clone();
                    let lines = Lines {
                        start: d.as_ptr(),
                        step: 70,
                        rows: PIXELS,
                        count,
                    };
                    let sums = Sums {
                        start: got.as_mut_ptr(),
                        step: 16 * n + 5,
                        fresh,
                    };
                    // SAFETY: the sizes are those above.
                    unsafe { run_outer(isa, (a.as_ptr(), n), n, lines, sums) };
                    assert_eq!(got, want, "{isa:?}, {n} by {count} columns, fresh {fresh}");
                }
            }
        }
    }
}
