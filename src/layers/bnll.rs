//! BNLL, the binomial normal log likelihood: y = ln(1 + exp(x)), element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A BNLL layer.
#[derive(Debug)]
pub struct Bnll;

impl Bnll {
    /// The layer that `param` describes.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

impl Layer for Bnll {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        neuron::shapes(bottoms)
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            layouts: Layouts::Either,
            in_place: true,
            reads_bottom: true,
            ..Facts::default()
        }
    }

    /// The exponential of a positive number is never taken, so that none overflows.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        neuron::forward(f, |x| {
            let positive = if x > 0.0 { x } else { 0.0 };
            positive + (-x.abs()).exp().ln_1p()
        });
        Ok(())
    }

    /// dx = dy / (1 + exp(−x)).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let x = b.bottoms[0].data;
        neuron::backward(b, x, |dy, x| dy * neuron::sigmoid(x));
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
        Check::default().run(&*layer("type: 'BNLL'"), &[&[3, 2, 5]]);
    }

    #[test]
    fn large_numbers_do_not_overflow() {
        let x = Tensor::new(Shape::new([3]), vec![-200.0, 0.0, 200.0]).unwrap();
        let y = Check::default()
            .forward(&*layer("type: 'BNLL'"), vec![x])
            .unwrap();
        assert_eq!(y[0].data, [0.0, std::f32::consts::LN_2, 200.0]);
    }
}
