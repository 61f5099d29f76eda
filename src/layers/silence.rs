//! Silence: takes bottoms that nobody else reads, so that the net does not print them. It has no tops
//! and sends no gradient back.

use super::{Backward, Facts, Forward, Layer, Mode};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Silence layer.
#[derive(Debug)]
pub struct Silence;

impl Silence {
    /// The layer that `param` describes: it has no parameters.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

impl Layer for Silence {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        if bottoms.is_empty() {
            bail!("it takes at least one bottom, but none is named");
        }
        Ok(Vec::new())
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            has_backward: false,
            flows: vec![false; bottoms.len()],
            ..Facts::default()
        }
    }

    fn forward(&self, _f: &mut Forward) -> Result<()> {
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        for dx in b.bottom_diffs.iter_mut().flatten() {
            dx.data.fill(0.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::layers::check::layer;
    use crate::tensor::Shape;

    #[test]
    fn it_has_no_tops() {
        let layer = layer("type: 'Silence'");
        assert!(layer.shapes(&[Shape::new([2])]).unwrap().is_empty());
        assert!(layer.shapes(&[]).is_err());
    }
}
