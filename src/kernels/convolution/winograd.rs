//! Winograd's F(4 × 4, 3 × 3) over NHWC (Lavin and Gray 2015): 3 × 3 convolutions at stride 1, an output
//! tile of 4 × 4 from an input tile of 6 × 6 by 36 products instead of 144.
//!
//! Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for each tile, summed over channels before A is applied. The same three
//! transforms give the gradients: of the input as the convolution with turned weights, of the weights as
//! Gᵀ[Σ over tiles (Bᵀ d B) ⊙ (A dY Aᵀ)]G, summed in the transformed domain.

#![allow(unsafe_code)]

use super::Convolution;
use super::choice::{Dense, winograd_block};
use super::im2col::picture;
use super::tile::{Out, Panels, Rows, Then, columns, product};
use crate::kernels::aligned::Aligned;
use crate::kernels::crew::Crew;
use crate::kernels::processor::Processor;
use crate::kernels::scratch::{self, Shared};
use crate::kernels::simd::{Isa, Lanes, dispatch};

mod transforms;
mod weights;

/// The sizes of a convolution that these kernels can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Winograd {
    groups: usize,
    /// Channels and outputs of one group.
    channels: usize,
    outputs: usize,
    /// Floats from one pixel to the next, of X and Y.
    x_pitch: usize,
    y_pitch: usize,
    pad: [usize; 2],
    size: [usize; 2],
    out: [usize; 2],
    /// Bytes of transformed input worked on at a time.
    block: usize,
}

/// Some tiles, in arrays with room for so many: a sample's, or those of several small samples, one after the other.
#[derive(Clone, Copy)]
struct Tiles {
    first: usize,
    count: usize,
    room: usize,
}

/// Some outputs, at most [`OUT_BLOCK`].
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    width: usize,
}

impl Block {
    /// `count` outputs from `first` on, in blocks.
    fn all(first: usize, count: usize) -> impl Iterator<Item = Self> {
        let end = first + count;
        (first..end).step_by(OUT_BLOCK).map(move |first| Self {
            first,
            width: OUT_BLOCK.min(end - first),
        })
    }
}

/// Outputs worked on at a time.
const OUT_BLOCK: usize = 64;

/// So few tiles are not shared out among the threads.
const FEW_TILES: usize = 24;

/// Channels whose weights one piece packs.
const PACKED: usize = 64;

const G: [[f32; 3]; 6] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

impl Winograd {
    /// `None` where the kernels are not made for it. Pixels of X and Y are `pitch` floats apart.
    pub fn new(c: &Convolution, pitch: [usize; 2], isa: Isa) -> Option<Self> {
        let axes = picture(&c.axes)?;
        let fits = axes
            .iter()
            .all(|a| a.kernel == 3 && a.stride == 1 && a.dilation == 1 && a.pad <= 2);
        let (channels, outputs) = (c.inputs / c.groups, c.outputs / c.groups);
        let whole = channels.is_multiple_of(16) && outputs.is_multiple_of(16);
        (fits && whole).then_some(Self {
            groups: c.groups,
            channels,
            outputs,
            x_pitch: pitch[0],
            y_pitch: pitch[1],
            pad: axes.map(|a| a.pad),
            size: axes.map(|a| a.input),
            out: axes.map(|a| a.output),
            block: winograd_block(Processor::of(isa)),
        })
    }

    /// The convolution that takes the gradient of the output to that of the input.
    pub fn transposed(&self) -> Self {
        Self {
            groups: self.groups,
            channels: self.outputs,
            outputs: self.channels,
            x_pitch: self.y_pitch,
            y_pitch: self.x_pitch,
            pad: self.pad.map(|p| 2 - p),
            size: self.out,
            out: self.size,
            block: self.block,
        }
    }

    /// What the kernel has to do for a sample, for [`Costs`](super::choice::Costs).
    pub fn work(&self) -> Dense {
        let tiles = self.total() * self.groups;
        Dense {
            products: (36 * tiles * self.channels * self.outputs) as f64,
            moved: (tiles * (self.channels + self.outputs)) as f64,
            weights: self.packed() as f64,
        }
    }

    fn tiles(&self) -> [usize; 2] {
        self.out.map(|n| n.div_ceil(4))
    }

    fn total(&self) -> usize {
        self.tiles().iter().product()
    }

