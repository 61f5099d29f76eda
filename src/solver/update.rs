//! From summed gradients to new weights: mask, clip, normalise, decay, rule, mask.

use super::Solver;
use super::config::Regularization;
use crate::info;
use crate::report::number::G;
use rayon::prelude::*;

impl Solver {
    /// One update with learning rate `rate`. Gradient, decay, history and weight of a pruned value are
    /// 0 before and after: the mask is applied to the gradient before anything reads it, the rules
    /// keep zeros, and the weights are masked once more.
    pub(super) fn update(&mut self, rate: f32) {
        for (g, mask) in self.gradients.iter_mut().zip(&self.masks) {
            if let Some(mask) = mask {
                mask.apply(g);
            }
        }
        self.clip();
        let param = &self.config.param;
        let scale = 1.0 / param.iter_size().max(1) as f32;
        let (decay, kind, rule, iter) = (
            param.weight_decay(),
            self.config.regularization,
            self.config.rule,
            self.iter,
        );
        let n = self.weights.len();
        let (first, second) = self.history.split_at_mut(n);
        let mut second: Vec<&mut [f32]> = second.iter_mut().map(|h| &mut h[..]).collect();
        second.resize_with(n, Default::default);
        let arrays = self
            .weights
            .iter_mut()
            .zip(&mut self.gradients)
            .zip(first.iter_mut().zip(second));
        let all: Vec<_> = arrays
            .zip(self.net.params().iter().zip(&self.masks))
            .collect();
        all.into_par_iter()
            .for_each(|(((w, g), (h, h2)), (p, mask))| {
                if g.is_empty() {
                    return;
                }
                if scale != 1.0 {
                    g.iter_mut().for_each(|g| *g *= scale);
                }
                let decay = decay * p.decay_mult;
                if decay != 0.0 {
                    regularize(g, &w.data, decay, kind);
                }
                rule.step(rate * p.lr_mult, iter, g, h, h2);
                for (w, g) in w.data.iter_mut().zip(g.iter()) {
                    *w -= g;
                }
                if let Some(mask) = mask {
                    mask.apply(&mut w.data);
                }
            });
    }

    /// Scales all gradients down so that their joint L2 norm is at most `clip_gradients`. As in Caffe,
    /// this is the norm before the division by iter_size.
    fn clip(&mut self) {
        let limit = self.config.param.clip_gradients();
        if limit < 0.0 {
            return;
        }
        let sum: f32 = self.gradients.iter().map(|g| sum_of_squares(g)).sum();
        let norm = sum.sqrt();
        if norm > limit {
            let scale = limit / norm;
            info!(
                "Gradient clipping: scaling down gradients (L2 norm {} > {}) by scale factor {}",
                G(norm),
                G(limit),
                G(scale)
            );
            self.gradients
                .iter_mut()
                .flatten()
                .for_each(|g| *g *= scale);
        }
    }
}

fn regularize(g: &mut [f32], w: &[f32], decay: f32, kind: Regularization) {
    match kind {
        Regularization::L2 => g.iter_mut().zip(w).for_each(|(g, w)| *g += decay * w),
        Regularization::L1 => g.iter_mut().zip(w).for_each(|(g, w)| {
            let sign = f32::from(i8::from(*w > 0.0) - i8::from(*w < 0.0));
            *g += decay * sign;
        }),
    }
}

fn sum_of_squares(values: &[f32]) -> f32 {
    values
        .iter()
        .map(|&v| f64::from(v) * f64::from(v))
        .sum::<f64>() as f32
}
