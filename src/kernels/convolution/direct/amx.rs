//! Direct convolution in AMX's tiles: 32 pixels × 32 outputs, operands in bfloat16, sums in float32.
//!
//! A strip of the input is rounded once ([`halves`](super::halves)) and then read as it lies: the elements under the
//! kernel are runs of it, 32 of which are a step in depth, and the next pixel's are those a pixel further. At stride 1 the
//! pixels of all rows of a strip are one line, of which those that would be under the padding are passed over; else each
//! row is a line. Weights are packed as [group][outputs/16][step][pair of elements][16][2], zeros past the end of a run
//! and past the last output.

#![allow(unsafe_code)]

mod weights;

use super::halves::half;
use super::{Direct, Input, Output};
use crate::kernels::aligned::Aligned;
use crate::kernels::amx::{Amx, COLUMNS, DEPTH, PANEL, ROWS, SUMS, TILE, Tiles};
use crate::kernels::convolution::tile::Then;
use crate::kernels::crew::Crew;
use crate::kernels::each_chunk;
use crate::kernels::scratch::Shared;
use std::arch::x86_64::*;
use std::ops::Range;

/// Bytes of input that shall stay in the second-level cache while all outputs pass over them.
const STRIP: usize = 256 << 10;

/// Fewer pixels are no strip of their own only to keep the threads busy.
const FEW_PIXELS: usize = 96;

/// Pixels that follow each other under one kernel.
#[derive(Clone, Copy)]
struct Lines {
    count: usize,
    /// Pixels of a line, with those that are passed over.
    pixels: usize,
    /// Elements from pixel to pixel and from line to line of the strip.
    step: usize,
    apart: usize,
    /// Of `row` pixels the first `kept` are results.
    row: usize,
    kept: usize,
}

impl Direct {
    /// Whether tiles are filled well enough: else a group has too few channels or outputs.
    pub fn suits_amx(&self) -> bool {
        self.groups == 1 || self.channels >= 8 && self.outputs >= 8
    }

    /// Steps in depth.
    fn steps(&self) -> usize {
        let ([outer, inner], len) = self.runs(self.groups * self.channels);
        outer.0 * inner.0 * len.div_ceil(DEPTH)
    }

    /// Floats that weights for AMX take, two numbers in one.
    pub fn amx_packed(&self) -> usize {
        self.groups * self.blocks() * self.steps() * PANEL / 2
    }

    /// Packs w\[outputs\]\[channels\]\[kernel height\]\[kernel width\] of each group; with `turned` w is that of
    /// the transposed convolution.
    pub fn pack_amx(&self, crew: &Crew, w: &[f32], turned: bool, packed: &mut Aligned) {
        packed.resize(self.amx_packed());
        let (elements, c) = (self.h.kernel * self.w.kernel, self.channels);
        assert_eq!(w.len(), self.groups * self.outputs * c * elements);
        let group = (self.outputs * c * elements).max(1);
        let each = self.steps() * PANEL / 2;
        let (_, len) = self.runs(self.groups * c);
        let place = |tap: usize| {
            let (run, k) = (tap / len, tap % len);
            (run * len.div_ceil(DEPTH) + k / DEPTH) * PANEL + k % DEPTH / 2 * 32 + k % 2
        };
        let places: Vec<usize> = (0..self.taps()).map(place).collect();
        each_chunk(crew, each, packed, |start, block| {
            block.fill(0.0);
            let b = start / each;
            let (g, first) = (b / self.blocks(), b % self.blocks() * COLUMNS);
            let w = &w[g * group..][..group];
            // SAFETY: two halves fit into a float, and any bits are some.
            let block = unsafe {
                std::slice::from_raw_parts_mut(block.as_mut_ptr().cast::<u16>(), 2 * block.len())
            };
            for lane in 0..COLUMNS.min(self.outputs - first) {
                let o = first + lane;
                for k in 0..c {
                    let at = if turned {
                        k * self.outputs + o
                    } else {
                        o * c + k
                    };
                    for (e, v) in w[at * elements..][..elements].iter().enumerate() {
                        let e = if turned { elements - 1 - e } else { e };
                        block[places[e * c + k] + 2 * lane] = half(*v);
                    }
                }
            }
        });
    }

