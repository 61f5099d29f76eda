//! ShuffleChannel (ShuffleNet): the channels, as `group` rows, are read column by column.

use super::{Backward, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A ShuffleChannel layer.
#[derive(Debug)]
pub struct ShuffleChannel {
    group: usize,
}

impl ShuffleChannel {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let group = param.shuffle_channel_param.unwrap_or_default().group() as usize;
        if group == 0 {
            bail!("group is 0, it must be at least 1");
        }
        Ok(Self { group })
    }

    /// For each channel of the top of `x`'s shape, that of the bottom.
    fn from(&self, x: &Shape) -> impl Iterator<Item = usize> + use<> {
        let (group, each) = (self.group, x.dim(1) / self.group);
        let rows = x.dim(0);
        (0..rows).flat_map(move |n| {
            (0..group * each).map(move |c| n * group * each + c % group * each + c / group)
        })
    }
}

impl Layer for ShuffleChannel {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        if x.axes() < 2 || !x.dim(1).is_multiple_of(self.group) {
            bail!(
                "bottom 0 of shape {x} has no channels that {} groups could share evenly",
                self.group
            );
        }
        Ok(vec![x.clone()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts::default()
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let x = &f.bottoms[0];
        let n = x.shape.count_from(2).max(1);
        let planes = f.tops[0].data.chunks_exact_mut(n);
        for (y, from) in planes.zip(self.from(&x.shape)) {
            y.copy_from_slice(&x.data[from * n..][..n]);
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let x = &b.bottoms[0].shape;
        let n = x.count_from(2).max(1);
        let planes = b.top_diffs[0].data.chunks_exact(n);
        for (dy, from) in planes.zip(self.from(x)) {
            dx.data[from * n..][..n].copy_from_slice(dy);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};
    use crate::tensor::Tensor;

    fn shuffle(group: usize) -> String {
        format!("type: 'ShuffleChannel' shuffle_channel_param {{ group: {group} }}")
    }

    #[test]
    fn gradients() {
        Check::default().run(&*layer(&shuffle(3)), &[&[2, 6, 2, 2]]);
        Check::default().run(&*layer("type: 'ShuffleChannel'"), &[&[2, 3]]);
    }

    #[test]
    fn channels_are_dealt_out() {
        let x = Tensor::new(Shape::new([1, 6]), vec![0., 1., 2., 3., 4., 5.]).unwrap();
        let y = Check::default().forward(&*layer(&shuffle(2)), vec![x]);
        assert_eq!(y.unwrap()[0].data, [0., 3., 1., 4., 2., 5.]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let e = layer_in(&shuffle(0), Mode::Test).err().unwrap();
        assert!(e.to_string().contains("group is 0"));
        let e = layer(&shuffle(4)).shapes(&[Shape::new([1, 6, 2])]);
        assert!(e.unwrap_err().to_string().contains("4 groups"));
    }
}
