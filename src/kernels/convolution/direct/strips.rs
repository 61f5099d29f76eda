//! The strips of input that the direct kernel works on: how a picture is cut into them, padded, and its pixels taken
//! from where they are.

use super::{Direct, Order};
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::crew::Crew;
use crate::kernels::scratch;
use std::ops::Range;

/// Bytes of input that shall stay in the second-level cache while all outputs pass over them.
const STRIP: usize = 192 << 10;

/// Fewer pixels are no strip of their own only to keep the threads busy.
const FEW_PIXELS: usize = 96;

/// Where the pixels under a 1 × 1 kernel with strides are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Rows and columns of the input.
    input: [usize; 2],
    stride: [usize; 2],
    /// Rows and columns of the output.
    output: [usize; 2],
}

/// The rows of one of `samples` samples of [rows, columns] cut into strips: of cache size (`row` floats are read for
/// each), and several for each thread, but none so small only for that that the weights are read for little.
pub(super) fn cut_rows(
    crew: &Crew,
    samples: usize,
    [rows, columns]: [usize; 2],
    row: usize,
) -> Vec<Range<usize>> {
    let each = (STRIP / (4 * row).max(1)).max(1);
    let least = rows.div_ceil(each);
    let fine = rows * columns / FEW_PIXELS;
    let several = match crew.threads() {
        1 => 1,
        threads => (4 * threads).div_ceil(samples.max(1)),
    };
    let n = crew.share_of(samples, least.max(fine.min(several)));
    let n = n.min(least.max(fine));
    (0..n)
        .map(|i| rows * i / n..rows * (i + 1) / n)
        .filter(|r| !r.is_empty())
        .collect()
}

impl Taken {
    /// Input pixels of a sample.
    pub fn pixels(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// The input pixel of output pixel `i`, of any sample.
    pub fn at(&self, i: usize) -> usize {
        let [y, x] = [i / self.output[1], i % self.output[1]];
        let [n, y] = [y / self.output[0], y % self.output[0]];
        n * self.pixels() + y * self.stride[0] * self.input[1] + x * self.stride[1]
    }
}

impl Direct {
    /// A 1 × 1 kernel with strides as one without, over the pixels that it sees, all in one row: no register tile ends
    /// where a row does.
    pub(super) fn taken(&self) -> Option<Self> {
        let axes = [self.h, self.w];
        let thin = axes.iter().all(|a| a.kernel == 1 && a.pad == 0);
        let bare = [self.border, self.crop] == [[0, 0]; 2] && self.taken.is_none();
        (thin && bare && axes.iter().any(|a| a.stride > 1)).then(|| {
            let pixels = self.h.output * self.w.output;
            Self {
                taken: Some(Taken {
                    input: axes.map(|a| a.input),
                    stride: axes.map(|a| a.stride),
                    output: axes.map(|a| a.output),
                }),
                h: Axis {
                    input: pixels,
                    output: pixels,
                    ..Axis::ONE
                },
                w: Axis::ONE,
                ..*self
            }
        })
    }

    /// Floats from pixel to pixel of a strip.
    pub(super) fn pixel(&self, order: Order) -> usize {
        match self.is_padded(order) {
            true => self.groups * self.channels,
            false => self.x_pitch,
        }
    }

    /// Floats of a row of a strip, whose pixels are `pixel` floats apart.
    pub(super) fn strip_row(&self, pixel: usize) -> usize {
        (self.w.input + 2 * self.w.pad) * pixel
    }

    fn is_padded(&self, order: Order) -> bool {
        let moved = self.crop != [0, 0] || self.taken.is_some();
        order == Order::Nchw || self.h.pad + self.w.pad > 0 || moved
    }

    /// Input rows under output rows `rows`, counted from the top of the padding.
    pub(super) fn under(&self, rows: &Range<usize>) -> Range<usize> {
        let extent = self.h.dilation * (self.h.kernel - 1) + 1;
        rows.start * self.h.stride..(rows.end - 1) * self.h.stride + extent
    }

