//! Crop: a part of bottom 0 as large as bottom 1. The axes before `axis` stay whole; behind it each part
//! begins at its `offset` (one for all axes, or one each; 0 if none is given).

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::{CropParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Crop layer.
#[derive(Debug)]
pub struct Crop {
    param: CropParameter,
}

impl Crop {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.crop_param.clone().unwrap_or_default();
        Ok(Self { param })
    }

    /// Where the part begins along each axis of `x`.
    fn offsets(&self, x: &Shape) -> Result<Vec<usize>> {
        let axis = super::axis(x, self.param.axis(), "axis")?;
        let behind = x.axes() - axis;
        let given = &self.param.offset;
        if given.len() > 1 && given.len() != behind {
            bail!(
                "{} values for offset, but bottom 0 of shape {x} has {behind} axes from axis {axis} on; give \
                 one for all or one each",
                given.len()
            );
        }
        let offset = |i: usize| match given[..] {
            [] => 0,
            [one] => one as usize,
            _ => given[i] as usize,
        };
        let mut offsets = vec![0; axis];
        offsets.extend((0..behind).map(offset));
        Ok(offsets)
    }

    /// Calls `f(start in bottom, start in top, length)` for every run of numbers that stay together.
    fn runs(&self, x: &Shape, y: &Shape, mut f: impl FnMut(usize, usize, usize)) -> Result<()> {
        let offsets = self.offsets(x)?;
        // Axes that stay whole at the end make the runs longer.
        let mut last = x.axes() - 1;
        while last > 0 && y.dim(last) == x.dim(last) {
            last -= 1;
        }
        let length = y.count_from(last);
        if y.count() == 0 {
            return Ok(());
        }
        for run in 0..y.count_to(last) {
            let (mut left, mut from, mut step) = (run, offsets[last], x.dim(last));
            for i in (0..last).rev() {
                from += (left % y.dim(i) + offsets[i]) * step;
                left /= y.dim(i);
                step *= x.dim(i);
            }
            f(from * x.count_from(last + 1), run * length, length);
        }
        Ok(())
    }
}

impl Layer for Crop {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x, size] = take(bottoms)?;
        let axis = super::axis(x, self.param.axis(), "axis")?;
        let offsets = self.offsets(x)?;
        if size.axes() != x.axes() {
            bail!(
                "bottom 1 of shape {size} gives the size and must have the axes of bottom 0 of shape {x}"
            );
        }
        let mut dims = x.dims().to_vec();
        for (i, dim) in dims.iter_mut().enumerate().skip(axis) {
            let wanted = size.dim(i);
            if offsets[i].checked_add(wanted).is_none_or(|end| end > *dim) {
                bail!(
                    "{wanted} elements from offset {} on are outside axis {i}: bottom 0 has shape {x}, \
                     bottom 1 {size}",
                    offsets[i]
                );
            }
            *dim = wanted;
        }
        Ok(vec![dims.into()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::along(self.param.axis(), bottoms), // Bottom 1 gives no more than its size.
            flows: vec![true, false],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (x, y) = (&f.bottoms[0], &mut f.tops[0]);
        self.runs(&x.shape, &y.shape, |from, to, n| {
            y.data[to..to + n].copy_from_slice(&x.data[from..from + n]);
        })
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let dy = &b.top_diffs[0];
        dx.data.fill(0.0);
        self.runs(&dx.shape, &dy.shape, |from, to, n| {
            dx.data[from..from + n].copy_from_slice(&dy.data[to..to + n]);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    fn crop(text: &str) -> Box<dyn Layer> {
        layer(&format!("type: 'Crop' crop_param {{ {text} }}"))
    }

    #[test]
    fn gradients() {
        let check = Check {
            fixed: vec![(1, vec![0.0; 2 * 3 * 2 * 3])],
            ..Check::default()
        };
        let run = |text: &str, x: &[usize]| check.run(&*crop(text), &[x, &[2, 3, 2, 3]]);
        run("offset: 1", &[2, 3, 4, 5]);
        run("axis: 3 offset: 2", &[2, 3, 2, 5]);
        run("axis: 1 offset: 2 offset: 0 offset: 1", &[2, 5, 2, 4]);
        run("axis: 0", &[3, 3, 2, 3]);
        run("axis: -2", &[2, 1, 3, 3]);
        run("axis: 1", &[2, 3, 2, 3]);
    }

    #[test]
    fn the_part_begins_at_the_offset() {
        let x = Tensor::new(Shape::new([1, 3, 4]), (0..12).map(|v| v as f32).collect()).unwrap();
        let size = Tensor::zeros(Shape::new([7, 2, 3]));
        let layer = crop("axis: 1 offset: 1 offset: 0");
        let y = &Check::default().forward(&*layer, vec![x, size]).unwrap()[0];
        assert_eq!(y.shape, Shape::new([1, 2, 3]));
        assert_eq!(y.data, [4., 5., 6., 8., 9., 10.]);
    }

    #[test]
    fn errors_say_the_shapes() {
        let fails = |text: &str, size: &[usize]| {
            let shapes = [Shape::new([2, 3, 4, 5]), size.into()];
            crop(text).shapes(&shapes).unwrap_err().to_string()
        };
        let e = fails("offset: 2", &[2, 3, 3, 1]);
        assert!(
            e.contains("offset 2") && e.contains("2 3 4 5 (120)") && e.contains("2 3 3 1"),
            "{e}"
        );
        assert!(fails("offset: 1 offset: 1 offset: 1", &[2, 3, 1, 1]).contains("3 values"));
        assert!(fails("axis: 4", &[2, 3, 4, 5]).contains("axis 4"));
        assert!(fails("", &[4, 5]).contains("4 5 (20)"));
        assert!(fails("offset: 4294967295", &[1, 1, 1, 1]).contains("outside axis 2"));
    }
}
