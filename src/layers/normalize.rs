//! Normalize (SSD): y = s·x / √(Σ x² + eps), the sum over the whole sample or over the channels of each place; s is
//! learned, one for all channels or one for each.

use super::{Backward, Facts, Forward, Layer, Mode, ParamSpec, take};
use crate::proto::caffe::{FillerParameter, LayerParameter, NormalizeParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Normalize layer.
#[derive(Debug)]
pub struct Normalize {
    param: NormalizeParameter,
}

impl Normalize {
    /// The layer that `param` describes. Without a filler s starts at 1.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let mut param = param.norm_param.clone().unwrap_or_default();
        param.scale_filler.get_or_insert_with(|| FillerParameter {
            value: Some(1.0),
            ..FillerParameter::default()
        });
        Ok(Self { param })
    }

    /// The places of a sample whose squares are summed: of `n` places of each of the channels, sum `k` of as many as
    /// [`Self::sums`] says takes these of each channel.
    fn places(&self, k: usize, n: usize) -> std::ops::Range<usize> {
        match self.param.across_spatial() {
            true => 0..n,
            false => k..k + 1,
        }
    }

    fn sums(&self, n: usize) -> usize {
        match self.param.across_spatial() {
            true => 1,
            false => n,
        }
    }

    /// Calls `each` with every (channel, place in the sample) of sum `k`.
    fn walk(&self, k: usize, [channels, n]: [usize; 2], mut each: impl FnMut(usize, usize)) {
        for c in 0..channels {
            for p in self.places(k, n) {
                each(c, c * n + p);
            }
        }
    }

    fn scale(&self, s: &[f32], channel: usize) -> f32 {
        s[if self.param.channel_shared() {
            0
        } else {
            channel
        }]
    }

    /// 1 / √(Σ x² + eps) of sum `k` of a sample.
    fn inverse(&self, x: &[f32], k: usize, sizes: [usize; 2]) -> f64 {
        let mut sum = f64::from(self.param.eps());
        self.walk(k, sizes, |_, at| sum += f64::from(x[at]) * f64::from(x[at]));
        1.0 / sum.sqrt()
    }
}

impl Layer for Normalize {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        if x.axes() < 2 {
            bail!("bottom 0 must have channels (N C …), but has shape {x}");
        }
        Ok(vec![x.clone()])
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let shape = match self.param.channel_shared() {
            true => Shape::default(),
            false => Shape::new([bottoms[0].dim(1)]),
        };
        vec![ParamSpec::bias(shape, self.param.scale_filler.as_ref())]
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            reads_bottom: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (x, s) = (&f.bottoms[0], f.params[0].data);
        let sizes = [x.shape.dim(1), x.shape.count_from(2)];
        let sample = x.shape.count_from(1).max(1);
        let samples = f.tops[0].data.chunks_exact_mut(sample);
        for (y, x) in samples.zip(x.data.chunks_exact(sample)) {
            for k in 0..self.sums(sizes[1]) {
                let r = self.inverse(x, k, sizes);
                self.walk(k, sizes, |c, at| {
                    y[at] = (f64::from(x[at]) * r) as f32 * self.scale(s, c);
                });
            }
        }
        Ok(())
    }

    /// With r = 1 / √(Σ x² + eps): dx = r·s·dy − x·r³·Σ s·dy·x, ds = Σ dy·x·r.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (x, s) = (&b.bottoms[0], b.params[0].data);
        let sizes = [x.shape.dim(1), x.shape.count_from(2)];
        let sample = x.shape.count_from(1).max(1);
        let mut sums = vec![0.0f64; s.len()];
        let samples = x.data.chunks_exact(sample);
        let samples = samples.zip(b.top_diffs[0].data.chunks_exact(sample));
        for (n, (x, dy)) in samples.enumerate() {
            for k in 0..self.sums(sizes[1]) {
                let r = self.inverse(x, k, sizes);
                let mut dot = 0.0;
                self.walk(k, sizes, |c, at| {
                    let product = f64::from(dy[at]) * f64::from(x[at]);
                    dot += product * f64::from(self.scale(s, c));
                    sums[if self.param.channel_shared() { 0 } else { c }] += product * r;
                });
                let Some(dx) = &mut b.bottom_diffs[0] else {
                    continue;
                };
                let dx = &mut dx.data[n * sample..][..sample];
                self.walk(k, sizes, |c, at| {
                    let own = f64::from(self.scale(s, c)) * f64::from(dy[at]);
                    dx[at] = (r * own - f64::from(x[at]) * r * r * r * dot) as f32;
                });
            }
        }
        if let Some(ds) = &mut b.param_diffs[0] {
            let pairs = ds.iter_mut().zip(sums);
            pairs.for_each(|(ds, sum)| *ds += sum as f32);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    fn normalize(text: &str) -> Box<dyn Layer> {
        layer(&format!("type: 'Normalize' norm_param {{ {text} }}"))
    }

    #[test]
    fn gradients() {
        for across in [true, false] {
            for shared in [true, false] {
                let text = format!(
                    "across_spatial: {across} channel_shared: {shared} eps: 0.1 scale_filler {{ value: 2 }}"
                );
                let check = Check {
                    step: 3e-3,
                    threshold: 5e-3,
                    ..Check::default()
                };
                check.run(&*normalize(&text), &[&[2, 3, 2, 2]]);
                check.run(&*normalize(&text), &[&[2, 3]]);
            }
        }
    }

    #[test]
    fn the_scale_starts_at_one() {
        let spec = normalize("channel_shared: false").params(&[Shape::new([1, 2, 1, 2])]);
        assert_eq!(
            (spec[0].shape.dims(), spec[0].filler.value()),
            (&[2][..], 1.0)
        );
        let spec = normalize("").params(&[Shape::new([1, 2, 1, 2])]);
        assert_eq!((spec[0].shape.axes(), spec[0].filler.value()), (0, 1.0));
    }
}
