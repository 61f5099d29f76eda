//! Depthwise convolution over NHWC: as many groups as channels, and one output each.
//!
//! A register holds the same pixel of sixteen channels, so there is nothing to sum across lanes. Weights are packed as
//! [channels/16][kernel height][kernel width][16], zeros past the last channel, for both directions. A row of results
//! is walked some pixels at a time with the weights in registers; where windows reach into the padding, pixel by pixel
//! over the elements that are inside ([`axis`]).

#![allow(unsafe_code)]

use super::Convolution;
use super::direct::Order;
use super::im2col::picture;
use super::tile::{Out, Then};
use crate::kernels::aligned::Aligned;
use crate::kernels::crew::Crew;
use crate::kernels::layout::to_nhwc;
use crate::kernels::scratch::{self, Shared};
use crate::kernels::simd::{Isa, Lanes, dispatch};
use axis::Phase;
use std::ops::Range;
use tiles::{Under, phase};

mod axis;
mod tiles;
mod weights;

/// Fewer rows are no piece of their own: those around them would be read too often.
const FEW_ROWS: usize = 4;

/// Blocks of sixteen channels that are done for some pixels before the next pixels: so many lie side by side in memory
/// that the processor sees what to fetch, and so few that their weights stay in the cache.
const GROUP: usize = 4;

/// The sizes of a depthwise convolution as this kernel wants them.
#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    channels: usize,
    /// Elements of a kernel.
    elements: usize,
    order: Order,
    /// Pixels of a sample of X.
    plane: usize,
    forward: Pass,
    /// From the gradient of Y to that of X.
    back: Pass,
}

/// One direction: from an array that is read, x, to one that is written, y.
#[derive(Clone, Debug)]
struct Pass {
    channels: usize,
    /// Packed weights of sixteen channels.
    block: usize,
    /// Phases of the rows of y, and of the pixels of a row.
    down: Vec<Phase>,
    across: Vec<Phase>,
    /// Floats from pixel to pixel, from row to row and from sample to sample.
    x: Strides,
    y: Strides,
    /// Rows of y.
    rows: usize,
}

#[derive(Clone, Copy, Debug)]
struct Strides {
    pixel: usize,
    row: usize,
    sample: usize,
}

impl Strides {
    fn new(pixel: usize, height: usize, width: usize) -> Self {
        let row = width * pixel;
        Self {
            pixel,
            row,
            sample: height * row,
        }
    }

    /// Asserts that `len` floats hold so many samples; the last pixel of a slice of channels ends early.
    fn check(&self, len: usize, samples: usize, channels: usize) {
        assert!(self.pixel >= channels);
        assert!(len + self.pixel - channels >= samples * self.sample);
    }
}

impl Depthwise {
    /// `None` where it is no depthwise convolution of pictures. X is in `order`; pixels of X (where it is NHWC) and Y
    /// are `pitch` floats apart.
    pub fn new(c: &Convolution, order: Order, pitch: [usize; 2]) -> Option<Self> {
        let [h, w] = picture(&c.axes)?;
        let one_each = c.groups == c.inputs && c.groups == c.outputs && c.groups > 1;
        if !one_each {
            return None;
        }
        let read = match order {
            Order::Nchw => c.inputs,
            Order::Nhwc => pitch[0],
        };
        let y = Strides::new(pitch[1], h.output, w.output);
        let pass = |x: Strides, y: Strides, rows, [down, across]: [Vec<Phase>; 2]| Pass {
            channels: c.inputs,
            block: 16 * h.kernel * w.kernel,
            down,
            across,
            x,
            y,
            rows,
        };
        let x = Strides::new(read, h.input, w.input);
        let forward = [
            Phase::forward(&h, x.row, 16 * w.kernel),
            Phase::forward(&w, x.pixel, 16),
        ];
        let dx = Strides::new(pitch[0], h.input, w.input);
        let back = [
            Phase::backward(&h, y.row, 16 * w.kernel),
            Phase::backward(&w, y.pixel, 16),
        ];
        Some(Self {
            channels: c.inputs,
            elements: h.kernel * w.kernel,
            order,
            plane: h.input * w.input,
            forward: pass(x, y, h.output, forward),
            back: pass(y, dx, h.input, back),
        })
    }

    /// Floats of packed weights.
    pub fn packed(&self) -> usize {
        self.forward.blocks() * self.forward.block
    }

    /// Packs w[channels][kernel height][kernel width].
    pub fn pack(&self, w: &[f32], packed: &mut Aligned) {
        assert_eq!(w.len(), self.channels * self.elements);
        packed.resize(self.packed());
        packed.fill(0.0);
        for (c, w) in w.chunks_exact(self.elements).enumerate() {
            let block = &mut packed[c / 16 * self.forward.block..][..self.forward.block];
            let lane = block.iter_mut().skip(c % 16).step_by(16);
            lane.zip(w).for_each(|(to, w)| *to = *w);
        }
    }

