//! Im2col: the windows of a convolution as columns. [outer…, C, spatial…] → [outer…, C·Π kernel,
//! windows…]; channel (c, k…) of the top holds element k… of every window of channel c.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take, windows};
use crate::kernels::convolution::im2col::{Axis, col2im, col2im_nd, im2col, im2col_nd, picture};
use crate::proto::caffe::{ConvolutionParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// An Im2col layer.
#[derive(Debug)]
pub struct Im2col {
    param: ConvolutionParameter,
}

impl Im2col {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.convolution_param.clone().unwrap_or_default();
        Ok(Self { param })
    }

    /// The axis of the channels and the spatial axes of a bottom of shape `x`.
    fn axes(&self, x: &Shape) -> Result<(usize, Vec<Axis>)> {
        let (channel_axis, windows) = windows::windows(&self.param, x)?;
        if windows.is_empty() {
            bail!("bottom 0 of shape {x} has no axis behind the channels' (axis {channel_axis})");
        }
        Ok((channel_axis, windows::axes(&windows, x)?))
    }
}

impl Layer for Im2col {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let (channel_axis, axes) = self.axes(x)?;
        let mut dims = x.dims()[..=channel_axis].to_vec();
        // More than there can be is refused as such, where all shapes are looked at.
        let taps = axes
            .iter()
            .fold(1, |n: usize, a| n.saturating_mul(a.kernel));
        dims[channel_axis] = dims[channel_axis].saturating_mul(taps);
        dims.extend(axes.iter().map(|a| a.output));
        Ok(vec![dims.into()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::along(self.param.axis(), bottoms),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (channel_axis, axes) = self.axes(&f.bottoms[0].shape)?;
        let x = f.bottoms[0].data;
        let (sample, columns) = (
            f.bottoms[0].shape.count_from(channel_axis).max(1),
            f.tops[0].shape.count_from(channel_axis).max(1),
        );
        let samples = x.chunks_exact(sample);
        for (x, y) in samples.zip(f.tops[0].data.chunks_exact_mut(columns)) {
            match picture(&axes) {
                Some([h, w]) => im2col(x, [h, w], 0..h.output, y),
                None => im2col_nd(x, &axes, y),
            }
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let (channel_axis, axes) = self.axes(&dx.shape)?;
        let (sample, columns) = (
            dx.shape.count_from(channel_axis).max(1),
            b.top_diffs[0].shape.count_from(channel_axis).max(1),
        );
        dx.data.fill(0.0);
        let samples = dx.data.chunks_exact_mut(sample);
        for (dx, dy) in samples.zip(b.top_diffs[0].data.chunks_exact(columns)) {
            match picture(&axes) {
                Some([h, w]) => col2im(dy, [h, w], 0..h.output, dx),
                None => col2im_nd(dy, &axes, dx),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    fn im2col(text: &str) -> Box<dyn Layer> {
        layer(&format!("type: 'Im2col' convolution_param {{ {text} }}"))
    }

    #[test]
    fn gradients() {
        let run = |text: &str, shape: &[usize]| Check::default().run(&*im2col(text), &[shape]);
        run("kernel_size: 3 stride: 2 pad: 1", &[2, 2, 5, 4]);
        run(
            "kernel_h: 2 kernel_w: 1 stride_h: 1 stride_w: 2 dilation: 2",
            &[1, 3, 5, 5],
        );
        run("kernel_size: 2", &[2, 2, 3, 2, 4]);
        run("kernel_size: 2 axis: 2", &[2, 1, 2, 4]);
        run("kernel_size: 2 axis: 0 pad: 1", &[2, 3]);
    }

    #[test]
    fn windows_become_columns() {
        let x = Tensor::new(Shape::new([1, 1, 2, 3]), vec![1., 2., 3., 4., 5., 6.]).unwrap();
        let y = &Check::default()
            .forward(&*im2col("kernel_size: 2"), vec![x])
            .unwrap()[0];
        assert_eq!(y.shape, Shape::new([1, 4, 1, 2]));
        assert_eq!(y.data, [1., 2., 2., 3., 4., 5., 5., 6.]);
    }

    #[test]
    fn errors_say_the_shapes() {
        let fails =
            |text: &str, x: &[usize]| im2col(text).shapes(&[x.into()]).unwrap_err().to_string();
        assert!(fails("kernel_size: 4", &[1, 2, 3, 3]).contains("1 2 3 3 (18)"));
        assert!(fails("kernel_size: 1", &[4, 2]).contains("no axis behind"));
        assert!(fails("", &[1, 2, 3, 3]).contains("kernel_size"));
    }
}
