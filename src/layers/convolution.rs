//! Convolution over any number of spatial axes: y\[o\] = b\[o\] + Σ over input channels and kernel
//! elements of w\[o, …\] · x\[…\], where the input is [outer…, I, spatial…], the weights are
//! [O, I / group, kernel…], the biases [O] and the output is [outer…, O, windows…].

use super::{
    Backward, Coupling, Facts, Forward, Kernel, Layer, Layouts, Lower, Mode, ParamSpec, Role,
    windows,
};
use crate::kernels::channels_last::{ChannelsLast, Order, Packed, Then};
use crate::kernels::convolution::Convolution as Columns;
use crate::kernels::crew::Crew;
use crate::kernels::simd::Isa;
use crate::proto::caffe::{ConvolutionParameter, LayerParameter};
use crate::tensor::{Layout, Shape};
use anyhow::Result;

/// A convolution that runs channels last, with its weights packed.
struct Direct {
    sizes: ChannelsLast,
    packed: Packed,
}

impl Direct {
    /// Packs the weights of `l`, with the scales and shifts of the layers behind.
    fn pack(&mut self, l: &Lower) {
        let w = l.params[0].data;
        let bias = l.params.get(1).map(|b| b.data);
        let Some((scale, shift)) = &l.affine else {
            return self
                .sizes
                .pack(l.crew, w, bias, l.backward, &mut self.packed);
        };
        let mut shift = shift.clone();
        for (i, b) in bias.into_iter().flatten().enumerate() {
            shift[i] += scale[i] * b;
        }
        let each = w.len() / scale.len().max(1);
        let rows = w.chunks_exact(each.max(1)).zip(scale);
        let scaled: Vec<f32> = rows
            .flat_map(|(w, s)| w.iter().map(move |w| w * s))
            .collect();
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

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let then = Then {
            add: f.add,
            relu: f.relu,
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
                self.sizes
                    .data(b.crew, samples, &self.packed, dy.data, dx.data);
            }
        }
        Ok(())
    }
}

/// A Convolution layer. It runs channels last where a kernel is made for its sizes.
#[derive(Debug)]
pub struct Convolution {
    param: ConvolutionParameter,
}

impl Convolution {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.convolution_param.clone().unwrap_or_default();
        windows::check(&param)?;
        Ok(Self { param })
    }

    /// The sizes for a bottom of shape `x`.
    fn kernel(&self, x: &Shape) -> Result<Columns> {
        let (channel_axis, windows) = windows::windows(&self.param, x)?;
        let inputs = x.dim(channel_axis);
        Ok(Columns {
            groups: windows::groups(&self.param, inputs, x)?,
            inputs,
            outputs: self.param.num_output() as usize,
            axes: windows::axes(&windows, x)?,
        })
    }

    /// The sizes, and those of one sample's input and output. `x` passed [`Layer::shapes`].
    fn prepared(&self, x: &Shape) -> Result<(Columns, usize, usize)> {
        let kernel = self.kernel(x)?;
        let output = kernel.outputs * kernel.positions();
        Ok((
            kernel,
            x.count_from(super::axis(x, self.param.axis(), "axis")?),
            output,
        ))
    }

    /// Channels last where there is a kernel for pictures of shape `x`.
    fn layouts(&self, x: &Shape) -> Layouts {
        let pictures = x.axes() == 4 && x.axis(self.param.axis()) == Some(1);
        let Ok(kernel) = self.kernel(x) else {
            return Layouts::Planes;
        };
        match channels_last(&kernel, Layout::pixels(x), kernel.outputs) {
            Some(_) if pictures => Layouts::Pixels,
            _ => Layouts::Planes,
        }
    }
}

/// The kernel that runs channels last, for a bottom in layout `x` and a top whose pixels are `pitch` floats
/// apart.
fn channels_last(kernel: &Columns, x: Layout, pitch: usize) -> Option<ChannelsLast> {
    let (order, x_pitch) = match x {
        Layout::Planes => (Order::Nchw, kernel.inputs),
        Layout::Pixels { pitch } => (Order::Nhwc, pitch),
    };
    ChannelsLast::new(kernel, order, [x_pitch, pitch], Isa::current())
}

impl Layer for Convolution {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let first = windows::one_shape(bottoms)?;
        let kernel = self.kernel(first)?;
        let mut dims = first.dims()[..super::axis(first, self.param.axis(), "axis")?].to_vec();
        dims.push(kernel.outputs);
        dims.extend(kernel.axes.iter().map(|a| a.output));
        Ok(vec![dims.into(); bottoms.len()])
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let Some(Ok(kernel)) = bottoms.first().map(|x| self.kernel(x)) else {
            return Vec::new();
        };
        let mut dims = vec![kernel.outputs, kernel.inputs / kernel.groups];
        dims.extend(kernel.axes.iter().map(|a| a.kernel));
        let mut specs = vec![ParamSpec::weight(dims, self.param.weight_filler.as_ref())];
        if self.param.bias_term() {
            specs.push(ParamSpec::bias(
                vec![kernel.outputs],
                self.param.bias_filler.as_ref(),
            ));
        }
        specs
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let one = |x: &Shape| {
            let (kernel, sample, _) = self.prepared(x).ok()?;
            Some(kernel.macs() * (x.count() / sample.max(1)) as u64)
        };
        let kernel = self.kernel(&bottoms[0]).ok();
        let layouts = self.layouts(&bottoms[0]);
        let last = kernel.as_ref().filter(|_| layouts == Layouts::Pixels);
        let last = last.and_then(|k| channels_last(k, Layout::pixels(&bottoms[0]), k.outputs));
        Facts {
            coupling: Coupling::along(self.param.axis(), bottoms),
            role: Role::Convolution,
            layouts,
            macs: bottoms.iter().filter_map(one).sum(),
            scratch_bytes: match &last {
                // The threads keep it, whatever the leaf.
                Some(_) => 0,
                None => kernel.map_or(0, |k| 4 * k.scratch(&Crew::alone())),
            },
            packed_bytes: last.map_or([0; 2], |k| k.packed_bytes()),
            kernel: "columns",
            ..Facts::default()
        }
    }

    fn lower(&self, l: &Lower) -> Option<Box<dyn Kernel>> {
        let Layout::Pixels { pitch } = l.top else {
            return None;
        };
        let sizes = self.kernel(&l.bottoms[0]).ok()?;
        let mut direct = Direct {
            sizes: channels_last(&sizes, l.layouts[0], pitch)?.with_sparse(l.sparse),
            packed: Packed::default(),
        };
        direct.pack(l);
        Some(Box::new(direct))
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (kernel, input, output) = self.prepared(&f.bottoms[0].shape)?;
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
        let (kernel, input, output) = self.prepared(&b.bottoms[0].shape)?;
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
