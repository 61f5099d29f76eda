//! Parameter: a learnable array as a blob, of the shape that the prototxt gives. It starts at 0.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, ParamSpec};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Context, Result, bail};

/// A Parameter layer.
#[derive(Debug)]
pub struct Parameter {
    shape: Shape,
}

impl Parameter {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let given = param
            .parameter_param
            .as_ref()
            .and_then(|p| p.shape.as_ref());
        let dims = given.map(|s| &s.dim[..]).unwrap_or_default();
        let sizes: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let sizes = sizes.with_context(|| format!("shape {dims:?} has a negative size"))?;
        let count = sizes.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if count.is_none_or(|n| n > isize::MAX as usize / 4) {
            bail!("an array of {dims:?} is too large for this machine's memory");
        }
        let shape = Shape::new(sizes);
        Ok(Self { shape })
    }
}

impl Layer for Parameter {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        if !bottoms.is_empty() {
            bail!("it takes no bottom, but {} are named", bottoms.len());
        }
        Ok(vec![self.shape.clone()])
    }

    fn params(&self, _bottoms: &[Shape]) -> Vec<ParamSpec> {
        vec![ParamSpec::bias(self.shape.clone(), None)]
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            // The array has no rows of the batch.
            coupling: Coupling::Whole,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        f.tops[0].data.copy_from_slice(f.params[0].data);
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        if let Some(Some(d)) = b.param_diffs.first_mut() {
            let dy = b.top_diffs[0].data;
            d.iter_mut().zip(dy).for_each(|(d, dy)| *d += dy);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};

    #[test]
    fn gradients() {
        let text = "type: 'Parameter' parameter_param { shape { dim: 2 dim: 3 } }";
        Check::default().run(&*layer(text), &[]);
        assert!(layer(text).shapes(&[Shape::new([1])]).is_err());
    }

    #[test]
    fn sizes_must_be_possible() {
        for dim in [-1, i64::MAX] {
            let text = format!("type: 'Parameter' parameter_param {{ shape {{ dim: {dim} }} }}");
            assert!(layer_in(&text, Mode::Test).is_err());
        }
    }
}
