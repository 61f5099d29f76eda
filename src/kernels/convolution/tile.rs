//! The register tiles: rows by panels of 16 columns, the heart of every convolution.
#![allow(unsafe_code, clippy::missing_safety_doc)]

use crate::kernels::simd::Lanes;

/// Where the rows of a tile's left operand are: element k of run (i, j) of row r is at
/// `start + r·row + i·runs[0].1 + j·runs[1].1 + k`, and a row is all runs one after the other.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// Row 0.
    pub start: *const f32,
    /// From row to row.
    pub row: usize,
    /// How many runs, and how far apart, in two levels.
    pub runs: [(usize, usize); 2],
    /// Elements of a run.
    pub len: usize,
    /// Whether the rows come from far, so that the cache shall be asked for the next ones.
    pub far: bool,
}

/// Panels of 16 columns side by side, of as many rows as the left operand is long.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub start: *const f32,
    /// From panel to panel.
    pub step: usize,
    /// How many.
    pub count: usize,
}

/// acc[c][r] += Σ a[r, k] · b[c][k, 0..16] over all runs. With AHEAD the cache is asked for the panels behind b
/// meanwhile, and for the rows behind a's if those are far.
#[inline(always)]
unsafe fn multiply<L: Lanes, const C: usize, const M: usize, const AHEAD: bool>(
    a: Rows,
    mut b: *const f32,
    step: usize,
    acc: &mut [[L; M]; C],
) {
    // SAFETY: as the caller says.
    unsafe {
        for (i, j) in (0..a.runs[0].0).flat_map(|i| (0..a.runs[1].0).map(move |j| (i, j))) {
            let p = a.start.add(i * a.runs[0].1 + j * a.runs[1].1);
            if a.far && i == 0 && j == 0 {
                for r in M..2 * M {
                    for k in (0..a.len).step_by(16) {
                        L::prefetch(p.wrapping_add(r * a.row + k));
                    }
                }
            }
            for k in 0..a.len {
                let mut v = [L::zero(); C];
                for c in 0..C {
                    v[c] = L::load(b.add(c * step));
                    if AHEAD {
                        L::prefetch_far(b.wrapping_add((C + c) * step));
                    }
                }
                b = b.add(16);
                for r in 0..M {
                    let x = L::splat(*p.add(r * a.row + k));
                    for c in 0..C {
                        acc[c][r] = acc[c][r].mul_add(x, v[c]);
                    }
                }
            }
        }
    }
}

/// What happens to sums on their way out.
#[derive(Clone, Copy)]
pub(super) struct Out {
    /// Row 0.
    pub start: *mut f32,
    /// From row to row.
    pub row: usize,
    /// Channels to write, up to 16 a panel.
    pub lanes: usize,
    /// 16 biases a panel, or null.
    pub bias: *const f32,
    pub then: Then,
}

/// What else is done with results before they are stored: first `add`, then `relu`, then `round`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// They are added to what is there.
    pub add: bool,
    /// Negative ones become 0.
    pub relu: bool,
    /// They are rounded to bfloat16. Only AMX's kernels do this; whoever asks others does it afterwards.
    pub round: bool,
}

/// Sums on their way out. Each step is a loop of its own, without a branch inside, and whole and partial rows have
/// different ones: what the compiler does not unroll would keep the sums in memory, also while they are added up.
#[inline(always)]
pub(super) unsafe fn finish<L: Lanes, const M: usize>(acc: [L; M], out: Out) {
    // SAFETY: as the caller says; the sums in memory are M rows of sixteen.
    unsafe {
        if out.lanes == 16 {
            finish_lanes::<L, M, false>(acc, out);
        } else if L::MASKED {
            finish_lanes::<L, M, true>(acc, out);
        } else {
            let mut sums = [[0.0f32; 16]; M];
            for r in 0..M {
                acc[r].store(sums[r].as_mut_ptr());
            }
            finish_part(&sums, out);
        }
    }
}

