//! Some results of a row at a time, for sixteen channels.

use super::Pass;
use super::axis::{Phase, Tap};
use crate::kernels::convolution::tile::{Out, finish, sized};
use crate::kernels::simd::Lanes;
use std::ops::Range;

/// What is read for some results of a row.
#[derive(Clone, Copy)]
pub(super) struct Under<'a> {
    pub x: *const f32,
    /// Sixteen channels' weights.
    pub w: *const f32,
    /// The kernel's rows that are inside x.
    pub rows: &'a [Tap],
    /// Floats from result to result.
    pub step: usize,
    /// By how many rows the next row of results reads on.
    pub down: usize,
    /// Channels, up to sixteen.
    pub lanes: usize,
}

/// The first `lanes` of sixteen channels, all of them if not PART.
#[inline(always)]
pub(super) unsafe fn load<L: Lanes, const PART: bool>(x: *const f32, lanes: usize) -> L {
    // SAFETY: as the caller says.
    unsafe {
        match PART {
            true => L::load_first(x, lanes),
            false => L::load(x),
        }
    }
}

/// P results of any kernel, whose elements in a row of x are `taps`.
#[inline(always)]
unsafe fn any<L: Lanes, const P: usize, const PART: bool>(from: Under, taps: &[Tap], out: Out) {
    // SAFETY: as the caller says.
    unsafe {
        let mut acc = [L::zero(); P];
        for row in from.rows {
            for tap in taps {
                let w = L::load(from.w.add(row.w + tap.w));
                let x = from.x.wrapping_offset(row.x + tap.x);
                for p in 0..P {
                    let x = load::<L, PART>(x.add(p * from.step), from.lanes);
                    acc[p] = acc[p].mul_add(w, x);
                }
            }
        }
        finish::<L, P>(acc, out);
    }
}

/// [`any`], whatever the number of channels.
#[inline(always)]
unsafe fn some<L: Lanes, const P: usize>(from: Under, taps: &[Tap], out: Out) {
    // SAFETY: as the caller says.
    unsafe {
        match from.lanes {
            16 => any::<L, P, false>(from, taps, out),
            _ => any::<L, P, true>(from, taps, out),
        }
    }
}

/// P results of three neighbouring elements a row, S elements apart: each element of x is loaded once.
#[inline(always)]
unsafe fn three<L: Lanes, const P: usize, const S: usize>(
    from: Under,
    taps: &[Tap; 3],
    pixel: usize,
    out: Out,
) {
    // SAFETY: as the caller says.
    unsafe {
        let mut acc = [L::zero(); P];
        for row in from.rows {
            let w = from.w.add(row.w);
            let w = [
                L::load(w.add(taps[0].w)),
                L::load(w.add(taps[1].w)),
                L::load(w.add(taps[2].w)),
            ];
            let x = from.x.wrapping_offset(row.x + taps[0].x);
            for i in 0..(P - 1) * S + 3 {
                let x = L::load(x.add(i * pixel));
                for k in 0..3 {
                    if i >= k && (i - k) % S == 0 && (i - k) / S < P {
                        acc[(i - k) / S] = acc[(i - k) / S].mul_add(w[k], x);
                    }
                }
            }
        }
        finish::<L, P>(acc, out);
    }
}

#[inline(always)]
unsafe fn three_apart1<L: Lanes, const P: usize>(f: Under, t: &[Tap; 3], pixel: usize, out: Out) {
    // SAFETY: as the caller says.
    unsafe { three::<L, P, 1>(f, t, pixel, out) }
}

#[inline(always)]
unsafe fn three_apart2<L: Lanes, const P: usize>(f: Under, t: &[Tap; 3], pixel: usize, out: Out) {
    // SAFETY: as the caller says.
    unsafe { three::<L, P, 2>(f, t, pixel, out) }
}

/// The results of one phase of a row, for some blocks of channels; `from` and `out` are at its first and at the
/// first block.
#[inline(always)]
pub(super) unsafe fn phase<L: Lanes, const M: usize>(
    p: &Pass,
    phase: &Phase,
    from: Under,
    out: Out,
    blocks: Range<usize>,
) {
    let at = |j: usize, b: usize| {
        let lanes = (p.channels - 16 * b).min(16);
        let moved = 16 * (b - blocks.start);
        let from = Under {
            x: from.x.wrapping_add(j * from.step + moved),
            w: from.w.wrapping_add((b - blocks.start) * p.block),
            lanes,
            ..from
        };
        let out = Out {
            start: out.start.wrapping_add(j * out.row + moved),
            bias: match out.bias.is_null() {
                true => out.bias,
                false => out.bias.wrapping_add(moved),
            },
            lanes,
            ..out
        };
        (from, out)
    };
    let whole = phase.whole.clone();
    let all = phase.all();
    let three = <&[Tap; 3]>::try_from(all).ok();
    let three = three.filter(|_| phase.dense && phase.step <= 2);
    // Accumulators of three results, the weights of a row and one element leave AVX2 no register for a fourth.
    let few = if M <= 6 { 3 } else { 8 };
    let most = if three.is_some() { few } else { M };
    // SAFETY: as the caller says; outside of `whole` only the elements inside x are read.
    unsafe {
        for j in (0..whole.start).chain(whole.end..phase.count) {
            let taps = phase.taps(j);
            for b in blocks.clone() {
                let (from, out) = at(j, b);
                some::<L, 1>(from, taps, out);
            }
        }
        let mut j = whole.start;
        while j < whole.end {
            let n = tile(whole.end - j, most);
            for b in blocks.clone() {
                let (from, out) = at(j, b);
                if let (Some(row), Some(tap)) = (from.rows.last(), all.last()) {
                    // What the next row reads first: it may lie in another core's cache.
                    let next = from.x.wrapping_offset(row.x + tap.x);
                    for y in 1..=from.down {
                        let next = next.wrapping_add(y * p.x.row);
                        for i in 0..n * phase.step {
                            L::prefetch(next.wrapping_add(i * p.x.pixel));
                        }
                    }
                }
                match (three, phase.step) {
                    (Some(t), 1) if from.lanes == 16 => {
                        sized!(few, n, three_apart1::<L>(from, t, p.x.pixel, out));
                    }
                    (Some(t), 2) if from.lanes == 16 => {
                        sized!(few, n, three_apart2::<L>(from, t, p.x.pixel, out));
                    }
                    _ => sized!(M, n, some::<L>(from, all, out)),
                }
            }
            j += n;
        }
    }
}

/// How many of `left` results are next, at most `most`: a thin last tile would leave the multipliers waiting.
#[inline(always)]
fn tile(left: usize, most: usize) -> usize {
    match left {
        n if n <= most => n,
        n if n < 2 * most => n.div_ceil(2),
        _ => most,
    }
}
