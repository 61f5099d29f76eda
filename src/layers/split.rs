//! Split: every top is the bottom. The net handles splits itself; this is for files that name them.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, take};
use crate::kernels::elementwise::{add_scaled, copy};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::Result;

/// A Split layer.
#[derive(Debug)]
pub struct Split {
    tops: usize,
}

impl Split {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            tops: param.top.len(),
        })
    }
}

impl Layer for Split {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        Ok(vec![x.clone(); self.tops])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            layouts: Layouts::Either,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        for top in f.tops.iter_mut() {
            copy(f.crew, f.bottoms[0].data, top.data);
        }
        Ok(())
    }

    /// dx = the sum of the tops' gradients.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        if let Some(dx) = &mut b.bottom_diffs[0] {
            dx.data.fill(0.0);
            for dy in b.top_diffs {
                add_scaled(b.crew, 1.0, dy.data, dx.data);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        let layer = layer("type: 'Split' top: 'a' top: 'b' top: 'c'");
        Check::default().run(&*layer, &[&[2, 3]]);
    }
}
