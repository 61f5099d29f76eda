//! The gradient of the weights by Winograd's tiles.
//!
//! It is cut over groups of samples, whose sums are added in their order (how many follows from the sizes alone), and
//! for more threads into blocks of outputs by channels, which changes no sum.

#![allow(unsafe_code)]

use super::{G, OUT_BLOCK, Winograd, transform_input};
use crate::kernels::crew::Crew;
use crate::kernels::scratch::{self, Shared};
use crate::kernels::simd::{Isa, Lanes, dispatch};
use crate::kernels::tile::{Lines, Sums, columns, outer};
use crate::kernels::{CHUNK, each_chunk};

/// Pieces that a gradient is cut into with more samples than one: two for each thread of a large machine.
const PIECES: usize = 128;

/// Fewer tiles are no group of their own: its sums must be turned back, written and read once more.
const GROUP_TILES: usize = 128;

/// Floats that the sums of all groups may take.
const PARTIAL: usize = 4 << 20;

/// Outputs, or channels, of a piece that is not cut only to have several for each thread: the sums of so many by so
/// many stay in a core's cache.
const BROAD: usize = 64;

impl Winograd {
    /// Into how many groups `samples` samples are cut.
    fn sample_groups(&self, samples: usize) -> usize {
        let broad = self.outputs.div_ceil(BROAD) * self.channels.div_ceil(BROAD);
        let weights = self.groups * self.outputs * self.channels * 9;
        (PIECES / (self.groups * broad))
            .min(samples * self.total() / GROUP_TILES)
            .min(PARTIAL / weights.max(1))
            .clamp(1, samples)
    }

    /// Into how many parts the outputs and the channels are cut, where there are `many` of both: so that the sums of
    /// one stay in a cache, and every thread has some.
    fn parts(&self, crew: &Crew, many: usize) -> [usize; 2] {
        let mut parts = [1, 1];
        // Whole registers, of numbers that are multiples of 16.
        let sizes = [self.outputs / 16, self.channels / 16];
        let all = 36 * self.outputs * self.channels;
        let cached = all.div_ceil(36 * BROAD * BROAD);
        let broad = match crew.is_shared() {
            true => 2 * crew.threads(),
            false => 1,
        };
        let enough = [
            (cached, BROAD / 16),
            (broad.div_ceil(many), BROAD / 16),
            (crew.threads().div_ceil(many), 1),
        ];
        for (enough, least) in enough {
            while parts[0] * parts[1] < enough {
                let each = [0, 1].map(|i| sizes[i] / parts[i]);
                let larger = usize::from(each[1] > each[0]);
                if each[larger] < 2 * least {
                    break;
                }
                parts[larger] *= 2;
            }
        }
        parts
    }

    /// dW += the gradient over `samples` samples; dW[outputs][channels][3][3].
    pub fn weights(
        &self,
        isa: Isa,
        crew: &Crew,
        x: &[f32],
        samples: usize,
        dy: &[f32],
        dw: &mut [f32],
    ) {
        self.check(x.len(), dy.len(), samples);
        assert_eq!(dw.len(), self.groups * self.outputs * self.channels * 9);
        if samples == 0 {
            return;
        }
        let groups = self.sample_groups(samples);
        if groups == 1 {
            return self.pieces(isa, crew, x, (samples, 1), dy, Shared::new(dw));
        }
        scratch::with(groups * dw.len(), |partial| {
            each_chunk(crew, CHUNK, partial, |_, part| part.fill(0.0));
            self.pieces(isa, crew, x, (samples, groups), dy, Shared::new(partial));
            let (partial, all) = (&*partial, dw.len());
            each_chunk(crew, CHUNK / 4, dw, |start, dw| {
                let mut sums = [0.0f32; CHUNK / 4];
                for s in 0..groups {
                    let from = &partial[s * all + start..][..dw.len()];
                    sums.iter_mut().zip(from).for_each(|(s, v)| *s += v);
                }
                dw.iter_mut().zip(sums).for_each(|(d, s)| *d += s);
            });
        });
    }

    /// to[s] += the gradient over group s of the samples.
    fn pieces(
        &self,
        isa: Isa,
        crew: &Crew,
        x: &[f32],
        (samples, groups): (usize, usize),
        dy: &[f32],
        to: Shared,
    ) {
        let many = groups * self.groups;
        let [high, wide] = self.parts(crew, many);
        let block = self.total().div_ceil(self.blocks());
        let row = self.channels * 9;
        crew.for_each(many * high * wide, |i| {
            let cut = |n: usize, i: usize, of: usize| n * i / of..n * (i + 1) / of;
            let ([h, w], g) = ([i / wide % high, i % wide], i / wide / high % self.groups);
            let s = i / wide / high / self.groups;
            let outputs = cut(self.outputs / 16, h, high);
            let channels = cut(self.channels / 16, w, wide);
            let (from, outputs) = (outputs.start * 16, outputs.len() * 16);
            let first = channels.start * 16;
            // The part of the channels, as if it were all; the block of tiles stays what it is.
            let part = Self {
                channels: channels.len() * 16,
                ..*self
            };
            let sums = 36 * outputs * part.channels;
            scratch::with(sums + part.scratch(block), |scratch| {
                let (du, scratch) = scratch.split_at_mut(sums);
                for (k, n) in cut(samples, s, groups).enumerate() {
                    // SAFETY: sizes asserted by the caller.
                    unsafe {
                        let x = x.as_ptr().add(n * self.input() + g * self.channels + first);
                        let dy = dy.as_ptr().add(n * self.output() + g * self.outputs);
                        let (du, scratch) = (du.as_mut_ptr(), scratch.as_mut_ptr());
                        let outputs = (from, outputs);
                        weights(isa, &part, x, dy, du, outputs, block, scratch, k == 0);
                    }
                }
                let at = ((s * self.groups + g) * self.outputs + from) * row + first * 9;
                // SAFETY: du holds the outputs by channels of this piece, which are whole blocks of 16 and nobody
                // else's.
                unsafe {
                    let to = to.get().add(at);
                    unpack(isa, [outputs, part.channels], du.as_ptr(), to, row);
                }
            });
        });
    }
}

