//! Deconvolution (transposed convolution): every input number is spread over a window of the output,
//! weighted by the kernel. It is the convolution with the same kernel turned round: its forward is that
//! one's gradient by its input, and the reverse.
//!
//! The input is [outer…, I, spatial…], the weights are [I, O / group, kernel…], the biases [O], and the
//! output is [outer…, O, …] of size stride·(input − 1) + dilation·(kernel − 1) + 1 − 2·pad.

use super::windows::{self, Window};
use super::{Backward, Coupling, Facts, Forward, Layer, Mode, ParamSpec};
use crate::kernels::convolution::Convolution as Kernel;
use crate::kernels::crew::Crew;
use crate::kernels::im2col::Axis;
use crate::proto::caffe::{ConvolutionParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Context, Result};

/// A Deconvolution layer.
#[derive(Debug)]
pub struct Deconvolution {
    param: ConvolutionParameter,
}

impl Deconvolution {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.convolution_param.clone().unwrap_or_default();
        windows::check(&param)?;
        Ok(Self { param })
    }

    /// The convolution from this layer's top to its bottom of shape `x`.
    fn kernel(&self, x: &Shape) -> Result<Kernel> {
        let (channel_axis, windows) = windows::windows(&self.param, x)?;
        let channels = x.dim(channel_axis);
        let axis = |(i, w): (usize, &Window)| {
            spread(w).with_context(|| format!("{:#}", windows::no_window(w, i, x)))
        };
        Ok(Kernel {
            groups: windows::groups(&self.param, channels, x)?,
            inputs: self.param.num_output() as usize,
            outputs: channels,
            axes: windows
                .iter()
                .enumerate()
                .map(axis)
                .collect::<Result<_>>()?,
        })
    }

    /// The convolution, and the sizes of one sample's bottom and top. `x` passed [`Layer::shapes`].
    fn prepared(&self, x: &Shape) -> Result<(Kernel, usize, usize)> {
        let kernel = self.kernel(x)?;
        let bottom = kernel.outputs * kernel.positions();
        let top = kernel.inputs * kernel.axes.iter().map(|a| a.input).product::<usize>();
        Ok((kernel, bottom, top))
    }
}

/// The axis of the convolution whose output is this layer's input; `None` where nothing would be left.
fn spread(w: &Window) -> Option<Axis> {
    let reach = w.stride.checked_mul(w.size - 1)?;
    let extent = w.dilation.checked_mul(w.kernel - 1)?.checked_add(1)?;
    let size = reach
        .checked_add(extent)?
        .checked_sub(w.pad.checked_mul(2)?)?;
    let axis = Axis::new(size, w.kernel, w.stride, w.pad, w.dilation)?;
    (size > 0 && axis.output == w.size).then_some(axis)
}

