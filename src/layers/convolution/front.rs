//! What Convolution and Deconvolution say alike: one is the gradient of the other.
//!
//! The input is [outer…, I, spatial…], the weights of a Convolution are [O, I / group, kernel…], those of a
//! Deconvolution [I, O / group, kernel…], the biases [O] and the output is [outer…, O, windows…].

use crate::kernels::convolution::Convolution as Columns;
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::crew::Crew;
use crate::layers::windows::{self, Window};
use crate::layers::{Coupling, Facts, ParamSpec, axis};
use crate::proto::caffe::{ConvolutionParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Context, Result};

/// What a `convolution_param` says, and which way it goes.
#[derive(Debug)]
pub(in crate::layers) struct Front {
    pub param: ConvolutionParameter,
    /// Whether the layer goes from what a convolution makes to what it reads.
    transposed: bool,
}

impl Front {
    /// That of the layer that `param` describes.
    pub fn new(param: &LayerParameter, transposed: bool) -> Result<Self> {
        let param = param.convolution_param.clone().unwrap_or_default();
        windows::check(&param)?;
        Ok(Self { param, transposed })
    }

    /// The convolution for a bottom of shape `x`: from the bottom to the top or, transposed, from the top to the
    /// bottom.
    pub fn convolution(&self, x: &Shape) -> Result<Columns> {
        let (channel_axis, windows) = windows::windows(&self.param, x)?;
        let (bottom, top) = (x.dim(channel_axis), self.param.num_output() as usize);
        let groups = windows::groups(&self.param, bottom, x)?;
        let (inputs, outputs, axes) = match self.transposed {
            false => (bottom, top, windows::axes(&windows, x)?),
            true => (top, bottom, spread(&windows, x)?),
        };
        Ok(Columns {
            groups,
            inputs,
            outputs,
            axes,
        })
    }

    /// The convolution, and the sizes of one sample's bottom and top.
    pub fn samples(&self, x: &Shape) -> Result<(Columns, usize, usize)> {
        let c = self.convolution(x)?;
        let read = c.inputs * c.axes.iter().map(|a| a.input).product::<usize>();
        let made = c.outputs * c.positions();
        Ok(match self.transposed {
            false => (c, read, made),
            true => (c, made, read),
        })
    }

    /// The shapes of the tops: all bottoms go through one kernel.
    pub fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let first = windows::one_shape(bottoms)?;
        let c = self.convolution(first)?;
        let mut dims = first.dims()[..axis(first, self.param.axis(), "axis")?].to_vec();
        dims.push(self.param.num_output() as usize);
        dims.extend(c.axes.iter().map(|a| match self.transposed {
            false => a.output,
            true => a.input,
        }));
        Ok(vec![dims.into(); bottoms.len()])
    }

    /// Weights, and if wanted biases.
    pub fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let Some(Ok(c)) = bottoms.first().map(|x| self.convolution(x)) else {
            return Vec::new();
        };
        let p = &self.param;
        let mut dims = vec![c.outputs, c.inputs / c.groups];
        dims.extend(c.axes.iter().map(|a| a.kernel));
        let mut specs = vec![ParamSpec::weight(dims, p.weight_filler.as_ref())];
        if p.bias_term() {
            let outputs = vec![p.num_output() as usize];
            specs.push(ParamSpec::bias(outputs, p.bias_filler.as_ref()));
        }
        specs
    }

    /// Coupling, work and scratch.
    pub fn facts(&self, bottoms: &[Shape]) -> Facts {
        let macs = |x: &Shape| {
            let (c, sample, _) = self.samples(x).ok()?;
            Some(c.macs() * (x.count() / sample.max(1)) as u64)
        };
        let first = self.convolution(&bottoms[0]).ok();
        Facts {
            coupling: Coupling::along(self.param.axis(), bottoms),
            macs: bottoms.iter().filter_map(macs).sum(),
            scratch_bytes: first.map_or(0, |c| 4 * c.scratch(&Crew::alone())),
            ..Facts::default()
        }
    }
}

/// The axes of the convolution whose outputs are the spatial axes of `x`.
fn spread(windows: &[Window], x: &Shape) -> Result<Vec<Axis>> {
    let axis = |(i, w): (usize, &Window)| {
        spread_axis(w).with_context(|| format!("{:#}", windows::no_window(w, i, x)))
    };
    windows.iter().enumerate().map(axis).collect()
}

/// `None` where nothing would be left.
fn spread_axis(w: &Window) -> Option<Axis> {
    let reach = w.stride.checked_mul(w.size - 1)?;
    let extent = w.dilation.checked_mul(w.kernel - 1)?.checked_add(1)?;
    let size = reach
        .checked_add(extent)?
        .checked_sub(w.pad.checked_mul(2)?)?;
    let axis = Axis::new(size, w.kernel, w.stride, w.pad, w.dilation)?;
    (size > 0 && axis.output == w.size).then_some(axis)
}
