//! The gradient of a direct convolution's weights.
//!
//! It is cut by blocks of 16 outputs and, where those are few, over groups of samples, whose sums are added in their
//! order; how many groups follows from the sizes alone. More threads than that also share the elements under the
//! kernel, which changes no sum. Some pixels of both operands are packed first: as they lie, pixels are often a multiple
//! of a page apart, and so in each other's way in the first-level cache.

use super::{Direct, Order};
use crate::kernels::convolution::tile::{Lines, outer_packed, pack_outer};
use crate::kernels::crew::Crew;
use crate::kernels::scratch::{self, Shared};
use crate::kernels::simd::{Isa, Lanes, dispatch};
use std::ops::Range;

/// Pieces that a gradient is cut into with more samples than one: two for each thread of a large machine.
const PIECES: usize = 128;

/// Fewer pixels are no group of their own: its sums must be written and read once more.
const GROUP_PIXELS: usize = 1024;

/// Floats that the sums of all groups may take.
const PARTIAL: usize = 4 << 20;

/// Elements of a run under the kernel that a thread takes at least.
const FEW_ELEMENTS: usize = 32;

/// Elements of a block whose groups' sums are added at a time.
const ADDED: usize = 256;

/// Pixels whose products are added up in registers before sums are stored. Their share of a block of outputs and of
/// a tile's elements stays in the first-level cache.
const PIXELS: usize = 256;

/// Elements under the kernel that are packed at a time: they stay in the second-level cache while all blocks of outputs
/// pass over them. A multiple of every register tile.
const ELEMENTS: usize = 192;

/// What a piece computes: blocks of outputs of a convolution's group, and elements of every run.
struct At {
    group: usize,
    blocks: Range<usize>,
    part: Range<usize>,
}

impl Direct {
    /// Into how many groups `samples` samples are cut.
    fn sample_groups(&self, samples: usize) -> usize {
        let pixels = samples * self.h.output * self.w.output;
        (PIECES / (self.groups * self.blocks()).max(1))
            .min(pixels / GROUP_PIXELS)
            .min(PARTIAL / self.packed().max(1))
            .clamp(1, samples.max(1))
    }

    /// dW += dY·X over `samples` samples; dW in the order of the file. X is in `order`, dY is NHWC.
    pub fn weights(
        &self,
        isa: Isa,
        crew: &Crew,
        (x, order): (&[f32], Order),
        samples: usize,
        dy: &[f32],
        dw: &mut [f32],
    ) {
        if let Some(d) = self.taken() {
            return d.weights(isa, crew, (x, order), samples, dy, dw);
        }
        self.check(x.len(), order, dy.len(), samples);
        assert_eq!(dw.len(), self.groups * self.outputs * self.taps());
        let groups = self.sample_groups(samples);
        let out = Shared::new(dw);
        if groups == 1 {
            self.pieces(isa, crew, 1, (x, order), dy, samples, &|_, at, sums| {
                // SAFETY: dW holds all outputs (asserted above), and each piece writes those of its own.
                unsafe { self.add_to(sums, &at, self.run_of(order), out) }
            });
            return;
        }
        let (block, run) = (self.taps() * 16, self.run_of(order));
        scratch::with(groups * self.packed(), |partial| {
            let sums_of = Shared::new(partial);
            self.pieces(
                isa,
                crew,
                groups,
                (x, order),
                dy,
                samples,
                &|s, at, sums| {
                    let runs = self.taps() / run;
                    let part = at.part.len() * 16;
                    for (i, sums) in sums.chunks_exact(part).enumerate() {
                        let b = at.group * self.blocks() + at.blocks.start + i / runs;
                        let start =
                            s * self.packed() + b * block + (i % runs * run + at.part.start) * 16;
                        // SAFETY: the scratch has room for all groups, and each piece writes its own part of it.
                        unsafe {
                            let to = sums_of.get().add(start);
                            std::ptr::copy_nonoverlapping(sums.as_ptr(), to, part);
                        }
                    }
                },
            );
            let partial = &*partial;
            let parts = self.taps().div_ceil(ADDED);
            crew.for_each(self.groups * self.blocks() * parts, |i| {
                let (b, first) = (i / parts, i % parts * ADDED);
                let taps = first..(first + ADDED).min(self.taps());
                let mut sum = [0.0f32; 16 * ADDED];
                let sum = &mut sum[..16 * taps.len()];
                for s in 0..groups {
                    let from = &partial[s * self.packed() + b * block + first * 16..];
                    sum.iter_mut().zip(from).for_each(|(s, v)| *s += v);
                }
                let at = At {
                    group: b / self.blocks(),
                    blocks: b % self.blocks()..b % self.blocks() + 1,
                    part: taps,
                };
                // SAFETY: as above; all elements as if they were one run.
                unsafe { self.add_to(sum, &at, self.taps(), out) }
            });
        });
    }

