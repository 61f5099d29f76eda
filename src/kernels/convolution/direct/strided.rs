//! The gradient of a strided convolution's input.
//!
//! With stride s, tap k reaches those pixels of dX whose place in the padded input, s·m + r, has the remainder r of
//! k·dilation by s: there it multiplies dY of window m − ⌊k·dilation / s⌋. So the pixels of one remainder of rows and
//! one of columns are a convolution of dY at stride 1 with taps of their own, written to every s-th pixel of dX; where
//! a remainder has no taps they are 0. All of them read the same zero-padded strips of dY. Weights are packed as
//! [group][outputs/16][remainder of rows][of columns][taps of rows][of columns][channels][16].

use super::{Direct, cut_rows};
use crate::kernels::aligned::Aligned;
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::convolution::tile::{Out, Panels, Rows, Then, product};
use crate::kernels::crew::Crew;
use crate::kernels::each_chunk;
use crate::kernels::scratch::{self, Shared};
use crate::kernels::simd::{Isa, Lanes, dispatch};
use std::ops::Range;

/// The sizes, of one group. Channels are those of dY, outputs those of dX.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Strided {
    groups: usize,
    channels: usize,
    outputs: usize,
    /// Floats from one pixel to the next, of dX and dY.
    x_pitch: usize,
    y_pitch: usize,
    h: Steps,
    w: Steps,
}

/// One axis of the convolution in steps of its stride: step m and remainder r are pixel stride · m + r − pad of X.
#[derive(Clone, Copy, Debug)]
struct Steps(Axis);

/// The pixels of a remainder, and the taps that reach them.
struct Class {
    remainder: usize,
    /// The steps whose pixels are inside X.
    steps: Range<usize>,
    /// The first tap, from tap to tap, and how many there are.
    first: usize,
    every: usize,
    taps: usize,
    /// How many steps before the pixel's the window of the last tap is, and from tap to tap.
    back: usize,
    apart: usize,
}

impl Steps {
    /// The steps of all remainders.
    fn span(&self) -> Range<usize> {
        let a = self.0;
        a.pad / a.stride..(a.input + a.pad).div_ceil(a.stride)
    }

    /// How many steps before a pixel's a window may be that sees it.
    fn reach(&self) -> usize {
        self.0.dilation * (self.0.kernel - 1) / self.0.stride
    }

    /// Whether the steps are the windows.
    fn is_whole(&self) -> bool {
        self.reach() == 0 && self.span() == (0..self.0.output)
    }

    fn classes(self) -> impl Iterator<Item = Class> {
        let a = self.0;
        let (mut common, mut rest) = (a.stride, a.dilation);
        while rest > 0 {
            (common, rest) = (rest, common % rest);
        }
        let (every, apart) = (a.stride / common, a.dilation / common);
        (0..a.stride).map(move |r| {
            let first = (0..a.kernel).find(|k| k * a.dilation % a.stride == r);
            let taps = first.map_or(0, |k| (a.kernel - k).div_ceil(every));
            let first = first.unwrap_or(0);
            let pixels = (a.input + a.pad).saturating_sub(r);
            Class {
                remainder: r,
                steps: a.pad.saturating_sub(r).div_ceil(a.stride)..pixels.div_ceil(a.stride),
                first,
                every,
                taps,
                back: first * a.dilation / a.stride + taps.saturating_sub(1) * apart,
                apart,
            }
        })
    }
}

impl Class {
    /// The pixel of step `m`.
    fn pixel(&self, a: Axis, m: usize) -> usize {
        a.stride * m + self.remainder - a.pad
    }
}

/// A strip of dY: its first float, and from pixel to pixel and from row to row.
#[derive(Clone, Copy)]
struct Strip {
    start: *const f32,
    pixel: usize,
    row: usize,
}

impl Strided {
    /// The gradient of the input of `d`, along whose axes `h` and `w` are.
    pub fn new(d: &Direct, [h, w]: [Axis; 2]) -> Self {
        Self {
            groups: d.groups,
            channels: d.outputs,
            outputs: d.channels,
            x_pitch: d.x_pitch,
            y_pitch: d.y_pitch,
            h: Steps(h),
            w: Steps(w),
        }
    }

    fn taps(&self) -> usize {
        self.h.0.kernel * self.w.0.kernel * self.channels
    }

    fn blocks(&self) -> usize {
        self.outputs.div_ceil(16)
    }

    /// Floats of packed weights.
    pub fn packed(&self) -> usize {
        self.groups * self.blocks() * self.taps() * 16
    }

