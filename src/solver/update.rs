//! From summed gradients to new weights: mask, sum by centroid, clip, normalise, decay, rule, mask.

use super::Solver;
use super::config::Regularization;
use crate::info;
use crate::report::number::G;
use rayon::prelude::*;

impl Solver {
    /// One update with learning rate `rate`. Gradient, decay, history and weight of a pruned value are
    /// 0 before and after: the mask is applied to the gradient before anything reads it, the rules
    /// keep zeros, and the weights are masked once more.
    ///
    /// Where weights share values, the centroids take their place in all of it, after the weights' gradients
    /// have been summed by centroid; then every weight gets its centroid's new value.
    pub(super) fn update(&mut self, rate: f32) {
        for (g, mask) in self.gradients.iter_mut().zip(&self.masks) {
            if let Some(mask) = mask {
                mask.apply(g);
            }
        }
        for (g, shared) in self.gradients.iter().zip(&mut self.shared) {
            if let Some(shared) = shared {
                shared.gather(g);
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
        let kinds = self.masks.iter().zip(&mut self.shared);
        let all: Vec<_> = arrays.zip(self.net.params().iter().zip(kinds)).collect();
        all.into_par_iter()
            .for_each(|(((w, g), (h, h2)), (p, (mask, shared)))| {
                if g.is_empty() {
                    return;
                }
                let (values, g, counts) = match shared {
                    None => (&mut w.data[..], &mut g[..], None),
                    Some(shared) => {
                        let (values, g, counts) = shared.parts();
                        (values, g, Some(counts))
                    }
                };
                if scale != 1.0 {
                    g.iter_mut().for_each(|g| *g *= scale);
                }
                let decay = decay * p.decay_mult;
                match counts {
                    _ if decay == 0.0 => {}
                    None => regularize(g, values, decay, kind),
                    // The decay's gradient is summed over the members too.
                    Some(counts) => {
                        let each = g.chunks_mut(1).zip(values.chunks(1));
                        for ((g, value), n) in each.zip(counts) {
                            regularize(g, value, decay * *n as f32, kind);
                        }
                    }
                }
                rule.step(rate * p.lr_mult, iter, g, h, h2);
                for (w, g) in values.iter_mut().zip(g.iter()) {
                    *w -= g;
                }
                if let Some(mask) = mask {
                    mask.apply(&mut w.data);
                }
                if let Some(shared) = shared {
                    shared.write(&mut w.data);
                }
            });
    }

    /// Scales all gradients down so that their joint L2 norm is at most `clip_gradients`. As in Caffe,
    /// this is the norm before the division by iter_size. Where weights share values, the parameters are the
    /// centroids, so it is their gradients that count.
    fn clip(&mut self) {
        let limit = self.config.param.clip_gradients();
        if limit < 0.0 {
            return;
        }
        let mut gradients: Vec<&mut [f32]> = self
            .gradients
            .iter_mut()
            .zip(&mut self.shared)
            // A parameter that does not learn has no gradients, of its weights or its centroids.
            .map(|(g, shared)| match shared {
                Some(shared) if !g.is_empty() => shared.gradient_mut(),
                _ => g,
            })
            .collect();
        let sum: f32 = gradients.iter().map(|g| sum_of_squares(g)).sum();
        let norm = sum.sqrt();
        if norm > limit {
            let scale = limit / norm;
            info!(
                "Gradient clipping: scaling down gradients (L2 norm {} > {}) by scale factor {}",
                G(norm),
                G(limit),
                G(scale)
            );
            let all = gradients.iter_mut().flat_map(|g| g.iter_mut());
            all.for_each(|g| *g *= scale);
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
