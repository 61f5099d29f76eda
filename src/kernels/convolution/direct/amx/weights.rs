//! The gradient of a direct convolution's weights in AMX's tiles: sums over pixels of X turned, times dY.
//!
//! A pixel that a tap sees is a fixed number of places away from the pixel of dY, if both lie on one grid: that of the
//! zero-padded input, of which with strides each remainder of rows and columns is a plane of its own. So X is turned
//! once, to a row of pixels for each plane and channel, and serves all taps: 16 such rows, some places further for each
//! of the shifts, are a tile. dY is 0 where the grid has no result. Rows of tiles that have no tap at a shift are left
//! out.
//!
//! Some rows of a sample, or some samples, are packed at a time, so that both operands stay in the second-level cache;
//! sums are added over these in the order of the batch. What is packed together follows from the sizes alone.

#![allow(unsafe_code)]

use super::super::halves::{half, halve, halve_every_second};
use super::super::{Direct, Order};
use crate::kernels::amx::{Amx, COLUMNS, DEPTH, PANEL, ROWS, SUMS, TILE, Tiles};
use crate::kernels::crew::Crew;
use crate::kernels::scratch::{self, Shared};
use std::arch::x86_64::*;
use std::ops::Range;

/// Bytes of both operands that are packed at a time.
const PACKED: usize = 768 << 10;

/// The same where there are many sums.
const MOST_PACKED: usize = 1536 << 10;

/// Floats that all sums may take.
const MOST_SUMS: usize = 16 << 20;

/// The grid on which X and dY lie.
struct Grid {
    /// Planes along each axis.
    planes: [usize; 2],
    /// Columns of a plane.
    across: usize,
    /// The shifts: rows and columns of the grid, and the taps there, by plane.
    shifts: Vec<Shift>,
    /// Rows of the grid beyond those of results that taps reach.
    reach: usize,
}

struct Shift {
    at: usize,
    /// For every plane the element of the kernel.
    taps: Vec<Option<usize>>,
}

/// Which rows of which samples are packed together.
struct Cut {
    rows: usize,
    samples: usize,
}

/// The sizes of what is packed at a time.
struct Sizes {
    /// Rows of X turned, of one group, and how far apart they are.
    lines: usize,
    line: usize,
    /// Pixels of one piece of a line: some rows of a sample.
    piece: usize,
    /// Steps in depth of a piece.
    steps: usize,
    /// Pieces.
    pieces: usize,
}

impl Direct {
    fn grid(&self) -> Grid {
        let axes = [self.h, self.w];
        if self.is_flat() || self.taken.is_some() {
            let shift = Shift {
                at: 0,
                taps: vec![Some(0)],
            };
            return Grid {
                planes: [1, 1],
                across: 1,
                shifts: vec![shift],
                reach: 0,
            };
        }
        let planes = axes.map(|a| if a.kernel == 1 { 1 } else { a.stride });
        let across = (self.w.input + 2 * self.w.pad).div_ceil(self.w.stride);
        let places = axes.map(|a| {
            let mut places: Vec<usize> = (0..a.kernel).map(|k| k * a.dilation / a.stride).collect();
            places.dedup();
            places
        });
        let mut shifts = Vec::new();
        for &y in &places[0] {
            for &x in &places[1] {
                let tap = |axis: usize, place: usize, plane: usize| {
                    let a = axes[axis];
                    (0..a.kernel).find(|k| k * a.dilation == place * a.stride + plane)
                };
                let each = (0..planes[0] * planes[1]).map(|p| {
                    let row = tap(0, y, p / planes[1])?;
                    Some(row * self.w.kernel + tap(1, x, p % planes[1])?)
                });
                shifts.push(Shift {
                    at: y * across + x,
                    taps: each.collect(),
                });
            }
        }
        let reach = places[0].last().copied().unwrap_or(0);
        Grid {
            planes,
            across,
            shifts,
            reach,
        }
    }

    /// What is packed at a time, of `samples` samples.
    fn cut(&self, grid: &Grid, samples: usize) -> Cut {
        let planes = grid.planes[0] * grid.planes[1];
        let wide = self.groups * (self.channels * planes + self.blocks() * COLUMNS);
        let row = 2 * grid.across * wide;
        // All sums are read and written for each: where they are many, more is packed.
        let room = (PACKED + 2 * self.sums(grid)).min(MOST_PACKED) / row.max(1);
        let height = self.h.output;
        if room >= height + grid.reach {
            return Cut {
                rows: height,
                samples: (room / (height + grid.reach)).clamp(1, samples),
            };
        }
        let parts = height.div_ceil(room.saturating_sub(grid.reach).max(1));
        Cut {
            rows: height.div_ceil(parts),
            samples: 1,
        }
    }

