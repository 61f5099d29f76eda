//! Softmax along one axis: yᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x).

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::kernels::crew::Crew;
use crate::kernels::each_chunk;
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A Softmax layer.
#[derive(Debug)]
pub struct Softmax {
    axis: i32,
}

impl Softmax {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            axis: param.softmax_param.unwrap_or_default().axis(),
        })
    }
}

/// Turns `x`, blocks of [classes, inner], into probabilities.
pub(super) fn softmax(crew: &Crew, classes: usize, inner: usize, x: &mut [f32]) {
    each_chunk(crew, classes * inner, x, |_, block| {
        let mut most = vec![f32::NEG_INFINITY; inner];
        for row in block.chunks_exact(inner.max(1)) {
            most.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(*v));
        }
        let mut sums = vec![0.0f32; inner];
        for row in block.chunks_exact_mut(inner.max(1)) {
            for ((v, m), s) in row.iter_mut().zip(&most).zip(&mut sums) {
                *v = (*v - m).exp();
                *s += *v;
            }
        }
        for row in block.chunks_exact_mut(inner.max(1)) {
            row.iter_mut().zip(&sums).for_each(|(v, s)| *v /= s);
        }
    });
}

impl Layer for Softmax {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        super::axis(x, self.axis, "axis")?;
        Ok(vec![x.clone()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::along(self.axis, bottoms),
            in_place: true,
            reads_tops: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let axis = super::axis(&f.tops[0].shape, self.axis, "axis")?;
        let (classes, inner) = (
            f.tops[0].shape.dim(axis),
            f.tops[0].shape.count_from(axis + 1),
        );
        let crew = f.crew;
        softmax(crew, classes, inner, f.carry());
        Ok(())
    }

    /// dxᵢ = yᵢ · (dyᵢ − Σⱼ dyⱼ·yⱼ).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let y = b.tops[0].clone();
        let axis = super::axis(&y.shape, self.axis, "axis")?;
        let inner = y.shape.count_from(axis + 1);
        let (crew, block) = (b.crew, y.shape.count_from(axis));
        let Some(diff) = b.carry() else { return Ok(()) };
        each_chunk(crew, block, diff, |start, part| {
            let y = &y.data[start..][..part.len()];
            let mut dots = vec![0.0f32; inner];
            for (d, y) in part
                .chunks_exact(inner.max(1))
                .zip(y.chunks_exact(inner.max(1)))
            {
                dots.iter_mut()
                    .zip(d)
                    .zip(y)
                    .for_each(|((s, d), y)| *s += d * y);
            }
            for (d, y) in part
                .chunks_exact_mut(inner.max(1))
                .zip(y.chunks_exact(inner.max(1)))
            {
                d.iter_mut()
                    .zip(&dots)
                    .zip(y)
                    .for_each(|((d, s), y)| *d = (*d - s) * y);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    #[test]
    fn gradients() {
        for axis in [0, 1, -1] {
            let layer = layer(&format!("type: 'Softmax' softmax_param {{ axis: {axis} }}"));
            Check::default().run(&*layer, &[&[3, 4, 2]]);
            Check {
                in_place: true,
                ..Check::default()
            }
            .run(&*layer, &[&[3, 4, 2]]);
        }
    }

    #[test]
    fn sums_to_one_and_survives_large_scores() {
        let x = Tensor::new(
            Shape::new([2, 3]),
            vec![1000.0, 1000.0, -1000.0, 0.0, 1.0, 2.0],
        )
        .unwrap();
        let y = Check::default()
            .forward(&*layer("type: 'Softmax'"), vec![x])
            .unwrap();
        assert_eq!(y[0].data[..3], [0.5, 0.5, 0.0]);
        assert!((y[0].data[3..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
