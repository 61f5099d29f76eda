//! Loops that combine an array [outer, dim, inner] with one value for each index of the middle axis:
//! a channel's scale, shift, slope or mean.

use super::simd::wide;
use super::{CHUNK, each_chunk};
use crate::kernels::crew::Crew;

/// The most sums of rows that are added up at the end, on one thread.
const MOST_SUMS: usize = 256;

/// y ← `op`(y, b\[d\]) for each element, d being its index along the middle axis; `b` has one value an
/// index.
pub fn map<B: Copy + Sync>(
    crew: &Crew,
    inner: usize,
    b: &[B],
    y: &mut [f32],
    op: impl Fn(f32, B) -> f32 + Sync,
) {
    zip_map(crew, inner, b, None, y, |y, _, b| op(y, b));
}

/// y ← `op`(y, x, b\[d\]) for each element; `x` is as large as `y`, or absent (then 0 stands for it).
pub fn zip_map<B: Copy + Sync>(
    crew: &Crew,
    inner: usize,
    b: &[B],
    x: Option<&[f32]>,
    y: &mut [f32],
    op: impl Fn(f32, f32, B) -> f32 + Sync,
) {
    assert!(x.is_none_or(|x| x.len() == y.len()));
    if b.is_empty() || inner == 0 {
        return;
    }
    let chunk = |start: usize, part: &mut [f32]| {
        // Runs of elements with one value of b, or (where those are single elements) rows of b.
        let run = if inner == 1 { b.len() } else { inner };
        let mut at = start;
        let mut rest = part;
        while !rest.is_empty() {
            let n = (run - at % run).min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            let x = x.map(|x| &x[at..at + n]);
            match inner {
                1 => {
                    let b = &b[at % run..];
                    match x {
                        Some(x) => {
                            for ((y, x), b) in now.iter_mut().zip(x).zip(b) {
                                *y = op(*y, *x, *b);
                            }
                        }
                        None => {
                            for (y, b) in now.iter_mut().zip(b) {
                                *y = op(*y, 0.0, *b);
                            }
                        }
                    }
                }
                _ => {
                    let b = b[at / inner % b.len()];
                    match x {
                        Some(x) => {
                            for (y, x) in now.iter_mut().zip(x) {
                                *y = op(*y, *x, b);
                            }
                        }
                        None => now.iter_mut().for_each(|y| *y = op(*y, 0.0, b)),
                    }
                }
            }
            at += n;
            rest = later;
        }
    };
    each_chunk(crew, CHUNK, y, |start, part| wide(|| chunk(start, part)));
}

/// sums\[k\]\[d\] ← sums\[k\]\[d\] + Σ `term`(x, y, b\[d\])\[k\] over the elements with index d along the middle
/// axis. `x` and `y` are equally large; `b` and each of `sums` have one value an index.
pub fn add_sums<B: Copy + Sync, const K: usize>(
    crew: &Crew,
    inner: usize,
    [x, y]: [&[f32]; 2],
    b: &[B],
    sums: [&mut [f32]; K],
    term: impl Fn(f32, f32, B) -> [f32; K] + Sync,
) {
    assert_eq!(x.len(), y.len());
    let dim = b.len();
    assert!(sums.iter().all(|s| s.len() == dim));
    if dim == 0 || inner == 0 {
        return;
    }
    let mut totals = vec![[0.0f64; K]; dim];
    if inner == 1 {
        sum_rows(crew, [x, y], b, &mut totals, term);
    } else {
        each_chunk(crew, 1, &mut totals, |d, total| {
            let (b, mut sum) = (b[d], [0.0f64; K]);
            for start in (d * inner..x.len()).step_by(dim * inner) {
                let range = start..start + inner;
                let part = sums_of_pairs(&x[range.clone()], &y[range], |x, y| term(x, y, b));
                sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
            }
            total[0] = sum;
        });
    }
    for (k, sums) in sums.into_iter().enumerate() {
        let totals = totals.iter().map(|t| t[k] as f32);
        sums.iter_mut().zip(totals).for_each(|(s, t)| *s += t);
    }
}

/// totals\[d\] ← the sums over the rows of `x` and `y`, which have one element an index.
fn sum_rows<B: Copy + Sync, const K: usize>(
    crew: &Crew,
    [x, y]: [&[f32]; 2],
    b: &[B],
    totals: &mut [[f64; K]],
    term: impl Fn(f32, f32, B) -> [f32; K] + Sync,
) {
    let dim = b.len();
    let rows = x.len() / dim;
    // Groups of rows, whose sums are added in their order; how many follows from the sizes.
    let some = (CHUNK / dim).max(rows.div_ceil(MOST_SUMS)).max(1);
    let mut parts = vec![0.0f64; rows.div_ceil(some) * K * dim];
    each_chunk(crew, K * dim, &mut parts, |start, sums| {
        let first = start / (K * dim) * some;
        let range = first * dim..(first + some).min(rows) * dim;
        let (x, y) = (&x[range.clone()], &y[range]);
        wide(|| {
            for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact(dim)) {
                add_row([x, y], b, sums, &term);
            }
        });
    });
    for part in parts.chunks_exact(K * dim) {
        for (k, part) in part.chunks_exact(dim).enumerate() {
            totals.iter_mut().zip(part).for_each(|(t, p)| t[k] += p);
        }
    }
}

