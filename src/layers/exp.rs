//! Exp: y = `base`^(`shift` + `scale`·x), element by element; base −1, the default, stands for e.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// An Exp layer: y = `outer`·exp(`inner`·x).
#[derive(Debug)]
pub struct Exp {
    inner: f32,
    outer: f32,
}

impl Exp {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.exp_param.unwrap_or_default();
        let Some(ln) = neuron::ln_base(p.base()) else {
            bail!(
                "exp_param has base {}: it must be above 0, or −1 for e",
                p.base()
            );
        };
        Ok(Self {
            inner: ln * p.scale(),
            outer: (ln * p.shift()).exp(),
        })
    }
}

impl Layer for Exp {
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
        let Self { inner, outer } = *self;
        neuron::forward(f, |x| outer * (inner * x).exp());
        Ok(())
    }

    /// dx = dy · inner · y.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (inner, y) = (self.inner, b.tops[0].data);
        neuron::backward(b, y, |dy, y| dy * y * inner);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};

    #[test]
    fn gradients() {
        for param in ["", "base: 3 shift: 0.5 scale: -0.7", "shift: -1", "base: 1"] {
            let exp = layer(&format!("type: 'Exp' exp_param {{ {param} }}"));
            for in_place in [false, true] {
                let check = Check {
                    in_place,
                    ..Check::default()
                };
                check.run(&*exp, &[&[3, 2, 5]]);
            }
        }
    }

    #[test]
    fn the_base_is_checked() {
        for base in ["0", "-2", "inf"] {
            let text = format!("type: 'Exp' exp_param {{ base: {base} }}");
            let e = layer_in(&text, Mode::Test).err().unwrap().to_string();
            assert!(e.contains("it must be above 0"), "{e}");
        }
    }
}
