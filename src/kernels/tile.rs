//! The register tiles: ROWS × 16 products, the heart of every convolution.
#![allow(unsafe_code, clippy::missing_safety_doc)]

use super::simd::Lanes;

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

/// acc[r] += Σ a[r, k] · b[k, 0..16] over all runs. With AHEAD the cache is asked for the panel behind b
/// meanwhile, and for the rows behind a's if those are far.
#[inline(always)]
unsafe fn multiply<L: Lanes, const M: usize, const AHEAD: bool>(
    a: Rows,
    mut b: *const f32,
    acc: &mut [L; M],
) {
    // SAFETY: as the caller says.
    unsafe {
        let panel = 16 * a.runs[0].0 * a.runs[1].0 * a.len;
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
                let v = L::load(b);
                if AHEAD {
                    L::prefetch_far(b.wrapping_add(panel));
                }
                b = b.add(16);
                for r in 0..M {
                    acc[r] = acc[r].mul_add(L::splat(*p.add(r * a.row + k)), v);
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
    /// Channels to write, up to 16.
    pub lanes: usize,
    /// 16 biases, or null.
    pub bias: *const f32,
    pub then: Then,
}

/// What else is done with results before they are stored: first `add`, then `relu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// They are added to what is there.
    pub add: bool,
    /// Negative ones become 0.
    pub relu: bool,
}

/// Sums on their way out. Each step is a loop of its own, without a branch inside, and whole and partial rows have
/// different ones: what the compiler does not unroll would keep the sums in memory, also while they are added up.
#[inline(always)]
unsafe fn finish<L: Lanes, const M: usize>(acc: [L; M], out: Out) {
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
unsafe fn one<L: Lanes, const M: usize>(a: Rows, b: *const f32, out: Out, ahead: bool) {
    // SAFETY: as the caller says.
    unsafe {
        let mut acc = [L::zero(); M];
        match ahead {
            true => multiply::<L, M, true>(a, b, &mut acc),
            false => multiply::<L, M, false>(a, b, &mut acc),
        }
        finish::<L, M>(acc, out);
    }
}

/// Calls `$f::<L, n>($args)` for `$n` of 1 to M; what is above M is not compiled.
macro_rules! sized {
    ($M:ident, $n:expr, $f:ident::<$L:ident>($($arg:expr),*)) => {
        match $n {
            1 => $f::<$L, 1>($($arg),*),
            2 => $f::<$L, 2>($($arg),*),
            3 => $f::<$L, 3>($($arg),*),
            4 => $f::<$L, 4>($($arg),*),
            5 if $M >= 5 => $f::<$L, 5>($($arg),*),
            6 if $M >= 6 => $f::<$L, 6>($($arg),*),
            7 if $M >= 7 => $f::<$L, 7>($($arg),*),
            8 if $M >= 8 => $f::<$L, 8>($($arg),*),
            9 if $M >= 9 => $f::<$L, 9>($($arg),*),
            10 if $M >= 10 => $f::<$L, 10>($($arg),*),
            11 if $M >= 11 => $f::<$L, 11>($($arg),*),
            12 if $M >= 12 => $f::<$L, 12>($($arg),*),
            n => unreachable!("a tile of {n} rows"),
        }
    };
}

/// `rows` rows of one panel of 16 columns, in tiles of nearly equal height: a thin last tile would leave
/// the multipliers waiting for each other. `ahead`: the panel behind `b` is the next to be used.
#[inline(always)]
pub(super) unsafe fn panel<L: Lanes, const M: usize>(
    a: Rows,
    b: *const f32,
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
            sized!(M, to - from, one::<L>(a, b, out, ahead && t == 0));
        }
    }
}

/// The right operand of an outer product: rows of 16 lanes, `step` floats apart.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub start: *const f32,
    pub step: usize,
    pub rows: usize,
}

#[inline(always)]
unsafe fn outer_one<L: Lanes, const M: usize>(
    a: *const f32,
    a_step: usize,
    d: Lines,
    out: *mut f32,
    fresh: bool,
) {
    // SAFETY: as the caller of `outer` says.
    unsafe {
        let mut acc = [L::zero(); M];
        if !fresh {
            for i in 0..M {
                acc[i] = L::load(out.add(16 * i));
            }
        }
        for r in 0..d.rows {
            let v = L::load(d.start.add(r * d.step));
            let p = a.add(r * a_step);
            for i in 0..M {
                acc[i] = acc[i].mul_add(L::splat(*p.add(i)), v);
            }
        }
        for i in 0..M {
            acc[i].store(out.add(16 * i));
        }
    }
}

/// out[i][0..16] += Σ over rows of a[row][i]·d[row][0..16] for i in 0..n; `fresh`: out holds nothing yet.
///
/// # Safety
/// `a` has n floats in each row, `d` 16, `out` n·16; L's instruction set is there.
#[inline(always)]
pub(super) unsafe fn outer<L: Lanes, const M: usize>(
    (a, a_step): (*const f32, usize),
    n: usize,
    d: Lines,
    out: *mut f32,
    fresh: bool,
) {
    let tiles = n.div_ceil(M);
    for t in 0..tiles {
        let (from, to) = (n * t / tiles, n * (t + 1) / tiles);
        // SAFETY: as the caller says.
        unsafe {
            let (a, out) = (a.add(from), out.add(16 * from));
            sized!(M, to - from, outer_one::<L>(a, a_step, d, out, fresh));
        }
    }
}

#[inline(always)]
unsafe fn pack_one<L: Lanes, const M: usize>(
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
pub(super) unsafe fn pack_outer<L: Lanes, const M: usize>(
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
            sized!(M, end - first, pack_one::<L>(a, [bands, rows], to));
        }
    }
}

#[inline(always)]
unsafe fn outer_packed_one<L: Lanes, const M: usize>(a: *const f32, d: Lines, out: *mut f32) {
    // SAFETY: as the caller of `outer_packed` says.
    unsafe { outer_one::<L, M>(a, M, d, out, false) }
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
