//! Permute (SSD): the axes in another order.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Permute layer.
#[derive(Debug)]
pub struct Permute {
    order: Vec<usize>,
}

impl Permute {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let given = param.permute_param.clone().unwrap_or_default().order;
        let order: Vec<usize> = given.iter().map(|a| *a as usize).collect();
        for (i, axis) in order.iter().enumerate() {
            if order[..i].contains(axis) {
                bail!("permute_param names axis {axis} twice");
            }
        }
        Ok(Self { order })
    }

    /// The bottom's axis of each of the top's, all named.
    fn order(&self, axes: usize) -> Vec<usize> {
        let rest = (0..axes).filter(|a| !self.order.contains(a));
        self.order.iter().copied().chain(rest).collect()
    }

    /// Calls `each` with the place in the bottom of each number of the top, in the top's order.
    fn walk(&self, x: &Shape, mut each: impl FnMut(usize)) {
        let order = self.order(x.axes());
        let steps: Vec<(usize, usize)> = order
            .iter()
            .map(|a| (x.dim(*a), x.count_from(a + 1)))
            .collect();
        let mut index = vec![0; steps.len()];
        let mut at = 0;
        for _ in 0..x.count() {
            each(at);
            for (i, (size, step)) in index.iter_mut().zip(&steps).rev() {
                *i += 1;
                at += step;
                if *i < *size {
                    break;
                }
                at -= *i * step;
                *i = 0;
            }
        }
    }
}

impl Layer for Permute {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        if let Some(axis) = self.order.iter().find(|a| **a >= x.axes()) {
            bail!(
                "order names axis {axis}, but bottom 0 has shape {x}, {} axes, from 0",
                x.axes()
            );
        }
        let order = self.order(x.axes());
        let dims: Vec<usize> = order.iter().map(|a| x.dim(*a)).collect();
        Ok(vec![dims.into()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::free_if(self.order.first().is_none_or(|a| *a == 0)),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let x = &f.bottoms[0];
        let mut y = f.tops[0].data.iter_mut();
        self.walk(&x.shape, |at| {
            if let Some(y) = y.next() {
                *y = x.data[at];
            }
        });
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let mut dy = b.top_diffs[0].data.iter();
        self.walk(&b.bottoms[0].shape, |at| {
            if let Some(dy) = dy.next() {
                dx.data[at] = *dy;
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};
    use crate::tensor::Tensor;

    fn permute(order: &str) -> Box<dyn Layer> {
        layer(&format!("type: 'Permute' permute_param {{ {order} }}"))
    }

    #[test]
    fn gradients() {
        let check = Check::default();
        check.run(
            &*permute("order: 0 order: 2 order: 3 order: 1"),
            &[&[2, 3, 2, 4]],
        );
        check.run(&*permute("order: 2"), &[&[2, 3, 4]]);
        check.run(&*permute(""), &[&[2, 3]]);
    }

    #[test]
    fn axes_change_places() {
        let x = Tensor::new(Shape::new([1, 2, 3]), vec![1., 2., 3., 4., 5., 6.]).unwrap();
        let y = &Check::default()
            .forward(&*permute("order: 0 order: 2 order: 1"), vec![x])
            .unwrap()[0];
        assert_eq!(y.shape, Shape::new([1, 3, 2]));
        assert_eq!(y.data, [1., 4., 2., 5., 3., 6.]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let e = layer_in(
            "type: 'Permute' permute_param { order: 1 order: 1 }",
            Mode::Test,
        );
        assert!(e.err().unwrap().to_string().contains("axis 1 twice"));
        let e = permute("order: 4").shapes(&[Shape::new([1, 2])]);
        assert!(e.unwrap_err().to_string().contains("axis 4"));
    }
}
