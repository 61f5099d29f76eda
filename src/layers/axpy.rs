//! Axpy (SENet): y = a·x + b, where a has one number for each channel of each sample.

use super::{Backward, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// An Axpy layer.
#[derive(Debug)]
pub struct Axpy;

impl Axpy {
    /// The layer that `param` describes.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

impl Layer for Axpy {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [a, x, b] = take(bottoms)?;
        let fits = x.axes() >= 2
            && a.axes() >= 2
            && a.dims()[..2] == x.dims()[..2]
            && a.count_from(2) == 1
            && x == b;
        if !fits {
            bail!(
                "it takes a number a channel (N C, or N C 1 1), then two bottoms of one shape N C …: its bottoms \
                 have shapes {a}, {x} and {b}"
            );
        }
        Ok(vec![x.clone()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            reads_bottom: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let [a, x, b] = [0, 1, 2].map(|i| f.bottoms[i].data);
        let n = f.bottoms[1].shape.count_from(2).max(1);
        let planes = f.tops[0].data.chunks_exact_mut(n).zip(a);
        for ((y, a), (x, b)) in planes.zip(x.chunks_exact(n).zip(b.chunks_exact(n))) {
            for ((y, x), b) in y.iter_mut().zip(x).zip(b) {
                *y = a * x + b;
            }
        }
        Ok(())
    }

    /// da = Σ dy·x over the plane, dx = a·dy, db = dy.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let [a, x] = [0, 1].map(|i| b.bottoms[i].data);
        let n = b.bottoms[1].shape.count_from(2).max(1);
        let dy = b.top_diffs[0].data;
        if let Some(da) = &mut b.bottom_diffs[0] {
            let planes = dy.chunks_exact(n).zip(x.chunks_exact(n));
            for (da, (dy, x)) in da.data.iter_mut().zip(planes) {
                let products = dy.iter().zip(x).map(|(d, x)| f64::from(*d) * f64::from(*x));
                *da = products.sum::<f64>() as f32;
            }
        }
        if let Some(dx) = &mut b.bottom_diffs[1] {
            let planes = dx.data.chunks_exact_mut(n).zip(dy.chunks_exact(n));
            for ((dx, dy), a) in planes.zip(a) {
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = a * dy);
            }
        }
        if let Some(db) = &mut b.bottom_diffs[2] {
            db.data.copy_from_slice(dy);
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
        let axpy = layer("type: 'Axpy'");
        Check::default().run(&*axpy, &[&[2, 3, 1, 1], &[2, 3, 2, 4], &[2, 3, 2, 4]]);
        Check::default().run(&*axpy, &[&[2, 3], &[2, 3], &[2, 3]]);
    }

    #[test]
    fn a_channel_has_one_factor() {
        let t = |dims: &[usize], data: &[f32]| Tensor::new(dims.into(), data.to_vec()).unwrap();
        let bottoms = vec![
            t(&[1, 2, 1, 1], &[2., -1.]),
            t(&[1, 2, 1, 2], &[1., 2., 3., 4.]),
            t(&[1, 2, 1, 2], &[10., 20., 30., 40.]),
        ];
        let y = Check::default().forward(&*layer("type: 'Axpy'"), bottoms);
        assert_eq!(y.unwrap()[0].data, [12., 24., 27., 36.]);
    }

    #[test]
    fn shapes_must_fit() {
        let s = |d: &[usize]| Shape::from(d);
        let axpy = layer("type: 'Axpy'");
        for a in [&[2, 4, 1, 1][..], &[2, 3, 1, 2], &[2]] {
            let e = axpy.shapes(&[s(a), s(&[2, 3, 2, 2]), s(&[2, 3, 2, 2])]);
            assert!(e.unwrap_err().to_string().contains("number a channel"));
        }
        assert!(axpy.shapes(&[s(&[2, 3])]).is_err());
    }
}
