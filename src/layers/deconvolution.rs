//! Deconvolution (transposed convolution): every input number is spread over a window of the output,
//! weighted by the kernel. It is the convolution with the same kernel turned round: its forward is that
//! one's gradient by its input, and the reverse.
//!
//! The input is [outer…, I, spatial…], the weights are [I, O / group, kernel…], the biases [O], and the
//! output is [outer…, O, …] of size stride·(input − 1) + dilation·(kernel − 1) + 1 − 2·pad.

use super::convolution::front::Front;
use super::{Backward, Facts, Forward, Layer, Mode, ParamSpec};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A Deconvolution layer.
#[derive(Debug)]
pub struct Deconvolution {
    front: Front,
}

impl Deconvolution {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let front = Front::new(param, true)?;
        Ok(Self { front })
    }
}

impl Layer for Deconvolution {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        self.front.shapes(bottoms)
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        self.front.params(bottoms)
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        self.front.facts(bottoms)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (kernel, bottom, top) = self.front.samples(&f.bottoms[0].shape)?;
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
        let (kernel, bottom, top) = self.front.samples(&b.bottoms[0].shape)?;
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
    use crate::layers::Coupling;
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
