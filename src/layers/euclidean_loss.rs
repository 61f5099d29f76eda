//! EuclideanLoss: Σ (a − b)² / 2N over two bottoms of N samples. Gradients flow to both.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, loss, take};
use crate::kernels::broadcast::sum_pairs;
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// A EuclideanLoss layer.
#[derive(Debug)]
pub struct EuclideanLoss;

impl EuclideanLoss {
    /// The layer that `param` describes.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

impl Layer for EuclideanLoss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [a, b] = take(bottoms)?;
        if a.axes() == 0 || a.dim(0) != b.dim(0) || a.count() != b.count() {
            bail!(
                "it compares as many samples of the same size: its bottoms have shapes {a} and {b}"
            );
        }
        Ok(vec![Shape::default()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::Mean { labels: None },
            is_loss: true,
            ..Facts::default()
        }
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        loss::samples(bottoms)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let [a, b] = [0, 1].map(|i| f.bottoms[i].data);
        let squares = sum_pairs(a, b, |a, b| (a - b) * (a - b));
        f.tops[0].data[0] = (0.5 * squares) as f32;
        Ok(())
    }

    /// da = (a − b) · loss weight / N, db = −da.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let scale = loss::scale(b);
        for (i, sign) in [(0, scale), (1, -scale)] {
            let [x, y] = [0, 1].map(|i| b.bottoms[i].data);
            let Some(diff) = &mut b.bottom_diffs[i] else {
                continue;
            };
            for ((d, x), y) in diff.data.iter_mut().zip(x).zip(y) {
                *d = sign * (x - y);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        let loss = layer("type: 'EuclideanLoss'");
        Check::default().run(&*loss, &[&[3, 2, 5], &[3, 5, 2]]);
        Check::default().run(&*loss, &[&[4], &[4]]);
    }

    #[test]
    fn shapes_must_fit() {
        let e = layer("type: 'EuclideanLoss'")
            .shapes(&[Shape::new([2, 3]), Shape::new([3, 2])])
            .unwrap_err()
            .to_string();
        assert!(e.contains("2 3 (6)") && e.contains("3 2 (6)"), "{e}");
    }
}