    /// Packs the convolution's w[channels][outputs][kernel height][kernel width] of each group.
    pub fn pack(&self, crew: &Crew, w: &[f32], packed: &mut Aligned) {
        packed.resize(self.packed());
        let (c, width) = (self.channels, self.w.0.kernel);
        let mut taps = Vec::new();
        for h in self.h.classes() {
            for w in self.w.classes() {
                // The last tap's window comes first.
                for i in (0..h.taps).rev().map(|i| h.first + i * h.every) {
                    let columns = (0..w.taps).rev().map(|j| w.first + j * w.every);
                    taps.extend(columns.map(|j| i * width + j));
                }
            }
        }
        let each = self.taps() * 16;
        assert_eq!(w.len(), self.groups * self.outputs * self.taps());
        each_chunk(crew, each.max(1), packed, |start, block| {
            let b = start / each;
            let (g, first) = (b / self.blocks(), b % self.blocks() * 16);
            let w = &w[g * self.outputs * self.taps()..];
            for lane in 0..16.min(self.outputs - first) {
                for k in 0..c {
                    let w = &w[(k * self.outputs + first + lane) * taps.len()..];
                    for (i, e) in taps.iter().enumerate() {
                        block[(i * c + k) * 16 + lane] = w[*e];
                    }
                }
            }
        });
    }

    /// dX of each of `samples` samples, of which every pixel is written.
    pub fn data(
        &self,
        isa: Isa,
        crew: &Crew,
        dy: &[f32],
        packed: &[f32],
        samples: usize,
        dx: &mut [f32],
    ) {
        let (h, w) = (self.h.0, self.w.0);
        let whole = h.input * w.input * self.x_pitch;
        let windows = h.output * w.output * self.y_pitch;
        // The last pixel of a slice of channels ends early.
        let short = |pitch: usize, channels: usize| pitch - self.groups * channels;
        assert_eq!(packed.len(), self.packed());
        assert!(dx.len() + short(self.x_pitch, self.outputs) >= samples * whole);
        assert!(dy.len() + short(self.y_pitch, self.channels) >= samples * windows);
        let (rows, columns) = (self.h.span(), self.w.span().len());
        if samples == 0 || rows.is_empty() || columns == 0 {
            return;
        }
        let row = (columns + self.w.reach()) * self.groups * self.channels;
        let strips = cut_rows(crew, samples, [rows.len(), columns], row);
        let all = self.groups * self.blocks();
        let parts = crew.share_of(samples * strips.len(), 1).min(all);
        let out = Shared::new(dx);
        crew.for_each(samples * strips.len() * parts, |i| {
            let (i, part) = (i / parts, i % parts);
            let blocks = all * part / parts..all * (part + 1) / parts;
            let (n, strip) = (i / strips.len(), &strips[i % strips.len()]);
            let steps = rows.start + strip.start..rows.start + strip.end;
            self.with_strip(&dy[n * windows..], &steps, |strip| {
                // SAFETY: the strip holds the windows that see the pixels of `steps`, the weights their blocks and
                // dX all samples (asserted above); each task writes its own channels of its own rows of its own sample.
                unsafe {
                    let dx = out.get().add(n * whole);
                    self.clear(&steps, &blocks, dx);
                    data(isa, self, strip, packed.as_ptr(), dx, &steps, blocks);
                }
            });
        });
    }

    /// Calls `f` with the windows that see the pixels of steps `rows`, in rows and columns.
    fn with_strip(&self, dy: &[f32], rows: &Range<usize>, f: impl FnOnce(Strip)) {
        let (h, w) = (self.h.0, self.w.0);
        if self.h.is_whole() && self.w.is_whole() {
            let row = w.output * self.y_pitch;
            return f(Strip {
                start: dy[rows.start * row..].as_ptr(),
                pixel: self.y_pitch,
                row,
            });
        }
        let (c, columns) = (self.groups * self.channels, self.w.span());
        let reach = [self.h.reach(), self.w.reach()];
        let row = (columns.len() + reach[1]) * c;
        // Windows there are, in a row of the strip.
        let left = reach[1].saturating_sub(columns.start);
        let first = columns.start.saturating_sub(reach[1]);
        let n = w.output.min(columns.end).saturating_sub(first);
        scratch::with((rows.len() + reach[0]) * row, |strip| {
            for (i, to) in strip.chunks_exact_mut(row).enumerate() {
                let y = (rows.start + i).checked_sub(reach[0]);
                let Some(y) = y.filter(|y| *y < h.output) else {
                    to.fill(0.0);
                    continue;
                };
                let (before, rest) = to.split_at_mut(left * c);
                let (inside, behind) = rest.split_at_mut(n * c);
                before.fill(0.0);
                behind.fill(0.0);
                let from = &dy[(y * w.output + first) * self.y_pitch..];
                if self.y_pitch == c {
                    inside.copy_from_slice(&from[..n * c]);
                } else {
                    let pixels = inside.chunks_exact_mut(c).zip(from.chunks(self.y_pitch));
                    pixels.for_each(|(to, from)| to.copy_from_slice(&from[..c]));
                }
            }
            f(Strip {
                start: strip.as_ptr(),
                pixel: c,
                row,
            });
        });
    }

