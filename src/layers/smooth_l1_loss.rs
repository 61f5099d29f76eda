//! SmoothL1Loss (Fast R-CNN, SSD): Σ w₃ · f(w₂ · (a − b)) / N over two bottoms of N samples, where f(d) is
//! (sigma·d)² / 2 for |d| < 1 / sigma² and |d| − 1 / 2sigma² elsewhere. Bottoms 2 and 3 are weights inside and
//! outside of f; both may be left out.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, loss};
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// A SmoothL1Loss layer.
#[derive(Debug)]
pub struct SmoothL1Loss {
    /// sigma².
    square: f32,
}

impl SmoothL1Loss {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let sigma = param.smooth_l1_loss_param.unwrap_or_default().sigma();
        let square = sigma * sigma;
        if !square.is_normal() {
            bail!("sigma is {sigma}, it must be a number other than 0");
        }
        Ok(Self { square })
    }

    fn value(&self, d: f32) -> f32 {
        match d.abs() < 1.0 / self.square {
            true => 0.5 * self.square * d * d,
            false => d.abs() - 0.5 / self.square,
        }
    }

    fn slope(&self, d: f32) -> f32 {
        match d.abs() < 1.0 / self.square {
            true => self.square * d,
            false => d.signum(),
        }
    }
}

/// The difference inside of f at place `i`, and the weights there.
fn at(bottoms: &[View], i: usize) -> (f32, [f32; 2]) {
    let weight = |b: usize| bottoms.get(b).map_or(1.0, |w| w.data[i]);
    let weights = [weight(2), weight(3)];
    let d = weights[0] * (bottoms[0].data[i] - bottoms[1].data[i]);
    (d, weights)
}

impl Layer for SmoothL1Loss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [a, b, weights @ ..] = bottoms else {
            bail!("it takes 2 to 4 bottoms, but {} are named", bottoms.len());
        };
        if weights.len() > 2 {
            bail!("it takes 2 to 4 bottoms, but {} are named", bottoms.len());
        }
        for (i, other) in [b].into_iter().chain(weights).enumerate() {
            if a.axes() == 0 || a.dim(0) != other.dim(0) || a.count() != other.count() {
                bail!(
                    "its bottoms must have one shape: bottom 0 has {a}, bottom {} has {other}",
                    i + 1
                );
            }
        }
        Ok(vec![Shape::default()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::Mean { labels: None },
            is_loss: true,
            flows: vec![true, true, false, false],
            ..Facts::default()
        }
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        loss::samples(bottoms)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let places = 0..f.bottoms[0].data.len();
        let values = places.map(|i| {
            let (d, [_, outside]) = at(f.bottoms, i);
            f64::from(outside * self.value(d))
        });
        f.tops[0].data[0] = values.sum::<f64>() as f32;
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let scale = loss::scale(b);
        for (bottom, sign) in [(0, scale), (1, -scale)] {
            let Some(diff) = &mut b.bottom_diffs[bottom] else {
                continue;
            };
            for (i, diff) in diff.data.iter_mut().enumerate() {
                let (d, [inside, outside]) = at(b.bottoms, i);
                *diff = sign * inside * outside * self.slope(d);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};
    use crate::tensor::Tensor;

    #[test]
    fn gradients() {
        let check = Check {
            fixed: vec![
                (2, vec![1., 0., 2., 0.5, 1., 1.]),
                (3, vec![1., 1., 0.5, 3., 0., 1.]),
            ],
            step: 1e-3,
            threshold: 5e-3,
            ..Check::default()
        };
        let plain = layer("type: 'SmoothL1Loss'");
        let steep = layer("type: 'SmoothL1Loss' smooth_l1_loss_param { sigma: 3 }");
        for loss in [&plain, &steep] {
            check.run(&**loss, &[&[2, 3], &[2, 3]]);
            check.run(&**loss, &[&[2, 3], &[2, 3], &[2, 3]]);
            check.run(&**loss, &[&[2, 3], &[2, 3], &[2, 3], &[2, 3]]);
        }
    }

    #[test]
    fn small_differences_are_squared() {
        let t = |data: &[f32]| Tensor::new(Shape::new([1, 3]), data.to_vec()).unwrap();
        let loss = |text: &str| {
            let bottoms = vec![t(&[0.5, -3., 0.]), t(&[0., 0., 2.])];
            let layer = layer(&format!("type: 'SmoothL1Loss' {text}"));
            Check::default().forward(&*layer, bottoms).unwrap()[0].data[0]
        };
        // 0.125 + 2.5 + 1.5, and with 1 / sigma² = 0.25: 0.375 + 2.875 + 1.875.
        assert_eq!(loss(""), 4.125);
        assert_eq!(loss("smooth_l1_loss_param { sigma: 2 }"), 5.125);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let zero = "type: 'SmoothL1Loss' smooth_l1_loss_param { sigma: 0 }";
        let e = layer_in(zero, Mode::Test).err().unwrap();
        assert!(e.to_string().contains("sigma is 0"));
        let loss = layer("type: 'SmoothL1Loss'");
        let shape = Shape::new([2, 3]);
        for n in [0, 1, 5] {
            let e = loss.shapes(&vec![shape.clone(); n]).unwrap_err();
            assert!(e.to_string().contains("2 to 4 bottoms"));
        }
        let e = loss.shapes(&[shape.clone(), shape, Shape::new([2, 4])]);
        assert!(e.unwrap_err().to_string().contains("bottom 2 has 2 4"));
    }
}
