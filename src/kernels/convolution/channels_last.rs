//! Convolution with channels last: which kernel does it, weights packed for it, and the three
//! directions over a batch.
//!
//! Where every channel is a group of its own there is the depthwise kernel. Else Winograd's does 3 × 3 at stride 1, the
//! direct kernel the rest (in parts the gradient of the input of strided windows), and the sparse kernel what has so many
//! zeros among its weights that leaving them out pays. X may also be NCHW (the net's input); Y and the gradients are NHWC.
//! Each may be a slice of the channels of a wider array: `pitch` floats lie from one pixel to the next. For any number of
//! threads, every sum runs in the same order.

use super::Convolution;
pub use super::choice::UseSparse;
use super::choice::{Costs, Dense, MARGIN, Thin};
use super::depthwise::Depthwise;
pub use super::direct::Order;
use super::direct::{Direct, Input, Output, Strided};
use super::im2col::picture;
use super::sparse::Sparse;
pub use super::tile::Then;
use super::winograd::Winograd;
use crate::kernels::aligned::Aligned;
use crate::kernels::amx::Amx;
use crate::kernels::crew::Crew;
use crate::kernels::processor::Processor;
use crate::kernels::scratch::{self, halves, halves_mut};
use crate::kernels::simd::{Isa, Set};
use crate::kernels::{CHUNK, each_chunk};
use join::Join;
use std::sync::atomic::{AtomicUsize, Ordering};

mod join;

/// The most sums of pixels that are added up at the end, on one thread.
const MOST_SUMS: usize = 256;

/// A convolution that runs channels last.
#[derive(Clone, Debug)]
pub struct ChannelsLast {
    /// Of the joined groups, where they are.
    sizes: Convolution,
    join: Option<Join>,
    isa: Isa,
    order: Order,
    pitch: [usize; 2],
    depthwise: Option<Depthwise>,
    direct: Direct,
    winograd: Option<Winograd>,
    back: Back,
    sparse: UseSparse,
    /// Operands are multiplied as bfloat16, in AMX's tiles.
    amx: Option<Amx>,
    /// Whether X and Y lie in bfloat16, forward.
    halves: [bool; 2],
}

/// The kernel for the gradient of X where weights are dense.
#[derive(Clone, Copy, Debug)]
enum Back {
    Winograd(Winograd),
    Direct(Direct),
    Strided(Strided),
    Amx(Amx, Direct),
}

/// Weights as the kernels want them, which says which kernel it is.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    forward: Side,
    bias: Option<Aligned>,
    /// For the gradient of the input.
    backward: Side,
}

/// The weights for one direction: those that are not 0, or all.
#[derive(Clone, Debug, Default)]
struct Side {
    sparse: Option<Sparse>,
    dense: Aligned,
}

impl Side {
    fn bytes(&self) -> usize {
        4 * self.dense.len() + self.sparse.as_ref().map_or(0, Sparse::bytes)
    }

    /// Takes the weights of `w` that are not 0 for the convolution `d`. Where only their values are new since the
    /// last time, as in a sparse phase, only those are written.
    fn thin(&mut self, d: &Direct, w: &[f32], turned: bool) {
        self.dense = Aligned::default();
        if !self.sparse.as_mut().is_some_and(|sparse| sparse.refill(w)) {
            self.sparse = Some(Sparse::new(d, w, turned));
        }
    }
}

impl Packed {
    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        let bias = self.bias.as_ref().map_or(0, |b| b.len());
        self.forward.bytes() + self.backward.bytes() + 4 * bias
    }
}

impl ChannelsLast {
    /// How `sizes` is done with the instruction set `isa`; `None` where no kernel is made for it. X is in
    /// `order`; `pitch`: floats from pixel to pixel of X (where it is NHWC) and Y.
    pub fn new(sizes: &Convolution, order: Order, pitch: [usize; 2], isa: Isa) -> Option<Self> {
        let depthwise = Depthwise::new(sizes, order, pitch);
        // Winograd's kernel needs a quarter of the products, so that zeros among them do no harm.
        // The order of X may not decide: a layer is laid out before it is known.
        let fits = |join: &Join| Winograd::new(&join.sizes(sizes), pitch, isa).is_some();
        let join = Join::of(sizes).filter(|join| depthwise.is_none() && fits(join));
        let joined = join.map_or_else(|| sizes.clone(), |join| join.sizes(sizes));
        let sizes = &joined;
        let direct = match depthwise {
            Some(_) => Direct::sized(sizes, pitch)?,
            None => Direct::new(sizes, pitch)?,
        };
        let winograd = Winograd::new(sizes, pitch, isa).filter(|_| order == Order::Nhwc);
        let back = match (&winograd, direct.transposed()) {
            (Some(kernel), _) => Back::Winograd(kernel.transposed()),
            (None, Some(direct)) => Back::Direct(direct),
            (None, None) => Back::Strided(Strided::new(&direct, picture(&sizes.axes)?)),
        };
        Some(Self {
            sizes: sizes.clone(),
            join,
            isa,
            order,
            pitch,
            depthwise,
            direct,
            winograd,
            back,
            sparse: UseSparse::Auto,
            amx: None,
            halves: [false; 2],
        })
    }

