//! Where windows lie in pictures whose channels lie last, and how work over them is cut.

use crate::kernels::CHUNK;
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::simd::Isa;
use std::ops::Range;

/// Where windows lie in pictures.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    pub channels: usize,
    pub h: Axis,
    pub w: Axis,
    pub isa: Isa,
}

/// Some channels of one pixel.
pub(super) struct Segment {
    pub sample: usize,
    pub row: usize,
    pub column: usize,
    /// The first of the channels.
    pub channel: usize,
    /// Where they lie in the part at hand.
    pub part: Range<usize>,
    /// The pixels on the other side of the windows that belong to this one.
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Segment {
    /// The offset of the same channels of pixel (`row`, `column`) in pictures of another size.
    #[inline(always)]
    pub fn at(&self, g: &Windows, [height, width]: [usize; 2], row: usize, column: usize) -> usize {
        ((self.sample * height + row) * width + column) * g.channels + self.channel
    }
}

impl Windows {
    /// The windows, with the sizes checked that the kernels take for granted.
    pub fn new(isa: Isa, channels: usize, [h, w]: [Axis; 2], x: usize, y: usize) -> Self {
        assert_eq!((h.dilation, w.dilation), (1, 1));
        let [input, output] = [h.input * w.input, h.output * w.output].map(|n| n * channels);
        assert_eq!(x * output, y * input);
        Self {
            channels,
            h,
            w,
            isa,
        }
    }

    pub fn input(&self) -> [usize; 2] {
        [self.h.input, self.w.input]
    }

    pub fn output(&self) -> [usize; 2] {
        [self.h.output, self.w.output]
    }

    /// Elements of one task of forward or backward: whole cache lines.
    pub fn chunk(&self, forward: bool) -> usize {
        let terms = |a: &Axis| {
            if forward {
                a.kernel
            } else {
                a.kernel.div_ceil(a.stride)
            }
        };
        (4 * CHUNK / (terms(&self.h) * terms(&self.w)).max(1))
            .next_multiple_of(16)
            .max(256)
    }

    /// The pixels, or ends of pixels, that `length` elements from `start` on are of. Their other sides
    /// are `other` of the axes.
    #[inline(always)]
    pub fn segments(
        &self,
        start: usize,
        length: usize,
        [height, width]: [usize; 2],
        other: impl Fn(&Axis, usize) -> Range<usize>,
    ) -> impl Iterator<Item = Segment> {
        let (pixel, mut channel) = (start / self.channels, start % self.channels);
        let mut done = 0;
        // Divisions take long: the row is looked at only where it changes.
        let (mut sample, mut row, mut column) = (
            pixel / width / height,
            pixel / width % height,
            pixel % width,
        );
        let mut rows = other(&self.h, row);
        std::iter::from_fn(move || {
            if column == width {
                column = 0;
                row += 1;
                if row == height {
                    row = 0;
                    sample += 1;
                }
                rows = other(&self.h, row);
            }
            let end = (done + self.channels - channel).min(length);
            let segment = Segment {
                sample,
                row,
                column,
                channel,
                part: done..end,
                rows: rows.clone(),
                columns: other(&self.w, column),
            };
            (done, channel, column) = (end, 0, column + 1);
            (!segment.part.is_empty()).then_some(segment)
        })
    }

    /// What the sum over window (oy, ox) is divided by: its size with the padding it covers, but not
    /// with what lies beyond.
    pub fn divisor(&self, oy: usize, ox: usize) -> f32 {
        let length = |a: &Axis, o: usize| {
            let start = o * a.stride;
            let end = (start + a.kernel).min(a.input + 2 * a.pad);
            end.saturating_sub(start) as f32
        };
        (length(&self.h, oy) * length(&self.w, ox)).max(1.0)
    }
}

/// The windows that cover input row `i`.
pub(super) fn covering(a: &Axis, i: usize) -> Range<usize> {
    let end = ((i + a.pad) / a.stride + 1).min(a.output);
    let start = (i + a.pad + 1).saturating_sub(a.kernel).div_ceil(a.stride);
    start.min(end)..end
}

/// `$block::<B>(args…, c)` for blocks of B out of `$n` channels, c the first. What is left over is done
/// by a block that overlaps the one before.
macro_rules! blocks {
    ($n:expr, $block:ident($($arg:expr),*)) => {
        match $n {
            n @ 32.. => {
                for c in (0..n - 32).step_by(32) {
                    $block::<32>($($arg,)* c);
                }
                $block::<32>($($arg,)* n - 32);
            }
            n @ 8.. => {
                for c in (0..n - 8).step_by(8) {
                    $block::<8>($($arg,)* c);
                }
                $block::<8>($($arg,)* n - 8);
            }
            n => {
                for c in 0..n {
                    $block::<1>($($arg,)* c);
                }
            }
        }
    };
}

pub(super) use blocks;

/// `B` elements from `c` on.
#[inline(always)]
pub(super) fn block<T: Copy, const B: usize>(x: &[T], c: usize) -> [T; B] {
    std::array::from_fn({
        let x = &x[c..c + B];
        move |i| x[i]
    })
}
