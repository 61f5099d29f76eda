//! Clip: y = x, but at least `min` and at most `max`, element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Clip layer.
#[derive(Debug)]
pub struct Clip {
    min: f32,
    max: f32,
}

impl Clip {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let Some(p) = param.clip_param else {
            bail!("clip_param needs min and max");
        };
        Ok(Self {
            min: p.min,
            max: p.max,
        })
    }
}

impl Layer for Clip {
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

    /// Where `max` is below `min`, `min` wins; a NaN becomes `min`, as in Caffe.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let Self { min, max } = *self;
        neuron::forward(f, |x| {
            let x = if x > max { max } else { x };
            if x > min { x } else { min }
        });
        Ok(())
    }

    /// dx = dy where min ≤ x ≤ max, 0 elsewhere.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Self { min, max } = *self;
        let x = b.bottoms[0].data;
        neuron::backward(b, x, |dy, x| dy * f32::from(x >= min && x <= max));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};
    use crate::tensor::Tensor;

    #[test]
    fn bounds_pass_gradients() {
        let tensor = |data: [f32; 4]| Tensor::new(Shape::new([4]), data.to_vec()).unwrap();
        let (y, dx) = Check::default()
            .both(
                &*layer("type: 'Clip' clip_param { min: -1 max: 2 }"),
                vec![tensor([-1.5, -1.0, 2.0, 3.0])],
                &[tensor([1.0, 2.0, 3.0, 4.0])],
            )
            .unwrap();
        assert_eq!(y[0].data, [-1.0, -1.0, 2.0, 2.0]);
        assert_eq!(dx[0].as_ref().unwrap().data, [0.0, 2.0, 3.0, 0.0]);
    }

    #[test]
    fn the_bounds_must_be_given() {
        let e = layer_in("type: 'Clip'", Mode::Test).err().unwrap();
        assert_eq!(e.to_string(), "clip_param needs min and max");
    }
}