    /// The biases, padded to whole blocks.
    pub fn pack_bias(&self, bias: &[f32]) -> Aligned {
        let mut packed = Aligned::zeros(16 * self.forward.blocks());
        packed[..bias.len()].copy_from_slice(bias);
        packed
    }

    /// Calls `f` with X channels last.
    fn with_pixels<T>(
        &self,
        crew: &Crew,
        x: &[f32],
        samples: usize,
        f: impl FnOnce(&[f32]) -> T,
    ) -> T {
        if self.order == Order::Nhwc {
            return f(x);
        }
        let sample = self.plane * self.channels;
        assert!(x.len() >= samples * sample);
        scratch::with(samples * sample, |turned| {
            crate::kernels::each_chunk(crew, sample, turned, |start, to| {
                to_nhwc(&x[start..], self.channels, self.plane, to, self.channels);
            });
            f(turned)
        })
    }

    /// Y = W·X + b for each of `samples` samples, and what `then` says. `bias` is as packed.
    pub fn forward(
        &self,
        isa: Isa,
        crew: &Crew,
        x: &[f32],
        packed: &[f32],
        bias: Option<&[f32]>,
        then: Then,
        samples: usize,
        y: &mut [f32],
    ) {
        self.with_pixels(crew, x, samples, |x| {
            self.forward
                .run(isa, crew, x, packed, bias, then, samples, y);
        });
    }

    /// dX, NHWC.
    pub fn data(
        &self,
        isa: Isa,
        crew: &Crew,
        dy: &[f32],
        packed: &[f32],
        samples: usize,
        dx: &mut [f32],
    ) {
        let then = Then::default();
        self.back
            .run(isa, crew, dy, packed, None, then, samples, dx);
    }
}

impl Pass {
    fn blocks(&self) -> usize {
        self.channels.div_ceil(16)
    }

    /// All of y.
    fn run(
        &self,
        isa: Isa,
        crew: &Crew,
        x: &[f32],
        packed: &[f32],
        bias: Option<&[f32]>,
        then: Then,
        samples: usize,
        y: &mut [f32],
    ) {
        let blocks = self.blocks();
        assert_eq!(packed.len(), blocks * self.block);
        assert!(bias.is_none_or(|b| b.len() == 16 * blocks));
        self.x.check(x.len(), samples, self.channels);
        self.y.check(y.len(), samples, self.channels);
        // Several pieces for each thread, since one core may be slower than another: rows, and channels where those are few.
        let several = match crew.threads() {
            1 => 1,
            threads => (4 * threads).div_ceil(samples.max(1)),
        };
        let strips = several.min(self.rows / FEW_ROWS).max(1);
        let parts = several.div_ceil(strips).min(blocks / GROUP).max(1);
        let out = Shared::new(y);
        crew.for_each(samples * strips * parts, |i| {
            let rows = cut(self.rows, i / parts % strips, strips);
            let channels = cut(blocks, i % parts, parts);
            let n = i / parts / strips;
            let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
            // SAFETY: the arrays hold all samples, the weights and biases all blocks (asserted above), and each piece
            // writes its own channels of its own rows of its own sample.
            unsafe {
                let x = x.as_ptr().add(n * self.x.sample);
                let y = out.get().add(n * self.y.sample);
                walk(isa, self, x, packed.as_ptr(), bias, then, y, rows, channels);
            }
        });
    }
}

/// Part i of `of` nearly equal parts of 0..n.
#[inline(always)]
fn cut(n: usize, i: usize, of: usize) -> Range<usize> {
    n * i / of..n * (i + 1) / of
}

#[inline(always)]
unsafe fn walk_body<L: Lanes, const M: usize>(
    p: &Pass,
    x: *const f32,
    packed: *const f32,
    bias: *const f32,
    then: Then,
    y: *mut f32,
    rows: Range<usize>,
    blocks: Range<usize>,
) {
    for r in rows {
        let apart = p.down[0].apart;
        let (down, i) = (&p.down[r % apart], r / apart);
        for first in blocks.clone().step_by(GROUP) {
            let blocks = first..(first + GROUP).min(blocks.end);
            for across in &p.across {
                // SAFETY: as the caller says.
                unsafe {
                    let from = Under {
                        x: x.wrapping_add(i * down.step * p.x.row + 16 * first),
                        w: packed.add(first * p.block),
                        rows: down.taps(i),
                        step: across.step * p.x.pixel,
                        down: down.step,
                        lanes: 16,
                    };
                    let out = Out {
                        start: y.add(r * p.y.row + across.first * p.y.pixel + 16 * first),
                        row: across.apart * p.y.pixel,
                        lanes: 16,
                        bias: match bias.is_null() {
                            true => bias,
                            false => bias.add(16 * first),
                        },
                        then,
                    };
                    phase::<L, M>(p, across, from, out, blocks.clone());
                }
            }
        }
    }
}

dispatch! {
    /// Some blocks of channels of some rows of one sample of y.
    unsafe fn walk(
        p: &Pass, x: *const f32, packed: *const f32, bias: *const f32, then: Then, y: *mut f32,
        rows: Range<usize>, blocks: Range<usize>,
    ) = walk_body
}