    /// Writes 0 to the pixels of steps `rows` that no tap reaches, in the channels of `blocks`.
    ///
    /// # Safety
    /// `dx` holds a sample; nobody else uses those numbers.
    unsafe fn clear(&self, rows: &Range<usize>, blocks: &Range<usize>, dx: *mut f32) {
        let start = |b: usize| b / self.blocks() * self.outputs + b % self.blocks() * 16;
        let last = blocks.end - 1;
        let lanes = (self.outputs - last % self.blocks() * 16).min(16);
        let channels = start(blocks.start)..start(last) + lanes;
        let width = self.w.0.input;
        for h in self.h.classes() {
            for m in rows.start.max(h.steps.start)..rows.end.min(h.steps.end) {
                let row = h.pixel(self.h.0, m) * width;
                let clear = |column: usize, pixels: usize| {
                    let from = (row + column) * self.x_pitch + channels.start;
                    // SAFETY: as the caller says; only whole pixels lie side by side.
                    unsafe { dx.add(from).write_bytes(0, pixels * channels.len()) }
                };
                if h.taps == 0 && channels.len() == self.x_pitch {
                    clear(0, width);
                    continue;
                }
                for w in self.w.classes().filter(|w| h.taps * w.taps == 0) {
                    w.steps.clone().for_each(|m| clear(w.pixel(self.w.0, m), 1));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn data_body<L: Lanes, const M: usize>(
    d: &Strided,
    strip: Strip,
    packed: *const f32,
    dx: *mut f32,
    rows: &Range<usize>,
    blocks: Range<usize>,
) {
    for b in blocks.clone() {
        let (g, first) = (b / d.blocks(), b % d.blocks() * 16);
        let mut far = b == blocks.start || first == 0;
        let mut w_at = b * d.taps() * 16;
        for h in d.h.classes() {
            for w in d.w.classes() {
                let taps = h.taps * w.taps;
                if taps == 0 {
                    continue;
                }
                let down = (h.taps, h.apart * strip.row);
                // Taps side by side are one run.
                let (runs, len) = if strip.pixel == d.channels && w.apart == 1 {
                    ([down, (1, 0)], w.taps * d.channels)
                } else {
                    ([down, (w.taps, w.apart * strip.pixel)], d.channels)
                };
                let steps = rows.start.max(h.steps.start)..rows.end.min(h.steps.end);
                for m in steps.clone() {
                    let row = m - rows.start + d.h.reach() - h.back;
                    let column = w.steps.start - d.w.span().start + d.w.reach() - w.back;
                    let to = h.pixel(d.h.0, m) * d.w.0.input;
                    let pixel = w.remainder + d.w.0.stride * w.steps.start;
                    // SAFETY: as the caller says: the strip starts the reaches before the first steps.
                    unsafe {
                        let a = Rows {
                            start: strip
                                .start
                                .add(row * strip.row + column * strip.pixel + g * d.channels),
                            row: strip.pixel,
                            runs,
                            len,
                            far,
                        };
                        let out = Out {
                            start: dx
                                .add((to + pixel - d.w.0.pad) * d.x_pitch + g * d.outputs + first),
                            row: d.w.0.stride * d.x_pitch,
                            lanes: (d.outputs - first).min(16),
                            bias: std::ptr::null(),
                            then: Then::default(),
                        };
                        let ahead = m == steps.start;
                        let panel = Panels {
                            start: packed.add(w_at),
                            step: taps * d.channels * 16,
                            count: 1,
                        };
                        product::<L, M>(a, panel, out, w.steps.len(), ahead);
                    }
                }
                w_at += taps * d.channels * 16;
                far = false;
            }
        }
    }
}

dispatch! {
    /// Some blocks of outputs of the pixels of some steps of one sample that taps reach.
    unsafe fn data(
        d: &Strided, strip: Strip, packed: *const f32, dx: *mut f32, rows: &Range<usize>, blocks: Range<usize>,
    ) = data_body
}