    /// Y = W·X + b for each of `samples` samples, and what `then` says, as [`Direct::forward`].
    pub fn forward_amx(
        &self,
        amx: Amx,
        crew: &Crew,
        x: Input,
        packed: &[f32],
        bias: Option<&[f32]>,
        then: Then,
        samples: usize,
        mut y: Output,
    ) {
        if let Some(d) = self.taken() {
            return d.forward_amx(amx, crew, x, packed, bias, then, samples, y);
        }
        let (input, whole) = (self.input(x.order()), self.output());
        assert_eq!(packed.len(), self.amx_packed());
        assert!(bias.is_none_or(|b| b.len() == self.groups * self.blocks() * 16));
        self.check(x.len(), x.order(), y.len(), samples);
        if samples == 0 {
            return;
        }
        if self.border != [0, 0] {
            match &mut y {
                Output::Floats(y) => self.fill_border(bias, then, y, |v| v, |v| v),
                Output::Halves(y) => self.fill_border(bias, then, y, half, whole_of),
            }
        }
        let offsets = self.offsets();
        let strips = self.wide_strips(crew, samples);
        let all = self.groups * self.blocks();
        let parts = crew.share_of(samples * strips.len(), 1).min(all);
        let (to_halves, out) = match y {
            Output::Floats(y) => (false, Shared::new(y)),
            Output::Halves(y) => (true, Shared::of(y.as_mut_ptr().cast())),
        };
        crew.for_each(samples * strips.len() * parts, |i| {
            let (i, part) = (i / parts, i % parts);
            let (n, rows) = (i / strips.len(), &strips[i % strips.len()]);
            let mut lines = self.lines(rows.len());
            let in_place = self.in_place(&x, &lines);
            if in_place {
                lines.step = self.x_pitch;
            }
            let behind = self.behind(lines.pixels, self.w.stride);
            let task = Task {
                d: self,
                offsets: &offsets,
                lines,
                blocks: all * part / parts..all * (part + 1) / parts,
                packed: packed.as_ptr().cast(),
                bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
                then,
                to_halves,
            };
            // SAFETY: an `Amx` says that the instructions are there. The strip holds all that is under the rows and what
            // tiles read behind it, the weights and biases their blocks (asserted above), and each task writes its own
            // blocks of its own rows of its own sample.
            unsafe {
                let at = n * whole + self.row_at(rows.start);
                let y = match to_halves {
                    true => out.get().cast::<u16>().add(at).cast(),
                    false => out.get().add(at),
                };
                let x = x.from(n * input);
                if let (Input::Halves(x), true) = (x, in_place) {
                    let strip = x[rows.start * self.w.output * self.x_pitch..].as_ptr();
                    return task.run(&Tiles::new(amx), strip, y);
                }
                self.with_halves(x, rows, behind, |strip| {
                    task.run(&Tiles::new(amx), strip, y);
                });
            }
        });
    }

    /// The output rows of one of `samples` samples cut into strips: fewer than other kernels have, since the borders that
    /// neighbours share take longer here than the products.
    fn wide_strips(&self, crew: &Crew, samples: usize) -> Vec<Range<usize>> {
        let [rows, columns] = [self.h.output, self.w.output];
        let row = 2 * self.strip_row(self.groups * self.channels) * self.h.stride;
        let least = rows.div_ceil((STRIP / row.max(1)).max(1));
        let fine = (rows * columns / FEW_PIXELS).max(1);
        let several = match crew.threads() {
            1 => 1,
            threads => (2 * threads).div_ceil(samples),
        };
        let n = crew
            .share_of(samples, least.max(fine.min(several)))
            .min(least.max(fine));
        (0..n)
            .map(|i| rows * i / n..rows * (i + 1) / n)
            .filter(|r| !r.is_empty())
            .collect()
    }

    /// Whether tiles read X where it lies: numbers are bfloat16, nothing is padded, and no tile reads on behind the end.
    fn in_place(&self, x: &Input, lines: &Lines) -> bool {
        let whole = self.channels.is_multiple_of(DEPTH) && lines.pixels >= ROWS;
        matches!(x, Input::Halves(_))
            && self.is_flat()
            && self.crop == [0, 0]
            && self.taken.is_none()
            && whole
    }

    /// Where the steps of a row of A start, in bytes.
    fn offsets(&self) -> Vec<usize> {
        let ([outer, inner], len) = self.runs(self.groups * self.channels);
        let runs = (0..outer.0).flat_map(|i| (0..inner.0).map(move |j| i * outer.1 + j * inner.1));
        runs.flat_map(|run| (0..len).step_by(DEPTH).map(move |k| 2 * (run + k)))
            .collect()
    }

    fn lines(&self, rows: usize) -> Lines {
        let pixel = self.groups * self.channels;
        if self.is_flat() {
            let pixels = rows * self.w.output;
            return Lines {
                count: 1,
                pixels,
                step: pixel,
                apart: 0,
                row: pixels.max(1),
                kept: pixels,
            };
        }
        let row = self.strip_row(pixel);
        let width = self.w.output;
        if self.h.stride == 1 && self.w.stride == 1 {
            let across = row / pixel;
            let pixels = (rows - 1) * across + width;
            return Lines {
                count: 1,
                pixels,
                step: pixel,
                apart: 0,
                row: across,
                kept: width,
            };
        }
        Lines {
            count: rows,
            pixels: width,
            step: self.w.stride * pixel,
            apart: self.h.stride * row,
            row: width,
            kept: width,
        }
    }
}

/// Some blocks of outputs of some rows of a sample.
struct Task<'a> {
    d: &'a Direct,
    offsets: &'a [usize],
    lines: Lines,
    blocks: Range<usize>,
    packed: *const u16,
    bias: *const f32,
    then: Then,
    /// Y is bfloat16.
    to_halves: bool,
}

/// Sums of a product.
#[repr(align(64))]
struct Sums([f32; SUMS * TILE]);

