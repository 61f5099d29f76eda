//! Threshold: y = 1 where x > `threshold`, 0 elsewhere. No gradient flows through it.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, neuron};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A Threshold layer.
#[derive(Debug)]
pub struct Threshold {
    threshold: f32,
}

impl Threshold {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            threshold: param.threshold_param.unwrap_or_default().threshold(),
        })
    }
}

impl Layer for Threshold {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        neuron::shapes(bottoms)
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            layouts: Layouts::Either,
            in_place: true,
            has_backward: false,
            flows: vec![false; bottoms.len()],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let threshold = self.threshold;
        neuron::forward(f, |x| f32::from(x > threshold));
        Ok(())
    }

    fn backward(&self, _b: &mut Backward) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    #[test]
    fn the_threshold_itself_is_below() {
        let x = Tensor::new(Shape::new([3]), vec![0.5, 0.25, -1.0]).unwrap();
        let threshold = layer("type: 'Threshold' threshold_param { threshold: 0.25 }");
        let y = Check::default().forward(&*threshold, vec![x]).unwrap();
        assert_eq!(y[0].data, [1.0, 0.0, 0.0]);
    }
}