    /// How many tiles of sums there are, by rows of X, two at a time, and outputs, two at a time.
    fn pairs(&self, grid: &Grid) -> [usize; 2] {
        let lines = self.channels * grid.planes[0] * grid.planes[1];
        [lines.div_ceil(2 * ROWS), self.blocks().div_ceil(2)]
    }

    /// Floats of all sums.
    fn sums(&self, grid: &Grid) -> usize {
        let [lines, outputs] = self.pairs(grid);
        self.groups * grid.shifts.len() * lines * outputs * SUMS * TILE
    }

    /// Whether the sums of [`Direct::weights_amx`] are of a bearable size.
    pub fn suits_amx_weights(&self) -> bool {
        self.suits_amx() && self.sums(&self.grid()) <= MOST_SUMS
    }

    /// dW += dY·X over `samples` samples, as [`Direct::weights`].
    pub fn weights_amx(
        &self,
        amx: Amx,
        crew: &Crew,
        (x, order): (&[f32], Order),
        samples: usize,
        dy: &[f32],
        dw: &mut [f32],
    ) {
        if let Some(d) = self.taken() {
            return d.weights_amx(amx, crew, (x, order), samples, dy, dw);
        }
        self.check(x.len(), order, dy.len(), samples);
        assert_eq!(dw.len(), self.groups * self.outputs * self.taps());
        if samples == 0 || self.h.output * self.w.output == 0 {
            return;
        }
        let grid = self.grid();
        let cut = self.cut(&grid, samples);
        let [line_pairs, output_pairs] = self.pairs(&grid);
        let planes = grid.planes[0] * grid.planes[1];
        let lines = self.channels * planes;
        let piece = ((cut.rows + grid.reach) * grid.across + grid.across).next_multiple_of(DEPTH);
        let pieces = cut.samples;
        // An odd number of lines of the cache: sixteen rows of a tile do not meet in one set.
        let line = pieces * piece + DEPTH;
        let line = line
            + if (line / DEPTH).is_multiple_of(2) {
                DEPTH
            } else {
                0
            };
        let steps = (cut.rows * grid.across).div_ceil(DEPTH);
        let sizes = Sizes {
            lines,
            line,
            piece,
            steps,
            pieces,
        };
        // Rows of the last tile that are not there.
        let spare = 2 * ROWS * line;
        let turned = self.groups * lines * line + spare;
        let panels = self.groups * self.blocks() * pieces * steps * PANEL;
        let units = self.groups * grid.shifts.len() * line_pairs * output_pairs;
        scratch::with(units * SUMS * TILE, |sums| {
            sums.fill(0.0);
            let sums = Shared::new(sums);
            scratch::with_halves(turned + panels, |packed| {
                let (turned, panels) = packed.split_at_mut(turned);
                // Whatever is read and not written below must be a number.
                turned.fill(0);
                let mut first = true;
                let each: Vec<(usize, usize)> = (0..samples)
                    .step_by(cut.samples)
                    .flat_map(|n| (0..self.h.output).step_by(cut.rows).map(move |y| (n, y)))
                    .collect();
                for (n, y) in each {
                    let own = n..(n + cut.samples).min(samples);
                    let rows = y..(y + cut.rows).min(self.h.output);
                    let dirty = !std::mem::take(&mut first);
                    self.turn(
                        crew,
                        (x, order),
                        (&own, &rows),
                        &grid,
                        &sizes,
                        dirty,
                        turned,
                    );
                    self.panels(crew, dy, (&own, &rows), &grid, &sizes, panels);
                    let steps: Vec<usize> = (0..own.len())
                        .flat_map(|p| (0..steps).map(move |s| 2 * (p * piece + s * DEPTH)))
                        .collect();
                    let (turned, panels) = (&*turned, &*panels);
                    crew.for_each(self.groups * grid.shifts.len() * line_pairs, |i| {
                        let (pair, at) = (i % line_pairs, i / line_pairs);
                        let (g, shift) =
                            (at / grid.shifts.len(), &grid.shifts[at % grid.shifts.len()]);
                        let tiles = Tiles::new(amx);
                        let many = (lines - pair * 2 * ROWS).div_ceil(ROWS).min(2);
                        if !shift.used(pair * 2 * ROWS..(pair + 1) * 2 * ROWS, self.channels) {
                            return;
                        }
                        let start = (g * lines + pair * 2 * ROWS) * line + shift.at;
                        for b in 0..output_pairs {
                            let wide = (self.blocks() - 2 * b).min(2);
                            let unit = i * output_pairs + b;
                            let block = (g * self.blocks() + 2 * b) * pieces * sizes.steps * PANEL;
                            // SAFETY: an `Amx` says that the instructions are there; the packed operands have all rows,
                            // with spare ones, and all blocks; each unit has its own sums.
                            unsafe {
                                let a = [0, 1, 2, 3].map(|r| {
                                    turned.as_ptr().add(start + r.min(many - 1) * ROWS * line)
                                });
                                let panel = |c: usize| {
                                    panels
                                        .as_ptr()
                                        .add(block + c * pieces * sizes.steps * PANEL)
                                };
                                let panels = [panel(0), panel(wide - 1)];
                                let sums = sums.get().add(unit * SUMS * TILE);
                                tiles.product(
                                    [many, wide],
                                    &a,
                                    2 * line,
                                    &steps,
                                    panels,
                                    sums,
                                    false,
                                );
                            }
                        }
                    });
                }
            });
            let out = Shared::new(dw);
            let elements = self.h.kernel * self.w.kernel;
            let taps = self.taps();
            crew.for_each(self.groups * self.blocks(), |i| {
                let (g, block) = (i / self.blocks(), i % self.blocks());
                let wide = (self.blocks() - block / 2 * 2).min(2);
                for (s, shift) in grid.shifts.iter().enumerate() {
                    for q in 0..lines {
                        let Some(e) = shift.taps[q / self.channels] else {
                            continue;
                        };
                        let unit = ((g * grid.shifts.len() + s) * line_pairs + q / (2 * ROWS))
                            * output_pairs
                            + block / 2;
                        let tile = q / ROWS % 2 * wide + block % 2;
                        let at = unit * SUMS * TILE + tile * TILE + q % ROWS * COLUMNS;
                        let first = block * COLUMNS;
                        for lane in 0..COLUMNS.min(self.outputs - first) {
                            let o = g * self.outputs + first + lane;
                            // SAFETY: as above; each piece writes the weights of its own outputs, of which dW has all
                            // (asserted above).
                            unsafe {
                                let to = out.get().add(o * taps + q % self.channels * elements + e);
                                *to += *sums.get().add(at + lane);
                            }
                        }
                    }
                }
            });
        });
    }