impl Task<'_> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run(&self, tiles: &Tiles, strip: *const u16, y: *mut f32) {
        let (d, lines) = (self.d, self.lines);
        let panel = self.offsets.len() * PANEL;
        let mut sums = Sums([0.0; SUMS * TILE]);
        let sums = sums.0.as_mut_ptr();
        let tiles_of = lines.pixels.div_ceil(ROWS);
        let mut b = self.blocks.start;
        while b < self.blocks.end {
            let (g, first) = (b / d.blocks(), b % d.blocks());
            let columns = (self.blocks.end - b).min(d.blocks() - first).min(2);
            for line in 0..lines.count {
                let start = line * lines.apart + g * d.channels;
                let mut t = 0;
                while t < tiles_of {
                    let rows = match (columns, tiles_of - t) {
                        (2, left) => left.min(2),
                        (_, 4..) => 4,
                        (_, left) => left.min(2),
                    };
                    // The last tile begins earlier where there are pixels before it.
                    let from = |t: usize| (ROWS * t).min(lines.pixels.saturating_sub(ROWS));
                    // SAFETY: as the caller says.
                    unsafe {
                        let a = [0, 1, 2, 3].map(|r| {
                            strip.add(start + from((t + r).min(tiles_of - 1)) * lines.step)
                        });
                        let panels =
                            [0, 1].map(|c| self.packed.add((b + c.min(columns - 1)) * panel));
                        tiles.product(
                            [rows, columns],
                            &a,
                            2 * lines.step,
                            self.offsets,
                            panels,
                            sums,
                            true,
                        );
                        for r in 0..rows {
                            let (skip, from) = (ROWS * (t + r) - from(t + r), from(t + r));
                            let to = End {
                                pixels: from + skip..(from + ROWS).min(lines.pixels),
                                line,
                                block: b,
                                columns,
                            };
                            self.finish(sums.add(r * columns * TILE + skip * COLUMNS), to, y);
                        }
                    }
                    t += rows;
                }
            }
            b += columns;
        }
    }

    /// Stores a tile row's sums, from the first pixel of `end` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn finish(&self, mut sums: *const f32, end: End, y: *mut f32) {
        let (d, lines) = (self.d, self.lines);
        let (g, first) = (end.block / d.blocks(), end.block % d.blocks() * COLUMNS);
        let low = _mm512_set1_ps(match self.then.relu {
            true => 0.0,
            false => f32::NEG_INFINITY,
        });
        let mut masks = [0u16; 2];
        let mut biases = [_mm512_setzero_ps(); 2];
        for c in 0..end.columns {
            masks[c] = ((1u32 << (d.outputs - first - c * COLUMNS).min(16)) - 1) as u16;
            if !self.bias.is_null() {
                // SAFETY: there are sixteen biases a block.
                biases[c] = unsafe { _mm512_loadu_ps(self.bias.add((end.block + c) * COLUMNS)) };
            }
        }
        let (mut row, mut x) = (end.pixels.start / lines.row, end.pixels.start % lines.row);
        row += end.line;
        for _ in end.pixels {
            if x < lines.kept {
                // Rows without a border follow each other.
                // SAFETY: as the caller says.
                unsafe {
                    let at = row * d.out_row() + x * d.y_pitch + g * d.outputs + first;
                    if self.to_halves {
                        let to = y.cast::<u16>().add(at);
                        let v = [0, 1].map(|c| {
                            let v = _mm512_load_ps(sums.add(c % end.columns * TILE));
                            _mm512_max_ps(low, _mm512_add_ps(v, biases[c % end.columns]))
                        });
                        store_halves(v, &masks[..end.columns], to);
                    } else {
                        let y = y.add(at);
                        for c in 0..end.columns {
                            let (to, mask) = (y.add(c * COLUMNS), masks[c]);
                            let mut v =
                                _mm512_add_ps(_mm512_load_ps(sums.add(c * TILE)), biases[c]);
                            if self.then.add {
                                v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, to));
                            }
                            v = _mm512_max_ps(low, v);
                            if self.then.round {
                                v = round(v);
                            }
                            _mm512_mask_storeu_ps(to, mask, v);
                        }
                    }
                }
            }
            // SAFETY: the tile has sixteen rows.
            sums = unsafe { sums.add(COLUMNS) };
            x += 1;
            if x == lines.row {
                (row, x) = (row + 1, 0);
            }
        }
    }
}

/// Rounds two registers, or the first, and stores them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn store_halves(v: [__m512; 2], masks: &[u16], to: *mut u16) {
    let mask = masks
        .iter()
        .rev()
        .fold(0u32, |all, m| all << 16 | u32::from(*m));
    // SAFETY: both are 512 bits; the mask leaves out what is not there.
    unsafe {
        let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(v[1], v[0]));
        _mm512_mask_storeu_epi16(to.cast(), mask, both);
    }
}

/// The number of a half.
fn whole_of(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Where a tile row's sums go.
struct End {
    /// Of the line.
    pixels: Range<usize>,
    line: usize,
    block: usize,
    columns: usize,
}

/// The nearest bfloat16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn round(v: __m512) -> __m512 {
    // SAFETY: both are 256 bits.
    let half = unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
}
