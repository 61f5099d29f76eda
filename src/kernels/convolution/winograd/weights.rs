//! The gradient of the weights by Winograd's tiles.
//!
//! It is cut over groups of samples, whose sums are added in their order (how many follows from the sizes alone), and
//! for more threads into blocks of outputs by channels, which changes no sum.

#![allow(unsafe_code)]

use super::{Block, G, Tiles, Winograd, transforms};
use crate::kernels::convolution::tile::{Lines, Sums, columns, outer};
use crate::kernels::crew::Crew;
use crate::kernels::scratch::{self, Shared};
use crate::kernels::simd::{Isa, Lanes, dispatch};
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
        // Blocks of a sample's tiles, or of several small samples'.
        let lot = self.lot(samples.div_ceil(groups));
        let block = (lot * self.total()).div_ceil(self.blocks());
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
                let own = cut(samples, s, groups);
                for n in own.clone().step_by(lot) {
                    let x = &x[n * self.input() + g * self.channels + first..];
                    let dy = &dy[n * self.output() + g * self.outputs..];
                    let (lot, fresh) = (lot.min(own.end - n), n == own.start);
                    // SAFETY: sizes asserted by the caller.
                    unsafe { part.lot_of(isa, [x, dy], lot, du, from, block, scratch, fresh) };
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

    /// The share of `samples` samples in dU, which is that of some outputs from `from` on, `block` tiles at a time.
    ///
    /// # Safety
    /// The arrays have the sizes that follow.
    unsafe fn lot_of(
        &self,
        isa: Isa,
        [x, dy]: [&[f32]; 2],
        samples: usize,
        du: &mut [f32],
        from: usize,
        block: usize,
        scratch: &mut [f32],
        fresh: bool,
    ) {
        let plane = du.len() / 36;
        let count = plane / self.channels;
        let (v, m) = scratch.split_at_mut(36 * block * self.channels);
        let (v, m) = (v.as_mut_ptr(), m.as_mut_ptr());
        let all = samples * self.total();
        for first in (0..all).step_by(block) {
            let tiles = Tiles {
                first,
                count: block.min(all - first),
                room: block,
            };
            let fresh = fresh && first == 0;
            // SAFETY: as the caller says.
            unsafe { transforms::input(isa, self, x.as_ptr(), tiles, v) };
            for outputs in Block::all(from, count) {
                let (at, width) = ((outputs.first - from) * self.channels, outputs.width);
                // SAFETY: as the caller says; the products are those of the tiles just transformed.
                unsafe {
                    let du = du.as_mut_ptr().add(at);
                    transforms::gradient(isa, self, dy.as_ptr(), tiles, outputs, m);
                    products(isa, self, v, m, tiles, width, du, plane, fresh);
                }
            }
        }
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

#[inline(always)]
unsafe fn products_body<L: Lanes, const M: usize>(
    g: &Winograd,
    v: *const f32,
    m: *const f32,
    tiles: Tiles,
    width: usize,
    du: *mut f32,
    plane: usize,
    fresh: bool,
) {
    let c = g.channels;
    for e in 0..36 {
        let mut b = 0;
        while b < width / 16 {
            let count = columns::<L>(width / 16 - b, 0);
            // SAFETY: as the caller says.
            unsafe {
                let lines = Lines {
                    start: m.add(e * tiles.room * width + b * 16),
                    step: width,
                    rows: tiles.count,
                    count,
                };
                let sums = Sums {
                    start: du.add(e * plane + b * c * 16),
                    step: c * 16,
                    fresh,
                };
                outer::<L, M>((v.add(e * tiles.room * c), c), c, lines, sums);
            }
            b += count;
        }
    }
}

dispatch! {
    /// dU[36][O/16][C][16] += Σ tiles V ⊗ (A dY Aᵀ) for some outputs, where planes of dU are `plane` floats apart.
    unsafe fn products(
        g: &Winograd, v: *const f32, m: *const f32, tiles: Tiles, width: usize, du: *mut f32, plane: usize, fresh: bool,
    ) = products_body
}
