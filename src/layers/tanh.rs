//! TanH: y = tanh(x), element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A TanH layer.
#[derive(Debug)]
pub struct TanH;

impl TanH {
    /// The layer that `param` describes.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

impl Layer for TanH {
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
        neuron::forward(f, f32::tanh);
        Ok(())
    }

    /// dx = dy · (1 − y²).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let y = b.tops[0].data;
        neuron::backward(b, y, |dy, y| dy * (1.0 - y * y));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        for in_place in [false, true] {
            let check = Check {
                in_place,
                ..Check::default()
            };
            check.run(&*layer("type: 'TanH'"), &[&[3, 2, 5]]);
        }
    }
}
