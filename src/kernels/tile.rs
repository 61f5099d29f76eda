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
}

/// acc[r] += Σ a[r, k] · b[k, 0..16] over all runs.
#[inline(always)]
pub(super) unsafe fn multiply<L: Lanes, const M: usize>(
    a: Rows,
    mut b: *const f32,
    acc: &mut [L; M],
) {
    unsafe {
        for (i, j) in (0..a.runs[0].0).flat_map(|i| (0..a.runs[1].0).map(move |j| (i, j))) {
            let p = a.start.add(i * a.runs[0].1 + j * a.runs[1].1);
            for k in 0..a.len {
                let v = L::load(b);
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
    /// Negative sums become 0.
    pub relu: bool,
    /// Add to what is there.
    pub add: bool,
}

#[inline(always)]
pub(super) unsafe fn finish<L: Lanes, const M: usize>(acc: &[L; M], out: Out) {
    unsafe {
        for r in 0..M {
            let mut v = acc[r];
            if !out.bias.is_null() {
                v = v.add(L::load(out.bias));
            }
            let p = out.start.add(r * out.row);
            if out.lanes == 16 {
                if out.add {
                    v = v.add(L::load(p));
                }
                if out.relu {
                    v = v.relu();
                }
                v.store(p);
            } else {
                let mut t = [0.0f32; 16];
                if out.add {
                    std::ptr::copy_nonoverlapping(p, t.as_mut_ptr(), out.lanes);
                    v = v.add(L::load(t.as_ptr()));
                }
                if out.relu {
                    v = v.relu();
                }
                v.store(t.as_mut_ptr());
                std::ptr::copy_nonoverlapping(t.as_ptr(), p, out.lanes);
            }
        }
    }
}

#[inline(always)]
unsafe fn one<L: Lanes, const M: usize>(a: Rows, b: *const f32, out: Out) {
    unsafe {
        let mut acc = [L::zero(); M];
        multiply::<L, M>(a, b, &mut acc);
        finish::<L, M>(&acc, out);
    }
}

/// `rows` rows of one panel of 16 columns.
#[inline(always)]
pub(super) unsafe fn panel<L: Lanes, const M: usize>(
    mut a: Rows,
    b: *const f32,
    mut out: Out,
    rows: usize,
) {
    unsafe {
        let mut left = rows;
        while left >= M {
            one::<L, M>(a, b, out);
            a.start = a.start.add(M * a.row);
            out.start = out.start.add(M * out.row);
            left -= M;
        }
        while left >= 4 {
            one::<L, 4>(a, b, out);
            a.start = a.start.add(4 * a.row);
            out.start = out.start.add(4 * out.row);
            left -= 4;
        }
        match left {
            3 => one::<L, 3>(a, b, out),
            2 => one::<L, 2>(a, b, out),
            1 => one::<L, 1>(a, b, out),
            _ => {}
        }
    }
}

/// acc[i][0..16] += Σ over rows of a[row][i] · d[row][0..16], for M consecutive i.
#[inline(always)]
unsafe fn outer_one<L: Lanes, const M: usize>(
    a: *const f32,
    a_row: usize,
    d: *const f32,
    d_row: usize,
    rows: usize,
    out: *mut f32,
) {
    unsafe {
        let mut acc = [L::zero(); M];
        for i in 0..M {
            acc[i] = L::load(out.add(16 * i));
        }
        for r in 0..rows {
            let v = L::load(d.add(r * d_row));
            let p = a.add(r * a_row);
            for i in 0..M {
                acc[i] = acc[i].mul_add(L::splat(*p.add(i)), v);
            }
        }
        for i in 0..M {
            acc[i].store(out.add(16 * i));
        }
    }
}

/// out[i][0..16] += Σ over rows of a[row][i]·d[row][0..16] for i in 0..n.
#[inline(always)]
pub(super) unsafe fn outer<L: Lanes, const M: usize>(
    a: *const f32,
    a_row: usize,
    n: usize,
    d: *const f32,
    d_row: usize,
    rows: usize,
    out: *mut f32,
) {
    unsafe {
        let mut i = 0;
        while i + M <= n {
            outer_one::<L, M>(a.add(i), a_row, d, d_row, rows, out.add(16 * i));
            i += M;
        }
        while i + 4 <= n {
            outer_one::<L, 4>(a.add(i), a_row, d, d_row, rows, out.add(16 * i));
            i += 4;
        }
        match n - i {
            3 => outer_one::<L, 3>(a.add(i), a_row, d, d_row, rows, out.add(16 * i)),
            2 => outer_one::<L, 2>(a.add(i), a_row, d, d_row, rows, out.add(16 * i)),
            1 => outer_one::<L, 1>(a.add(i), a_row, d, d_row, rows, out.add(16 * i)),
            _ => {}
        }
    }
}
