//! SoftmaxWithLoss: the mean over all labels of −log p\[label\], where p is the softmax of the scores
//! along one axis. Bottoms: scores [N, C, inner…], labels (one for each position). Tops: the loss, and
//! if wanted the probabilities.

use super::labels::Layout;
use super::softmax::softmax;
use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::proto::caffe::loss_parameter::NormalizationMode;
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// A SoftmaxWithLoss layer.
#[derive(Debug)]
pub struct SoftmaxLoss {
    axis: i32,
    ignored: Option<i32>,
    normalization: NormalizationMode,
    tops: usize,
}

impl SoftmaxLoss {
    /// The layer that `param` describes. `normalize` is the old form of `normalization`: true means
    /// VALID, false BATCH_SIZE.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.loss_param.unwrap_or_default();
        let normalization = match (p.normalization, p.normalize) {
            (None, Some(true)) => NormalizationMode::Valid,
            (None, Some(false)) => NormalizationMode::BatchSize,
            _ => p.normalization(),
        };
        Ok(Self {
            axis: param.softmax_param.unwrap_or_default().axis(),
            ignored: p.ignore_label,
            normalization,
            tops: param.top.len().max(1),
        })
    }

    /// Whether the rows of the batch are independent but for the mean.
    fn by_rows(&self, scores: &Shape) -> bool {
        scores.axis(self.axis) != Some(0)
    }
}

impl Layer for SoftmaxLoss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [scores, labels] = take(bottoms)?;
        Layout::checked(scores, labels, self.axis)?;
        if scores.dim(0) != labels.dim(0) {
            bail!(
                "scores and labels must have as many samples: their shapes are {scores} and {labels}"
            );
        }
        if self.tops > 2 {
            bail!(
                "it has at most two tops (loss, probabilities), but {} are named",
                self.tops
            );
        }
        let mut tops = vec![Shape::default(), scores.clone()];
        tops.truncate(self.tops);
        Ok(tops)
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let coupling = match self.by_rows(&bottoms[0]) {
            true => Coupling::Mean { labels: Some(1) },
            false => Coupling::Whole,
        };
        Facts {
            coupling,
            flows: vec![true, false],
            refuses: vec![(
                1,
                "SoftmaxWithLoss Layer cannot backpropagate to label inputs",
            )],
            is_loss: true,
            scratch_bytes: 4 * bottoms[0].count(),
            ..Facts::default()
        }
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        let Ok(layout) = Layout::of(&bottoms[0].shape, self.axis) else {
            return 1.0;
        };
        let n = match self.normalization {
            NormalizationMode::Full => layout.outer * layout.inner,
            NormalizationMode::Valid => Layout::valid(&bottoms[1], self.ignored),
            NormalizationMode::BatchSize => layout.outer,
            NormalizationMode::None => 1,
        };
        n.max(1) as f32
    }

    /// Leaves the probabilities.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (scores, labels) = (&f.bottoms[0], &f.bottoms[1]);
        let layout = Layout::of(&scores.shape, self.axis)?;
        let p = &mut f.keep.floats;
        p.clear();
        p.extend_from_slice(scores.data);
        softmax(f.crew, layout.classes, layout.inner, p);
        let mut loss = 0.0f64;
        for i in 0..layout.outer * layout.inner {
            if let Some(class) = layout.class(labels, i, self.ignored, f.first)? {
                let (o, k) = (i / layout.inner, i % layout.inner);
                let p = p[(o * layout.classes + class) * layout.inner + k];
                loss -= f64::from(p.max(f32::MIN_POSITIVE).ln());
                // `max` would hide a NaN.
                if p.is_nan() {
                    loss = f64::NAN;
                }
            }
        }
        let divisor = if self.by_rows(&scores.shape) {
            1.0
        } else {
            self.normaliser(f.bottoms)
        };
        f.tops[0].data[0] = loss as f32 / divisor;
        if let Some(top) = f.tops.get_mut(1) {
            top.data.copy_from_slice(p);
        }
        Ok(())
    }

    /// dx = (p − 1 at the label) · loss weight / normaliser; 0 where the label is ignored.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let labels = &b.bottoms[1];
        let layout = Layout::of(&b.bottoms[0].shape, self.axis)?;
        let by_rows = self.by_rows(&b.bottoms[0].shape);
        let divisor = if by_rows {
            b.normaliser
        } else {
            self.normaliser(b.bottoms)
        };
        let scale = b.top_diffs[0].data[0] / divisor;
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let dx = &mut *dx.data;
        dx.iter_mut()
            .zip(&b.keep.floats)
            .for_each(|(d, p)| *d = scale * p);
        for i in 0..layout.outer * layout.inner {
            let (o, k) = (i / layout.inner, i % layout.inner);
            let at = |class: usize| (o * layout.classes + class) * layout.inner + k;
            match layout.class(labels, i, self.ignored, 0)? {
                Some(class) => dx[at(class)] = scale * (b.keep.floats[at(class)] - 1.0),
                None => (0..layout.classes).for_each(|class| dx[at(class)] = 0.0),
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
        for param in [
            "",
            "loss_param { ignore_label: 2 }",
            "loss_param { ignore_label: 2 normalization: FULL }",
            "loss_param { normalize: false }",
            "loss_param { normalization: NONE }",
        ] {
            let loss = layer(&format!("type: 'SoftmaxWithLoss' {param}"));
            let labels = vec![0., 1., 2., 3., 3., 2., 1., 0., 0., 2., 1., 1.];
            let check = Check {
                fixed: vec![(1, labels)],
                ..Check::default()
            };
            check.run(&*loss, &[&[3, 4, 2, 2], &[3, 2, 2]]);
        }
        let check = Check {
            fixed: vec![(1, vec![2., 0., 1., 1.])],
            ..Check::default()
        };
        check.run(
            &*layer("type: 'SoftmaxWithLoss' softmax_param { axis: 0 }"),
            &[&[4, 4], &[4]],
        );
        check.run(
            &*layer("type: 'SoftmaxWithLoss' softmax_param { axis: 2 }"),
            &[&[2, 2, 3], &[2, 2]],
        );
    }

    fn run(label: f32, param: &str) -> Result<Vec<Tensor>> {
        let scores = Tensor::zeros(Shape::new([2, 5]));
        let labels = Tensor::new(Shape::new([2]), vec![1.0, label]).unwrap();
        let layer = layer(&format!(
            "type: 'SoftmaxWithLoss' top: 'loss' top: 'p' loss_param {{ {param} }}"
        ));
        Check {
            first: 30,
            ..Check::default()
        }
        .forward(&*layer, vec![scores, labels])
    }

    #[test]
    fn loss_and_probabilities() {
        let tops = run(4.0, "").unwrap();
        assert!((tops[0].data[0] - 5.0f32.ln()).abs() < 1e-6);
        assert_eq!(tops[1].data, [0.2; 10]);
        assert!((run(-1.0, "ignore_label: -1").unwrap()[0].data[0] - 5.0f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn labels_outside_the_classes_are_errors() {
        for label in [5.0, -1.0, f32::NAN] {
            let e = run(label, "").unwrap_err().to_string();
            assert_eq!(
                e,
                format!("sample 31 has label {label}, but there are 5 classes, from 0")
            );
        }
    }

    #[test]
    fn shapes_must_fit() {
        let loss = layer("type: 'SoftmaxWithLoss'");
        let e = loss
            .shapes(&[Shape::new([2, 5, 3]), Shape::new([2])])
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("need 6 labels") && e.contains("2 5 3 (30)") && e.contains("shape 2 (2)"),
            "{e}"
        );
    }
}
