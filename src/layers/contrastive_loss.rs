//! ContrastiveLoss (Hadsell et al. 2006): Σ over N pairs of samples / 2N, of d² where the pair is similar
//! (the third bottom is not 0) and of max(0, `margin` − d)² where it is not; d is the Euclidean distance.
//! `legacy_version` takes max(0, margin − d²) for the latter. Bottoms: a [N, C], b [N, C], similar [N].

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, loss, take};
use crate::kernels::broadcast::sum_pairs;
use crate::proto::caffe::{ContrastiveLossParameter, LayerParameter};
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// A ContrastiveLoss layer.
#[derive(Debug)]
pub struct ContrastiveLoss {
    param: ContrastiveLossParameter,
}

impl ContrastiveLoss {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            param: param.contrastive_loss_param.unwrap_or_default(),
        })
    }
}

/// Whether pair `i` is similar.
fn similar(labels: &View, i: usize, first: usize) -> Result<bool> {
    let label = labels.data[i];
    if label.is_nan() {
        bail!("pair {} has similarity NaN", first + i);
    }
    Ok(label.trunc() != 0.0)
}

impl Layer for ContrastiveLoss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [a, b, labels] = take(bottoms)?;
        let n = a.dim(0);
        let vectors = |x: &Shape| (1..=4).contains(&x.axes()) && x.count() == x.count_to(2);
        if !vectors(a) || !vectors(b) || n != b.dim(0) || a.dim(1) != b.dim(1) {
            bail!("it compares vectors, two bottoms of shape N C: their shapes are {a} and {b}");
        }
        if labels.axes() == 0 || labels.dim(0) != n || labels.count() != n {
            bail!(
                "{n} pairs (bottom 0 has shape {a}) need {n} similarities, bottom 2 has shape {labels}"
            );
        }
        Ok(vec![Shape::default()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::Mean { labels: None },
            flows: vec![true, true, false],
            is_loss: true,
            ..Facts::default()
        }
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        loss::samples(bottoms)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (margin, n) = (self.param.margin(), f.bottoms[0].shape.dim(1).max(1));
        let pairs = f.bottoms[0].data.chunks_exact(n);
        let mut loss = 0.0f64;
        for (i, (a, b)) in pairs.zip(f.bottoms[1].data.chunks_exact(n)).enumerate() {
            let square = sum_pairs(a, b, |a, b| (a - b) * (a - b)) as f32;
            loss += f64::from(if similar(&f.bottoms[2], i, f.first)? {
                square
            } else if self.param.legacy_version() {
                (margin - square).max(0.0)
            } else {
                (margin - square.sqrt()).max(0.0).powi(2)
            });
        }
        f.tops[0].data[0] = (0.5 * loss) as f32;
        Ok(())
    }

    /// da = g·(a − b) · loss weight / N, db = −da: g is 1 for similar pairs; for others within the margin
    /// −(margin − d)/(d + 10⁻⁴), or −1 with `legacy_version`, and 0 beyond it.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (margin, n) = (self.param.margin(), b.bottoms[0].shape.dim(1).max(1));
        let scale = loss::scale(b);
        let [x, y] = [0, 1].map(|i| b.bottoms[i].data);
        for (i, (x, y)) in x.chunks_exact(n).zip(y.chunks_exact(n)).enumerate() {
            let square = sum_pairs(x, y, |x, y| (x - y) * (x - y)) as f32;
            let slope = if similar(&b.bottoms[2], i, 0)? {
                1.0
            } else if self.param.legacy_version() {
                -f32::from(margin - square > 0.0)
            } else {
                let distance = square.sqrt();
                -(margin - distance).max(0.0) / (distance + 1e-4)
            };
            for (k, factor) in [(0, slope * scale), (1, -slope * scale)] {
                let Some(diff) = &mut b.bottom_diffs[k] else {
                    continue;
                };
                let diff = &mut diff.data[i * n..][..n];
                for ((d, x), y) in diff.iter_mut().zip(x).zip(y) {
                    *d = factor * (x - y);
                }
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
        let check = Check {
            fixed: vec![(2, vec![1.0, 0.0, 0.0, 2.0, 0.5])],
            ..Check::default()
        };
        for param in [
            "",
            "margin: 3",
            "margin: 0.2",
            "margin: 5 legacy_version: true",
        ] {
            let loss = layer(&format!(
                "type: 'ContrastiveLoss' contrastive_loss_param {{ {param} }}"
            ));
            check.run(&*loss, &[&[5, 3], &[5, 3, 1], &[5]]);
        }
    }

    #[test]
    fn shapes_must_fit() {
        let error = |shapes: [&[usize]; 3]| {
            layer("type: 'ContrastiveLoss'")
                .shapes(&shapes.map(Shape::from))
                .unwrap_err()
                .to_string()
        };
        assert!(error([&[2, 3], &[2, 4], &[2]]).contains("2 3 (6) and 2 4 (8)"));
        assert!(error([&[2, 3], &[2, 3], &[3]]).contains("need 2 similarities"));
    }
}
