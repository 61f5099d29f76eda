//! The transforms of tiles: of X into V before the products, of their sums into Y behind them, and of dY for the
//! gradient of the weights. Each is a function of its own for each instruction set: inlined beside the products they
//! would keep their constants in registers that the tiles' sums want.

#![allow(unsafe_code)]

use super::{Block, Tiles, Winograd};
use crate::kernels::convolution::tile::Then;
use crate::kernels::simd::{Lanes, dispatch};

#[inline(always)]
unsafe fn input_row<L: Lanes>(d: [L; 6]) -> [L; 6] {
    // SAFETY: as the caller says.
    unsafe {
        let four = L::splat(4.0);
        let five = L::splat(-5.0);
        let two = L::splat(2.0);
        let m4 = L::splat(-4.0);
        let t0 = d[4].mul_add(d[0], four).mul_add(d[2], five);
        let a = d[4].mul_add(d[2], m4); // d4 - 4 d2
        let b = d[3].mul_add(d[1], m4); // d3 - 4 d1
        let c = d[4].sub(d[2]);
        let e = d[3].sub(d[1]).mul(two);
        let t5 = d[5].mul_add(d[1], four).mul_add(d[3], five);
        [t0, a.add(b), a.sub(b), c.add(e), c.sub(e), t5]
    }
}

#[inline(always)]
unsafe fn output_row<L: Lanes>(m: [L; 6]) -> [L; 4] {
    // SAFETY: as the caller says.
    unsafe {
        let p = m[1].add(m[2]);
        let q = m[1].sub(m[2]);
        let r = m[3].add(m[4]);
        let s = m[3].sub(m[4]);
        [
            m[0].add(p).add(r),
            q.mul_add(s, L::splat(2.0)),
            p.mul_add(r, L::splat(4.0)),
            q.mul_add(s, L::splat(8.0)).add(m[5]),
        ]
    }
}

#[inline(always)]
unsafe fn input_body<L: Lanes, const M: usize>(
    g: &Winograd,
    input: *const f32,
    tiles: Tiles,
    v: *mut f32,
) {
    // SAFETY: as the caller says.
    unsafe {
        let plane = tiles.room * g.channels;
        let (in_pixel, in_row) = (g.x_pitch, g.size[1] * g.x_pitch);
        for t in 0..tiles.count {
            let (n, [ty, tx]) = g.corner(tiles.first + t);
            let input = input.add(n * g.input());
            let inside = ty >= g.pad[0]
                && tx >= g.pad[1]
                && ty + 6 <= g.size[0] + g.pad[0]
                && tx + 6 <= g.size[1] + g.pad[1];
            let mut c = 0;
            while c < g.channels {
                let mut d = [[L::zero(); 6]; 6];
                if inside {
                    let p = input.add((ty - g.pad[0]) * in_row + (tx - g.pad[1]) * in_pixel + c);
                    for y in 0..6 {
                        for x in 0..6 {
                            d[y][x] = L::load(p.add(y * in_row + x * in_pixel));
                        }
                    }
                } else {
                    for y in 0..6 {
                        let yy = (ty + y).wrapping_sub(g.pad[0]);
                        if yy >= g.size[0] {
                            continue;
                        }
                        for x in 0..6 {
                            let xx = (tx + x).wrapping_sub(g.pad[1]);
                            if xx < g.size[1] {
                                d[y][x] = L::load(input.add(yy * in_row + xx * in_pixel + c));
                            }
                        }
                    }
                }
                for x in 0..6 {
                    let col = input_row([d[0][x], d[1][x], d[2][x], d[3][x], d[4][x], d[5][x]]);
                    for y in 0..6 {
                        d[y][x] = col[y];
                    }
                }
                let out = v.add(t * g.channels + c);
                for y in 0..6 {
                    let row = input_row(d[y]);
                    for x in 0..6 {
                        row[x].store(out.add((y * 6 + x) * plane));
                    }
                }
                c += 16;
            }
        }
    }
}

dispatch! {
    /// V[36][room][C] of the tiles of X.
    pub(super) unsafe fn input(g: &Winograd, input: *const f32, tiles: Tiles, v: *mut f32) = input_body
}

