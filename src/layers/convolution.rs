//! Convolution over any number of spatial axes: y\[o\] = b\[o\] + Σ over input channels and kernel
//! elements of w\[o, …\] · x\[…\], where the input is [outer…, I, spatial…], the weights are
//! [O, I / group, kernel…], the biases [O] and the output is [outer…, O, windows…].

pub(super) mod front;

use super::{
    Backward, Facts, Forward, Halves, Kernel, Layer, Layouts, Lower, Mode, ParamSpec, Role,
};
use crate::kernels::convolution::Convolution as Columns;
use crate::kernels::convolution::channels_last::{ChannelsLast, Order, Packed, Then};
use crate::kernels::simd::Isa;
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Layout, Shape};
use anyhow::Result;
use front::Front;

/// A convolution that runs channels last, with its weights packed.
struct Direct {
    sizes: ChannelsLast,
    packed: Packed,
}

impl Direct {
    /// Packs the weights of `l`, with the scales and shifts of the layers behind.
    fn pack(&mut self, l: &Lower) {
        let bias = l.params.get(1).map(|b| b.data);
        let Some((scale, shift)) = &l.affine else {
            return self
                .sizes
                .pack(l.crew, &l.weights(), bias, l.backward, &mut self.packed);
        };
        let w = l.params[0].data;
        let mut shift = shift.clone();
        for (i, b) in bias.into_iter().flatten().enumerate() {
            shift[i] += scale[i] * b;
        }
        let each = w.len() / scale.len().max(1);
        let rows = w.chunks_exact(each.max(1)).zip(scale);
        let mut scaled: Vec<f32> = rows
            .flat_map(|(w, s)| w.iter().map(move |w| w * s))
            .collect();
        l.precision.round(l.crew, &mut scaled);
        self.sizes
            .pack(l.crew, &scaled, Some(&shift), l.backward, &mut self.packed);
    }
}

impl Kernel for Direct {
    fn name(&self) -> &'static str {
        self.sizes.name_of(&self.packed)
    }

    fn repack(&mut self, l: &Lower) -> bool {
        self.pack(l);
        true
    }

    fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    fn rounds(&self) -> [bool; 2] {
        self.sizes.rounds(&self.packed)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let then = Then {
            add: f.add,
            relu: f.relu,
            round: f.round,
        };
        for (x, y) in f.bottoms.iter().zip(f.tops.iter_mut()) {
            let samples = x.shape.dim(0);
            self.sizes
                .forward(f.crew, samples, x.data, &self.packed, then, y.data);
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        for (i, dy) in b.top_diffs.iter().enumerate() {
            let samples = dy.shape.dim(0);
            if let Some(Some(db)) = b.param_diffs.get_mut(1) {
                self.sizes.bias(b.crew, samples, dy.data, db);
            }
            if let Some(Some(dw)) = b.param_diffs.first_mut() {
                self.sizes
                    .weights(b.crew, samples, b.bottoms[i].data, dy.data, dw);
            }
            if let Some(dx) = &mut b.bottom_diffs[i] {
                let then = Then {
                    round: b.round,
                    ..Then::default()
                };
                self.sizes
                    .data(b.crew, samples, &self.packed, dy.data, then, dx.data);
            }
        }
        Ok(())
    }
}

/// A Convolution layer. It runs channels last where a kernel is made for its sizes.
#[derive(Debug)]
pub struct Convolution {
    front: Front,
}

impl Convolution {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let front = Front::new(param, false)?;
        Ok(Self { front })
    }

    /// The kernel that runs channels last, where there is one for pictures of shape `x`.
    fn direct(&self, x: &Shape) -> Option<ChannelsLast> {
        let pictures = x.axes() == 4 && x.axis(self.front.param.axis()) == Some(1);
        let kernel = self.front.convolution(x).ok().filter(|_| pictures)?;
        channels_last(&kernel, Layout::pixels(x), kernel.outputs)
    }
}

/// The kernel that runs channels last, for a bottom in layout `x` and a top whose pixels are `pitch` floats
/// apart.
fn channels_last(kernel: &Columns, x: Layout, pitch: usize) -> Option<ChannelsLast> {
    let (order, x_pitch) = match x {
        Layout::Planes => (Order::Nchw, kernel.inputs),
        Layout::Pixels { pitch } | Layout::Halves { pitch } => (Order::Nhwc, pitch),
    };
    ChannelsLast::new(kernel, order, [x_pitch, pitch], Isa::current())
}

impl Layer for Convolution {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        self.front.shapes(bottoms)
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        self.front.params(bottoms)
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let facts = Facts {
            role: Role::Convolution,
            kernel: "columns",
            ..self.front.facts(bottoms)
        };
        match self.direct(&bottoms[0]) {
            None => facts,
            Some(direct) => Facts {
                layouts: Layouts::Pixels,
                halves: match direct.suits_amx() && bottoms.len() == 1 {
                    true => Halves::Either,
                    false => Halves::Never,
                },
                // The threads keep it, whatever the leaf.
                scratch_bytes: 0,
                packed_bytes: direct.packed_bytes(),
                ..facts
            },
        }
    }

    fn lower(&self, l: &Lower) -> Option<Box<dyn Kernel>> {
        let (Layout::Pixels { pitch } | Layout::Halves { pitch }) = l.top else {
            return None;
        };
        let sizes = self.front.convolution(&l.bottoms[0]).ok()?;
        let mut direct = Direct {
            sizes: channels_last(&sizes, l.layouts[0], pitch)?
                .with_sparse(l.sparse)
                .with_amx(l.precision.amx())
                .with_halves([l.layouts[0].is_halves(), l.top.is_halves()]),
            packed: Packed::default(),
        };
        direct.pack(l);
        Some(Box::new(direct))
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (kernel, input, output) = self.front.samples(&f.bottoms[0].shape)?;
        let scratch = f.keep.scratch(kernel.scratch(f.crew));
        let bias = f.params.get(1).map(|b| b.data);
        for (x, y) in f.bottoms.iter().zip(f.tops.iter_mut()) {
            for (x, y) in x
                .data
                .chunks_exact(input)
                .zip(y.data.chunks_exact_mut(output))
            {
                kernel.forward(f.crew, x, f.params[0].data, bias, y, scratch);
            }
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (kernel, input, output) = self.front.samples(&b.bottoms[0].shape)?;
        let scratch = b.keep.scratch(kernel.scratch(b.crew));
        for (i, dy) in b.top_diffs.iter().enumerate() {
            let samples = dy.data.chunks_exact(output);
            if let Some(Some(db)) = b.param_diffs.get_mut(1) {
                samples.clone().for_each(|dy| kernel.backward_bias(dy, db));
            }
            if let Some(Some(dw)) = b.param_diffs.first_mut() {
                for (dy, x) in samples.clone().zip(b.bottoms[i].data.chunks_exact(input)) {
                    kernel.backward_weights(b.crew, x, dy, dw, scratch);
                }
            }
            if let Some(dx) = &mut b.bottom_diffs[i] {
                for (dy, dx) in samples.zip(dx.data.chunks_exact_mut(input)) {
                    kernel.backward_data(b.crew, b.params[0].data, dy, dx, scratch);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
