//! AbsVal: y = |x|, element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// An AbsVal layer.
#[derive(Debug)]
pub struct AbsVal;

impl AbsVal {
    /// The layer that `param` describes.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

impl Layer for AbsVal {
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
        neuron::forward(f, f32::abs);
        Ok(())
    }

    /// dx = dy · sign(x), 0 where x is 0.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let x = b.bottoms[0].data;
        neuron::backward(b, x, |dy, x| dy * (f32::from(x > 0.0) - f32::from(x < 0.0)));
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
        let check = Check {
            kink_range: 0.02,
            ..Check::default()
        };
        check.run(&*layer("type: 'AbsVal'"), &[&[3, 2, 5]]);
    }

    #[test]
    fn zero_has_no_gradient() {
        let tensor = |data: [f32; 3]| Tensor::new(Shape::new([3]), data.to_vec()).unwrap();
        let (y, dx) = Check::default()
            .both(
                &*layer("type: 'AbsVal'"),
                vec![tensor([-2.0, 0.0, 3.0])],
                &[tensor([1.0; 3])],
            )
            .unwrap();
        assert_eq!(y[0].data, [2.0, 0.0, 3.0]);
        assert_eq!(dx[0].as_ref().unwrap().data, [-1.0, 0.0, 1.0]);
    }
}
