//! Log: y = log(`shift` + `scale`·x) to the base `base`, element by element; base −1, the default,
//! stands for e.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Log layer: y = `outer`·ln(`scale`·x + `shift`).
#[derive(Debug)]
pub struct Log {
    scale: f32,
    shift: f32,
    outer: f32,
}

impl Log {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.log_param.unwrap_or_default();
        let outer = neuron::ln_base(p.base()).map(f32::recip);
        let Some(outer) = outer.filter(|o| o.is_finite()) else {
            bail!(
                "log_param has base {}: it must be above 0 and not 1, or −1 for e",
                p.base()
            );
        };
        Ok(Self {
            scale: p.scale(),
            shift: p.shift(),
            outer,
        })
    }
}

impl Layer for Log {
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
        let Self {
            scale,
            shift,
            outer,
        } = *self;
        neuron::forward(f, |x| outer * (scale * x + shift).ln());
        Ok(())
    }

    /// dx = dy · outer · scale / (scale·x + shift).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (scale, shift, x) = (self.scale, self.shift, b.bottoms[0].data);
        let factor = self.outer * scale;
        neuron::backward(b, x, |dy, x| dy * (factor / (scale * x + shift)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};

    #[test]
    fn gradients() {
        for param in [
            "shift: 3",
            "base: 2 shift: 4 scale: -1.5",
            "base: 0.5 shift: 2",
        ] {
            let log = layer(&format!("type: 'Log' log_param {{ {param} }}"));
            Check::default().run(&*log, &[&[3, 2, 5]]);
        }
    }

    #[test]
    fn the_base_is_checked() {
        for base in ["0", "1", "-2"] {
            let text = format!("type: 'Log' log_param {{ base: {base} }}");
            let e = layer_in(&text, Mode::Test).err().unwrap().to_string();
            assert!(e.contains("above 0 and not 1"), "{e}");
        }
    }
}