    /// X turned: for every group, plane and channel the pixels of `rows`' grid, of some samples.
    fn turn(
        &self,
        crew: &Crew,
        (x, order): (&[f32], Order),
        (own, rows): (&Range<usize>, &Range<usize>),
        grid: &Grid,
        sizes: &Sizes,
        dirty: bool,
        turned: &mut [u16],
    ) {
        let input = self.input(order);
        let to = Shared::new(turned);
        let tiles = self.channels.div_ceil(ROWS);
        let planes = grid.planes[0] * grid.planes[1];
        crew.for_each(own.len() * self.groups * planes * tiles, |i| {
            let (tile, i) = (i % tiles, i / tiles);
            let (plane, i) = (i % planes, i / planes);
            let (g, p) = (i % self.groups, i / self.groups);
            let channels = tile * ROWS..(tile * ROWS + ROWS).min(self.channels);
            let line = g * sizes.lines + plane * self.channels + channels.start;
            // SAFETY: the buffer has all lines (asserted by its size), and each task writes its own.
            unsafe {
                let to = to
                    .get()
                    .cast::<u16>()
                    .add(line * sizes.line + p * sizes.piece);
                if dirty {
                    // Other rows, or a shorter part, were here: the padding may lie elsewhere now.
                    for c in 0..channels.len() {
                        std::slice::from_raw_parts_mut(to.add(c * sizes.line), sizes.piece).fill(0);
                    }
                }
                let x = &x[(own.start + p) * input..];
                let channels = g * self.channels + channels.start..g * self.channels + channels.end;
                self.turn_one((x, order), rows, grid, plane, channels, (to, sizes.line));
            }
        });
    }

