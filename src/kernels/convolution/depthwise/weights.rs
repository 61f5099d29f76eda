//! The gradient of a depthwise convolution's weights.
//!
//! The rows of all samples are cut into groups, whose sums are added in their order; how many follows from the sizes
//! alone. Threads also share the channels, which changes no sum.

use super::axis::Tap;
use super::tiles::load;
use super::{Depthwise, Pass, cut};
use crate::kernels::convolution::tile::sized;
use crate::kernels::crew::Crew;
use crate::kernels::scratch::{self, Shared};
use crate::kernels::simd::{Isa, Lanes, dispatch};
use std::ops::Range;

/// Pieces that a gradient is cut into: two for each thread of a large machine.
const PIECES: usize = 128;

/// Fewer pixels are no group of their own.
const GROUP_PIXELS: usize = 1024;

impl Depthwise {
    /// Into how many groups `rows` rows of Y are cut.
    fn row_groups(&self, rows: usize) -> usize {
        let pixels = rows * self.forward.across[0].count;
        (PIECES / self.forward.blocks())
            .min(pixels / GROUP_PIXELS)
            .clamp(1, rows.max(1))
    }

    /// dW += the gradient over `samples` samples; dW in the order of the file, dY is NHWC.
    pub fn weights(
        &self,
        isa: Isa,
        crew: &Crew,
        x: &[f32],
        samples: usize,
        dy: &[f32],
        dw: &mut [f32],
    ) {
        assert_eq!(dw.len(), self.channels * self.elements);
        let (p, blocks) = (&self.forward, self.forward.blocks());
        let rows = samples * p.rows;
        let groups = self.row_groups(rows);
        let parts = crew.share_of(groups, 1).min(blocks);
        self.with_pixels(crew, x, samples, |x| {
            p.x.check(x.len(), samples, self.channels);
            p.y.check(dy.len(), samples, self.channels);
            scratch::with(groups * self.packed(), |sums| {
                sums.fill(0.0);
                let out = Shared::new(sums);
                crew.for_each(groups * parts, |i| {
                    let rows = cut(rows, i / parts, groups);
                    let blocks = cut(blocks, i % parts, parts);
                    // SAFETY: the arrays hold all samples (asserted above), the sums all groups, and each piece adds to
                    // its own channels' in its own group.
                    unsafe {
                        let sums = out.get().add(i / parts * self.packed());
                        gradient(isa, p, x.as_ptr(), dy.as_ptr(), sums, rows, blocks);
                    }
                });
                for sums in sums.chunks_exact(self.packed()) {
                    self.unpack_onto(sums, dw);
                }
            });
        });
    }

    /// dW += sums as they are packed.
    fn unpack_onto(&self, sums: &[f32], dw: &mut [f32]) {
        for (c, dw) in dw.chunks_exact_mut(self.elements).enumerate() {
            let block = &sums[c / 16 * self.forward.block..][..self.forward.block];
            let lane = block.iter().skip(c % 16).step_by(16);
            dw.iter_mut().zip(lane).for_each(|(dw, sum)| *dw += sum);
        }
    }
}

/// The pixels of a row of Y, or some of them, and what meets the first.
#[derive(Clone, Copy)]
struct Row {
    x: *const f32,
    dy: *const f32,
    pixels: usize,
    /// From pixel to pixel, in x and dy.
    steps: [usize; 2],
    lanes: usize,
}

/// sums[tap] += Σ over the pixels of dy·x, for T elements of the kernel.
#[inline(always)]
unsafe fn any<L: Lanes, const T: usize, const PART: bool>(row: Row, taps: &[Tap], sums: *mut f32) {
    // SAFETY: as the caller says.
    unsafe {
        let mut acc = [L::zero(); T];
        let mut x = [row.x; T];
        for t in 0..T {
            acc[t] = L::load(sums.add(taps[t].w));
            x[t] = row.x.wrapping_offset(taps[t].x);
        }
        for i in 0..row.pixels {
            let dy = load::<L, PART>(row.dy.add(i * row.steps[1]), row.lanes);
            for t in 0..T {
                let x = load::<L, PART>(x[t].add(i * row.steps[0]), row.lanes);
                acc[t] = acc[t].mul_add(x, dy);
            }
        }
        for t in 0..T {
            acc[t].store(sums.add(taps[t].w));
        }
    }
}

/// [`any`] of whole registers.
#[inline(always)]
unsafe fn whole<L: Lanes, const T: usize>(row: Row, taps: &[Tap], sums: *mut f32) {
    // SAFETY: as the caller says.
    unsafe { any::<L, T, false>(row, taps, sums) }
}

/// [`any`] of fewer channels.
#[inline(always)]
unsafe fn part<L: Lanes, const T: usize>(row: Row, taps: &[Tap], sums: *mut f32) {
    // SAFETY: as the caller says.
    unsafe { any::<L, T, true>(row, taps, sums) }
}

/// [`any`], whatever the numbers of channels and of elements.
#[inline(always)]
unsafe fn some<L: Lanes, const M: usize>(row: Row, taps: &[Tap], sums: *mut f32) {
    // AVX2 has masks in registers of their own.
    let (wide, thin) = if M <= 6 { (5, 3) } else { (M, M) };
    let most = if row.lanes == 16 { wide } else { thin };
    let tiles = taps.len().div_ceil(most);
    for t in 0..tiles {
        let taps = &taps[cut(taps.len(), t, tiles)];
        // SAFETY: as the caller says.
        unsafe {
            match row.lanes {
                16 => sized!(wide, taps.len(), whole::<L>(row, taps, sums)),
                _ => sized!(thin, taps.len(), part::<L>(row, taps, sums)),
            }
        }
    }
}

#[inline(always)]
unsafe fn gradient_body<L: Lanes, const M: usize>(
    p: &Pass,
    x: *const f32,
    dy: *const f32,
    sums: *mut f32,
    rows: Range<usize>,
    blocks: Range<usize>,
) {
    let (down, across) = (&p.down[0], &p.across[0]);
    let whole = across.whole.clone();
    for r in rows {
        let (n, i) = (r / p.rows, r % p.rows);
        for b in blocks.clone() {
            for tap in down.taps(i) {
                let at = n * p.x.sample + i * down.step * p.x.row + 16 * b;
                let row = |first: usize, pixels: usize| {
                    let steps = [across.step * p.x.pixel, p.y.pixel];
                    let dy_at = n * p.y.sample + i * p.y.row + 16 * b;
                    Row {
                        x: x.wrapping_add(at + first * steps[0]).wrapping_offset(tap.x),
                        dy: dy.wrapping_add(dy_at + first * steps[1]),
                        pixels,
                        steps,
                        lanes: (p.channels - 16 * b).min(16),
                    }
                };
                // SAFETY: as the caller says; outside of `whole` only the elements inside x are read.
                unsafe {
                    let sums = sums.add(b * p.block + tap.w);
                    for j in (0..whole.start).chain(whole.end..across.count) {
                        for one in across.taps(j) {
                            some::<L, M>(row(j, 1), std::slice::from_ref(one), sums);
                        }
                    }
                    some::<L, M>(row(whole.start, whole.len()), across.all(), sums);
                }
            }
        }
    }
}

dispatch! {
    /// What some rows of Y, counted through all samples, add to the sums of some blocks of channels.
    unsafe fn gradient(
        p: &Pass, x: *const f32, dy: *const f32, sums: *mut f32, rows: Range<usize>, blocks: Range<usize>,
    ) = gradient_body
}