    /// Elements of a run under the kernel, where X is in `order`.
    fn run_of(&self, order: Order) -> usize {
        self.runs(self.pixel(order)).1
    }

    /// Calls `done(s, at, sums)` for every piece of the sums over group s of the samples; `sums` is [block][run][element of the part][16].
    fn pieces(
        &self,
        isa: Isa,
        crew: &Crew,
        groups: usize,
        (x, order): (&[f32], Order),
        dy: &[f32],
        samples: usize,
        done: &(impl Fn(usize, At, &[f32]) + Sync),
    ) {
        let (input, whole) = (self.input(order), self.output());
        let (run, pixel) = (self.run_of(order), self.pixel(order));
        let runs = self.taps() / run.max(1);
        let outer = crew.share_of(groups * self.groups, 1).min(self.blocks());
        let parts = crew.share_of(groups * self.groups * outer, 1);
        let parts = parts.min((run / FEW_ELEMENTS).max(1));
        crew.for_each(groups * self.groups * outer * parts, |i| {
            let cut = |n: usize, i: usize, of: usize| n * i / of..n * (i + 1) / of;
            let at = At {
                group: i / parts / outer % self.groups,
                blocks: cut(self.blocks(), i / parts % outer, outer),
                part: cut(run, i % parts, parts),
            };
            let s = i / parts / outer / self.groups;
            let own = cut(samples, s, groups);
            let (d, own) = match order == Order::Nhwc && self.is_flat() {
                true => (self.joined(own.len()), own.start..own.start + 1),
                false => (*self, own),
            };
            let strips = d.long_strips(order, PIXELS);
            let panel = PIXELS * ELEMENTS.min(runs * at.part.len());
            let size = at.blocks.len() * runs * at.part.len() * 16;
            scratch::with(size + panel, |floats| {
                let (panel, sums) = floats.split_at_mut(panel);
                sums.fill(0.0);
                for n in own {
                    for rows in &strips {
                        d.with_strip(&x[n * input..], order, rows, |strip| {
                            // SAFETY: as in `forward`; `sums` holds the blocks.
                            unsafe {
                                let dy = dy.as_ptr().add(n * whole + d.row_at(rows.start));
                                let (strip, sums) = ((strip.as_ptr(), pixel), sums.as_mut_ptr());
                                let panel = panel.as_mut_ptr();
                                weights(isa, &d, strip, dy, sums, rows.len(), &at, panel);
                            }
                        });
                    }
                }
                done(s, at, sums);
            });
        });
    }

