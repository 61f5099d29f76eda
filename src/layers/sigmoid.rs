//! Sigmoid: y = 1 / (1 + exp(−x)), element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A Sigmoid layer.
#[derive(Debug)]
pub struct Sigmoid;

impl Sigmoid {
    /// The layer that `param` describes.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

impl Layer for Sigmoid {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        neuron::shapes(bottoms)
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            layouts: Layouts::Either,
            in_place: true,
            reads_tops: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        neuron::forward(f, neuron::sigmoid);
        Ok(())
    }

    /// dx = dy · y · (1 − y).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let y = b.tops[0].data;
        neuron::backward(b, y, |dy, y| dy * y * (1.0 - y));
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
        for in_place in [false, true] {
            let check = Check {
                in_place,
                ..Check::default()
            };
            check.run(&*layer("type: 'Sigmoid'"), &[&[3, 2, 5]]);
        }
    }

    #[test]
    fn large_numbers_saturate() {
        let x = Tensor::new(Shape::new([3]), vec![-200.0, 0.0, 200.0]).unwrap();
        let y = Check::default()
            .forward(&*layer("type: 'Sigmoid'"), vec![x])
            .unwrap();
        assert_eq!(y[0].data, [0.0, 0.5, 1.0]);
    }
}
