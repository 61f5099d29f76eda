//! Convolution with sparse weights over NHWC: only weights that are not 0 are multiplied.
//!
//! A task turns the input under some output rows into zero-padded planes: one for each channel and, where the
//! stride is s > 1, each of the s × s phases of rows and columns, so that the elements under a tap of the kernel
//! are one run for any run of output pixels. (A plane's rows are longer than the output's; what lies between
//! is computed too and dropped.) A weight is then an offset into the planes and a value, and is multiplied
//! with a tile of pixels at once. The sums of all outputs for the tile stay in the cache while blocks of
//! channels pass over them, and are turned back on their way out.

#![allow(unsafe_code)]

use super::choice::Thin;
use super::direct::{Direct, Order};
use super::tile::Then;
use crate::kernels::crew::Crew;
use crate::kernels::scratch::{self, Shared};
use crate::kernels::simd::{Isa, Lanes, dispatch};
use crate::kernels::turn::{turn_in, turn_out};
use std::ops::Range;

/// Pixels of a tile.
const TILE: usize = 64;

/// Outputs whose sums stay near while all channels pass over them.
const OUTPUTS: usize = 128;

/// Bytes of planes under a tile that shall stay in the first-level cache while all outputs pass over them.
const NEAR: usize = 32 << 10;

/// Bytes of the planes of a task.
const STRIP: usize = 160 << 10;

/// A weight that is not 0.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Bytes from the start of a tile in the planes.
    offset: u32,
    value: f32,
}

/// Where a convolution's weights are not 0, and what they are.
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    d: Direct,
    /// Output rows of a task.
    rows: usize,
    /// Phases of rows and columns.
    phases: [usize; 2],
    /// Floats of a row of a plane.
    width: usize,
    /// Whether all pixels of X and Y are one row: 1 × 1 kernels.
    flat: bool,
    /// Floats from plane to plane.
    plane: usize,
    /// The order of the work on a tile: some outputs after the other, for each of them all blocks of channels.
    passes: Vec<(Range<usize>, Range<usize>)>,
    /// Pass by pass, output by output.
    entries: Vec<Entry>,
    /// Where each output's entries of a pass start, and at last the end of all.
    starts: Vec<u32>,
    /// Which weight of the file an entry is.
    at: Vec<u32>,
}

impl Sparse {
    /// Whether the kernel is made for these sizes.
    pub fn fits(d: &Direct) -> bool {
        // The offsets are 32 bits wide.
        let small = d.taps() * d.groups * d.outputs < 1 << 31;
        let whole = |stride, dilation| stride == 1 || dilation == 1;
        small && whole(d.h.stride, d.h.dilation) && whole(d.w.stride, d.w.dilation)
    }

    /// The weights of `w` (as files have it; those of the transposed convolution if `turned`) that are not 0.
    pub fn new(d: &Direct, w: &[f32], turned: bool) -> Self {
        let elements = d.h.kernel * d.w.kernel;
        let group = d.outputs * d.channels * elements;
        assert_eq!(w.len(), d.groups * group);
        let mut s = Self::empty(d);
        s.passes = s.in_passes();
        for (outputs, channels) in s.passes.clone() {
            for o in outputs {
                let (g, o) = (o / d.outputs, o % d.outputs);
                for k in channels.clone() {
                    for e in 0..elements {
                        let at = match turned {
                            true => (k * d.outputs + o) * elements + elements - 1 - e,
                            false => (o * d.channels + k) * elements + e,
                        };
                        let at = g * group + at;
                        if w[at] != 0.0 {
                            let c = g * d.channels + k;
                            let offset = s.offset(c, e / d.w.kernel, e % d.w.kernel);
                            s.entries.push(Entry {
                                offset: 4 * offset as u32,
                                value: w[at],
                            });
                            s.at.push(at as u32);
                        }
                    }
                }
                s.starts.push(s.entries.len() as u32);
            }
        }
        s
    }

    /// What the kernel has to do for a sample if `alive` weights are not 0, for
    /// [`Costs`](super::choice::Costs).
    pub fn work(d: &Direct, alive: usize) -> Thin {
        let s = Self::empty(d);
        // Tiles are computed to whole registers.
        let pixels = (d.h.output * s.width).next_multiple_of(16);
        let (inputs, outputs) = (d.groups * d.channels, d.groups * d.outputs);
        let aligned = d.h.kernel * d.w.kernel == 1;
        Thin {
            products: (pixels * alive) as f64,
            aligned,
            inputs: (inputs * s.phases[0] * s.phases[1] * d.h.input * d.w.input
                / (d.h.stride * d.w.stride)) as f64,
            outputs: (outputs * pixels) as f64,
            passes: ((s.blocks() - 1) * outputs * pixels) as f64,
        }
    }