#[inline(always)]
unsafe fn output_body<L: Lanes, const M: usize>(
    g: &Winograd,
    m: *const f32,
    bias: *const f32,
    then: Then,
    out: *mut f32,
    tiles: Tiles,
    outputs: Block,
) {
    // SAFETY: as the caller says.
    unsafe {
        let plane = tiles.room * outputs.width;
        for t in 0..tiles.count {
            let (n, [ty, tx]) = g.corner(tiles.first + t);
            let out = out.add(n * g.output());
            let h = (g.out[0] - ty).min(4);
            let w = (g.out[1] - tx).min(4);
            for c in (0..outputs.width).step_by(16) {
                let p = m.add(t * outputs.width + c);
                let mut s = [[L::zero(); 6]; 4];
                for x in 0..6 {
                    let mut col = [L::zero(); 6];
                    for y in 0..6 {
                        col[y] = L::load(p.add((y * 6 + x) * plane));
                    }
                    let r = output_row(col);
                    for y in 0..4 {
                        s[y][x] = r[y];
                    }
                }
                let bv = match bias.is_null() {
                    true => L::zero(),
                    false => L::load(bias.add(outputs.first + c)),
                };
                for y in 0..h {
                    let r = output_row(s[y]);
                    let at = ((ty + y) * g.out[1] + tx) * g.y_pitch + outputs.first + c;
                    let o = out.add(at);
                    for x in 0..w {
                        let mut z = r[x].add(bv);
                        if then.add {
                            z = z.add(L::load(o.add(x * g.y_pitch)));
                        }
                        if then.relu {
                            z = z.relu();
                        }
                        z.store(o.add(x * g.y_pitch));
                    }
                }
            }
        }
    }
}

dispatch! {
    /// Y of the tiles and some outputs, from their sums m[36][room][width].
    pub(super) unsafe fn output(
        g: &Winograd, m: *const f32, bias: *const f32, then: Then, out: *mut f32, tiles: Tiles, outputs: Block,
    ) = output_body
}

/// A: 4 → 6, the transpose of `output_row`.
#[inline(always)]
unsafe fn output_row_transposed<L: Lanes>(y: [L; 4]) -> [L; 6] {
    // SAFETY: as the caller says.
    unsafe {
        let two = L::splat(2.0);
        let four = L::splat(4.0);
        let eight = L::splat(8.0);
        let a = y[0].add(y[2]);
        let b = y[1].add(y[3]);
        let c = y[0].mul_add(y[2], four);
        let d = y[1].mul(two).mul_add(y[3], eight);
        [y[0], a.add(b), a.sub(b), c.add(d), c.sub(d), y[3]]
    }
}

#[inline(always)]
unsafe fn gradient_body<L: Lanes, const M: usize>(
    g: &Winograd,
    dy: *const f32,
    tiles: Tiles,
    outputs: Block,
    m: *mut f32,
) {
    // SAFETY: as the caller says.
    unsafe {
        let plane = tiles.room * outputs.width;
        for t in 0..tiles.count {
            let (n, [ty, tx]) = g.corner(tiles.first + t);
            let dy = dy.add(n * g.output());
            let h = (g.out[0] - ty).min(4);
            let w = (g.out[1] - tx).min(4);
            for c in (0..outputs.width).step_by(16) {
                let mut s = [[L::zero(); 4]; 6];
                for x in 0..w {
                    let mut col = [L::zero(); 4];
                    for y in 0..h {
                        let pixel = (ty + y) * g.out[1] + tx + x;
                        col[y] = L::load(dy.add(pixel * g.y_pitch + outputs.first + c));
                    }
                    let r = output_row_transposed(col);
                    for y in 0..6 {
                        s[y][x] = r[y];
                    }
                }
                let p = m.add(t * outputs.width + c);
                for y in 0..6 {
                    let r = output_row_transposed(s[y]);
                    for x in 0..6 {
                        r[x].store(p.add((y * 6 + x) * plane));
                    }
                }
            }
        }
    }
}

dispatch! {
    /// A dY Aᵀ of the tiles and some outputs, [36][room][width].
    pub(super) unsafe fn gradient(g: &Winograd, dy: *const f32, tiles: Tiles, outputs: Block, m: *mut f32) = gradient_body
}