/// dw[outputs][channels][9] += Gᵀ dU G; outputs are `row` floats apart.
#[inline(always)]
unsafe fn unpack_body<L: Lanes, const M: usize>(
    [outputs, channels]: [usize; 2],
    du: *const f32,
    dw: *mut f32,
    row: usize,
) {
    let plane = outputs * channels;
    for b in 0..outputs / 16 {
        for c in 0..channels {
            // SAFETY: as the caller says.
            unsafe {
                let from = du.add((b * channels + c) * 16);
                let mut t = [[L::zero(); 6]; 3];
                for j in 0..6 {
                    for (y, t) in t.iter_mut().enumerate() {
                        for i in 0..6 {
                            let u = L::load(from.add((i * 6 + j) * plane));
                            t[j] = t[j].mul_add(u, L::splat(G[i][y]));
                        }
                    }
                }
                for (y, t) in t.iter().enumerate() {
                    for x in 0..3 {
                        let mut sum = L::zero();
                        for j in 0..6 {
                            sum = sum.mul_add(t[j], L::splat(G[j][x]));
                        }
                        let mut lanes = [0.0f32; 16];
                        sum.store(lanes.as_mut_ptr());
                        for (o, v) in lanes.iter().enumerate() {
                            *dw.add((b * 16 + o) * row + c * 9 + y * 3 + x) += v;
                        }
                    }
                }
            }
        }
    }
}

dispatch! {
    /// Adds the transformed sums to the gradient.
    unsafe fn unpack(sizes: [usize; 2], du: *const f32, dw: *mut f32, row: usize) = unpack_body
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

/// dU[36][O/16][C][16] += Σ tiles V ⊗ (A dY Aᵀ).
#[inline(always)]
unsafe fn weights_body<L: Lanes, const M: usize>(
    g: &Winograd,
    input: *const f32,
    dy: *const f32,
    du: *mut f32,
    outputs: (usize, usize),
    block: usize,
    scratch: *mut f32,
    fresh: bool,
) {
    // SAFETY: as the caller says.
    unsafe {
        let [down, across] = g.tiles();
        let total = down * across;
        let v = scratch;
        let m = scratch.add(36 * block * g.channels);
        let upanel = outputs.1 * g.channels;
        let mut first = 0;
        while first < total {
            let n = block.min(total - first);
            transform_input::<L>(g, input, first, n, v, block);
            let mut ob = 0;
            while ob < outputs.1 {
                let width = OUT_BLOCK.min(outputs.1 - ob);
                let mplane = block * width;
                for t in 0..n {
                    let ty = (first + t) / across * 4;
                    let tx = (first + t) % across * 4;
                    let h = (g.out[0] - ty).min(4);
                    let w = (g.out[1] - tx).min(4);
                    let mut c = 0;
                    while c < width {
                        let mut s = [[L::zero(); 4]; 6];
                        for x in 0..w {
                            let mut col = [L::zero(); 4];
                            for y in 0..h {
                                col[y] = L::load(dy.add(
                                    ((ty + y) * g.out[1] + tx + x) * g.y_pitch + outputs.0 + ob + c,
                                ));
                            }
                            let r = output_row_transposed(col);
                            for y in 0..6 {
                                s[y][x] = r[y];
                            }
                        }
                        let p = m.add(t * width + c);
                        for y in 0..6 {
                            let r = output_row_transposed(s[y]);
                            for x in 0..6 {
                                r[x].store(p.add((y * 6 + x) * mplane));
                            }
                        }
                        c += 16;
                    }
                }
                for e in 0..36 {
                    let mut b = 0;
                    while b < width / 16 {
                        let lines = Lines {
                            start: m.add(e * mplane + b * 16),
                            step: width,
                            rows: n,
                            count: columns::<L>(width / 16 - b),
                        };
                        let sums = Sums {
                            start: du.add(e * upanel + (ob / 16 + b) * g.channels * 16),
                            step: g.channels * 16,
                            fresh: fresh && first == 0,
                        };
                        let a = v.add(e * block * g.channels);
                        outer::<L, M>((a, g.channels), g.channels, lines, sums);
                        b += lines.count;
                    }
                }
                ob += width;
            }
            first += n;
        }
    }
}

dispatch! {
    /// One sample's share of dU for outputs.1 outputs from outputs.0 on.
    unsafe fn weights(g: &Winograd, input: *const f32, dy: *const f32, du: *mut f32, outputs: (usize, usize), block: usize, scratch: *mut f32, fresh: bool) = weights_body
}