    fn in_passes(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let (outputs, channels) = (self.d.groups * self.d.outputs, self.d.channels);
        let (parts, blocks) = (outputs.div_ceil(OUTPUTS), self.blocks());
        let cut = |all: usize, i: usize, n: usize| all * i / n..all * (i + 1) / n;
        let parts = (0..parts).map(|i| cut(outputs, i, parts));
        let both =
            |part: Range<usize>| (0..blocks).map(move |b| (part.clone(), cut(channels, b, blocks)));
        parts.flat_map(both).collect()
    }

    /// Blocks of channels, of equal size, whose planes stay near.
    fn blocks(&self) -> usize {
        let d = &self.d;
        let pixels = TILE + if d.w.kernel > 1 { 16 } else { 0 };
        let channel =
            4 * self.phases[0] * self.phases[1] * d.h.kernel.div_ceil(d.h.stride) * pixels;
        d.channels.div_ceil((NEAR / channel).max(8)).max(1)
    }

    fn empty(d: &Direct) -> Self {
        let phases = [d.h, d.w].map(|a| a.kernel.min(a.stride));
        let width = (d.w.input + 2 * d.w.pad).div_ceil(d.w.stride);
        let mut s = Self {
            d: *d,
            rows: TILE,
            phases,
            width,
            flat: width == 1
                && [d.h, d.w].iter().all(|a| a.kernel == 1 && a.stride == 1)
                && [d.border, d.crop] == [[0, 0]; 2],
            plane: TILE,
            passes: Vec::new(),
            entries: Vec::new(),
            starts: vec![0],
            at: Vec::new(),
        };
        let halo = s.plane_rows(1) - 1;
        if !s.flat {
            let row = 4 * d.groups * d.channels * phases[0] * phases[1] * width;
            let fit = (STRIP / row.max(1)).saturating_sub(halo);
            s.rows = fit.clamp(1, d.h.output.div_ceil(4).max(1));
            // An odd number of cache lines: the planes of many channels would else share few sets.
            s.plane = 16 * ((s.plane_rows(s.rows) * width).div_ceil(16) | 1);
        }
        s
    }

    /// Rows of a plane under `rows` output rows.
    fn plane_rows(&self, rows: usize) -> usize {
        rows + self.d.h.dilation * (self.d.h.kernel - 1) / self.d.h.stride
    }

    /// From the first pixel of a tile to the element of channel `c` under tap (y, x).
    fn offset(&self, c: usize, y: usize, x: usize) -> usize {
        let (h, w) = (self.d.h, self.d.w);
        let (y, x) = (y * h.dilation, x * w.dilation);
        let plane = (c * self.phases[0] + y % h.stride) * self.phases[1] + x % w.stride;
        plane * self.plane + y / h.stride * self.width + x / w.stride
    }

    /// The output rows of each task: nearly equally many, and so many tasks that the threads of `crew` share
    /// those of `samples` samples evenly.
    fn strips(&self, crew: &Crew, samples: usize) -> Vec<Range<usize>> {
        // A flat picture is cut between whole registers.
        let unit = if self.flat { 16 } else { 1 };
        let (rows, units) = (self.d.h.output, self.d.h.output.div_ceil(unit));
        let mut n = units.div_ceil((self.rows / unit).max(1));
        n = crew.share_of(samples, n);
        let cut = |i: usize| (units * i / n * unit).min(rows);
        let strips = (0..n).map(|i| cut(i)..cut(i + 1));
        strips.filter(|strip| !strip.is_empty()).collect()
    }

    /// Takes the values of `w`. Weights that were 0 have to be 0 still: if not, the answer is false and this one
    /// is of no more use.
    pub fn refill(&mut self, w: &[f32]) -> bool {
        let mut found = 0;
        for (entry, at) in self.entries.iter_mut().zip(&self.at) {
            entry.value = w[*at as usize];
            found += usize::from(entry.value != 0.0);
        }
        found == w.iter().filter(|w| **w != 0.0).count()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        12 * self.entries.len() + 4 * self.starts.len()
    }