/// sums\[k\]\[d\] += `term`(x\[d\], y\[d\], b\[d\])\[k\].
#[inline(always)]
fn add_row<B: Copy, const K: usize>(
    [x, y]: [&[f32]; 2],
    b: &[B],
    sums: &mut [f64],
    term: impl Fn(f32, f32, B) -> [f32; K],
) {
    for (k, sums) in sums.chunks_exact_mut(b.len()).enumerate() {
        // A row is in the nearest cache: again for each sum is as fast as at once.
        for (s, ((x, y), b)) in sums.iter_mut().zip(x.iter().zip(y).zip(b)) {
            *s += f64::from(term(*x, *y, *b)[k]);
        }
    }
}

/// Σ `term`(x, y): float32 within blocks, float64 across them, so that long sums stay exact.
pub fn sum_pairs(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    sums_of_pairs(x, y, |x, y| [term(x, y)])[0]
}

/// [`sum_pairs`] of several terms.
fn sums_of_pairs<const K: usize>(
    x: &[f32],
    y: &[f32],
    term: impl Fn(f32, f32) -> [f32; K],
) -> [f64; K] {
    const LANES: usize = 16;
    wide(|| {
        let mut totals = [0.0f64; K];
        for (x, y) in x.chunks(1024).zip(y.chunks(1024)) {
            let mut lanes = [[0.0f32; LANES]; K];
            let (rows_x, rows_y) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
            let mut rest = [0.0f64; K];
            for (x, y) in rows_x.remainder().iter().zip(rows_y.remainder()) {
                let terms = term(*x, *y);
                rest.iter_mut()
                    .zip(terms)
                    .for_each(|(r, t)| *r += f64::from(t));
            }
            for (x, y) in rows_x.zip(rows_y) {
                for i in 0..LANES {
                    let terms = term(x[i], y[i]);
                    for k in 0..K {
                        lanes[k][i] += terms[k];
                    }
                }
            }
            for k in 0..K {
                totals[k] += rest[k];
                totals[k] += lanes[k].iter().map(|l| f64::from(*l)).sum::<f64>();
            }
        }
        totals
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::crew;
    use crate::kernels::noise;

    #[test]
    fn as_the_naive_loop() {
        for [outer, dim, inner] in [
            [3, 4, 5],
            [7, 3000, 1],
            [2, 3, 20_000],
            [1, 1, 40_000],
            [9000, 4, 1],
            [2, 1, 1],
        ] {
            let n = outer * dim * inner;
            let (x, y, b) = (noise(1, n), noise(2, n), noise(3, dim));
            let index = |i: usize| i / inner % dim;
            let mut mapped = y.clone();
            crew::tests::with(3, |crew| map(crew, inner, &b, &mut mapped, |y, b| y * b));
            let mut zipped = y.clone();
            crew::tests::with(3, |crew| {
                zip_map(crew, inner, &b, Some(&x), &mut zipped, |y, x, b| y * b + x)
            });
            for i in 0..n {
                assert_eq!(mapped[i], y[i] * b[index(i)]);
                assert_eq!(zipped[i], y[i] * b[index(i)] + x[i]);
            }
            let (mut sums, mut plain) = (vec![1.0; dim], vec![2.0; dim]);
            crew::tests::with(3, |crew| {
                let both = [&mut sums[..], &mut plain[..]];
                add_sums(crew, inner, [&x, &y], &b, both, |x, y, b| [x * y - b, y])
            });
            let (mut want, mut want_plain) = (vec![1.0f64; dim], vec![2.0f64; dim]);
            for i in 0..n {
                want[index(i)] += f64::from(x[i] * y[i] - b[index(i)]);
                want_plain[index(i)] += f64::from(y[i]);
            }
            for (got, want) in sums
                .iter()
                .chain(&plain)
                .zip(want.iter().chain(&want_plain))
            {
                assert!((f64::from(*got) - want).abs() <= 1e-6 * want.abs().max(10.0));
            }
        }
    }

    #[test]
    fn nothing_is_no_trouble() {
        map(&Crew::alone(), 0, &[1.0], &mut [], |y, b: f32| y + b);
        map(&Crew::alone(), 1, &[] as &[f32], &mut [], |y, b| y + b);
        let sums = [&mut [0.0; 2][..]];
        add_sums(&Crew::alone(), 3, [&[], &[]], &[(); 2], sums, |a, _, _| [a]);
    }
}
