//! SigmoidCrossEntropyLoss: −Σ (t·ln p + (1 − t)·ln(1 − p)) with p = sigmoid(x), over all elements whose
//! target t is not `ignore_label`, divided by N (or as `normalization` says). Bottoms: scores [N, …],
//! targets in [0, 1], as many.

use super::loss::{self, Normalization};
use super::{Backward, Coupling, Facts, Forward, Layer, Mode, neuron, take};
use crate::proto::caffe::LayerParameter;
use crate::proto::caffe::loss_parameter::NormalizationMode;
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// A SigmoidCrossEntropyLoss layer.
#[derive(Debug)]
pub struct SigmoidCrossEntropyLoss {
    normalization: Normalization,
}

impl SigmoidCrossEntropyLoss {
    /// The layer that `param` describes. Without `normalization` it is VALID if `normalize` is true,
    /// else BATCH_SIZE.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.loss_param.unwrap_or_default();
        Ok(Self {
            normalization: Normalization::new(&p, NormalizationMode::BatchSize),
        })
    }

    /// Whether a target counts.
    fn counts(&self, target: f32) -> bool {
        self.normalization
            .ignored
            .is_none_or(|l| target.trunc() != l as f32)
    }
}

impl Layer for SigmoidCrossEntropyLoss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x, targets] = take(bottoms)?;
        if x.axes() == 0 || x.dim(0) != targets.dim(0) || x.count() != targets.count() {
            bail!("every score needs a target: their shapes are {x} and {targets}");
        }
        Ok(vec![Shape::default()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        let labels = self.normalization.reads_labels().then_some(1);
        let refusal = "SigmoidCrossEntropyLoss Layer cannot backpropagate to label inputs";
        loss::facts(Coupling::Mean { labels }, refusal)
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        let x = &bottoms[0].shape;
        self.normalization.divisor(&bottoms[1], x.count(), x.dim(0))
    }

    /// Each term is max(x, 0) − x·t + ln(1 + exp(−|x|)), which never overflows.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let mut loss = 0.0f64;
        for (x, t) in f.bottoms[0].data.iter().zip(f.bottoms[1].data) {
            if self.counts(*t) {
                let above = f32::from(*x >= 0.0);
                loss += f64::from((-x.abs()).exp().ln_1p() - x * (t - above));
            }
        }
        f.tops[0].data[0] = loss as f32;
        Ok(())
    }

    /// dx = (sigmoid(x) − t) · loss weight / normaliser, 0 where the target is ignored.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let scale = loss::scale(b);
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let pairs = b.bottoms[0].data.iter().zip(b.bottoms[1].data);
        for (d, (x, t)) in dx.data.iter_mut().zip(pairs) {
            *d = if self.counts(*t) {
                scale * (neuron::sigmoid(*x) - t)
            } else {
                0.0
            };
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
        let check = Check {
            fixed: vec![(1, vec![0.0, 1.0, 0.3, -1.0, 1.0, 0.0])],
            ..Check::default()
        };
        for param in [
            "",
            "ignore_label: -1",
            "ignore_label: -1 normalize: true",
            "ignore_label: 1 normalization: VALID",
            "normalization: FULL",
            "normalization: NONE",
        ] {
            let loss = layer(&format!(
                "type: 'SigmoidCrossEntropyLoss' loss_param {{ {param} }}"
            ));
            check.run(&*loss, &[&[2, 3], &[2, 1, 3]]);
        }
    }

    #[test]
    fn normalisers() {
        let x = Tensor::new(Shape::new([2, 3]), vec![0.0; 6]).unwrap();
        let t = Tensor::new(Shape::new([2, 3]), vec![0.0, 1.0, -1.0, -1.0, 0.0, 1.0]).unwrap();
        let loss = |param: &str| {
            let loss = layer(&format!(
                "type: 'SigmoidCrossEntropyLoss' loss_param {{ ignore_label: -1 {param} }}"
            ));
            Check::default()
                .forward(&*loss, vec![x.clone(), t.clone()])
                .unwrap()[0]
                .data[0]
                / std::f32::consts::LN_2
        };
        for (param, want) in [
            ("", 2.0),
            ("normalize: false", 2.0),
            ("normalize: true", 1.0),
            ("normalization: FULL", 4.0 / 6.0),
            ("normalization: NONE normalize: true", 4.0),
        ] {
            assert!(
                (loss(param) - want).abs() < 1e-6,
                "{param}: {}",
                loss(param)
            );
        }
    }
}
