//! Direct convolution over NHWC (channels last), by register tiles of some pixels × 16 outputs.
//!
//! No column matrix is made: for one pixel, the elements under the kernel are `kernel height` runs of
//! kernel width · channels floats in a zero-padded strip of the input. Weights are packed as
//! [group][outputs/16][kernel height][kernel width][channels][16], zeros past the last output.

#![allow(unsafe_code)]

use super::Convolution;
use super::choice::Dense;
use super::im2col::{Axis, picture};
use super::tile::{Out, Panels, Rows, Then, columns, product};
use crate::kernels::aligned::Aligned;
use crate::kernels::bf16::nearest;
use crate::kernels::crew::Crew;
use crate::kernels::each_chunk;
use crate::kernels::scratch::Shared;
use crate::kernels::simd::{Isa, Lanes, dispatch};
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod halves;
mod strided;
mod strips;
mod weights;

pub(super) use strided::Strided;
use strips::{Taken, cut_rows};

/// How the pixels of an input follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Channel planes, as files and feeds have them.
    Nchw,
    /// Channels last.
    Nhwc,
}

/// What AMX's kernel reads.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// float32 in some order; it is rounded.
    Floats(&'a [f32], Order),
    /// bfloat16, channels last.
    Halves(&'a [u16]),
}

impl<'a> Input<'a> {
    /// How its pixels follow each other.
    pub fn order(self) -> Order {
        match self {
            Self::Floats(_, order) => order,
            Self::Halves(_) => Order::Nhwc,
        }
    }

    /// How many numbers there are.
    pub fn len(self) -> usize {
        match self {
            Self::Floats(x, _) => x.len(),
            Self::Halves(x) => x.len(),
        }
    }

    /// Those from number `at` on.
    pub fn from(self, at: usize) -> Self {
        match self {
            Self::Floats(x, order) => Self::Floats(&x[at..], order),
            Self::Halves(x) => Self::Halves(&x[at..]),
        }
    }
}

/// What it writes, channels last.
pub(super) enum Output<'a> {
    Floats(&'a mut [f32]),
    Halves(&'a mut [u16]),
}

impl Output<'_> {
    /// How many numbers there is room for.
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(y) => y.len(),
            Self::Halves(y) => y.len(),
        }
    }
}

/// The sizes of a convolution as this kernel wants them. All of one group's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direct {
    pub(super) groups: usize,
    /// Channels and outputs of one group.
    pub(super) channels: usize,
    pub(super) outputs: usize,
    /// Floats from one pixel to the next, of X (where it is NHWC) and Y.
    pub(super) x_pitch: usize,
    pub(super) y_pitch: usize,
    pub(super) h: Axis,
    pub(super) w: Axis,
    /// The border of the output that sees only padding (of a 1 × 1 kernel with padding).
    pub(super) border: [usize; 2],
    /// The border of the input that is passed over (of its transpose).
    pub(super) crop: [usize; 2],
    /// Where the pixels are taken from, if not from one to the next: the axes tell only how many there are.
    taken: Option<Taken>,
}

impl Direct {
    /// `None` where the kernel is not made for it. Pixels of X and Y are `pitch` floats apart.
    pub fn new(c: &Convolution, pitch: [usize; 2]) -> Option<Self> {
        // Thin groups would leave most of a register empty.
        Self::sized(c, pitch).filter(|d| d.outputs >= 8 || d.groups == 1)
    }