    /// Some channels of one plane of one sample.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn turn_one(
        &self,
        (x, order): (&[f32], Order),
        rows: &Range<usize>,
        grid: &Grid,
        plane: usize,
        channels: Range<usize>,
        (to, line): (*mut u16, usize),
    ) {
        // SAFETY: as the caller says; X is indexed as a slice where it is not read by whole pixels, of which it has
        // those that the axes say.
        unsafe {
            if let Some(taken) = &self.taken {
                for (at, i) in rows.clone().step_by(ROWS).enumerate() {
                    let n = ROWS.min(rows.end - i);
                    for j in 0..n {
                        let pixel = taken.at(i + j);
                        for (k, c) in channels.clone().enumerate() {
                            let v = match order {
                                Order::Nhwc => x[pixel * self.x_pitch + c],
                                Order::Nchw => x[c * taken.pixels() + pixel],
                            };
                            *to.add(k * line + at * ROWS + j) = half(v);
                        }
                    }
                }
                return;
            }
            if self.is_flat() {
                let n = rows.len() * self.w.output;
                let first = rows.start * self.w.output;
                let plane = self.h.input * self.w.input;
                let step = match order {
                    Order::Nhwc => (first * self.x_pitch, self.x_pitch, 1),
                    Order::Nchw => (first, 1, plane),
                };
                turn_run(x, step, channels, n, to, line);
                return;
            }
            let [ph, pw] = [plane / grid.planes[1], plane % grid.planes[1]];
            let (h, w) = (self.h, self.w);
            // The columns of the plane that are not padding.
            let first = w.pad.saturating_sub(pw).div_ceil(w.stride);
            let end = (w.input + w.pad)
                .saturating_sub(pw)
                .div_ceil(w.stride)
                .min(grid.across);
            if first >= end {
                return;
            }
            for (at, step) in (rows.start..rows.end + grid.reach).enumerate() {
                let Some(y) = (step * h.stride + ph)
                    .checked_sub(h.pad)
                    .filter(|y| *y < h.input)
                else {
                    continue;
                };
                let column = first * w.stride + pw - w.pad;
                let step = match order {
                    Order::Nhwc => {
                        let pitch = w.input + 2 * self.crop[1];
                        let pixel = (y + self.crop[0]) * pitch + self.crop[1] + column;
                        (pixel * self.x_pitch, w.stride * self.x_pitch, 1)
                    }
                    Order::Nchw => (y * w.input + column, w.stride, h.input * w.input),
                };
                let to = to.add(at * grid.across + first);
                turn_run(x, step, channels.clone(), end - first, to, line);
            }
        }
    }

    /// dY as tiles of B: for every group and block of outputs the pairs of pixels of the grid, of some samples.
    fn panels(
        &self,
        crew: &Crew,
        dy: &[f32],
        (own, rows): (&Range<usize>, &Range<usize>),
        grid: &Grid,
        sizes: &Sizes,
        panels: &mut [u16],
    ) {
        let whole = self.output();
        let to = Shared::new(panels);
        let flat = self.is_flat() || self.taken.is_some();
        let width = if flat { 1 } else { self.w.output };
        crew.for_each(own.len() * self.groups * self.blocks(), |i| {
            let (p, block) = (i % own.len(), i / own.len());
            let (g, first) = (block / self.blocks(), block % self.blocks() * COLUMNS);
            let lanes = (self.outputs - first).min(COLUMNS);
            let from = (own.start + p) * whole + self.row_at(rows.start) + g * self.outputs + first;
            let at = (block * sizes.pieces + p) * sizes.steps * PANEL;
            // SAFETY: dY has the rows' results (`check`), the buffer all blocks, of which each task writes its own.
            unsafe {
                let from = dy.as_ptr().add(from);
                let to = to.get().add(at);
                let row = if flat { self.y_pitch } else { self.out_row() };
                let grid = [
                    rows.len() * if flat { self.w.output } else { 1 },
                    width,
                    grid.across,
                ];
                panel(from, [row, self.y_pitch], grid, lanes, to, sizes.steps);
            }
        });
    }
}

impl Shift {
    /// Whether one of the rows of X turned has a tap here.
    fn used(&self, lines: Range<usize>, channels: usize) -> bool {
        let planes = lines.start / channels..=(lines.end - 1) / channels;
        planes
            .into_iter()
            .any(|p| matches!(self.taps.get(p), Some(Some(_))))
    }
}

/// `n` pixels of some channels to a row a channel: element c of pixel i is at `start` + i·`pixel` + c·`plane`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn turn_run(
    x: &[f32],
    (start, pixel, plane): (usize, usize, usize),
    channels: Range<usize>,
    n: usize,
    to: *mut u16,
    line: usize,
) {
    let last = start + (n - 1) * pixel + (channels.end - 1) * plane;
    assert!(last < x.len());
    // SAFETY: the last element is inside (asserted above); `to` is as the caller says.
    unsafe {
        if plane == 1 {
            for i in (0..n).step_by(ROWS) {
                let from = x.as_ptr().add(start + i * pixel + channels.start);
                turn16(
                    (from, pixel),
                    [ROWS.min(n - i), channels.len()],
                    (to.add(i), line),
                );
            }
            return;
        }
        for (k, c) in channels.enumerate() {
            let (from, to) = (x.as_ptr().add(start + c * plane), to.add(k * line));
            if pixel == 1 {
                halve(from, n, to);
                continue;
            }
            if pixel == 2 {
                halve_every_second(from, n, to);
                continue;
            }
            for i in 0..n {
                *to.add(i) = half(*from.add(i * pixel));
            }
        }
    }
}