/// [`finish`] in registers: of all sixteen lanes, or if PART of the first `out.lanes`.
#[inline(always)]
unsafe fn finish_lanes<L: Lanes, const M: usize, const PART: bool>(mut acc: [L; M], out: Out) {
    // SAFETY: as the caller says: the rows have `out.lanes` floats, there are sixteen biases.
    unsafe {
        if !out.bias.is_null() {
            let bias = L::load(out.bias);
            for r in 0..M {
                acc[r] = acc[r].add(bias);
            }
        }
        if out.then.add {
            for r in 0..M {
                let p = out.start.add(r * out.row);
                acc[r] = acc[r].add(match PART {
                    true => L::load_first(p, out.lanes),
                    false => L::load(p),
                });
            }
        }
        if out.then.relu {
            for r in 0..M {
                acc[r] = acc[r].relu();
            }
        }
        for r in 0..M {
            let p = out.start.add(r * out.row);
            match PART {
                true => acc[r].store_first(p, out.lanes),
                false => acc[r].store(p),
            }
        }
    }
}

/// [`finish`] of the first `out.lanes` sums of each row, one by one.
#[inline(never)]
unsafe fn finish_part(sums: &[[f32; 16]], out: Out) {
    for (r, sums) in sums.iter().enumerate() {
        for (i, sum) in sums[..out.lanes].iter().enumerate() {
            // SAFETY: as the caller says: the rows have `out.lanes` floats, there are sixteen biases.
            unsafe {
                let p = out.start.add(r * out.row + i);
                let mut v = *sum;
                if !out.bias.is_null() {
                    v += *out.bias.add(i);
                }
                if out.then.add {
                    v += *p;
                }
                *p = if out.then.relu && v < 0.0 { 0.0 } else { v };
            }
        }
    }
}

#[inline(always)]
unsafe fn one<L: Lanes, const C: usize, const M: usize>(
    a: Rows,
    b: (*const f32, usize),
    out: Out,
    ahead: bool,
) {
    // SAFETY: as the caller says.
    unsafe {
        let mut acc = [[L::zero(); M]; C];
        match ahead {
            true => multiply::<L, C, M, true>(a, b.0, b.1, &mut acc),
            false => multiply::<L, C, M, false>(a, b.0, b.1, &mut acc),
        }
        // One after the other, not in a loop: see `finish`.
        ended::<L, C, M, 0>(&acc, out);
        ended::<L, C, M, 1>(&acc, out);
        ended::<L, C, M, 2>(&acc, out);
        ended::<L, C, M, 3>(&acc, out);
    }
}

/// Ends panel I of C.
#[inline(always)]
unsafe fn ended<L: Lanes, const C: usize, const M: usize, const I: usize>(
    acc: &[[L; M]; C],
    out: Out,
) {
    if I >= C {
        return;
    }
    // SAFETY: as the caller says.
    unsafe {
        let bias = match out.bias.is_null() {
            true => out.bias,
            false => out.bias.add(16 * I),
        };
        let out = Out {
            start: out.start.add(16 * I),
            lanes: (out.lanes - 16 * I).min(16),
            bias,
            ..out
        };
        finish::<L, M>(acc[I], out);
    }
}

/// Calls `$f::<L, …, n>($args)` for `$n` of 1 to M; what is above M is not compiled.
macro_rules! sized {
    ($M:ident, $n:expr, $f:ident $(::<$($T:ident),*>)? ($($arg:expr),*)) => {
        match $n {
            1 => $f::<$($($T,)*)? 1>($($arg),*),
            2 => $f::<$($($T,)*)? 2>($($arg),*),
            3 => $f::<$($($T,)*)? 3>($($arg),*),
            4 if $M >= 4 => $f::<$($($T,)*)? 4>($($arg),*),
            5 if $M >= 5 => $f::<$($($T,)*)? 5>($($arg),*),
            6 if $M >= 6 => $f::<$($($T,)*)? 6>($($arg),*),
            7 if $M >= 7 => $f::<$($($T,)*)? 7>($($arg),*),
            8 if $M >= 8 => $f::<$($($T,)*)? 8>($($arg),*),
            9 if $M >= 9 => $f::<$($($T,)*)? 9>($($arg),*),
            10 if $M >= 10 => $f::<$($($T,)*)? 10>($($arg),*),
            11 if $M >= 11 => $f::<$($($T,)*)? 11>($($arg),*),
            12 if $M >= 12 => $f::<$($($T,)*)? 12>($($arg),*),
            13 if $M >= 13 => $f::<$($($T,)*)? 13>($($arg),*),
            14 if $M >= 14 => $f::<$($($T,)*)? 14>($($arg),*),
            n => unreachable!("a tile of {n} rows"),
        }
    };
}