    /// With AMX's tiles for dense weights where they are made for the sizes: operands are rounded to bfloat16.
    pub fn with_amx(self, amx: Option<Amx>) -> Self {
        let Some(amx) = amx.filter(|_| self.suits_amx()) else {
            return self;
        };
        Self {
            amx: Some(amx),
            winograd: None,
            back: match self.direct.transposed() {
                Some(direct) => Back::Amx(amx, direct),
                None => self.back,
            },
            ..self
        }
    }

    /// Whether AMX's tiles are made for the sizes.
    pub fn suits_amx(&self) -> bool {
        self.depthwise.is_none() && self.direct.suits_amx()
    }

    /// With X, Y or both in bfloat16, two numbers in a float, forward; only with AMX's tiles.
    pub fn with_halves(self, halves: [bool; 2]) -> Self {
        debug_assert!(halves == [false; 2] || self.amx.is_some());
        Self { halves, ..self }
    }

    /// Whether results of these weights are rounded where [`Then::round`] says so: forward, and for the gradient of X.
    pub fn rounds(&self, packed: &Packed) -> [bool; 2] {
        [
            self.amx.is_some() && packed.forward.sparse.is_none(),
            matches!(self.back, Back::Amx(..)) && packed.backward.sparse.is_none(),
        ]
    }

    /// When zeros among the weights are left out.
    pub fn with_sparse(self, sparse: UseSparse) -> Self {
        Self { sparse, ..self }
    }

    /// With the direct kernel where Winograd's would be taken.
    pub fn without_winograd(self) -> Self {
        Self {
            winograd: None,
            back: self.direct.transposed().map_or(self.back, Back::Direct),
            ..self
        }
    }

    /// What the kernels for dense weights have to do for a sample: the direct one, and Winograd's where there is one.
    pub fn dense_work(&self) -> (Dense, Option<Dense>) {
        let winograd = self.winograd.as_ref().map(Winograd::work);
        (self.direct.work(), winograd)
    }

    /// What the sparse kernel has to do for a sample if `alive` weights are not 0; `None` where it is not made for it.
    pub fn sparse_work(&self, alive: usize) -> Option<Thin> {
        Sparse::fits(&self.direct).then(|| Sparse::work(&self.direct, alive))
    }

