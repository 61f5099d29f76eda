//! ReLU: y = max(x, 0) + negative_slope · min(x, 0), element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, Role, take};
use crate::kernels::elementwise::{relu, relu_backward};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A ReLU layer.
#[derive(Debug)]
pub struct ReLU {
    slope: f32,
}

impl ReLU {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let slope = param
            .relu_param
            .as_ref()
            .map_or(0.0, |p| p.negative_slope());
        Ok(Self { slope })
    }
}

impl Layer for ReLU {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        Ok(vec![x.clone()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            role: match self.slope == 0.0 {
                true => Role::Relu,
                false => Role::Other,
            },
            layouts: Layouts::Either,
            in_place: true,
            reads_tops: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let crew = f.crew;
        relu(crew, self.slope, f.carry());
        Ok(())
    }

    /// dx = dy · (1 where x > 0, negative_slope elsewhere). In place x is gone and y's sign stands for
    /// it, as in Caffe (which is wrong for a negative slope, there as here).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let crew = b.crew;
        let (x, y) = (b.bottoms[0].data, b.tops[0].data);
        let value = if x.is_empty() { y } else { x };
        if let Some(diff) = b.carry() {
            relu_backward(crew, self.slope, value, diff);
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
        for text in [
            "type: 'ReLU'",
            "type: 'ReLU' relu_param { negative_slope: 0.3 }",
        ] {
            let check = Check {
                kink_range: 0.02,
                ..Check::default()
            };
            check.run(&*layer(text), &[&[3, 2, 5]]);
            Check {
                in_place: true,
                ..check
            }
            .run(&*layer(text), &[&[3, 2, 5]]);
        }
    }

    #[test]
    fn negative_numbers_are_scaled() {
        let x = Tensor::new(Shape::new([3]), vec![-2.0, 0.0, 3.0]).unwrap();
        let layer = layer("type: 'ReLU' relu_param { negative_slope: 0.5 }");
        let y = Check::default().forward(&*layer, vec![x]).unwrap();
        assert_eq!(y[0].data, [-1.0, 0.0, 3.0]);
    }
}
