//! BatchNorm (Ioffe and Szegedy 2015): y = (x − mean) / √(variance + `eps`) for each channel (axis 1).
//!
//! In training the statistics are those of the batch, and running sums of them are kept in three blobs
//! that nobody learns: Σ mean [C], Σ variance [C] (unbiased) and the sum of their weights [1], each old
//! sum fading by `moving_average_fraction`. In testing, or with `use_global_stats`, the statistics are
//! those sums divided by the sum of weights.

use super::{Backward, Coupling, Facts, Forward, Layer, Layouts, Mode, ParamSpec, Role, take};
use crate::kernels::broadcast::{add_sums, map, zip_map};
use crate::proto::caffe::{BatchNormParameter, LayerParameter};
use crate::tensor::{Layout, Shape, View};
use anyhow::{Result, bail};

/// A BatchNorm layer.
#[derive(Debug)]
pub struct BatchNorm {
    param: BatchNormParameter,
    /// Whether the stored statistics are used, not the batch's.
    stored: bool,
}

impl BatchNorm {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, mode: Mode) -> Result<Self> {
        let param = param.batch_norm_param.unwrap_or_default();
        Ok(Self {
            stored: param.use_global_stats.unwrap_or(mode == Mode::Test),
            param,
        })
    }

    /// Each channel's mean and variance by the stored sums.
    fn stored_statistics(&self, params: &[View]) -> (Vec<f32>, Vec<f32>) {
        let weight = params[2].data[0];
        let factor = if weight == 0.0 { 0.0 } else { 1.0 / weight };
        let scaled = |k: usize| params[k].data.iter().map(|v| factor * v).collect();
        (scaled(0), scaled(1))
    }

    /// Each channel's mean and variance in the batch; updates the stored sums.
    fn batch_statistics(&self, f: &mut Forward) -> (Vec<f32>, Vec<f32>) {
        let crew = f.crew;
        let shape = f.tops[0].shape.clone();
        let (channels, inner) = (shape.dim(1), inner(f.tops[0].layout, &shape));
        let n = shape.count() / channels.max(1);
        let x = &*f.carry();
        let mut means = vec![0.0f32; channels];
        let every = vec![(); channels];
        add_sums(crew, inner, [x, x], &every, [&mut means], |x, _, _| [x]);
        means.iter_mut().for_each(|m| *m /= n as f32);
        let mut variances = vec![0.0f32; channels];
        add_sums(
            crew,
            inner,
            [x, x],
            &means,
            [&mut variances],
            |x, _, mean| [(x - mean) * (x - mean)],
        );
        variances.iter_mut().for_each(|v| *v /= n as f32);

        let fade = self.param.moving_average_fraction();
        let unbiased = if n > 1 {
            n as f32 / (n - 1) as f32
        } else {
            1.0
        };
        let faded = |k: usize, new: &[f32], factor: f32| {
            let old = f.params[k].data.iter();
            old.zip(new).map(|(o, v)| fade * o + factor * v).collect()
        };
        let updates = [
            (0, faded(0, &means, 1.0)),
            (1, faded(1, &variances, unbiased)),
            (2, faded(2, &[1.0], 1.0)),
        ];
        f.updates.extend(updates);
        (means, variances)
    }
}

impl Layer for BatchNorm {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        if x.axes() < 2 {
            bail!(
                "it needs a bottom of at least 2 axes (samples, channels, …), bottom 0 has shape {x}"
            );
        }
        Ok(vec![x.clone()])
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let channels = bottoms.first().map_or(1, |x| x.dim(1));
        let spec = |n: usize| ParamSpec {
            learnable: false,
            ..ParamSpec::bias(vec![n], None)
        };
        vec![spec(channels), spec(channels), spec(1)]
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::free_if(self.stored),
            role: match self.stored && bottoms[0].axes() == 4 {
                true => Role::Affine,
                false => Role::Other,
            },
            layouts: Layouts::Either,
            in_place: true,
            reads_tops: !self.stored,
            ..Facts::default()
        }
    }

    fn affine(&self, params: &[View]) -> (Vec<f32>, Vec<f32>) {
        let (means, variances) = self.stored_statistics(params);
        let eps = self.param.eps();
        let scale: Vec<f32> = variances.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
        let shift = means.iter().zip(&scale).map(|(m, s)| -m * s).collect();
        (scale, shift)
    }

    /// Leaves each channel's 1 / √(variance + eps).
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (means, variances) = if self.stored {
            f.carry();
            self.stored_statistics(f.params)
        } else {
            self.batch_statistics(f)
        };
        let eps = self.param.eps();
        let inverse = |v: &f32| 1.0 / (v + eps).sqrt();
        f.keep.floats.clear();
        f.keep.floats.extend(variances.iter().map(inverse));
        let inverses = f.keep.floats.iter().copied();
        let pairs: Vec<(f32, f32)> = means.into_iter().zip(inverses).collect();
        let y = &mut f.tops[0];
        let inner = inner(y.layout, &y.shape);
        map(f.crew, inner, &pairs, y.data, |x, (mean, inverse)| {
            (x - mean) * inverse
        });
        Ok(())
    }

    /// dx = (dy − mean(dy) − y·mean(dy·y)) / √(variance + eps), means over a channel of the batch; with
    /// stored statistics dy / √(variance + eps).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (crew, y) = (b.crew, b.tops[0].data);
        let shape = b.tops[0].shape.clone();
        let (channels, inner) = (shape.dim(1), inner(b.tops[0].layout, &shape));
        let n = (shape.count() / channels.max(1)) as f32;
        let inverses = std::mem::take(&mut b.keep.floats);
        if let Some(diff) = b.carry() {
            if self.stored {
                map(crew, inner, &inverses, diff, |dy, inverse| dy * inverse);
            } else {
                let (mut sums, mut products) = (vec![0.0f32; channels], vec![0.0f32; channels]);
                let both = [&mut sums[..], &mut products[..]];
                add_sums(crew, inner, [diff, y], &inverses, both, |dy, y, _| {
                    [dy, dy * y]
                });
                let stats: Vec<(f32, f32, f32)> = sums
                    .iter()
                    .zip(&products)
                    .zip(&inverses)
                    .map(|((sum, product), inverse)| (sum / n, product / n, *inverse))
                    .collect();
                zip_map(
                    crew,
                    inner,
                    &stats,
                    Some(y),
                    diff,
                    |dy, y, (mean, slope, inverse)| (dy - mean - y * slope) * inverse,
                );
            }
        }
        b.keep.floats = inverses;
        Ok(())
    }
}

/// The neighbours in memory that share a channel.
fn inner(layout: Layout, shape: &Shape) -> usize {
    match layout {
        Layout::Planes => shape.count_from(2),
        Layout::Pixels { .. } | Layout::Halves { .. } => 1,
    }
}

#[cfg(test)]
mod tests;