    /// [`new`](Self::new) however thin its groups are.
    pub fn sized(c: &Convolution, pitch: [usize; 2]) -> Option<Self> {
        let [mut h, mut w] = picture(&c.axes)?;
        let (channels, outputs) = (c.inputs / c.groups, c.outputs / c.groups);
        let mut border = [0, 0];
        for (axis, border) in [&mut h, &mut w].into_iter().zip(&mut border) {
            if axis.kernel == 1 && axis.stride == 1 {
                *border = axis.pad;
                (axis.pad, axis.output) = (0, axis.input);
            }
            if axis.pad > axis.dilation * (axis.kernel - 1) {
                return None;
            }
        }
        let flat = |a: &Axis| a.kernel == 1 && a.stride == 1;
        if border == [0, 0] && flat(&h) && flat(&w) {
            // One column: threads share it more evenly than rows.
            (h.input, h.output) = (h.input * w.input, h.output * w.output);
            w = Axis::ONE;
        }
        Some(Self {
            groups: c.groups,
            channels,
            outputs,
            x_pitch: pitch[0],
            y_pitch: pitch[1],
            h,
            w,
            border,
            crop: [0, 0],
            taken: None,
        })
    }

    /// The convolution that takes the gradient of the output to that of the input; `None` for strides.
    pub fn transposed(&self) -> Option<Self> {
        let turn = |a: Axis| {
            (a.stride == 1).then_some(Axis {
                input: a.output,
                output: a.input,
                pad: a.dilation * (a.kernel - 1) - a.pad,
                ..a
            })
        };
        let (h, w) = (turn(self.h)?, turn(self.w)?);
        Some(Self {
            channels: self.outputs,
            outputs: self.channels,
            x_pitch: self.y_pitch,
            y_pitch: self.x_pitch,
            h,
            w,
            border: [0, 0],
            crop: self.border,
            groups: self.groups,
            taken: None,
        })
    }

    pub(super) fn taps(&self) -> usize {
        self.h.kernel * self.w.kernel * self.channels
    }

    pub(super) fn blocks(&self) -> usize {
        self.outputs.div_ceil(16)
    }

    /// What the kernel has to do for a sample, for [`Costs`](super::choice::Costs).
    pub fn work(&self) -> Dense {
        let pixels = self.h.output * self.w.output;
        Dense {
            products: (pixels * self.groups * self.outputs * self.taps()) as f64,
            moved: (pixels * self.groups * self.outputs) as f64,
            weights: self.packed() as f64,
        }
    }

    /// Floats of packed weights.
    pub fn packed(&self) -> usize {
        self.groups * self.blocks() * self.taps() * 16
    }

    /// Packs w[outputs][channels][kernel height][kernel width] of each group; with `turned` w is that of
    /// the transposed convolution.
    pub fn pack(&self, crew: &Crew, w: &[f32], turned: bool, packed: &mut Aligned) {
        packed.resize(self.packed());
        let (elements, c) = (self.h.kernel * self.w.kernel, self.channels);
        assert_eq!(w.len(), self.groups * self.outputs * c * elements);
        let group = (self.outputs * c * elements).max(1);
        let each = self.taps() * 16;
        each_chunk(crew, each, packed, |start, block| {
            let b = start / each;
            let (g, first) = (b / self.blocks(), b % self.blocks() * 16);
            let w = &w[g * group..][..group];
            for lane in 0..16.min(self.outputs - first) {
                let o = first + lane;
                for k in 0..c {
                    let at = if turned {
                        k * self.outputs + o
                    } else {
                        o * c + k
                    };
                    for (e, v) in w[at * elements..][..elements].iter().enumerate() {
                        let e = if turned { elements - 1 - e } else { e };
                        block[(e * c + k) * 16 + lane] = *v;
                    }
                }
            }
        });
    }

