//! Swish (Ramachandran et al. 2017): y = x · sigmoid(`beta`·x), element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A Swish layer.
#[derive(Debug)]
pub struct Swish {
    beta: f32,
}

impl Swish {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            beta: param.swish_param.unwrap_or_default().beta(),
        })
    }
}

impl Layer for Swish {
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

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let beta = self.beta;
        neuron::forward(f, |x| x * neuron::sigmoid(beta * x));
        Ok(())
    }

    /// dx = dy · (s + beta·x·s·(1 − s)) with s = sigmoid(beta·x).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (beta, x) = (self.beta, b.bottoms[0].data);
        neuron::backward(b, x, |dy, x| {
            let s = neuron::sigmoid(beta * x);
            dy * (s + beta * x * s * (1.0 - s))
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        for param in ["", "swish_param { beta: 2.5 }", "swish_param { beta: -1 }"] {
            let swish = layer(&format!("type: 'Swish' {param}"));
            Check::default().run(&*swish, &[&[3, 2, 5]]);
        }
    }
}
