//! Convolution over any number of spatial axes: y\[o\] = b\[o\] + Σ over input channels and kernel
//! elements of w\[o, …\] · x\[…\], where the input is [outer…, I, spatial…], the weights are
//! [O, I / group, kernel…], the biases [O] and the output is [outer…, O, windows…].

use super::{
    Backward, Coupling, Forward, Layer, Layouts, Mode, ParamSpec, Prepare, Prepared, free_if,
    windows,
};
use crate::kernels::channels_last::{ChannelsLast, Order, Packed, Then};
use crate::kernels::convolution::Convolution as Kernel;
use crate::kernels::crew::Crew;
use crate::kernels::simd::Isa;
use crate::proto::caffe::{ConvolutionParameter, LayerParameter};
use crate::tensor::{Layout, Shape};
use anyhow::Result;

/// What is made of the weights to run channels last.
struct Ready {
    kernel: ChannelsLast,
    packed: Packed,
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
    fn kernel(&self, x: &Shape) -> Result<Kernel> {
        let (channel_axis, windows) = windows::windows(&self.param, x)?;
        let inputs = x.dim(channel_axis);
        Ok(Kernel {
            groups: windows::groups(&self.param, inputs, x)?,
            inputs,
            outputs: self.param.num_output() as usize,
            axes: windows::axes(&windows, x)?,
        })
    }

    /// The sizes, and those of one sample's input and output. `x` passed [`Layer::shapes`].
    fn prepared(&self, x: &Shape) -> Result<(Kernel, usize, usize)> {
        let kernel = self.kernel(x)?;
        let output = kernel.outputs * kernel.positions();
        Ok((
            kernel,
            x.count_from(super::axis(x, self.param.axis(), "axis")?),
            output,
        ))
    }
}

/// The kernel that runs channels last, for a bottom in layout `x` and a top whose pixels are `pitch` floats
/// apart.
fn channels_last(kernel: &Kernel, x: Layout, pitch: usize) -> Option<ChannelsLast> {
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

    fn coupling(&self, bottoms: &[Shape]) -> Coupling {
        free_if(
            bottoms
                .first()
                .is_some_and(|x| x.axis(self.param.axis()) != Some(0)),
        )
    }

    fn macs(&self, bottoms: &[Shape]) -> u64 {
        let one = |x: &Shape| {
            let (kernel, sample, _) = self.prepared(x).ok()?;
            Some(kernel.macs() * (x.count() / sample.max(1)) as u64)
        };
        bottoms.iter().filter_map(one).sum()
    }

    fn keep_bytes(&self, bottoms: &[Shape]) -> usize {
        bottoms
            .first()
            .and_then(|x| self.kernel(x).ok())
            .map_or(0, |k| 4 * k.scratch(&Crew::alone()))
    }

    fn layouts(&self, bottoms: &[Shape]) -> Layouts {
        let pictures = bottoms[0].axes() == 4 && bottoms[0].axis(self.param.axis()) == Some(1);
        let Ok(kernel) = self.kernel(&bottoms[0]) else {
            return Layouts::Planes;
        };
        match channels_last(&kernel, Layout::pixels(&bottoms[0]), kernel.outputs) {
            Some(_) if pictures => Layouts::Pixels,
            _ => Layouts::Planes,
        }
    }

    fn takes_planes(&self) -> bool {
        true
    }

    fn takes_slices(&self) -> bool {
        true
    }

    fn fuses(&self) -> bool {
        true
    }

    fn prepare(&self, p: Prepare) -> Option<Prepared> {
        let Layout::Pixels { pitch } = p.top else {
            return None;
        };
        let sizes = self.kernel(&p.bottoms[0]).ok()?;
        let kernel = channels_last(&sizes, p.layouts[0], pitch)?.with_sparse(p.sparse);
        let mut ready = match p.old.and_then(|old| old.downcast::<Ready>().ok()) {
            Some(ready) => ready,
            None => Box::new(Ready {
                kernel,
                packed: Packed::default(),
            }),
        };
        let w = p.params[0].data;
        let bias = p.params.get(1).map(|b| b.data);
        let packed = &mut ready.packed;
        match p.affine {
            None => ready.kernel.pack(p.crew, w, bias, p.backward, packed),
            Some((scale, mut shift)) => {
                for (i, b) in bias.into_iter().flatten().enumerate() {
                    shift[i] += scale[i] * b;
                }
                let each = w.len() / scale.len().max(1);
                let rows = w.chunks_exact(each.max(1)).zip(&scale);
                let w: Vec<f32> = rows
                    .flat_map(|(w, s)| w.iter().map(move |w| w * s))
                    .collect();
                ready
                    .kernel
                    .pack(p.crew, &w, Some(&shift), p.backward, packed);
            }
        }
        Some(ready)
    }

    fn kernel(
        &self,
        bottoms: &[Shape],
        layouts: &[Layout],
        prepared: Option<&Prepared>,
    ) -> &'static str {
        if let Some(ready) = prepared.and_then(|p| p.downcast_ref::<Ready>()) {
            return ready.kernel.name_of(&ready.packed);
        }
        match (self.layouts(bottoms), self.kernel(&bottoms[0])) {
            (Layouts::Pixels, Ok(kernel)) => {
                channels_last(&kernel, layouts[0], kernel.outputs).map_or("columns", |k| k.name())
            }
            _ => "columns",
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        if let Some(ready) = f.prepared.and_then(|p| p.downcast_ref::<Ready>()) {
            for (x, y) in f.bottoms.iter().zip(f.tops.iter_mut()) {
                let samples = x.shape.dim(0);
                let then = Then {
                    add: f.add,
                    relu: f.relu,
                };
                ready
                    .kernel
                    .forward(f.crew, samples, x.data, &ready.packed, then, y.data);
            }
            return Ok(());
        }
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
        if let Some(ready) = b.prepared.and_then(|p| p.downcast_ref::<Ready>()) {
            let Ready { kernel, packed } = ready;
            for (i, dy) in b.top_diffs.iter().enumerate() {
                let samples = dy.shape.dim(0);
                if let Some(Some(db)) = b.param_diffs.get_mut(1) {
                    kernel.bias(b.crew, samples, dy.data, db);
                }
                if let Some(Some(dw)) = b.param_diffs.first_mut() {
                    kernel.weights(b.crew, samples, b.bottoms[i].data, dy.data, dw);
                }
                if let Some(dx) = &mut b.bottom_diffs[i] {
                    kernel.data(b.crew, samples, packed, dy.data, dx.data);
                }
            }
            return Ok(());
        }
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
