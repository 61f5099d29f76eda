//! ELU (Clevert et al. 2015): y = x where x > 0, `alpha`·(exp(x) − 1) elsewhere, element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// An ELU layer.
#[derive(Debug)]
pub struct Elu {
    alpha: f32,
}

impl Elu {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            alpha: param.elu_param.unwrap_or_default().alpha(),
        })
    }
}

impl Layer for Elu {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        neuron::shapes(bottoms)
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            layouts: Layouts::Either,
            in_place: true,
            // With a negative alpha y's sign no longer tells x's.
            reads_bottom: self.alpha < 0.0,
            reads_tops: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let alpha = self.alpha;
        neuron::forward(f, |x| if x > 0.0 { x } else { alpha * x.exp_m1() });
        Ok(())
    }

    /// dx = dy where x > 0, dy·(y + alpha) elsewhere.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let alpha = self.alpha;
        let (x, y) = (b.bottoms[0].data, b.tops[0].data);
        if alpha < 0.0 {
            neuron::backward(b, x, |dy, x| {
                dy * if x > 0.0 { 1.0 } else { alpha * x.exp() }
            });
        } else {
            neuron::backward(b, y, |dy, y| dy * if y > 0.0 { 1.0 } else { y + alpha });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        let check = Check {
            kink_range: 0.02,
            ..Check::default()
        };
        for alpha in [1.0, 0.4, 0.0, -0.7] {
            let elu = layer(&format!("type: 'ELU' elu_param {{ alpha: {alpha} }}"));
            check.run(&*elu, &[&[3, 2, 5]]);
            if alpha >= 0.0 {
                let check = Check {
                    in_place: true,
                    ..check.clone()
                };
                check.run(&*elu, &[&[3, 2, 5]]);
            }
        }
    }
}
