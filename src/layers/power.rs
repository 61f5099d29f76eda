//! Power: y = (`shift` + `scale`·x)^`power`, element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A Power layer.
#[derive(Debug)]
pub struct Power {
    power: f32,
    scale: f32,
    shift: f32,
}

impl Power {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.power_param.unwrap_or_default();
        Ok(Self {
            power: p.power(),
            scale: p.scale(),
            shift: p.shift(),
        })
    }

    /// Whether y does not depend on x (which may then be NaN).
    fn is_constant(&self) -> bool {
        self.power * self.scale == 0.0
    }
}

impl Layer for Power {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        neuron::shapes(bottoms)
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            layouts: Layouts::Either,
            in_place: true,
            reads_bottom: !self.is_constant() && self.power != 1.0,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let Self {
            power,
            scale,
            shift,
        } = *self;
        if self.is_constant() {
            f.tops[0].data.fill(shift.powf(power));
        } else if power == 1.0 {
            neuron::forward(f, |x| scale * x + shift);
        } else if power == 2.0 {
            neuron::forward(f, |x| {
                let base = scale * x + shift;
                base * base
            });
        } else {
            neuron::forward(f, |x| (scale * x + shift).powf(power));
        }
        Ok(())
    }

    /// dx = dy · power · scale · (shift + scale·x)^(power − 1). (Where shift is 0 and x is 0 Caffe
    /// divides 0 by 0.)
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Self {
            power,
            scale,
            shift,
        } = *self;
        let factor = power * scale;
        let x = b.bottoms[0].data;
        if self.is_constant() {
            if let Some(dx) = &mut b.bottom_diffs[0] {
                dx.data.fill(0.0);
            }
        } else if power == 1.0 {
            neuron::scale(b, factor);
        } else if power == 2.0 {
            neuron::backward(b, x, |dy, x| dy * (factor * (scale * x + shift)));
        } else {
            neuron::backward(b, x, |dy, x| {
                dy * (factor * (scale * x + shift).powf(power - 1.0))
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    fn power(param: &str) -> Box<dyn Layer> {
        layer(&format!("type: 'Power' power_param {{ {param} }}"))
    }

    #[test]
    fn gradients() {
        for param in [
            "",
            "power: 2",
            "power: 2 scale: -0.5 shift: 0.3",
            "power: 0.37 scale: 0.5 shift: 2",
            "power: -0.75 shift: 2",
            "power: 3 scale: -1.5",
            "power: 0",
            "scale: 0 shift: 3 power: 2.5",
        ] {
            Check::default().run(&*power(param), &[&[3, 2, 5]]);
        }
        let check = Check {
            in_place: true,
            ..Check::default()
        };
        for param in [
            "scale: -2 shift: 1",
            "power: 0",
            "scale: 0 shift: 2 power: 3",
        ] {
            check.run(&*power(param), &[&[3, 2, 5]]);
        }
    }

    #[test]
    fn a_constant_ignores_its_input() {
        let x = Tensor::new(Shape::new([2]), vec![f32::NAN, 1.0]).unwrap();
        let y = Check::default()
            .forward(&*power("scale: 0 shift: 3 power: 2"), vec![x.clone()])
            .unwrap();
        assert_eq!(y[0].data, [9.0, 9.0]);
        let y = Check::default()
            .forward(&*power("power: 0"), vec![x])
            .unwrap();
        assert_eq!(y[0].data, [1.0, 1.0]);
    }
}