pub(super) use sized;

/// Panels as long as this come from far for every tile: fewer and higher tiles read them less often.
const LONG: usize = 1024;

/// How many of `count` panels, of so many rows, the next tile takes side by side: a number that is broadcast is then
/// multiplied with all of them. Where registers are few, rows are worth more than columns. A single panel is left only
/// where there is but one.
#[inline(always)]
pub(super) fn columns<L: Lanes>(count: usize, rows: usize) -> usize {
    match count {
        _ if L::COLUMNS == 1 => 1,
        1 | 2 => count,
        n if rows >= LONG && n != 3 => 2,
        n if n.is_multiple_of(4) => 4,
        n if n.is_multiple_of(3) || n % 4 == 1 => 3,
        _ => 4,
    }
}

/// `rows` rows of the panels, as many as [`columns`] says for them, in one tile's width. `ahead`: the panels behind `b`
/// are the next to be used.
///
/// The sums of a tile, a line of each panel and the number that is broadcast fill the registers. (A sixth row of four
/// panels would fit too, but where the compiler broadcasts some numbers ahead it then puts sums on the stack.)
#[inline(always)]
pub(super) unsafe fn product<L: Lanes, const M: usize>(
    a: Rows,
    b: Panels,
    out: Out,
    rows: usize,
    ahead: bool,
) {
    let (panels, step) = (b.start, b.step);
    // SAFETY: as the caller says.
    unsafe {
        match b.count {
            4 if L::COLUMNS > 1 => tiles::<L, 4, 5>(a, (panels, step), out, rows, ahead),
            3 if L::COLUMNS > 1 => tiles::<L, 3, 9>(a, (panels, step), out, rows, ahead),
            2 if L::COLUMNS > 1 => tiles::<L, 2, 14>(a, (panels, step), out, rows, ahead),
            _ => tiles::<L, 1, M>(a, (panels, step), out, rows, ahead),
        }
    }
}

/// `rows` rows of C panels, in tiles of nearly equal height: a thin last tile would leave the multipliers waiting for
/// each other.
#[inline(always)]
unsafe fn tiles<L: Lanes, const C: usize, const M: usize>(
    a: Rows,
    b: (*const f32, usize),
    out: Out,
    rows: usize,
    ahead: bool,
) {
    let tiles = rows.div_ceil(M);
    for t in 0..tiles {
        let (from, to) = (rows * t / tiles, rows * (t + 1) / tiles);
        // SAFETY: as the caller says.
        unsafe {
            let a = Rows {
                start: a.start.add(from * a.row),
                ..a
            };
            let out = Out {
                start: out.start.add(from * out.row),
                ..out
            };
            sized!(M, to - from, one::<L, C>(a, b, out, ahead && t == 0));
        }
    }
}

/// The right operand of an outer product: rows of 16 lanes a column, `step` floats apart.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub start: *const f32,
    pub step: usize,
    pub rows: usize,
    /// Columns of 16 lanes side by side: as many as [`columns`] says.
    pub count: usize,
}

/// Sums of an outer product: [column][n][16].
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub start: *mut f32,
    /// From column to column.
    pub step: usize,
    /// They hold nothing yet.
    pub fresh: bool,
}

#[inline(always)]
unsafe fn outer_one<L: Lanes, const C: usize, const M: usize>(
    a: *const f32,
    a_step: usize,
    d: Lines,
    out: Sums,
) {
    // SAFETY: as the caller of `outer` says.
    unsafe {
        let mut acc = [[L::zero(); M]; C];
        if !out.fresh {
            for c in 0..C {
                for i in 0..M {
                    acc[c][i] = L::load(out.start.add(c * out.step + 16 * i));
                }
            }
        }
        for r in 0..d.rows {
            let mut v = [L::zero(); C];
            for c in 0..C {
                v[c] = L::load(d.start.add(r * d.step + 16 * c));
            }
            let p = a.add(r * a_step);
            for i in 0..M {
                let x = L::splat(*p.add(i));
                for c in 0..C {
                    acc[c][i] = acc[c][i].mul_add(x, v[c]);
                }
            }
        }
        for c in 0..C {
            for i in 0..M {
                acc[c][i].store(out.start.add(c * out.step + 16 * i));
            }
        }
    }
}

