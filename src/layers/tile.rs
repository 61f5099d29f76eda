//! Tile: the bottom repeated `tiles` times along one axis.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Context, Result, bail};

/// A Tile layer.
#[derive(Debug)]
pub struct Tile {
    axis: i32,
    tiles: usize,
}

impl Tile {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.tile_param.unwrap_or_default();
        let tiles = match p.tiles {
            Some(n) if n > 0 => n as usize,
            Some(n) => bail!("tiles is {n}, it must be at least 1"),
            None => bail!("tile_param needs tiles, the number of copies"),
        };
        Ok(Self {
            axis: p.axis(),
            tiles,
        })
    }
}

impl Layer for Tile {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let axis = super::axis(x, self.axis, "axis")?;
        let mut dims = x.dims().to_vec();
        let size = x.count().checked_mul(self.tiles);
        size.filter(|n| *n <= isize::MAX as usize / 4)
            .with_context(|| {
                format!(
                    "{} copies of bottom 0 of shape {x} are too large",
                    self.tiles
                )
            })?;
        dims[axis] *= self.tiles;
        Ok(vec![dims.into()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::along(self.axis, bottoms),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let x = &f.bottoms[0];
        let n = x
            .shape
            .count_from(x.shape.axis(self.axis).unwrap_or(0))
            .max(1);
        let blocks = f.tops[0].data.chunks_exact_mut(n * self.tiles);
        for (y, x) in blocks.zip(x.data.chunks_exact(n)) {
            y.chunks_exact_mut(n).for_each(|y| y.copy_from_slice(x));
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let n = dx
            .shape
            .count_from(dx.shape.axis(self.axis).unwrap_or(0))
            .max(1);
        let blocks = b.top_diffs[0].data.chunks_exact(n * self.tiles);
        for (dx, dy) in dx.data.chunks_exact_mut(n).zip(blocks) {
            dx.copy_from_slice(&dy[..n]);
            for dy in dy[n..].chunks_exact(n) {
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};
    use crate::tensor::Tensor;

    fn tile(text: &str) -> Box<dyn Layer> {
        layer(&format!("type: 'Tile' tile_param {{ {text} }}"))
    }

    #[test]
    fn gradients() {
        Check::default().run(&*tile("tiles: 3"), &[&[2, 3, 2]]);
        Check::default().run(&*tile("tiles: 2 axis: -1"), &[&[2, 2, 3]]);
        Check::default().run(&*tile("tiles: 4 axis: 0"), &[&[2, 3]]);
        Check::default().run(&*tile("tiles: 1"), &[&[2, 3]]);
    }

    #[test]
    fn copies_stand_side_by_side() {
        let x = Tensor::new(Shape::new([2, 2]), vec![1., 2., 3., 4.]).unwrap();
        let y = &Check::default()
            .forward(&*tile("tiles: 2"), vec![x])
            .unwrap()[0];
        assert_eq!(y.shape, Shape::new([2, 4]));
        assert_eq!(y.data, [1., 2., 1., 2., 3., 4., 3., 4.]);
        assert_eq!(
            tile("tiles: 2 axis: 0")
                .facts(&[Shape::new([2, 2])])
                .coupling,
            Coupling::Whole
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let fails = |text: &str| {
            let made = layer_in(&format!("type: 'Tile' tile_param {{ {text} }}"), Mode::Test);
            let tops = made.and_then(|l| l.shapes(&[Shape::new([65536, 65536, 4])]));
            tops.unwrap_err().to_string()
        };
        assert!(fails("").contains("needs tiles"));
        assert!(fails("tiles: 0").contains("tiles is 0"));
        assert!(fails("tiles: -1").contains("tiles is -1"));
        assert!(fails("tiles: 2147483647").contains("too large"));
        assert!(fails("tiles: 2 axis: 3").contains("axis 3"));
    }
}
