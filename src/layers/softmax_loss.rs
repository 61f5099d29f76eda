//! SoftmaxWithLoss: the mean over all labels of −log p\[label\], where p is the softmax of the scores
//! along one axis. Bottoms: scores [N, C, inner…], labels (one for each position). Tops: the loss, and
//! if wanted the probabilities.

use super::loss::OfSoftmax;
use super::{Backward, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::Result;

/// A SoftmaxWithLoss layer.
#[derive(Debug)]
pub struct SoftmaxLoss {
    of: OfSoftmax,
}

impl SoftmaxLoss {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let axis = param.softmax_param.unwrap_or_default().axis();
        Ok(Self {
            of: OfSoftmax::new(param, axis),
        })
    }
}

impl Layer for SoftmaxLoss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [scores, labels] = take(bottoms)?;
        self.of.shapes(scores, labels)
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let refusal = "SoftmaxWithLoss Layer cannot backpropagate to label inputs";
        self.of.facts(bottoms, refusal)
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        self.of.normaliser(bottoms)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        self.of.forward(f, |loss, label| {
            let p = label.p[label.place()];
            *loss -= f64::from(p.max(f32::MIN_POSITIVE).ln());
            // `max` would hide a NaN.
            if p.is_nan() {
                *loss = f64::NAN;
            }
        })
    }

    /// dx = (p − 1 at the label) · loss weight / normaliser; 0 where the label is ignored.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let scale = self.of.scale(b);
        if let Some(dx) = &mut b.bottom_diffs[0] {
            let pairs = dx.data.iter_mut().zip(&b.keep.floats);
            pairs.for_each(|(d, p)| *d = scale * p);
        }
        self.of.backward(b, |dx, label| {
            let at = label.place();
            dx[at] = scale * (label.p[at] - 1.0);
        })
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