    /// Y = W·X + b for each of `samples` samples, and what `then` says. `bias` has a multiple of 16 elements a
    /// group. X is in `order`, Y is NHWC.
    pub fn forward(
        &self,
        isa: Isa,
        crew: &Crew,
        (x, order): (&[f32], Order),
        bias: Option<&[f32]>,
        then: Then,
        samples: usize,
        y: &mut [f32],
    ) {
        let d = &self.d;
        let (input, whole) = (d.input(order), d.output());
        d.check(x.len(), order, y.len(), samples);
        assert!(bias.is_none_or(|b| b.len() == d.groups * d.blocks() * 16));
        assert!(order == Order::Nhwc || d.crop == [0, 0]);
        if samples > 0 && d.border != [0, 0] {
            d.fill_border(bias, then, y, |v| v, |v| v);
        }
        let strips = self.strips(crew, samples);
        let out = Shared::new(y);
        let planes = d.groups * d.channels * self.phases[0] * self.phases[1] * self.plane + TILE;
        let sums = (d.groups * d.outputs).min(OUTPUTS) * TILE;
        crew.for_each(samples * strips.len(), |i| {
            let (n, rows) = (i / strips.len(), strips[i % strips.len()].clone());
            scratch::with(planes + sums + 16, |scratch| {
                // Whole lines of the cache.
                let skip = scratch.as_ptr().align_offset(64).min(16);
                let (planes, sums) = scratch[skip..].split_at_mut(planes);
                let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
                // SAFETY: X has the sample's rows, the scratch all planes with a tile's room behind them and a tile
                // of sums for each output, and each task writes its own rows of its own sample.
                unsafe {
                    let y = out.get().add(n * whole + d.row_at(rows.start));
                    let x = (x[n * input..].as_ptr(), order);
                    strip(isa, self, x, &rows, planes, sums, bias, then, y);
                }
            });
        });
    }
}

#[inline(always)]
unsafe fn strip_body<L: Lanes, const M: usize>(
    s: &Sparse,
    x: (*const f32, Order),
    rows: &Range<usize>,
    planes: &mut [f32],
    sums: &mut [f32],
    bias: *const f32,
    then: Then,
    y: *mut f32,
) {
    let (planes, sums) = (planes.as_mut_ptr(), sums.as_mut_ptr());
    let end = (rows.len() - 1) * s.width + s.d.w.output;
    // SAFETY: as the caller says.
    unsafe {
        fill::<L>(s, x, rows, planes);
        for first in (0..end).step_by(TILE) {
            let pixels = first..(first + TILE).min(end);
            match pixels.len().div_ceil(16) {
                1 => tile::<L, 1>(s, planes, pixels, sums, bias, then, y),
                2 => tile::<L, 2>(s, planes, pixels, sums, bias, then, y),
                3 => tile::<L, 3>(s, planes, pixels, sums, bias, then, y),
                _ => tile::<L, 4>(s, planes, pixels, sums, bias, then, y),
            }
        }
    }
}

dispatch! {
    /// Output rows `rows` of one sample at `x`, to `y`.
    unsafe fn strip(
        s: &Sparse, x: (*const f32, Order), rows: &Range<usize>, planes: &mut [f32], sums: &mut [f32],
        bias: *const f32, then: Then, y: *mut f32,
    ) = strip_body
}

/// All outputs of the pixels `pixels` of the planes.
#[inline(always)]
unsafe fn tile<L: Lanes, const T: usize>(
    s: &Sparse,
    planes: *const f32,
    pixels: Range<usize>,
    sums: *mut f32,
    bias: *const f32,
    then: Then,
    y: *mut f32,
) {
    let biases = Biases {
        start: bias,
        outputs: s.d.outputs,
        gap: s.d.blocks() * 16 - s.d.outputs,
    };
    let mut starts = &s.starts[..];
    for (outputs, channels) in &s.passes {
        // SAFETY: as the caller says; every offset is within the planes, with a tile's room behind them.
        unsafe {
            let fresh = (channels.start == 0).then_some((biases, outputs.start));
            let at = planes.add(pixels.start);
            multiply::<L, T>(&s.entries, &starts[..outputs.len() + 1], at, fresh, sums);
            starts = &starts[outputs.len()..];
            if channels.end == s.d.channels {
                store::<L>(s, &pixels, sums, outputs, then, y);
            }
        }
    }
}

/// The biases of all groups, each with a gap behind it; or null.
#[derive(Clone, Copy)]
struct Biases {
    start: *const f32,
    outputs: usize,
    gap: usize,
}

impl Biases {
    #[inline(always)]
    unsafe fn of(self, o: usize) -> f32 {
        let group = if self.gap == 0 { 0 } else { o / self.outputs };
        match self.start.is_null() {
            true => 0.0,
            // SAFETY: as the caller says.
            false => unsafe { *self.start.add(o + group * self.gap) },
        }
    }
}