    /// The name of the kernel for dense weights.
    pub fn name(&self) -> &'static str {
        if self.depthwise.is_some() {
            return match self.isa.set() {
                Set::Portable => "depthwise portable",
                Set::Avx2 => "depthwise avx2",
                Set::Avx512 => "depthwise avx512",
            };
        }
        if self.amx.is_some() {
            return "amx bf16";
        }
        match (&self.winograd, self.isa.set()) {
            (Some(_), Set::Portable) => "winograd portable",
            (Some(_), Set::Avx2) => "winograd avx2",
            (Some(_), Set::Avx512) => "winograd avx512",
            (None, Set::Portable) => "direct portable",
            (None, Set::Avx2) => "direct avx2",
            (None, Set::Avx512) => "direct avx512",
        }
    }

    /// The name of the kernel that these weights go to.
    pub fn name_of(&self, packed: &Packed) -> &'static str {
        match (&packed.forward.sparse, self.isa.set()) {
            (None, _) => self.name(),
            (Some(_), Set::Portable) => "sparse portable",
            (Some(_), Set::Avx2) => "sparse avx2",
            (Some(_), Set::Avx512) => "sparse avx512",
        }
    }

    /// Packs `w` (as files have it) and `bias` into `packed`, for the gradient of X too if `backward`. Which
    /// kernels they will go to depends on the sizes and the number of weights that are not 0, on nothing else.
    pub fn pack(
        &self,
        crew: &Crew,
        w: &[f32],
        bias: Option<&[f32]>,
        backward: bool,
        packed: &mut Packed,
    ) {
        if let Some(kernel) = &self.depthwise {
            // Both directions read them alike.
            kernel.pack(w, &mut packed.forward.dense);
            packed.bias = bias.map(|b| kernel.pack_bias(b));
            return;
        }
        let wide = self.join.map(|join| join.widen(w));
        let w = wide.as_deref().unwrap_or(w);
        let alive = count_alive(crew, w);
        let side = &mut packed.forward;
        let thin = self.is_sparse(&self.direct, self.winograd.as_ref(), alive);
        if thin {
            side.thin(&self.direct, w, false);
        } else {
            side.sparse = None;
            match (&self.winograd, self.amx) {
                (_, Some(_)) => self.direct.pack_amx(crew, w, false, &mut side.dense),
                (Some(kernel), _) => kernel.pack(self.isa, crew, w, false, &mut side.dense),
                (None, _) => self.direct.pack(crew, w, false, &mut side.dense),
            }
        }
        packed.bias = bias.map(|b| match self.winograd {
            Some(_) if !thin => Aligned::from(b),
            _ => self.direct.pack_bias(b),
        });
        if !backward {
            return;
        }
        let side = &mut packed.backward;
        let winograd = match &self.back {
            Back::Winograd(kernel) => Some(kernel),
            _ => None,
        };
        if let Some(d) = &self.direct.transposed()
            && self.is_sparse(d, winograd, alive)
        {
            return side.thin(d, w, true);
        }
        side.sparse = None;
        let to = &mut side.dense;
        match &self.back {
            Back::Winograd(kernel) => kernel.pack(self.isa, crew, w, true, to),
            Back::Direct(kernel) => kernel.pack(crew, w, true, to),
            Back::Strided(kernel) => kernel.pack(crew, w, to),
            Back::Amx(_, kernel) => kernel.pack_amx(crew, w, true, to),
        }
    }

    /// Bytes of dense weights, packed: for forward, and for the gradient of X.
    pub fn packed_bytes(&self) -> [usize; 2] {
        if let Some(kernel) = &self.depthwise {
            return [4 * kernel.packed(), 0];
        }
        let forward = match (&self.winograd, self.amx) {
            (_, Some(_)) => self.direct.amx_packed(),
            (Some(kernel), _) => kernel.packed(),
            (None, _) => self.direct.packed(),
        };
        let back = match &self.back {
            Back::Winograd(kernel) => kernel.packed(),
            Back::Direct(kernel) => kernel.packed(),
            Back::Strided(kernel) => kernel.packed(),
            Back::Amx(_, kernel) => kernel.amx_packed(),
        };
        [4 * forward, 4 * back]
    }

    /// Whether the sparse kernel is the one for `alive` weights that are not 0.
    fn is_sparse(&self, d: &Direct, winograd: Option<&Winograd>, alive: usize) -> bool {
        Sparse::fits(d)
            && match self.sparse {
                UseSparse::Never => false,
                UseSparse::Always => true,
                // Tiles multiply some twenty times as fast as registers of float32.
                _ if self.amx.is_some() => false,
                UseSparse::Auto | UseSparse::AutoFor(_) => {
                    self.expected(d, winograd, alive) > MARGIN
                }
            }
    }

    /// How many times faster the sparse kernel should be than the dense one.
    fn expected(&self, d: &Direct, winograd: Option<&Winograd>, alive: usize) -> f64 {
        let costs = Costs::of(match self.sparse {
            UseSparse::AutoFor(processor) => processor,
            _ => Processor::of(self.isa),
        });
        let dense = match winograd {
            Some(kernel) => costs.winograd(kernel.work()),
            None => costs.direct(d.work()),
        };
        dense / costs.sparse(&Sparse::work(d, alive))
    }

    /// How many times faster than the dense kernel the sparse one should be with weights `w`, forward.
    pub fn gain(&self, w: &[f32]) -> f64 {
        let alive = w.iter().filter(|w| **w != 0.0).count();
        self.expected(&self.direct, self.winograd.as_ref(), alive)
    }

    /// Y = W·X + b for `samples` samples, and what `then` says.
    pub fn forward(
        &self,
        crew: &Crew,
        samples: usize,
        x: &[f32],
        packed: &Packed,
        then: Then,
        y: &mut [f32],
    ) {
        let (isa, bias) = (self.isa, packed.bias.as_deref());
        let w = &packed.forward.dense;
        let ordered = (x, self.order);
        if let Some(kernel) = &self.depthwise {
            return kernel.forward(isa, crew, x, w, bias, then, samples, y);
        }
        match (&packed.forward.sparse, &self.winograd) {
            (Some(w), _) => w.forward(isa, crew, ordered, bias, then, samples, y),
            (None, None) if let Some(amx) = self.amx => {
                let kernel = &self.direct;
                let x = match self.halves[0] {
                    true => Input::Halves(halves(x)),
                    false => Input::Floats(x, self.order),
                };
                let y = match self.halves[1] {
                    true => Output::Halves(halves_mut(y)),
                    false => Output::Floats(y),
                };
                kernel.forward_amx(amx, crew, x, w, bias, then, samples, y);
            }
            (None, Some(kernel)) => kernel.forward(isa, crew, x, w, bias, then, samples, y),
            (None, None) => {
                let kernel = &self.direct;
                kernel.forward(isa, crew, ordered, w, bias, then, samples, y);
            }
        }
    }

    /// dW += the gradient over `samples` samples, in the order of the file.
    pub fn weights(&self, crew: &Crew, samples: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        let Some(join) = &self.join else {
            return self.dense_weights(crew, samples, x, dy, dw);
        };
        scratch::with(join.wide(dw.len()), |wide| {
            wide.fill(0.0);
            self.dense_weights(crew, samples, x, dy, wide);
            join.narrow_onto(wide, dw);
        });
    }

    /// That of the convolution whose groups are joined.
    fn dense_weights(&self, crew: &Crew, samples: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        let isa = self.isa;
        if let Some(kernel) = &self.depthwise {
            return kernel.weights(isa, crew, x, samples, dy, dw);
        }
        if let Some(amx) = self.amx.filter(|_| self.direct.suits_amx_weights()) {
            return self
                .direct
                .weights_amx(amx, crew, (x, self.order), samples, dy, dw);
        }
        match &self.winograd {
            Some(kernel) => kernel.weights(isa, crew, x, samples, dy, dw),
            None => self
                .direct
                .weights(isa, crew, (x, self.order), samples, dy, dw),
        }
    }

    /// db += sums of dY over the pixels of `samples` samples.
    pub fn bias(&self, crew: &Crew, samples: usize, dy: &[f32], db: &mut [f32]) {
        let (c, pitch) = (db.len(), self.pitch[1]);
        let row = self.sizes.axes.last().map_or(1, |a| a.output).max(1);
        let rows = samples * self.sizes.positions() / row;
        if c == 0 || rows == 0 {
            return;
        }
        // Short sums first: their rounding errors stay small. Rows, some of them, and all.
        let some = (CHUNK / (row * pitch)).max(rows.div_ceil(MOST_SUMS)).max(1);
        scratch::with(rows.div_ceil(some) * c, |parts| {
            each_chunk(crew, c, parts, |start, part| {
                let first = start / c * some;
                part.fill(0.0);
                scratch::with(c, |sums| {
                    for r in first..(first + some).min(rows) {
                        sums.fill(0.0);
                        for pixel in dy[r * row * pitch..].chunks(pitch).take(row) {
                            sums.iter_mut().zip(pixel).for_each(|(s, d)| *s += d);
                        }
                        part.iter_mut().zip(&*sums).for_each(|(p, s)| *p += s);
                    }
                });
            });
            for part in parts.chunks_exact(c) {
                db.iter_mut().zip(part).for_each(|(b, p)| *b += p);
            }
        });
    }

    /// dX, NHWC, all of it; of `then` only `round` may be set.
    pub fn data(
        &self,
        crew: &Crew,
        samples: usize,
        packed: &Packed,
        dy: &[f32],
        then: Then,
        dx: &mut [f32],
    ) {
        if let Some(kernel) = &self.depthwise {
            return kernel.data(self.isa, crew, dy, &packed.forward.dense, samples, dx);
        }
        let (isa, w) = (self.isa, &packed.backward.dense);
        let ordered = (dy, Order::Nhwc);
        match (&packed.backward.sparse, &self.back) {
            (Some(w), _) => w.forward(isa, crew, ordered, None, then, samples, dx),
            (None, Back::Winograd(kernel)) => {
                kernel.forward(isa, crew, dy, w, None, then, samples, dx);
            }
            (None, Back::Direct(kernel)) => {
                kernel.forward(isa, crew, ordered, w, None, then, samples, dx);
            }
            (None, Back::Strided(kernel)) => kernel.data(isa, crew, dy, w, samples, dx),
            (None, Back::Amx(amx, kernel)) => {
                let (x, y) = (Input::Floats(dy, Order::Nhwc), Output::Floats(dx));
                kernel.forward_amx(*amx, crew, x, w, None, then, samples, y);
            }
        }
    }
}

/// How many weights are not 0.
fn count_alive(crew: &Crew, w: &[f32]) -> usize {
    let alive = AtomicUsize::new(0);
    crew.for_each(w.len().div_ceil(CHUNK), |i| {
        let part = &w[i * CHUNK..w.len().min((i + 1) * CHUNK)];
        let own = part.iter().filter(|w| **w != 0.0).count();
        alive.fetch_add(own, Ordering::Relaxed);
    });
    alive.into_inner()
}

#[cfg(test)]
mod tests;
