//! Reduction: y = coeff · the sum (SUM), the sum of absolute values (ASUM) or of squares (SUMSQ), or the
//! mean (MEAN) over all axes from `axis` on. From axis 0 on a scalar is left, which can be a loss.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::reduction_parameter::ReductionOp;
use crate::proto::caffe::{LayerParameter, ReductionParameter};
use crate::tensor::{Shape, View};
use anyhow::Result;

/// A Reduction layer.
#[derive(Debug)]
pub struct Reduction {
    param: ReductionParameter,
}

impl Reduction {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.reduction_param.unwrap_or_default();
        Ok(Self { param })
    }

    fn axis(&self, x: &Shape) -> usize {
        x.axis(self.param.axis()).unwrap_or(0)
    }

    fn is_mean(&self) -> bool {
        self.param.operation() == ReductionOp::Mean
    }

    /// The factor of each sum; over the batch the net divides by the number of rows.
    fn factor(&self, x: &Shape) -> f32 {
        let axis = self.axis(x);
        if self.is_mean() {
            self.param.coeff() / x.count_from(axis.max(1)).max(1) as f32
        } else {
            self.param.coeff()
        }
    }
}

impl Layer for Reduction {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let axis = super::axis(x, self.param.axis(), "axis")?;
        Ok(vec![x.dims()[..axis].into()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            // A scalar is a sum over the batch.
            coupling: match self.axis(&bottoms[0]) {
                0 => Coupling::Mean { labels: None },
                _ => Coupling::Free,
            },
            ..Facts::default()
        }
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        let x = &bottoms[0].shape;
        if self.is_mean() && self.axis(x) == 0 {
            x.dim(0).max(1) as f32
        } else {
            1.0
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let x = &f.bottoms[0];
        let n = x.shape.count_from(self.axis(&x.shape)).max(1);
        let factor = f64::from(self.factor(&x.shape));
        let term: fn(f32) -> f64 = match self.param.operation() {
            ReductionOp::Sum | ReductionOp::Mean => |v| f64::from(v),
            ReductionOp::Asum => |v| f64::from(v.abs()),
            ReductionOp::Sumsq => |v| f64::from(v) * f64::from(v),
        };
        f.tops[0].data.fill(0.0);
        for (y, x) in f.tops[0].data.iter_mut().zip(x.data.chunks_exact(n)) {
            *y = (factor * x.iter().map(|v| term(*v)).sum::<f64>()) as f32;
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let x = &b.bottoms[0];
        let axis = self.axis(&dx.shape);
        let n = dx.shape.count_from(axis).max(1);
        let mut factor = self.factor(&dx.shape);
        if axis == 0 {
            factor /= b.normaliser;
        }
        let rows = dx.data.chunks_exact_mut(n).zip(x.data.chunks_exact(n));
        for (dy, (dx, x)) in b.top_diffs[0].data.iter().zip(rows) {
            let d = dy * factor;
            match self.param.operation() {
                ReductionOp::Sum | ReductionOp::Mean => dx.fill(d),
                ReductionOp::Asum => dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = d * sign(*x)),
                ReductionOp::Sumsq => dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = 2.0 * d * x),
            }
        }
        Ok(())
    }
}

/// −1, 0 or 1.
fn sign(x: f32) -> f32 {
    f32::from(i8::from(x > 0.0) - i8::from(x < 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    fn reduction(text: &str) -> Box<dyn Layer> {
        layer(&format!("type: 'Reduction' reduction_param {{ {text} }}"))
    }

    #[test]
    fn gradients() {
        for operation in ["SUM", "ASUM", "SUMSQ", "MEAN"] {
            for axis in [0, 1, 2, -1] {
                let check = Check {
                    kink_range: 0.011,
                    ..Check::default()
                };
                let text = format!("operation: {operation} axis: {axis} coeff: 0.7");
                check.run(&*reduction(&text), &[&[2, 3, 5]]);
            }
        }
        Check::default().run(&*reduction(""), &[&[7]]);
    }

    #[test]
    fn values() {
        let value = |text: &str| {
            let x = Tensor::new(Shape::new([2, 2]), vec![1., -2., 3., 4.]).unwrap();
            let y = Check::default()
                .forward(&*reduction(text), vec![x])
                .unwrap();
            (y[0].shape.dims().to_vec(), y[0].data.clone())
        };
        assert_eq!(value(""), (vec![], vec![6.0]));
        assert_eq!(value("operation: ASUM"), (vec![], vec![10.0]));
        assert_eq!(value("operation: SUMSQ coeff: 2"), (vec![], vec![60.0]));
        assert_eq!(value("operation: MEAN"), (vec![], vec![1.5]));
        assert_eq!(value("operation: MEAN axis: 1"), (vec![2], vec![-0.5, 3.5]));
        let e = reduction("axis: 2")
            .shapes(&[Shape::new([2, 2])])
            .unwrap_err();
        assert!(e.to_string().contains("axis 2"));
    }
}