    /// Y = W·X + b for each of `samples` samples, and what `then` says. `bias` has a multiple of 16 elements
    /// a group. X is in `order`, Y is NHWC.
    pub fn forward(
        &self,
        isa: Isa,
        crew: &Crew,
        (x, order): (&[f32], Order),
        packed: &[f32],
        bias: Option<&[f32]>,
        then: Then,
        samples: usize,
        y: &mut [f32],
    ) {
        if let Some(d) = self.taken() {
            return d.forward(isa, crew, (x, order), packed, bias, then, samples, y);
        }
        let (input, whole) = (self.input(order), self.output());
        assert_eq!(packed.len(), self.packed());
        assert!(bias.is_none_or(|b| b.len() == self.groups * self.blocks() * 16));
        self.check(x.len(), order, y.len(), samples);
        if samples == 0 {
            return;
        }
        if self.border != [0, 0] {
            self.fill_border(bias, then, y, |v| v, |v| v);
        }
        let strips = self.strips(crew, samples);
        // Where samples have few pixels, some of the outputs.
        let all = self.groups * self.blocks();
        let parts = crew.share_of(samples * strips.len(), 1).min(all);
        let out = Shared::new(y);
        let task = |n: usize, rows: &Range<usize>, blocks: Range<usize>| {
            self.with_strip(&x[n * input..], order, rows, |strip| {
                // SAFETY: the strip holds all rows under `rows`, the weights and biases their blocks
                // (asserted above), and each task writes its own blocks of its own rows of its own sample.
                unsafe {
                    let y = out.get().add(n * whole + self.row_at(rows.start));
                    let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
                    let strip = (strip.as_ptr(), self.pixel(order));
                    let (w, rows) = (packed.as_ptr(), rows.len());
                    forward(isa, self, strip, w, bias, then, y, rows, blocks);
                }
            });
        };
        crew.for_each(samples * strips.len() * parts, |i| {
            let (i, part) = (i / parts, i % parts);
            let blocks = all * part / parts..all * (part + 1) / parts;
            task(i / strips.len(), &strips[i % strips.len()], blocks);
        });
    }

    /// From sample to sample of X.
    pub(super) fn input(&self, order: Order) -> usize {
        let [h, w] = self.crop;
        let pixel = match order {
            Order::Nchw => self.groups * self.channels,
            Order::Nhwc => self.x_pitch,
        };
        let padded = (self.h.input + 2 * h) * (self.w.input + 2 * w);
        self.taken.map_or(padded, |t| t.pixels()) * pixel
    }

    pub(super) fn out_row(&self) -> usize {
        (self.w.output + 2 * self.border[1]) * self.y_pitch
    }

    /// Asserts that X and Y hold so many samples; the last pixel of a slice of channels ends early.
    pub(super) fn check(&self, x: usize, order: Order, y: usize, samples: usize) {
        let short = |pitch: usize, channels: usize| pitch - self.groups * channels;
        let cut = match order {
            Order::Nchw => 0,
            Order::Nhwc => short(self.x_pitch, self.channels),
        };
        assert!(x + cut >= samples * self.input(order));
        assert!(y + short(self.y_pitch, self.outputs) >= samples * self.output());
    }

    pub(super) fn output(&self) -> usize {
        (self.h.output + 2 * self.border[0]) * self.out_row()
    }

    /// Where in a sample's output row `y` within the border starts.
    pub(super) fn row_at(&self, y: usize) -> usize {
        (y + self.border[0]) * self.out_row() + self.border[1] * self.y_pitch
    }

    /// Writes what the border of the output sees; `to` makes an element of Y of a number.
    pub(super) fn fill_border<T: Copy>(
        &self,
        bias: Option<&[f32]>,
        then: Then,
        y: &mut [T],
        to: impl Fn(f32) -> T,
        from: impl Fn(T) -> f32,
    ) {
        let height = self.h.output + 2 * self.border[0];
        let width = self.w.output + 2 * self.border[1];
        // Its numbers are the same everywhere.
        let each = 0..self.groups * self.outputs;
        let place = |o: usize| o / self.outputs * self.blocks() * 16 + o % self.outputs;
        let biases: Vec<f32> = each.map(|o| bias.map_or(0.0, |b| b[place(o)])).collect();
        let end = |sum: f32| {
            let v = if then.relu && sum < 0.0 { 0.0 } else { sum };
            if then.round { nearest(v) } else { v }
        };
        let alone: Vec<T> = biases.iter().map(|b| to(end(*b))).collect();
        let inside = |at: usize, border: usize, size: usize| (border..border + size).contains(&at);
        for (i, pixel) in y.chunks_mut(self.y_pitch).enumerate() {
            let (r, c) = (i / width % height, i % width);
            if inside(r, self.border[0], self.h.output) && inside(c, self.border[1], self.w.output)
            {
                continue;
            }
            let pixel = &mut pixel[..biases.len()];
            match then.add {
                false => pixel.copy_from_slice(&alone),
                true => pixel
                    .iter_mut()
                    .zip(&biases)
                    .for_each(|(y, b)| *y = to(end(from(*y) + b))),
            }
        }
    }

