//! Convolution over any number of spatial axes: y\[o\] = b\[o\] + Σ over input channels and kernel
//! elements of w\[o, …\] · x\[…\], where the input is [outer…, I, spatial…], the weights are
//! [O, I / group, kernel…], the biases [O] and the output is [outer…, O, windows…].

use super::{Backward, Coupling, Forward, Layer, Mode, ParamSpec, free_if};
use crate::kernels::convolution::Convolution as Kernel;
use crate::kernels::im2col::Axis;
use crate::proto::caffe::{ConvolutionParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Context, Result, bail};

/// A Convolution layer.
#[derive(Debug)]
pub struct Convolution {
    param: ConvolutionParameter,
}

impl Convolution {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.convolution_param.clone().unwrap_or_default();
        if param.num_output() == 0 {
            bail!("convolution_param needs num_output, the number of output channels");
        }
        if param.group() == 0 {
            bail!("group is 0, it must be at least 1");
        }
        if param.kernel_size.is_empty() && param.kernel_h.is_none() && param.kernel_w.is_none() {
            bail!("convolution_param needs kernel_size, or kernel_h and kernel_w");
        }
        Ok(Self { param })
    }

    /// The sizes for a bottom of shape `x`.
    fn kernel(&self, x: &Shape) -> Result<Kernel> {
        let p = &self.param;
        let channel_axis = super::axis(x, p.axis(), "axis")?;
        let spatial = &x.dims()[channel_axis + 1..];
        let n = spatial.len();
        let kernel = sizes("kernel", &p.kernel_size, p.kernel_h, p.kernel_w, None, n, x)?;
        let stride = sizes("stride", &p.stride, p.stride_h, p.stride_w, Some(1), n, x)?;
        let pad = sizes("pad", &p.pad, p.pad_h, p.pad_w, Some(0), n, x)?;
        let dilation = sizes("dilation", &p.dilation, None, None, Some(1), n, x)?;
        let (inputs, outputs, groups) = (
            x.dim(channel_axis),
            p.num_output() as usize,
            p.group() as usize,
        );
        if inputs == 0 || inputs % groups != 0 || outputs % groups != 0 {
            bail!(
                "group {groups} must divide the channels of bottom 0 ({inputs}, of shape {x}) and num_output ({outputs})"
            );
        }
        let mut axes = Vec::with_capacity(n);
        for i in 0..n {
            let axis = Axis::new(spatial[i], kernel[i], stride[i], pad[i], dilation[i]);
            let fits = axis.filter(|a| a.input > 0 && a.kernel > 0 && a.stride > 0);
            axes.push(fits.with_context(|| {
                format!(
                    "no window fits spatial axis {i}: size {}, kernel {}, stride {}, pad {}, dilation {} \
                     (bottom 0 has shape {x})",
                    spatial[i], kernel[i], stride[i], pad[i], dilation[i]
                )
            })?);
        }
        Ok(Kernel {
            groups,
            inputs,
            outputs,
            axes,
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

/// One size for each of `n` spatial axes, from a repeated field or a pair `_h`, `_w`.
fn sizes(
    name: &str,
    all: &[u32],
    h: Option<u32>,
    w: Option<u32>,
    default: Option<usize>,
    n: usize,
    x: &Shape,
) -> Result<Vec<usize>> {
    if h.is_some() || w.is_some() {
        if n != 2 || !all.is_empty() {
            bail!(
                "{name}_h and {name}_w are for two spatial axes and without another {name}: bottom 0 of shape {x} \
                 has {n} spatial axes, and {} other values are given",
                all.len()
            );
        }
        let missing = default.unwrap_or(0);
        return Ok([h, w].map(|v| v.map_or(missing, |v| v as usize)).to_vec());
    }
    match (all, default) {
        ([], Some(default)) => Ok(vec![default; n]),
        ([one], _) => Ok(vec![*one as usize; n]),
        _ if all.len() == n => Ok(all.iter().map(|v| *v as usize).collect()),
        _ => bail!(
            "{} values for {name}, but bottom 0 of shape {x} has {n} spatial axes",
            all.len()
        ),
    }
}

impl Layer for Convolution {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [first, rest @ ..] = bottoms else {
            bail!("it takes at least one bottom, but none is named");
        };
        if let Some((i, x)) = rest.iter().enumerate().find(|(_, x)| *x != first) {
            bail!(
                "all bottoms must have one shape: bottom 0 has {first}, bottom {} has {x}",
                i + 1
            );
        }
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
            .map_or(0, |k| 4 * k.scratch(false))
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (kernel, input, output) = self.prepared(&f.bottoms[0].shape)?;
        let scratch = f.keep.scratch(kernel.scratch(f.parallel));
        let bias = f.params.get(1).map(|b| b.data);
        for (x, y) in f.bottoms.iter().zip(f.tops.iter_mut()) {
            for (x, y) in x
                .data
                .chunks_exact(input)
                .zip(y.data.chunks_exact_mut(output))
            {
                kernel.forward(f.parallel, x, f.params[0].data, bias, y, scratch);
            }
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (kernel, input, output) = self.prepared(&b.bottoms[0].shape)?;
        let scratch = b.keep.scratch(kernel.scratch(b.parallel));
        for (i, dy) in b.top_diffs.iter().enumerate() {
            let samples = dy.data.chunks_exact(output);
            if let Some(Some(db)) = b.param_diffs.get_mut(1) {
                samples.clone().for_each(|dy| kernel.backward_bias(dy, db));
            }
            if let Some(Some(dw)) = b.param_diffs.first_mut() {
                for (dy, x) in samples.clone().zip(b.bottoms[i].data.chunks_exact(input)) {
                    kernel.backward_weights(b.parallel, x, dy, dw, scratch);
                }
            }
            if let Some(dx) = &mut b.bottom_diffs[i] {
                for (dy, dx) in samples.zip(dx.data.chunks_exact_mut(input)) {
                    kernel.backward_data(b.parallel, b.params[0].data, dy, dx, scratch);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
