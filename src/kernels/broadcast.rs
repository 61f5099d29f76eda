//! Loops that combine an array [outer, dim, inner] with one value for each index of the middle axis:
//! a channel's scale, shift, slope or mean.

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
    each_chunk(crew, CHUNK, y, |start, part| {
        // Runs of elements with one value of b, or (where those are single elements) rows of b.
        let run = if inner == 1 { b.len() } else { inner };
        let mut at = start;
        let mut rest = part;
        while !rest.is_empty() {
            let n = (run - at % run).min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            let x = x.map(|x| &x[at..at + n]);
            if inner == 1 {
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
            } else {
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
            at += n;
            rest = later;
        }
    });
}

/// sums\[d\] ← sums\[d\] + Σ `term`(a, b, d) over the elements with index d along the middle axis. `a`
/// and `b` are equally large.
pub fn add_sums(
    crew: &Crew,
    inner: usize,
    a: &[f32],
    b: &[f32],
    sums: &mut [f32],
    term: impl Fn(f32, f32, usize) -> f32 + Sync,
) {
    assert_eq!(a.len(), b.len());
    let dim = sums.len();
    if dim == 0 || inner == 0 {
        return;
    }
    if inner == 1 {
        let rows = a.len() / dim;
        // Groups of rows, whose sums are added in their order; how many follows from the sizes.
        let some = (CHUNK / dim).max(rows.div_ceil(MOST_SUMS)).max(1);
        let mut parts = vec![0.0f64; rows.div_ceil(some) * dim];
        each_chunk(crew, dim, &mut parts, |start, totals| {
            let first = start / dim * some;
            let range = first * dim..(first + some).min(rows) * dim;
            let (a, b) = (&a[range.clone()], &b[range]);
            for (a, b) in a.chunks_exact(dim).zip(b.chunks_exact(dim)) {
                for (d, (t, (a, b))) in totals.iter_mut().zip(a.iter().zip(b)).enumerate() {
                    *t += f64::from(term(*a, *b, d));
                }
            }
        });
        let mut totals = vec![0.0f64; dim];
        for part in parts.chunks_exact(dim) {
            totals.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
        sums.iter_mut()
            .zip(totals)
            .for_each(|(s, t)| *s += t as f32);
        return;
    }
    each_chunk(crew, 1, sums, |d, sum| {
        let mut total = 0.0f64;
        for start in (d * inner..a.len()).step_by(dim * inner) {
            let range = start..start + inner;
            total += sum_pairs(&a[range.clone()], &b[range], |a, b| term(a, b, d));
        }
        for s in sum {
            *s += total as f32;
        }
    });
}

/// Σ `term`(a, b): float32 within blocks, float64 across them, so that long sums stay exact.
pub fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    const LANES: usize = 16;
    let mut total = 0.0f64;
    for (a, b) in a.chunks(1024).zip(b.chunks(1024)) {
        let mut lanes = [0.0f32; LANES];
        let (rows_a, rows_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let rest = rows_a.remainder().iter().zip(rows_b.remainder());
        total += rest.map(|(a, b)| f64::from(term(*a, *b))).sum::<f64>();
        for (a, b) in rows_a.zip(rows_b) {
            for ((l, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *l += term(*a, *b);
            }
        }
        total += lanes.iter().map(|l| f64::from(*l)).sum::<f64>();
    }
    total
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
            let mut sums = vec![1.0; dim];
            crew::tests::with(3, |crew| {
                add_sums(crew, inner, &x, &y, &mut sums, |x, y, d| x * y - b[d])
            });
            let mut want = vec![1.0f64; dim];
            for i in 0..n {
                want[index(i)] += f64::from(x[i] * y[i] - b[index(i)]);
            }
            for (got, want) in sums.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() <= 1e-6 * want.abs().max(10.0));
            }
        }
    }

    #[test]
    fn nothing_is_no_trouble() {
        map(&Crew::alone(), 0, &[1.0], &mut [], |y, b: f32| y + b);
        map(&Crew::alone(), 1, &[] as &[f32], &mut [], |y, b| y + b);
        add_sums(&Crew::alone(), 3, &[], &[], &mut [0.0; 2], |a, _, _| a);
    }
}