    /// The biases of each group, padded to whole blocks.
    pub fn pack_bias(&self, bias: &[f32]) -> Aligned {
        let mut packed = Aligned::zeros(self.groups * self.blocks() * 16);
        for (to, from) in packed
            .chunks_exact_mut(self.blocks() * 16)
            .zip(bias.chunks_exact(self.outputs))
        {
            to[..from.len()].copy_from_slice(from);
        }
        packed
    }

    /// The runs under one output pixel, from the first channel of a group, where the pixels of the strip
    /// are `pixel` floats apart.
    fn runs(&self, pixel: usize) -> ([(usize, usize); 2], usize) {
        let rows = (self.h.kernel, self.h.dilation * self.strip_row(pixel));
        if pixel == self.channels && self.w.dilation == 1 {
            ([rows, (1, 0)], self.w.kernel * self.channels)
        } else {
            (
                [rows, (self.w.kernel, self.w.dilation * pixel)],
                self.channels,
            )
        }
    }

    /// Whether all rows of a strip are one row of pixels.
    fn is_flat(&self) -> bool {
        let one = |a: Axis| a.kernel == 1 && a.stride == 1;
        one(self.h) && one(self.w) && self.border == [0, 0]
    }

    /// Rows and pixels a row of `rows` output rows.
    fn extent(&self, rows: usize) -> (usize, usize) {
        match self.is_flat() {
            true => (1, rows * self.w.output),
            false => (rows, self.w.output),
        }
    }
}

#[inline(always)]
unsafe fn forward_body<L: Lanes, const M: usize>(
    d: &Direct,
    (strip, pixel): (*const f32, usize),
    packed: *const f32,
    bias: *const f32,
    then: Then,
    y: *mut f32,
    rows: usize,
    blocks: Range<usize>,
) {
    let (runs, len) = d.runs(pixel);
    let (rows, width) = d.extent(rows);
    let mut b = blocks.start;
    while b < blocks.end {
        let (g, first) = (b / d.blocks(), b % d.blocks() * 16);
        let left = (blocks.end - b).min(d.blocks() - b % d.blocks());
        let panels = Panels {
            // SAFETY: there are as many blocks.
            start: unsafe { packed.add(b * d.taps() * 16) },
            step: d.taps() * 16,
            count: columns::<L>(left, d.taps()),
        };
        for row in 0..rows {
            // SAFETY: as the caller says.
            unsafe {
                let a = Rows {
                    start: strip.add(row * d.h.stride * d.strip_row(pixel) + g * d.channels),
                    row: d.w.stride * pixel,
                    runs,
                    len,
                    far: b == blocks.start || b.is_multiple_of(d.blocks()),
                };
                let out = Out {
                    start: y.add(row * d.out_row() + g * d.outputs + first),
                    row: d.y_pitch,
                    lanes: (d.outputs - first).min(16 * panels.count),
                    bias: if bias.is_null() {
                        bias
                    } else {
                        bias.add(b * 16)
                    },
                    then,
                };
                product::<L, M>(a, panels, out, width, row == 0);
            }
        }
        b += panels.count;
    }
}

dispatch! {
    /// Some blocks of outputs of some output rows of one sample.
    unsafe fn forward(
        d: &Direct, strip: (*const f32, usize), packed: *const f32, bias: *const f32, then: Then,
        y: *mut f32, rows: usize, blocks: Range<usize>,
    ) = forward_body
}