/// Up to 16 pixels of up to 16 channels, turned and rounded.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn turn16(
    (from, pixel): (*const f32, usize),
    [pixels, channels]: [usize; 2],
    (to, line): (*mut u16, usize),
) {
    let mask = ((1u32 << channels) - 1) as __mmask16;
    let mut a = [_mm512_setzero_ps(); 16];
    // SAFETY: as the caller says; masks leave out what is not there.
    unsafe {
        for (i, a) in a.iter_mut().enumerate() {
            if i < pixels {
                *a = _mm512_maskz_loadu_ps(mask, from.add(i * pixel));
            }
        }
    }
    // Pairs, then fours, then lanes of four change places.
    let mut b = a;
    for i in 0..8 {
        b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    }
    for i in 0..4 {
        let d = |v: __m512| _mm512_castps_pd(v);
        let s = |v: __m512d| _mm512_castpd_ps(v);
        a[4 * i] = s(_mm512_unpacklo_pd(d(b[4 * i]), d(b[4 * i + 2])));
        a[4 * i + 1] = s(_mm512_unpackhi_pd(d(b[4 * i]), d(b[4 * i + 2])));
        a[4 * i + 2] = s(_mm512_unpacklo_pd(d(b[4 * i + 1]), d(b[4 * i + 3])));
        a[4 * i + 3] = s(_mm512_unpackhi_pd(d(b[4 * i + 1]), d(b[4 * i + 3])));
    }
    for i in 0..4 {
        b[i] = _mm512_shuffle_f32x4::<0x88>(a[i], a[i + 4]);
        b[i + 4] = _mm512_shuffle_f32x4::<0xdd>(a[i], a[i + 4]);
        b[i + 8] = _mm512_shuffle_f32x4::<0x88>(a[i + 8], a[i + 12]);
        b[i + 12] = _mm512_shuffle_f32x4::<0xdd>(a[i + 8], a[i + 12]);
    }
    for i in 0..4 {
        a[i] = _mm512_shuffle_f32x4::<0x88>(b[i], b[i + 8]);
        a[i + 4] = _mm512_shuffle_f32x4::<0x88>(b[i + 4], b[i + 12]);
        a[i + 8] = _mm512_shuffle_f32x4::<0xdd>(b[i], b[i + 8]);
        a[i + 12] = _mm512_shuffle_f32x4::<0xdd>(b[i + 4], b[i + 12]);
    }
    let mask = ((1u32 << pixels) - 1) as __mmask16;
    for (c, a) in a.iter().enumerate() {
        if c < channels {
            // SAFETY: as above; both are 256 bits.
            unsafe {
                let half = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(*a));
                _mm256_mask_storeu_epi16(to.add(c * line).cast(), mask, half);
            }
        }
    }
}

/// Pairs of pixels of 16 outputs, side by side: of `rows` rows of `across` places, of which the first `width` are
/// results, and then zeros to the end of the last step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn panel(
    from: *const f32,
    [row, pixel]: [usize; 2],
    [rows, width, across]: [usize; 3],
    lanes: usize,
    to: *mut u16,
    steps: usize,
) {
    let mask = ((1u32 << lanes) - 1) as __mmask16;
    let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
    let (mut y, mut x) = (0, 0);
    // SAFETY: as the caller says; the mask leaves out what is not there.
    unsafe {
        let order = _mm512_loadu_si512(order.as_ptr().cast());
        for t in 0..steps * DEPTH / 2 {
            let mut pair = [_mm512_setzero_ps(); 2];
            for v in &mut pair {
                if y < rows && x < width {
                    *v = _mm512_maskz_loadu_ps(mask, from.add(y * row + x * pixel));
                }
                x += 1;
                if x == across {
                    (y, x) = (y + 1, 0);
                }
            }
            let both =
                std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(pair[1], pair[0]));
            let both = _mm512_permutexvar_epi16(order, both);
            _mm512_storeu_si512(to.add(t * 2 * COLUMNS).cast(), both);
        }
    }
}
