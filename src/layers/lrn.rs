//! LRN, local response normalisation (Krizhevsky et al. 2012), with n = `local_size`, odd. Bottom
//! [N, C, H, W].
//!
//! ACROSS_CHANNELS: y = x · s^−`beta`, s = `k` + `alpha`/n · Σ x² over the n channels around it.
//! WITHIN_CHANNEL: y = x · s^−beta, s = 1 + alpha/n² · Σ x² over the n × n positions around it.
//! What lies outside counts as 0. Backward computes s again, so that nothing has to be kept.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, take};
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::crew::Crew;
use crate::kernels::lrn::Across;
use crate::kernels::pooling::{average, average_backward};
use crate::kernels::{CHUNK, each_chunk};
use crate::proto::caffe::LayerParameter;
use crate::proto::caffe::lrn_parameter::NormRegion;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// An LRN layer.
#[derive(Debug)]
pub struct Lrn {
    size: usize,
    alpha: f32,
    beta: f32,
    k: f32,
    within: bool,
}

impl Lrn {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.lrn_param.unwrap_or_default();
        if p.local_size().is_multiple_of(2) {
            bail!("local_size is {}, it must be odd", p.local_size());
        }
        Ok(Self {
            size: p.local_size() as usize,
            alpha: p.alpha(),
            beta: p.beta(),
            k: p.k(),
            within: p.norm_region() == NormRegion::WithinChannel,
        })
    }

    /// s^−beta.
    fn power(&self, s: f32) -> f32 {
        // Square roots are vector instructions; the usual exponents need no more.
        if self.beta == 0.75 {
            let root = s.sqrt();
            1.0 / (root * root.sqrt())
        } else if self.beta == 0.5 {
            1.0 / s.sqrt()
        } else if self.beta == 1.0 {
            1.0 / s
        } else {
            s.powf(-self.beta)
        }
    }

    fn across(&self) -> Across {
        Across {
            size: self.size,
            alpha: self.alpha,
            beta: self.beta,
            k: self.k,
        }
    }

    /// The averages of x² over the squares around each position; `squares` is scratch.
    fn within(&self, crew: &Crew, shape: &Shape, x: &[f32], squares: &mut [f32], y: &mut [f32]) {
        squares.iter_mut().zip(x).for_each(|(s, x)| *s = x * x);
        average(crew, squares, self.axes(shape), y);
    }

    fn axes(&self, shape: &Shape) -> [Axis; 2] {
        [shape.dim(2), shape.dim(3)].map(|size| Axis {
            input: size,
            kernel: self.size,
            stride: 1,
            pad: self.size / 2,
            dilation: 1,
            output: size,
        })
    }
}

impl Layer for Lrn {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        if x.axes() != 4 {
            bail!(
                "it takes arrays of 4 axes (samples, channels, height, width), bottom 0 has shape {x}"
            );
        }
        Ok(vec![x.clone()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let arrays = if self.within { 2 } else { 0 };
        Facts {
            layouts: match self.within {
                true => Layouts::Planes,
                false => Layouts::Either,
            },
            scratch_bytes: 4 * arrays * bottoms[0].count(),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (crew, x) = (f.crew, f.bottoms[0].data);
        let y = &mut f.tops[0];
        if self.within {
            let squares = f.keep.scratch(x.len());
            self.within(crew, &y.shape, x, squares, y.data);
            each_chunk(crew, CHUNK, y.data, |start, part| {
                for (y, x) in part.iter_mut().zip(&x[start..]) {
                    *y = x * self.power(1.0 + self.alpha * *y);
                }
            });
        } else {
            let (channels, plane) = (y.shape.dim(1), y.shape.count_from(2));
            let across = self.across();
            match y.layout.is_pixels() {
                true => across.forward_last(crew, x, channels, y.data),
                false => across.forward_planes(crew, x, channels, plane, y.data),
            }
        }
        Ok(())
    }

    /// With r = dy·x·s^(−beta−1) and w the weight of x² in s: dx = dy·s^−beta − 2·w·beta·x·Σ r, the sum
    /// over all whose s contains x.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (crew, x, dy) = (b.crew, b.bottoms[0].data, b.top_diffs[0].data);
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let (shape, pixels) = (&dx.shape, dx.layout.is_pixels());
        let dx = &mut *dx.data;
        if self.within {
            let (squares, s) = b.keep.scratch(2 * x.len()).split_at_mut(x.len());
            self.within(crew, shape, x, squares, s);
            for ((dx, s), (dy, x)) in dx.iter_mut().zip(&mut *s).zip(dy.iter().zip(x)) {
                let base = 1.0 + self.alpha * *s;
                *dx = dy * self.power(base);
                *s = *dx * x / base;
            }
            average_backward(crew, s, self.axes(shape), squares);
            let factor = 2.0 * self.alpha * self.beta;
            for ((dx, r), x) in dx.iter_mut().zip(squares).zip(x) {
                *dx -= factor * x * *r;
            }
            return Ok(());
        }
        let (channels, plane) = (shape.dim(1), shape.count_from(2));
        match pixels {
            true => self.across().backward_last(crew, x, dy, channels, dx),
            false => self
                .across()
                .backward_planes(crew, x, dy, channels, plane, dx),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};

    #[test]
    fn gradients() {
        for param in [
            "",
            "local_size: 3 k: 2 alpha: 0.5",
            "local_size: 1 beta: 0.5",
            "local_size: 9 beta: 1 k: 3",
            "norm_region: WITHIN_CHANNEL",
            "norm_region: WITHIN_CHANNEL local_size: 3 beta: 1.3 k: 7",
            "norm_region: WITHIN_CHANNEL local_size: 9",
        ] {
            let lrn = layer(&format!("type: 'LRN' lrn_param {{ {param} }}"));
            Check::default().run(&*lrn, &[&[2, 7, 3, 2]]);
            if !param.contains("WITHIN") {
                let pixels = true;
                let check = Check {
                    pixels,
                    ..Check::default()
                };
                check.run(&*lrn, &[&[2, 7, 3, 2]]);
            }
        }
    }

    #[test]
    fn even_sizes_and_other_axes_are_errors() {
        let e = layer_in("type: 'LRN' lrn_param { local_size: 4 }", Mode::Test);
        assert!(e.err().unwrap().to_string().contains("local_size is 4"));
        let e = layer("type: 'LRN'").shapes(&[Shape::new([2, 3])]);
        assert!(e.unwrap_err().to_string().contains("2 3 (6)"));
    }
}