    /// The sample, and the first row and pixel of its Y, that tile number `t` gives.
    #[inline(always)]
    fn corner(&self, t: usize) -> (usize, [usize; 2]) {
        let [down, across] = self.tiles();
        let row = t / across;
        (row / down, [row % down * 4, t % across * 4])
    }

    /// Tiles that are worked on at a time, at most: so few that they stay in the cache.
    fn fit(&self) -> usize {
        (self.block / 4 / 36 / self.channels).clamp(12, 96)
    }

    /// Blocks of tiles of a sample that are worked on at a time.
    fn blocks(&self) -> usize {
        self.total().div_ceil(self.fit())
    }

    /// Samples, out of so many, whose tiles are worked on together, since those of one would be few for the weights that
    /// are read.
    fn lot(&self, samples: usize) -> usize {
        (self.fit() / self.total().max(1)).clamp(1, samples.max(1))
    }

    fn scratch(&self, block: usize) -> usize {
        36 * block * (self.channels + OUT_BLOCK.min(self.outputs))
    }

    /// Floats of the transformed weights of one group.
    fn one(&self) -> usize {
        36 * self.outputs * self.channels
    }

    /// Floats of the transformed weights.
    pub fn packed(&self) -> usize {
        self.groups * self.one()
    }

    /// Asserts that X and Y hold so many samples; the last pixel of a slice of channels ends early.
    fn check(&self, x: usize, y: usize, samples: usize) {
        let short = |pitch: usize, channels: usize| pitch - self.groups * channels;
        assert!(x + short(self.x_pitch, self.channels) >= samples * self.input());
        assert!(y + short(self.y_pitch, self.outputs) >= samples * self.output());
    }

    /// From sample to sample of X.
    fn input(&self) -> usize {
        self.size[0] * self.size[1] * self.x_pitch
    }

    /// From sample to sample of Y.
    fn output(&self) -> usize {
        self.out[0] * self.out[1] * self.y_pitch
    }

    /// [group][outputs/64] U[36][4][channels][16] = G g Gᵀ of w[outputs][channels][9], in the order in which
    /// `forward` reads it (the last block of outputs may be narrower); or with `turned` of
    /// the weights of the transposed convolution, whose file this is.
    pub fn pack(&self, isa: Isa, crew: &Crew, w: &[f32], turned: bool, packed: &mut Aligned) {
        let (channels, plane) = (self.channels, self.outputs * self.channels);
        assert_eq!(w.len(), self.groups * plane * 9);
        packed.resize(self.packed());
        let out = Shared::new(packed);
        // A piece: 16 outputs, and some of the channels.
        let blocks = self.outputs / 16;
        let parts = channels.div_ceil(PACKED);
        crew.for_each(self.groups * blocks * parts, |i| {
            let (i, part) = (i / parts, i % parts * PACKED);
            let (group, first) = (i / blocks, i % blocks * 16);
            let w = &w[group * plane * 9..][..plane * 9];
            for c in part..(part + PACKED).min(channels) {
                let mut g = [0.0f32; 9 * 16];
                for lane in 0..16 {
                    let o = first + lane;
                    let at = if turned {
                        c * self.outputs + o
                    } else {
                        o * channels + c
                    };
                    for (e, v) in w[at * 9..][..9].iter().enumerate() {
                        g[16 * if turned { 8 - e } else { e } + lane] = *v;
                    }
                }
                let block = first / OUT_BLOCK * OUT_BLOCK;
                let width = OUT_BLOCK.min(self.outputs - block);
                let at = 36 * block * channels + ((first - block) / 16 * channels + c) * 16;
                let plane = width * channels;
                // SAFETY: the last element is 16 lanes before the end of the block's 36 planes, and each piece
                // writes its own outputs' and channels'.
                unsafe {
                    let u = out.get().add(group * self.one() + at);
                    pack_one(isa, g.as_ptr(), u, plane);
                }
            }
        });
    }

