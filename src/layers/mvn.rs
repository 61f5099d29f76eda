//! MVN, mean-variance normalisation: y = (x − mean) / (σ + `eps`) within each channel of each sample
//! (within each sample with `across_channels`); only the mean is taken away if not
//! `normalize_variance`. Bottom [N, C, H, W] or its first axes; the top always has four.

use super::{Backward, Facts, Forward, Layer, Mode, take};
use crate::kernels::broadcast::{map, sum_pairs, zip_map};
use crate::kernels::crew::Crew;
use crate::kernels::{CHUNK, each_chunk};
use crate::proto::caffe::{LayerParameter, MvnParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// An MVN layer.
#[derive(Debug)]
pub struct Mvn {
    param: MvnParameter,
}

impl Mvn {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            param: param.mvn_param.unwrap_or_default(),
        })
    }

    /// The number of groups that are normalised each by itself, and the elements of one.
    fn sizes(&self, x: &Shape) -> (usize, usize) {
        let axes = if self.param.across_channels() { 1 } else { 2 };
        (x.count_to(axes), x.count_from(axes))
    }
}

/// Fills `out`, one value a group of `n` elements, with what `f` makes of the group's number.
fn each_group<T: Send>(crew: &Crew, n: usize, out: &mut [T], f: impl Fn(usize) -> T + Sync) {
    each_chunk(crew, CHUNK / n.max(1), out, |start, part| {
        for (i, o) in part.iter_mut().enumerate() {
            *o = f(start + i);
        }
    });
}

impl Layer for Mvn {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        if x.axes() > 4 {
            bail!(
                "it takes at most 4 axes (samples, channels, height, width), bottom 0 has shape {x}"
            );
        }
        Ok(vec![Shape::new([x.dim(0), x.dim(1), x.dim(2), x.dim(3)])])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            in_place: true,
            reads_tops: self.param.normalize_variance(),
            ..Facts::default()
        }
    }

    /// Leaves each group's 1 / (σ + eps).
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (groups, n) = self.sizes(&f.tops[0].shape);
        let (crew, eps) = (f.crew, self.param.eps());
        let y = &*f.carry();
        let mut stats = vec![(0.0f32, 1.0f32); groups];
        each_group(crew, n, &mut stats, |g| {
            let x = &y[g * n..][..n];
            let mean = (sum_pairs(x, x, |x, _| x) / n as f64) as f32;
            if !self.param.normalize_variance() {
                return (mean, 1.0);
            }
            let squares = sum_pairs(x, x, |x, _| (x - mean) * (x - mean));
            (mean, 1.0 / ((squares / n as f64).sqrt() as f32 + eps))
        });
        map(crew, n, &stats, f.tops[0].data, |x, (mean, inverse)| {
            (x - mean) * inverse
        });
        f.keep.floats.clear();
        f.keep.floats.extend(stats.iter().map(|s| s.1));
        Ok(())
    }

    /// dx = (dy − mean(dy) − y·mean(dy·y)) / (σ + eps), where Caffe takes σ + eps for σ in the last
    /// term; without variance dy − mean(dy).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (groups, n) = self.sizes(&b.tops[0].shape);
        let crew = b.crew;
        let y = self.param.normalize_variance().then_some(b.tops[0].data);
        let inverses = std::mem::take(&mut b.keep.floats);
        if let Some(diff) = b.carry() {
            let mut stats = vec![(0.0f32, 0.0f32, 1.0f32); groups];
            each_group(crew, n, &mut stats, |g| {
                let dy = &diff[g * n..][..n];
                let mean = |sum: f64| (sum / n as f64) as f32;
                let of_products = y.map_or(0.0, |y| sum_pairs(dy, &y[g * n..][..n], |d, y| d * y));
                (
                    mean(sum_pairs(dy, dy, |d, _| d)),
                    mean(of_products),
                    inverses[g],
                )
            });
            zip_map(crew, n, &stats, y, diff, |dy, y, (mean, slope, inverse)| {
                (dy - mean - y * slope) * inverse
            });
        }
        b.keep.floats = inverses;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        for param in [
            "",
            "across_channels: true",
            "normalize_variance: false",
            "normalize_variance: false across_channels: true",
        ] {
            let mvn = layer(&format!("type: 'MVN' mvn_param {{ {param} }}"));
            for in_place in [false, true] {
                let check = Check {
                    in_place,
                    ..Check::default()
                };
                check.run(&*mvn, &[&[2, 3, 5, 3]]);
            }
        }
    }

    #[test]
    fn the_top_has_four_axes() {
        let mvn = layer("type: 'MVN'");
        let tops = mvn.shapes(&[Shape::new([2, 3])]).unwrap();
        assert_eq!(tops[0].dims(), [2, 3, 1, 1]);
        let e = mvn.shapes(&[Shape::new([1; 5])]).unwrap_err().to_string();
        assert!(e.contains("1 1 1 1 1 (1)"), "{e}");
    }
}