/// out[c][i][0..16] += Σ over rows of a[row][i]·d[row][c][0..16] for i in 0..n.
///
/// # Safety
/// `a` has n floats in each row, `d` 16 a column, each column of `out` n·16; L's instruction set is there.
#[inline(always)]
pub(super) unsafe fn outer<L: Lanes, const M: usize>(
    a: (*const f32, usize),
    n: usize,
    d: Lines,
    out: Sums,
) {
    // SAFETY: as the caller says.
    unsafe {
        match d.count {
            4 if L::COLUMNS > 1 => outers::<L, 4, 6>(a, n, d, out),
            3 if L::COLUMNS > 1 => outers::<L, 3, 9>(a, n, d, out),
            2 if L::COLUMNS > 1 => outers::<L, 2, 14>(a, n, d, out),
            _ => outers::<L, 1, M>(a, n, d, out),
        }
    }
}

#[inline(always)]
unsafe fn outers<L: Lanes, const C: usize, const M: usize>(
    (a, a_step): (*const f32, usize),
    n: usize,
    d: Lines,
    out: Sums,
) {
    let tiles = n.div_ceil(M);
    for t in 0..tiles {
        let (from, to) = (n * t / tiles, n * (t + 1) / tiles);
        // SAFETY: as the caller says.
        unsafe {
            let a = a.add(from);
            let out = Sums {
                start: out.start.add(16 * from),
                ..out
            };
            sized!(M, to - from, outer_one::<L, C>(a, a_step, d, out));
        }
    }
}

#[inline(always)]
unsafe fn pack_one<const M: usize>(
    (a, band, step): (*const f32, usize, usize),
    [bands, rows]: [usize; 2],
    to: *mut f32,
) {
    for i in 0..bands {
        for r in 0..rows {
            // SAFETY: as the caller of `pack_outer` says.
            unsafe {
                let (from, to) = (a.add(i * band + r * step), to.add((i * rows + r) * M));
                std::ptr::copy_nonoverlapping(from, to, M);
            }
        }
    }
}

/// Packs n floats of each of `rows` rows, `step` floats apart, of each of `bands` bands, `band` floats apart, for
/// [`outer_packed`]: tile by tile of columns.
///
/// # Safety
/// `a` has n floats in each row, `to` room for n of all.
#[inline(always)]
pub(super) unsafe fn pack_outer<const M: usize>(
    (a, band, step): (*const f32, usize, usize),
    n: usize,
    [bands, rows]: [usize; 2],
    to: *mut f32,
) {
    let tiles = n.div_ceil(M);
    for t in 0..tiles {
        let (first, end) = (n * t / tiles, n * (t + 1) / tiles);
        // SAFETY: as the caller says.
        unsafe {
            let (a, to) = ((a.add(first), band, step), to.add(first * bands * rows));
            sized!(M, end - first, pack_one(a, [bands, rows], to));
        }
    }
}

#[inline(always)]
unsafe fn outer_packed_one<L: Lanes, const M: usize>(a: *const f32, d: Lines, out: *mut f32) {
    let sums = Sums {
        start: out,
        step: 0,
        fresh: false,
    };
    // SAFETY: as the caller of `outer_packed` says.
    unsafe { outer_one::<L, 1, M>(a, M, d, sums) }
}

/// [`outer`] of what [`pack_outer`] has packed, added to `out`.
///
/// # Safety
/// `a` has n floats for each row, `d` 16, `out` n·16; L's instruction set is there.
#[inline(always)]
pub(super) unsafe fn outer_packed<L: Lanes, const M: usize>(
    a: *const f32,
    n: usize,
    d: Lines,
    out: *mut f32,
) {
    let tiles = n.div_ceil(M);
    for t in 0..tiles {
        let (first, end) = (n * t / tiles, n * (t + 1) / tiles);
        // SAFETY: as the caller says.
        unsafe {
            let (a, out) = (a.add(first * d.rows), out.add(16 * first));
            sized!(M, end - first, outer_packed_one::<L>(a, d, out));
        }
    }
}

#[cfg(test)]
mod tests;
