//! HingeLoss: Σ max(0, 1 − x[label]) and Σ max(0, 1 + x[other]) of each sample, divided by N; with
//! `norm: L2` each term is squared. Bottoms: scores [N, classes…], labels [N].

use super::labels::Layout;
use super::{Backward, Coupling, Facts, Forward, Layer, Mode, loss, take};
use crate::proto::caffe::LayerParameter;
use crate::proto::caffe::hinge_loss_parameter::Norm;
use crate::tensor::{Shape, View};
use anyhow::Result;

/// A HingeLoss layer.
#[derive(Debug)]
pub struct HingeLoss {
    squared: bool,
}

impl HingeLoss {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let norm = param.hinge_loss_param.unwrap_or_default().norm();
        Ok(Self {
            squared: norm == Norm::L2,
        })
    }
}

impl Layer for HingeLoss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [scores, labels] = take(bottoms)?;
        Layout::of_rows(scores, labels)?;
        Ok(vec![Shape::default()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        let coupling = Coupling::Mean { labels: None };
        loss::facts(
            coupling,
            "HingeLoss Layer cannot backpropagate to label inputs",
        )
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        loss::samples(bottoms)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (scores, labels) = (&f.bottoms[0], &f.bottoms[1]);
        let layout = Layout::of_rows(&scores.shape, &labels.shape)?;
        let mut loss = 0.0f64;
        for (i, row) in scores.data.chunks_exact(layout.classes.max(1)).enumerate() {
            let label = layout.class(labels, i, None, f.first)?;
            for (class, x) in row.iter().enumerate() {
                let margin = margin(*x, Some(class) == label);
                loss += f64::from(if self.squared {
                    margin * margin
                } else {
                    margin
                });
            }
        }
        f.tops[0].data[0] = loss as f32;
        Ok(())
    }

    /// dx = ∓1 (L1) or ∓2·margin (L2) where the margin is not 0, times loss weight / N.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (scores, labels) = (&b.bottoms[0], &b.bottoms[1]);
        let layout = Layout::of_rows(&scores.shape, &labels.shape)?;
        let scale = loss::scale(b);
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let classes = layout.classes.max(1);
        let rows = dx.data.chunks_exact_mut(classes);
        for (i, (dx, x)) in rows.zip(scores.data.chunks_exact(classes)).enumerate() {
            let label = layout.class(labels, i, None, 0)?;
            for (class, (dx, x)) in dx.iter_mut().zip(x).enumerate() {
                let own = Some(class) == label;
                let margin = margin(*x, own);
                let slope = match self.squared {
                    true => 2.0 * margin,
                    false => f32::from(margin > 0.0),
                };
                *dx = if own { -slope } else { slope } * scale;
            }
        }
        Ok(())
    }
}

/// How far a score is on the wrong side of ±1, at least 0 (NaN stays NaN).
fn margin(x: f32, own: bool) -> f32 {
    let margin = if own { 1.0 - x } else { 1.0 + x };
    if margin < 0.0 { 0.0 } else { margin }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    #[test]
    fn gradients() {
        let check = Check {
            fixed: vec![(1, vec![0.0, 5.0, 2.0])],
            ..Check::default()
        };
        for param in [
            "",
            "hinge_loss_param { norm: L1 }",
            "hinge_loss_param { norm: L2 }",
        ] {
            let loss = layer(&format!("type: 'HingeLoss' {param}"));
            check.run(&*loss, &[&[3, 2, 3], &[3, 1]]);
        }
    }

    #[test]
    fn margins() {
        let scores = Tensor::new(Shape::new([1, 3]), vec![2.0, 0.5, -3.0]).unwrap();
        let label = Tensor::new(Shape::new([1]), vec![1.0]).unwrap();
        let loss = |param: &str, label: &Tensor| {
            let layer = layer(&format!("type: 'HingeLoss' {param}"));
            Check::default().forward(&*layer, vec![scores.clone(), label.clone()])
        };
        assert_eq!(loss("", &label).unwrap()[0].data, [3.5]);
        let squared = loss("hinge_loss_param { norm: L2 }", &label).unwrap();
        assert_eq!(squared[0].data, [9.25]);
        let wrong = Tensor::new(Shape::new([1]), vec![3.0]).unwrap();
        let e = loss("", &wrong).unwrap_err().to_string();
        assert_eq!(e, "sample 0 has label 3, but there are 3 classes, from 0");
    }
}
