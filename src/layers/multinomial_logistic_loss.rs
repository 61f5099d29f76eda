//! MultinomialLogisticLoss: the mean over the samples of −ln p\[label\]. Bottoms: probabilities
//! [N, classes…], labels [N].

use super::labels::Layout;
use super::loss::{SMALLEST, at_least};
use super::{Backward, Coupling, Facts, Forward, Layer, Mode, loss, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::Result;

/// A MultinomialLogisticLoss layer.
#[derive(Debug)]
pub struct MultinomialLogisticLoss;

impl MultinomialLogisticLoss {
    /// The layer that `param` describes.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

impl Layer for MultinomialLogisticLoss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [p, labels] = take(bottoms)?;
        Layout::of_rows(p, labels)?;
        Ok(vec![Shape::default()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        let coupling = Coupling::Mean { labels: None };
        loss::facts(
            coupling,
            "MultinomialLogisticLoss Layer cannot backpropagate to label inputs",
        )
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        loss::samples(bottoms)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (p, labels) = (&f.bottoms[0], &f.bottoms[1]);
        let layout = Layout::of_rows(&p.shape, &labels.shape)?;
        let mut loss = 0.0f64;
        for (i, row) in p.data.chunks_exact(layout.classes.max(1)).enumerate() {
            if let Some(class) = layout.class(labels, i, None, f.first)? {
                loss -= f64::from(at_least(row[class], SMALLEST).ln());
            }
        }
        f.tops[0].data[0] = loss as f32;
        Ok(())
    }

    /// dp = −1/p · loss weight / N at the label, 0 elsewhere.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (p, labels) = (&b.bottoms[0], &b.bottoms[1]);
        let layout = Layout::of_rows(&p.shape, &labels.shape)?;
        let scale = loss::scale(b);
        let Some(dp) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        dp.data.fill(0.0);
        let classes = layout.classes.max(1);
        let rows = dp.data.chunks_exact_mut(classes);
        for (i, (dp, p)) in rows.zip(p.data.chunks_exact(classes)).enumerate() {
            if let Some(class) = layout.class(labels, i, None, 0)? {
                dp[class] = -scale / at_least(p[class], SMALLEST);
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

    #[test]
    fn gradients() {
        let scores = Tensor::new(Shape::new([2, 3]), vec![0.2, 0.5, 0.3, 0.6, 0.3, 0.1]).unwrap();
        let labels = Tensor::new(Shape::new([2, 1, 1, 1]), vec![1.0, 0.0]).unwrap();
        let weight = Tensor::new(Shape::default(), vec![2.0]).unwrap();
        let loss = layer("type: 'MultinomialLogisticLoss'");
        let (tops, diffs) = Check::default()
            .both(&*loss, vec![scores, labels], &[weight])
            .unwrap();
        let want = -(0.5f32.ln() + 0.6f32.ln()) / 2.0;
        assert!((tops[0].data[0] - want).abs() < 1e-6);
        let want = [0.0, -2.0, 0.0, -1.0 / 0.6, 0.0, 0.0];
        let got = &diffs[0].as_ref().unwrap().data;
        assert!(
            got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6),
            "{got:?}"
        );
    }

    #[test]
    fn zeros_are_not_infinite() {
        let p = Tensor::new(Shape::new([1, 2]), vec![0.0, 1.0]).unwrap();
        let label = Tensor::new(Shape::new([1]), vec![0.0]).unwrap();
        let loss = layer("type: 'MultinomialLogisticLoss'");
        let loss = Check::default().forward(&*loss, vec![p, label]).unwrap();
        assert_eq!(loss[0].data, [-(1e-20f32.ln())]);
    }
}