impl Layer for Deconvolution {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let first = windows::one_shape(bottoms)?;
        let kernel = self.kernel(first)?;
        let mut dims = first.dims()[..super::axis(first, self.param.axis(), "axis")?].to_vec();
        dims.push(kernel.inputs);
        dims.extend(kernel.axes.iter().map(|a| a.input));
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
                vec![kernel.inputs],
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
        Facts {
            coupling: Coupling::along(self.param.axis(), bottoms),
            macs: bottoms.iter().filter_map(one).sum(),
            scratch_bytes: kernel.map_or(0, |k| 4 * k.scratch(&Crew::alone())),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (kernel, bottom, top) = self.prepared(&f.bottoms[0].shape)?;
        let scratch = f.keep.scratch(kernel.scratch(f.crew));
        let w = f.params[0].data;
        for (x, y) in f.bottoms.iter().zip(f.tops.iter_mut()) {
            let samples = x
                .data
                .chunks_exact(bottom)
                .zip(y.data.chunks_exact_mut(top));
            for (x, y) in samples {
                kernel.backward_data(f.crew, w, x, y, scratch);
                if let Some(bias) = f.params.get(1) {
                    kernel.add_input_bias(bias.data, y);
                }
            }
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (kernel, bottom, top) = self.prepared(&b.bottoms[0].shape)?;
        let scratch = b.keep.scratch(kernel.scratch(b.crew));
        for (i, dy) in b.top_diffs.iter().enumerate() {
            let samples = dy.data.chunks_exact(top);
            if let Some(Some(db)) = b.param_diffs.get_mut(1) {
                samples.clone().for_each(|dy| kernel.backward_bias(dy, db));
            }
            if let Some(Some(dw)) = b.param_diffs.first_mut() {
                for (dy, x) in samples.clone().zip(b.bottoms[i].data.chunks_exact(bottom)) {
                    kernel.backward_weights(b.crew, dy, x, dw, scratch);
                }
            }
            if let Some(dx) = &mut b.bottom_diffs[i] {
                for (dy, dx) in samples.zip(dx.data.chunks_exact_mut(bottom)) {
                    kernel.forward(b.crew, dy, b.params[0].data, None, dx, scratch);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};

    fn deconv(text: &str) -> Box<dyn Layer> {
        layer(&format!(
            "type: 'Deconvolution' convolution_param {{ {text} }}"
        ))
    }

    #[test]
    fn gradients() {
        let check = Check {
            step: 0.1,
            ..Check::default()
        };
        for (text, shapes) in [
            (
                "num_output: 3 kernel_size: 3 stride: 2 pad: 1",
                &[&[2, 2, 4, 3][..]][..],
            ),
            (
                "num_output: 4 kernel_h: 2 kernel_w: 3 pad_w: 1 stride_h: 3 stride_w: 1 group: 2",
                &[&[2, 6, 2, 3]],
            ),
            (
                "num_output: 2 kernel_size: 1",
                &[&[2, 3, 3, 2], &[2, 3, 3, 2]],
            ),
            (
                "num_output: 2 kernel_size: 3 dilation: 2 bias_term: false",
                &[&[1, 2, 3, 2]],
            ),
            (
                "num_output: 2 kernel_size: 2 stride: 2 group: 2",
                &[&[2, 2, 3, 2, 2]],
            ),
            (
                "num_output: 2 kernel_size: 4 stride: 2 pad: 1",
                &[&[2, 2, 5]],
            ),
            ("num_output: 2 kernel_size: 2 axis: 2", &[&[2, 3, 2, 3, 2]]),
            ("num_output: 3 kernel_size: 2 axis: 0", &[&[2, 3, 4]]),
        ] {
            check.run(&*deconv(text), shapes);
        }
    }

    #[test]
    fn shapes_parameters_and_costs() {
        let x = [Shape::new([5, 6, 8, 7])];
        let layer = deconv("num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2");
        assert_eq!(layer.shapes(&x).unwrap()[0].dims(), [5, 4, 16, 14]);
        let params = layer.params(&x);
        assert_eq!(
            (params[0].shape.dims(), params[1].shape.dims()),
            (&[6, 2, 4, 4][..], &[4][..])
        );
        assert_eq!(layer.facts(&x).macs, 5 * 6 * 8 * 7 * 2 * 16);
        assert_eq!(layer.facts(&x).coupling, Coupling::Free);
    }

    #[test]
    fn errors_say_the_shapes() {
        let fails = |text: &str| {
            let e = deconv(text)
                .shapes(&[Shape::new([1, 3, 2, 2])])
                .unwrap_err();
            format!("{e:#}")
        };
        let e = fails("num_output: 3 kernel_size: 3 pad: 3");
        assert!(e.contains("pad 3") && e.contains("1 3 2 2 (12)"), "{e}");
        assert!(fails("num_output: 3 kernel_size: 1 stride: 0").contains("stride 0"));
        assert!(fails("num_output: 4 kernel_size: 1 group: 3").contains("group 3"));
        assert!(layer_in("type: 'Deconvolution'", Mode::Test).is_err());
    }
}
