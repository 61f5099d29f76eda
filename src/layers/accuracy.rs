//! Accuracy: the share of samples whose label is among the `top_k` best scores. Bottoms: scores
//! [N, C, inner…], labels (one for each position). Tops: the accuracy, and if wanted the accuracy of
//! each class, [C].

use super::labels::Layout;
use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// An Accuracy layer.
#[derive(Debug)]
pub struct Accuracy {
    axis: i32,
    top_k: usize,
    ignored: Option<i32>,
    tops: usize,
}

impl Accuracy {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.accuracy_param.unwrap_or_default();
        Ok(Self {
            axis: p.axis(),
            top_k: p.top_k() as usize,
            ignored: p.ignore_label,
            tops: param.top.len().max(1),
        })
    }

    /// Whether samples can be counted apart.
    fn by_rows(&self, scores: &Shape) -> bool {
        self.tops == 1 && scores.axis(self.axis) != Some(0)
    }
}

impl Layer for Accuracy {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [scores, labels] = take(bottoms)?;
        let layout = Layout::checked(scores, labels, self.axis)?;
        if self.top_k > layout.classes {
            bail!(
                "top_k is {}, but scores of shape {scores} have {} classes",
                self.top_k,
                layout.classes
            );
        }
        if self.tops > 2 {
            bail!(
                "it has at most two tops (accuracy, accuracy of each class), but {} are named",
                self.tops
            );
        }
        let mut tops = vec![Shape::default(), Shape::new([layout.classes])];
        tops.truncate(self.tops);
        Ok(tops)
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::of_labels(self.by_rows(&bottoms[0])),
            has_backward: false,
            flows: vec![false; bottoms.len()],
            ..Facts::default()
        }
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        Layout::valid(&bottoms[1], self.ignored).max(1) as f32
    }

    /// A label hits if fewer than `top_k` other classes score as high as it or higher: ties count
    /// against it, as in Caffe. A NaN compares with nothing, so it would count as a hit; it is an error.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (scores, labels) = (&f.bottoms[0], &f.bottoms[1]);
        let layout = Layout::of(&scores.shape, self.axis)?;
        let Layout { classes, inner, .. } = layout;
        let mut hits = vec![0usize; classes];
        let mut seen = vec![0usize; classes];
        for i in 0..layout.outer * inner {
            let Some(class) = layout.class(labels, i, self.ignored, f.first)? else {
                continue;
            };
            let column = scores.data[i / inner * classes * inner + i % inner..]
                .iter()
                .step_by(inner)
                .take(classes);
            if column.clone().any(|v| v.is_nan()) {
                bail!("a score of sample {} is NaN", layout.sample(i, f.first));
            }
            let own = scores.data[(i / inner * classes + class) * inner + i % inner];
            let as_good = column.filter(|v| **v >= own).count() - 1;
            seen[class] += 1;
            hits[class] += usize::from(as_good < self.top_k);
        }
        let divisor = if self.by_rows(&scores.shape) {
            1.0
        } else {
            self.normaliser(f.bottoms)
        };
        f.tops[0].data[0] = hits.iter().sum::<usize>() as f32 / divisor;
        if let Some(top) = f.tops.get_mut(1) {
            for ((y, hits), seen) in top.data.iter_mut().zip(hits).zip(seen) {
                *y = hits as f32 / seen.max(1) as f32;
            }
        }
        Ok(())
    }

    fn backward(&self, _b: &mut Backward) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    fn run(scores: &[f32], labels: &[f32], param: &str) -> Result<Vec<Tensor>> {
        let n = labels.len();
        let scores = Tensor::new(Shape::new([n, scores.len() / n]), scores.to_vec()).unwrap();
        let labels = Tensor::new(Shape::new([n]), labels.to_vec()).unwrap();
        let layer = layer(&format!("type: 'Accuracy' {param}"));
        Check {
            first: 10,
            ..Check::default()
        }
        .forward(&*layer, vec![scores, labels])
    }

    #[test]
    fn ties_count_against_the_label() {
        let accuracy = |scores: &[f32], param: &str| run(scores, &[1.0], param).unwrap()[0].data[0];
        assert_eq!(accuracy(&[1.0, 2.0, 0.0], ""), 1.0);
        assert_eq!(accuracy(&[2.0, 2.0, 0.0], ""), 0.0);
        assert_eq!(
            accuracy(&[2.0, 2.0, 0.0], "accuracy_param { top_k: 2 }"),
            1.0
        );
        assert_eq!(
            accuracy(&[2.0, 2.0, 2.0], "accuracy_param { top_k: 2 }"),
            0.0
        );
        assert_eq!(
            accuracy(&[2.0, 2.0, 2.0], "accuracy_param { top_k: 3 }"),
            1.0
        );
    }

    #[test]
    fn ignored_labels_do_not_count() {
        let scores = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        assert_eq!(
            run(&scores, &[0.0, 1.0, 1.0], "").unwrap()[0].data[0],
            2.0 / 3.0
        );
        let top = |labels: &[f32]| {
            run(&scores, labels, "accuracy_param { ignore_label: 7 }").unwrap()[0].data[0]
        };
        assert_eq!(top(&[0.0, 7.0, 1.0]), 1.0);
        assert_eq!(top(&[7.0, 7.0, 7.0]), 0.0);
    }

    #[test]
    fn each_class_apart() {
        let scores = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let tops = run(&scores, &[0.0, 1.0, 1.0], "top: 'a' top: 'c'").unwrap();
        assert_eq!(
            (tops[0].data[0], &tops[1].data[..]),
            (2.0 / 3.0, &[1.0, 0.5, 0.0][..])
        );
    }

    #[test]
    fn bad_scores_and_labels_are_errors() {
        let e = run(&[0.0, 1.0, f32::NAN, 1.0], &[0.0, 1.0], "")
            .unwrap_err()
            .to_string();
        assert_eq!(e, "a score of sample 11 is NaN");
        let e = run(&[0.0, 1.0, 0.0, 1.0], &[0.0, 2.0], "")
            .unwrap_err()
            .to_string();
        assert_eq!(e, "sample 11 has label 2, but there are 2 classes, from 0");
        let e = run(&[0.0, 1.0], &[0.0], "accuracy_param { top_k: 3 }")
            .unwrap_err()
            .to_string();
        assert!(e.contains("top_k is 3") && e.contains("1 2 (2)"), "{e}");
    }
}
