//! Convolution with channels last: which kernel does it, weights packed for it, and the three
//! directions over a batch.
//!
//! Winograd's kernel does 3 × 3 at stride 1, the direct kernel the rest. X may also be NCHW (the net's
//! input); Y and the gradients are NHWC. Each may be a slice of the channels of a wider array: `pitch`
//! floats lie from one pixel to the next. With and without `parallel`, and for any number of threads,
//! every sum runs in the same order.

use super::convolution::Convolution;
use super::direct::Direct;
pub use super::direct::Order;
use super::layout::{to_nchw, to_nhwc};
use super::scratch;
use super::simd::Isa;
pub use super::tile::Then;
use super::winograd::Winograd;

/// A convolution that runs channels last.
#[derive(Clone, Debug)]
pub struct ChannelsLast {
    sizes: Convolution,
    isa: Isa,
    order: Order,
    pitch: [usize; 2],
    direct: Direct,
    winograd: Option<Winograd>,
}

/// Weights as the kernels want them.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    forward: Vec<f32>,
    bias: Option<Vec<f32>>,
    /// For the gradient of the input.
    backward: Vec<f32>,
}

impl Packed {
    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        4 * (self.forward.len() + self.backward.len() + self.bias.as_ref().map_or(0, Vec::len))
    }
}

impl ChannelsLast {
    /// How `sizes` is done with the instruction set `isa`; `None` where no kernel is made for it. X is in
    /// `order`; `pitch`: floats from pixel to pixel of X (where it is NHWC) and Y.
    pub fn new(sizes: &Convolution, order: Order, pitch: [usize; 2], isa: Isa) -> Option<Self> {
        Some(Self {
            sizes: sizes.clone(),
            isa,
            order,
            pitch,
            direct: Direct::new(sizes, pitch)?,
            winograd: Winograd::new(sizes, pitch).filter(|_| order == Order::Nhwc),
        })
    }

    /// The name of the kernel.
    pub fn name(&self) -> &'static str {
        match (&self.winograd, self.isa) {
            (Some(_), Isa::Portable) => "winograd portable",
            (Some(_), Isa::Avx2) => "winograd avx2",
            (Some(_), Isa::Avx512) => "winograd avx512",
            (None, Isa::Portable) => "direct portable",
            (None, Isa::Avx2) => "direct avx2",
            (None, Isa::Avx512) => "direct avx512",
        }
    }

    /// Packs `w` (as files have it) and `bias` into `packed`, for the gradient of X too if `backward`.
    pub fn pack(&self, w: &[f32], bias: Option<&[f32]>, backward: bool, packed: &mut Packed) {
        match &self.winograd {
            Some(kernel) => kernel.pack(self.isa, w, false, &mut packed.forward),
            None => self.direct.pack(w, false, &mut packed.forward),
        }
        packed.bias = bias.map(|b| match self.winograd {
            Some(_) => b.to_vec(),
            None => self.direct.pack_bias(b),
        });
        if !backward {
            return;
        }
        let to = &mut packed.backward;
        match (&self.winograd, self.direct.transposed()) {
            (Some(kernel), _) => kernel.transposed().pack(self.isa, w, true, to),
            (None, Some(direct)) => direct.pack(w, true, to),
            (None, None) => {
                to.clear();
                to.extend_from_slice(w);
            }
        }
    }

    /// Y = W·X + b for `samples` samples, and what `then` says.
    pub fn forward(
        &self,
        parallel: bool,
        samples: usize,
        x: &[f32],
        packed: &Packed,
        then: Then,
        y: &mut [f32],
    ) {
        let (isa, w, bias) = (self.isa, &packed.forward, packed.bias.as_deref());
        match &self.winograd {
            Some(kernel) => kernel.forward(isa, parallel, x, w, bias, then, samples, y),
            None => {
                let x = (x, self.order);
                self.direct
                    .forward(isa, parallel, x, w, bias, then, samples, y);
            }
        }
    }

    /// dW += the gradient over `samples` samples, in the order of the file.
    pub fn weights(&self, parallel: bool, samples: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        let isa = self.isa;
        match &self.winograd {
            Some(kernel) => kernel.weights(isa, parallel, x, samples, dy, dw),
            None => self
                .direct
                .weights(isa, parallel, (x, self.order), samples, dy, dw),
        }
    }

    /// db += sums of dY over the pixels of `samples` samples.
    pub fn bias(&self, samples: usize, dy: &[f32], db: &mut [f32]) {
        let pixels = dy.chunks(self.pitch[1]);
        // Short sums first: their rounding errors stay small.
        scratch::with(db.len(), |sums| {
            let row = self.sizes.axes.last().map_or(1, |a| a.output).max(1);
            let mut pixels = pixels.take(samples * self.sizes.positions()).peekable();
            while pixels.peek().is_some() {
                sums.fill(0.0);
                for pixel in pixels.by_ref().take(row) {
                    sums.iter_mut().zip(pixel).for_each(|(s, d)| *s += d);
                }
                db.iter_mut().zip(&*sums).for_each(|(b, s)| *b += s);
            }
        });
    }

    /// dX, NHWC.
    pub fn data(
        &self,
        parallel: bool,
        samples: usize,
        packed: &Packed,
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let (isa, w) = (self.isa, &packed.backward);
        if let Some(kernel) = &self.winograd {
            let kernel = kernel.transposed();
            return kernel.forward(isa, parallel, dy, w, None, Then::default(), samples, dx);
        }
        if let Some(direct) = self.direct.transposed() {
            let dy = (dy, Order::Nhwc);
            return direct.forward(isa, parallel, dy, w, None, Then::default(), samples, dx);
        }
        // Strided windows: by columns, in planes.
        let c = &self.sizes;
        let plane: usize = c.axes.iter().map(|a| a.input).product();
        let (input, output) = (c.inputs * plane, c.outputs * c.positions());
        let columns = c.scratch(parallel);
        scratch::with(input + output + columns, |scratch| {
            let (x, rest) = scratch.split_at_mut(input);
            let (y, columns) = rest.split_at_mut(output);
            for n in 0..samples {
                let [x_pitch, y_pitch] = self.pitch;
                let dy = &dy[n * c.positions() * y_pitch..];
                to_nchw(dy, y_pitch, c.outputs, c.positions(), y);
                c.backward_data(parallel, w, y, x, columns);
                let dx = &mut dx[n * plane * x_pitch..];
                to_nhwc(x, c.inputs, plane, dx, x_pitch);
            }
        });
    }
}

#[cfg(test)]
mod tests;