    /// Y = W·X + b for each of `samples` samples, and what `then` says.
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
        self.check(x.len(), y.len(), samples);
        assert!(packed.len() == self.packed());
        assert!(bias.is_none_or(|b| b.len() == self.groups * self.outputs));
        // Small samples together, as far as there is a lot for each thread.
        let lot = self.lot((samples * self.groups / crew.threads()).min(samples));
        let all = lot * self.total();
        // Few tiles: each thread takes some of the outputs, so that it reads only their weights.
        let (many, blocks) = (
            samples.div_ceil(lot) * self.groups,
            all.div_ceil(self.fit()),
        );
        let most = blocks.max(all / FEW_TILES);
        let blocks = crew.share_of(many, blocks).min(most);
        let parts = crew.share_of(many * blocks, 1);
        let split = self.outputs.div_ceil(parts).next_multiple_of(OUT_BLOCK);
        let block = all.div_ceil(blocks);
        let out = Shared::new(y);
        let task = |(n, g, first, from): (usize, usize, usize, usize)| {
            let count = block.min(lot.min(samples - n) * self.total() - first);
            let tiles = Tiles {
                first,
                count,
                room: count,
            };
            let outputs = Block::all(from, split.min(self.outputs - from));
            scratch::with(self.scratch(block), |scratch| {
                let bias = bias.map_or(std::ptr::null(), |b| b[g * self.outputs..].as_ptr());
                let u = packed[g * self.one()..].as_ptr();
                let (v, m) = scratch.split_at_mut(36 * count * self.channels);
                let (v, m) = (v.as_mut_ptr(), m.as_mut_ptr());
                // SAFETY: sizes asserted above; each task writes its own outputs of its own tiles.
                unsafe {
                    let y = out.get().add(n * self.output() + g * self.outputs);
                    let x = x.as_ptr().add(n * self.input() + g * self.channels);
                    transforms::input(isa, self, x, tiles, v);
                    for outputs in outputs {
                        products(isa, self, v, u, count, outputs, m);
                        transforms::output(isa, self, m, bias, then, y, tiles, outputs);
                    }
                }
            });
        };
        let tasks: Vec<_> = (0..samples)
            .step_by(lot)
            .flat_map(|n| {
                let end = lot.min(samples - n) * self.total();
                (0..self.groups).flat_map(move |g| {
                    (0..end).step_by(block).flat_map(move |first| {
                        let from = (0..self.outputs).step_by(split);
                        from.map(move |from| (n, g, first, from))
                    })
                })
            })
            .collect();
        crew.for_each(tasks.len(), |i| task(tasks[i]));
    }
}

/// U[36] of 16 outputs and one channel: G g Gᵀ, planes `plane` floats apart.
#[inline(always)]
unsafe fn pack_one_body<L: Lanes, const M: usize>(g: *const f32, u: *mut f32, plane: usize) {
    // SAFETY: as the caller says.
    unsafe {
        let mut t = [[L::zero(); 3]; 6];
        for (i, row) in t.iter_mut().enumerate() {
            for (x, sum) in row.iter_mut().enumerate() {
                for y in 0..3 {
                    let v = L::load(g.add((y * 3 + x) * 16));
                    *sum = sum.mul_add(v, L::splat(G[i][y]));
                }
            }
        }
        for (i, row) in t.iter().enumerate() {
            for j in 0..6 {
                let mut sum = L::zero();
                for x in 0..3 {
                    sum = sum.mul_add(row[x], L::splat(G[j][x]));
                }
                sum.store(u.add((i * 6 + j) * plane));
            }
        }
    }
}

dispatch! {
    /// Transforms the weights of 16 outputs and one channel.
    unsafe fn pack_one(g: *const f32, u: *mut f32, plane: usize) = pack_one_body
}

#[inline(always)]
unsafe fn products_body<L: Lanes, const M: usize>(
    g: &Winograd,
    v: *const f32,
    u: *const f32,
    tiles: usize,
    outputs: Block,
    m: *mut f32,
) {
    let (width, c) = (outputs.width, g.channels);
    for e in 0..36 {
        let mut b = 0;
        while b < width / 16 {
            let count = columns::<L>(width / 16 - b, c);
            // SAFETY: as the caller says.
            unsafe {
                let a = Rows {
                    start: v.add(e * tiles * c),
                    row: c,
                    runs: [(1, 0); 2],
                    len: c,
                    far: false,
                };
                let panels = Panels {
                    start: u.add((36 * outputs.first + e * width + b * 16) * c),
                    step: 16 * c,
                    count,
                };
                let sums = Out {
                    start: m.add(e * tiles * width + b * 16),
                    row: width,
                    lanes: 16 * count,
                    bias: std::ptr::null(),
                    then: Then::default(),
                };
                product::<L, M>(a, panels, sums, tiles, true);
            }
            b += count;
        }
    }
}

dispatch! {
    /// m[36][tiles][width] = V·U for some outputs.
    unsafe fn products(
        g: &Winograd, v: *const f32, u: *const f32, tiles: usize, outputs: Block, m: *mut f32,
    ) = products_body
}