/// sums[i][0..16·T] += Σ w·planes for the tile at `at`, of the entries of each output, which `starts` bound; where
/// the sums are fresh, from the biases of the outputs from the one named on.
#[inline(always)]
unsafe fn multiply<L: Lanes, const T: usize>(
    entries: &[Entry],
    starts: &[u32],
    at: *const f32,
    fresh: Option<(Biases, usize)>,
    sums: *mut f32,
) {
    // SAFETY: as the caller says.
    unsafe {
        for (i, bounds) in starts.windows(2).enumerate() {
            let sum = sums.add(i * TILE);
            let mut acc = [L::zero(); T];
            match fresh {
                Some((biases, first)) => acc = [L::splat(biases.of(first + i)); T],
                None => {
                    for t in 0..T {
                        acc[t] = L::load(sum.add(16 * t));
                    }
                }
            }
            let mut e = entries.as_ptr().add(bounds[0] as usize);
            let end = entries.as_ptr().add(bounds[1] as usize);
            while e < end {
                let p = at.byte_add((*e).offset as usize);
                let v = L::splat((*e).value);
                for t in 0..T {
                    acc[t] = acc[t].mul_add(v, L::load(p.add(16 * t)));
                }
                e = e.add(1);
            }
            for t in 0..T {
                acc[t].store(sum.add(16 * t));
            }
        }
    }
}

/// The sums of `outputs` for the tile of pixels `pixels` of the planes, to `y`.
#[inline(always)]
unsafe fn store<L: Lanes>(
    s: &Sparse,
    pixels: &Range<usize>,
    sums: *const f32,
    outputs: &Range<usize>,
    then: Then,
    y: *mut f32,
) {
    let d = &s.d;
    let mut p = pixels.start;
    while p < pixels.end {
        let (row, column) = (p / s.width, p % s.width);
        let run = match s.flat {
            true => pixels.len(),
            false => d.w.output.saturating_sub(column).min(pixels.end - p),
        };
        if run == 0 {
            p = (row + 1) * s.width;
            continue;
        }
        // SAFETY: as the caller says.
        unsafe {
            let to = y.add(row * d.out_row() + column * d.y_pitch);
            let from = (sums.add(p - pixels.start), TILE);
            turn_out::<L>(
                from,
                [outputs.len(), run],
                (to.add(outputs.start), d.y_pitch),
                then,
            );
        }
        p += run;
    }
}

/// The planes under output rows `rows`.
#[inline(always)]
unsafe fn fill<L: Lanes>(
    s: &Sparse,
    (x, order): (*const f32, Order),
    rows: &Range<usize>,
    planes: *mut f32,
) {
    let (d, channels) = (&s.d, s.d.groups * s.d.channels);
    let apart = s.phases[0] * s.phases[1] * s.plane;
    // SAFETY: as the caller says.
    unsafe {
        if s.flat && order == Order::Nhwc {
            let from = x.add(rows.start * d.x_pitch);
            return turn_in::<L>((from, d.x_pitch), [rows.len(), channels], (planes, apart));
        }
        for row in 0..s.plane_rows(rows.len()) * d.h.stride {
            if row % d.h.stride >= s.phases[0] {
                continue;
            }
            let y = (rows.start * d.h.stride + row).checked_sub(d.h.pad);
            let y = y.filter(|y| *y < d.h.input);
            for phase in 0..s.phases[1] {
                let first = (row % d.h.stride * s.phases[1] + phase) * s.plane;
                let to = planes.add(first + row / d.h.stride * s.width);
                // The columns of the phase that are not padding: `n` from `left` on, input `from` the first.
                let left = d.w.pad.saturating_sub(phase).div_ceil(d.w.stride);
                let from = left * d.w.stride + phase - d.w.pad;
                let n = d.w.input.saturating_sub(from).div_ceil(d.w.stride);
                for c in 0..channels {
                    let to = std::slice::from_raw_parts_mut(to.add(c * apart), s.width);
                    let kept = if y.is_some() { left..left + n } else { 0..0 };
                    to[..kept.start].fill(0.0);
                    to[kept.end..].fill(0.0);
                }
                let Some(y) = y else { continue };
                let to = to.add(left);
                match order {
                    Order::Nhwc => {
                        let pitch = d.w.input + 2 * d.crop[1];
                        let at = (y + d.crop[0]) * pitch + d.crop[1] + from;
                        let from = (x.add(at * d.x_pitch), d.w.stride * d.x_pitch);
                        turn_in::<L>(from, [n, channels], (to, apart));
                    }
                    Order::Nchw => {
                        for c in 0..channels {
                            let x = x.add((c * d.h.input + y) * d.w.input + from);
                            for i in 0..n {
                                *to.add(c * apart + i) = *x.add(i * d.w.stride);
                            }
                        }
                    }
                }
            }
        }
    }
}