    /// dW += `sums` as [`Self::pieces`] gives them, where runs have `run` elements.
    ///
    /// # Safety
    /// `dw` holds all outputs; nobody else writes those elements.
    unsafe fn add_to(&self, sums: &[f32], at: &At, run: usize, dw: Shared) {
        let (taps, c) = (self.taps(), self.channels);
        let elements = self.h.kernel * self.w.kernel;
        let (part, runs) = (at.part.len(), taps / run.max(1));
        for o in at.blocks.start * 16..(at.blocks.end * 16).min(self.outputs) {
            let block = o / 16 - at.blocks.start;
            let from = &sums[block * runs * part * 16 + o % 16..];
            // SAFETY: as the caller says.
            let dw = unsafe { dw.get().add((at.group * self.outputs + o) * taps) };
            for r in 0..runs {
                for (k, tap) in at.part.clone().enumerate() {
                    let tap = r * run + tap;
                    // SAFETY: as the caller says.
                    unsafe { *dw.add(tap % c * elements + tap / c) += from[(r * part + k) * 16] };
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn weights_body<L: Lanes, const M: usize>(
    d: &Direct,
    (strip, pixel): (*const f32, usize),
    dy: *const f32,
    sums: *mut f32,
    rows: usize,
    at: &At,
    panel: *mut f32,
) {
    let ([(outer_runs, outer_step), (inner_runs, inner_step)], _) = d.runs(pixel);
    let (rows, width) = d.extent(rows);
    let each = at.part.len();
    let mut lines = [0.0f32; 16 * PIXELS];
    // Some rows, or a part of one.
    let some = (PIXELS / width.max(1)).max(1);
    let x_row = d.h.stride * d.strip_row(pixel);
    // As many runs as fit, so that dY is taken up once for all of them.
    let (runs, together) = (outer_runs * inner_runs, (ELEMENTS / each.max(1)).max(1));
    let chunks = (0..rows).step_by(some);
    for (row, x) in chunks.flat_map(|y| (0..width).step_by(PIXELS).map(move |x| (y, x))) {
        let size = [some.min(rows - row), PIXELS.min(width - x)];
        let start = row * x_row + x * d.w.stride * pixel;
        let start = start + at.group * d.channels + at.part.start;
        let dy_start = row * d.out_row() + x * d.y_pitch + at.group * d.outputs;
        for (first, k) in (0..runs)
            .step_by(together)
            .flat_map(|r| (0..each).step_by(ELEMENTS).map(move |k| (r, k)))
        {
            let n = ELEMENTS.min(each - k);
            let some = first..(first + together).min(runs);
            // SAFETY: as the caller says; `lines` holds PIXELS pixels, `panel` as many of the elements.
            unsafe {
                for r in some.clone() {
                    let run = r / inner_runs * outer_step + r % inner_runs * inner_step;
                    let a = (strip.add(start + run + k), x_row, d.w.stride * pixel);
                    pack_outer::<M>(a, n, size, panel.add((r - first) * n * PIXELS));
                }
                for b in at.blocks.clone() {
                    let dy = dy.add(dy_start + b * 16);
                    let lanes = (d.outputs - b * 16).min(16);
                    let to = lines.as_mut_ptr();
                    copy_lines::<L>((dy, d.out_row(), d.y_pitch), lanes, size, to);
                    let lines = Lines {
                        start: lines.as_ptr(),
                        step: 16,
                        rows: size[0] * size[1],
                        count: 1,
                    };
                    for r in some.clone() {
                        let at = ((b - at.blocks.start) * runs + r) * each + k;
                        let panel = panel.add((r - first) * n * PIXELS);
                        outer_packed::<L, M>(panel, n, lines, sums.add(at * 16));
                    }
                }
            }
        }
    }
}

/// The first `lanes` of 16 floats of each row of each band to `to`, 16 a row; what is there of others stays.
#[inline(always)]
unsafe fn copy_lines<L: Lanes>(
    (from, band, step): (*const f32, usize, usize),
    lanes: usize,
    [bands, rows]: [usize; 2],
    to: *mut f32,
) {
    for i in 0..bands {
        for r in 0..rows {
            // SAFETY: as the caller says.
            unsafe {
                let (from, to) = (from.add(i * band + r * step), to.add((i * rows + r) * 16));
                match lanes {
                    16 => L::load(from).store(to),
                    lanes => std::ptr::copy_nonoverlapping(from, to, lanes),
                }
            }
        }
    }
}

dispatch! {
    /// The share of some output rows in a piece of the weight gradient.
    unsafe fn weights(
        d: &Direct, strip: (*const f32, usize), dy: *const f32, sums: *mut f32, rows: usize, at: &At,
        panel: *mut f32,
    ) = weights_body
}