    /// The output rows of one of `samples` samples cut into strips.
    pub(super) fn strips(&self, crew: &Crew, samples: usize) -> Vec<Range<usize>> {
        let row = self.strip_row(self.groups * self.channels) * self.h.stride;
        cut_rows(crew, samples, [self.h.output, self.w.output], row)
    }

    /// `samples` samples of a flat convolution, NHWC, as one.
    pub(super) fn joined(&self, samples: usize) -> Self {
        let mut joined = *self;
        joined.h.input *= samples;
        joined.h.output *= samples;
        joined
    }

    /// The output rows of a sample, cut where the input must be copied: into strips of cache size, or of `pixels`
    /// pixels if those are more.
    pub(super) fn long_strips(&self, order: Order, pixels: usize) -> Vec<Range<usize>> {
        let row = 4 * self.strip_row(self.groups * self.channels) * self.h.stride;
        let long = pixels.div_ceil(self.w.output.max(1));
        let rows = match self.is_padded(order) {
            true => (STRIP / row.max(1)).max(long),
            false => self.h.output.max(1),
        };
        let strips = (0..self.h.output).step_by(rows);
        strips.map(|r| r..(r + rows).min(self.h.output)).collect()
    }

    /// Copies the padded input rows `rows` of one sample to `to`, channels last.
    fn pad(&self, x: &[f32], order: Order, rows: Range<usize>, to: &mut [f32]) {
        let (c, w) = (self.groups * self.channels, self.w.input);
        if let Some(taken) = &self.taken {
            for (to, at) in to.chunks_exact_mut(c).zip(rows.map(|i| taken.at(i))) {
                match order {
                    Order::Nhwc => to.copy_from_slice(&x[at * self.x_pitch..][..c]),
                    Order::Nchw => {
                        let planes = x[at..].iter().step_by(taken.pixels());
                        to.iter_mut().zip(planes).for_each(|(to, v)| *to = *v);
                    }
                }
            }
            return;
        }
        for (row, to) in rows.zip(to.chunks_exact_mut(self.strip_row(c))) {
            let Some(y) = row.checked_sub(self.h.pad).filter(|y| *y < self.h.input) else {
                to.fill(0.0);
                continue;
            };
            let (left, rest) = to.split_at_mut(self.w.pad * c);
            let (inside, right) = rest.split_at_mut(w * c);
            left.fill(0.0);
            right.fill(0.0);
            match order {
                Order::Nhwc => {
                    let pitch = w + 2 * self.crop[1]; // pixels of a row
                    let at = ((y + self.crop[0]) * pitch + self.crop[1]) * self.x_pitch;
                    if self.x_pitch == c {
                        inside.copy_from_slice(&x[at..][..w * c]);
                    } else {
                        let from = x[at..].chunks(self.x_pitch);
                        for (to, from) in inside.chunks_exact_mut(c).zip(from) {
                            to.copy_from_slice(&from[..c]);
                        }
                    }
                }
                Order::Nchw => {
                    for k in 0..c {
                        let from = &x[(k * self.h.input + y) * w..][..w];
                        for (to, v) in inside[k..].iter_mut().step_by(c).zip(from) {
                            *to = *v;
                        }
                    }
                }
            }
        }
    }

    /// Calls `f` with the padded input of output rows `rows`.
    pub(super) fn with_strip(
        &self,
        x: &[f32],
        order: Order,
        rows: &Range<usize>,
        f: impl FnOnce(&[f32]),
    ) {
        let under = self.under(rows);
        let row = self.strip_row(self.pixel(order));
        if self.is_padded(order) {
            scratch::with(under.len() * row, |strip| {
                self.pad(x, order, under, strip);
                f(strip);
            });
        } else {
            f(&x[under.start * row..(under.end * row).min(x.len())]);
        }
    }
}
