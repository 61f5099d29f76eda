//! From summed gradients to new weights: mask, sum by centroid, clip, normalise, decay, rule, mask.

use super::Solver;
use super::config::Regularization;
use super::mask::Mask;
use super::schedule::Schedule;
use crate::info;
use crate::kernels::{CHUNK, crew};
use crate::report::number::G;
use std::mem;

/// A part of a parameter, on its way to new values.
struct Part<'a> {
    values: &'a mut [f32],
    g: &'a mut [f32],
    /// The histories; the second one is empty where the rule has but one.
    h: [&'a mut [f32]; 2],
    /// How many weights have each value, where they share values.
    counts: Option<&'a [usize]>,
    decay: f32,
    rate: f32,
    /// The mask, and where in it the part starts.
    mask: Option<(&'a Mask, usize)>,
    /// Where gradients go straight through the mask: the decay of the weights that it leaves out.
    through: Option<f32>,
}

/// The first part of `from`, which keeps the rest.
fn cut<'a>(from: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let all = mem::take(from);
    let (part, rest) = all.split_at_mut(n.min(all.len()));
    *from = rest;
    part
}

impl<'a> Part<'a> {
    /// Parts of a size that does not depend on the threads.
    fn cut(mut self) -> Vec<Self> {
        let mut parts = Vec::new();
        if self.counts.is_some() {
            parts.push(self);
            return parts;
        }
        let mut start = 0;
        while !self.g.is_empty() {
            let [h, h2] = &mut self.h;
            parts.push(Part {
                values: cut(&mut self.values, CHUNK),
                g: cut(&mut self.g, CHUNK),
                h: [cut(h, CHUNK), cut(h2, CHUNK)],
                mask: self.mask.map(|(mask, _)| (mask, start)),
                ..self
            });
            start += CHUNK;
        }
        parts
    }
}

impl Solver {
    /// One update with learning rate `rate`. Gradient, decay, history and weight of a pruned value are
    /// 0 before and after: the mask is applied to the gradient before anything reads it, the rules
    /// keep zeros, and the weights are masked once more.
    ///
    /// Where weights share values, the centroids take their place in all of it, after the weights' gradients
    /// have been summed by centroid; then every weight gets its centroid's new value.
    ///
    /// Where gradients go straight through masks, it is the dense weights behind them that are updated.
    pub(super) fn update(&mut self, rate: f32) {
        self.lift();
        self.sum_up();
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
        let kinds = self.masks.iter().zip(&mut self.shared).zip(&self.through);
        let straight = match &self.schedule {
            Some(Schedule::SrSte(srste)) => srste.decay,
            _ => 0.0,
        };
        let mut parts: Vec<Part> = Vec::new();
        for (((w, g), (h, h2)), (p, ((mask, shared), through))) in
            arrays.zip(self.net.params().iter().zip(kinds))
        {
            if g.is_empty() {
                continue;
            }
            let (values, g, counts) = match shared {
                None => (&mut w.data[..], &mut g[..], None),
                Some(shared) => {
                    let (values, g, counts) = shared.parts();
                    (values, g, Some(counts))
                }
            };
            let whole = Part {
                values,
                g,
                h: [h, h2],
                counts,
                decay: decay * p.decay_mult,
                rate: rate * p.lr_mult,
                mask: mask.as_ref().filter(|_| counts.is_none()).map(|m| (m, 0)),
                through: through.as_ref().map(|_| straight),
            };
            parts.extend(whole.cut());
        }
        let step = |part: Part| {
            let Part {
                values,
                g,
                h: [h, h2],
                counts,
                decay,
                rate,
                mask,
                through,
            } = part;
            if scale != 1.0 {
                g.iter_mut().for_each(|g| *g *= scale);
            }
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
            if let (Some(decay), Some((mask, start))) = (through, mask) {
                let each = g.iter_mut().zip(values.iter()).enumerate();
                for (_, (g, w)) in each.filter(|(i, _)| !mask.get(start + i)) {
                    *g += decay * w;
                }
            }
            rule.step(rate, iter, g, h, h2);
            for (w, g) in values.iter_mut().zip(g.iter()) {
                *w -= g;
            }
            if let Some((mask, start)) = mask.filter(|_| through.is_none()) {
                mask.apply_from(start, values);
            }
        };
        crew::lead(|crew| crew.each(parts, step));
        self.write_shared();
        self.settle();
    }

    /// Masks the gradients, and sums those of weights that share values.
    fn sum_up(&mut self) {
        let masked = self.gradients.iter_mut().zip(&self.masks);
        let masked: Vec<_> = masked
            .zip(&self.through)
            .filter(|(_, through)| through.is_none())
            .filter_map(|((g, mask), _)| Some((g, mask.as_ref()?)))
            .flat_map(|(g, mask)| {
                let parts = g.chunks_mut(CHUNK).enumerate();
                parts.map(move |(i, part)| (i * CHUNK, part, mask))
            })
            .collect();
        crew::lead(|crew| {
            crew.each(masked, |(start, part, mask)| mask.apply_from(start, part));
        });
        for (g, shared) in self.gradients.iter().zip(&mut self.shared) {
            if let Some(shared) = shared {
                crew::lead(|crew| shared.gather(crew, g));
            }
        }
    }

    /// Gives every weight that shares its value the new one.
    fn write_shared(&mut self) {
        let shared = self.weights.iter_mut().zip(&self.shared).zip(&self.masks);
        let parts: Vec<_> = shared
            .filter_map(|((w, shared), mask)| Some((w, shared.as_ref()?, mask.as_ref())))
            .filter(|(w, ..)| !w.data.is_empty())
            .flat_map(|(w, shared, mask)| {
                let parts = w.data.chunks_mut(CHUNK).enumerate();
                parts.map(move |(i, part)| (i * CHUNK, part, shared, mask))
            })
            .collect();
        crew::lead(|crew| {
            crew.each(parts, |(start, part, shared, mask)| {
                if let Some(mask) = mask {
                    mask.apply_from(start, part);
                }
                shared.write_from(start, part);
            });
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
        let sum: f32 = sums_of_squares(&gradients).into_iter().sum();
        let norm = sum.sqrt();
        if norm > limit {
            let scale = limit / norm;
            info!(
                "Gradient clipping: scaling down gradients (L2 norm {} > {}) by scale factor {}",
                G(norm),
                G(limit),
                G(scale)
            );
            let parts: Vec<_> = gradients
                .iter_mut()
                .flat_map(|g| g.chunks_mut(CHUNK))
                .collect();
            crew::lead(|crew| {
                crew.each(parts, |part| part.iter_mut().for_each(|g| *g *= scale));
            });
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

/// The sum of squares of each array, in parts of a size that does not depend on the threads.
fn sums_of_squares(arrays: &[&mut [f32]]) -> Vec<f32> {
    let mut sums: Vec<Vec<f64>> = arrays
        .iter()
        .map(|a| vec![0.0; a.len().div_ceil(CHUNK)])
        .collect();
    let parts: Vec<_> = arrays
        .iter()
        .zip(&mut sums)
        .flat_map(|(a, sums)| a.chunks(CHUNK).zip(sums))
        .collect();
    crew::lead(|crew| {
        crew.each(parts, |(part, sum)| {
            *sum = part.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        });
    });
    sums.iter()
        .map(|parts| parts.iter().sum::<f64>() as f32)
        .collect()
}
