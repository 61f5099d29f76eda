//! Slice: the bottom cut along one axis, at `slice_point`s or into equal parts; the reverse of Concat.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::{LayerParameter, SliceParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Slice layer.
#[derive(Debug)]
pub struct Slice {
    axis: i32,
    /// The prototxt's word for the axis.
    word: &'static str,
    points: Vec<usize>,
    tops: usize,
}

impl Slice {
    /// The layer that `param` describes; `slice_dim` is the old word for `axis`.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.slice_param.clone().unwrap_or_default();
        let (axis, word) = match p {
            SliceParameter {
                axis: Some(_),
                slice_dim: Some(_),
                ..
            } => {
                bail!("slice_param has both axis and slice_dim; slice_dim is the old word for axis")
            }
            SliceParameter {
                slice_dim: Some(dim),
                ..
            } => (i32::try_from(dim).unwrap_or(i32::MAX), "slice_dim"),
            _ => (p.axis(), "axis"),
        };
        Ok(Self {
            axis,
            word,
            points: p.slice_point.iter().map(|v| *v as usize).collect(),
            tops: param.top.len().max(1),
        })
    }
}

impl Layer for Slice {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let axis = super::axis(x, self.axis, self.word)?;
        let (size, n) = (x.dim(axis), self.tops);
        let part = |size: usize| {
            let mut dims = x.dims().to_vec();
            dims[axis] = size;
            Shape::new(dims)
        };
        if self.points.is_empty() {
            if size % n != 0 {
                bail!(
                    "{n} tops cannot share axis {axis} of bottom 0 evenly: it has {size} elements (shape {x}); \
                     give slice_point"
                );
            }
            return Ok(vec![part(size / n); n]);
        }
        if self.points.len() != n - 1 {
            bail!(
                "{n} tops need {} slice_point, found {}",
                n - 1,
                self.points.len()
            );
        }
        let (mut tops, mut from) = (Vec::new(), 0);
        for &to in self.points.iter().chain([&size]) {
            if to <= from {
                bail!(
                    "slice_point {:?} must grow, from at least 1, and stay below the {size} elements of axis \
                     {axis} of bottom 0 (shape {x})",
                    self.points
                );
            }
            tops.push(part(to - from));
            from = to;
        }
        Ok(tops)
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::along(self.axis, bottoms),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let x = &f.bottoms[0];
        let axis = x.shape.axis(self.axis).unwrap_or(0);
        let row = x.shape.count_from(axis).max(1);
        let mut at = 0;
        for y in f.tops.iter_mut() {
            let n = y.shape.count_from(axis);
            let rows = y.data.chunks_exact_mut(n.max(1));
            rows.zip(x.data.chunks_exact(row))
                .for_each(|(y, x)| y.copy_from_slice(&x[at..at + n]));
            at += n;
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let axis = dx.shape.axis(self.axis).unwrap_or(0);
        let row = dx.shape.count_from(axis).max(1);
        let mut at = 0;
        for dy in b.top_diffs {
            let n = dy.shape.count_from(axis);
            let rows = dy.data.chunks_exact(n.max(1));
            rows.zip(dx.data.chunks_exact_mut(row))
                .for_each(|(dy, dx)| dx[at..at + n].copy_from_slice(dy));
            at += n;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};

    fn slice(text: &str) -> Box<dyn Layer> {
        layer(&format!(
            "type: 'Slice' top: 'a' top: 'b' top: 'c' slice_param {{ {text} }}"
        ))
    }

    #[test]
    fn gradients() {
        Check::default().run(&*slice(""), &[&[2, 6, 2]]);
        Check::default().run(
            &*slice("axis: -1 slice_point: 1 slice_point: 4"),
            &[&[2, 3, 5]],
        );
        Check::default().run(
            &*slice("slice_dim: 0 slice_point: 2 slice_point: 3"),
            &[&[5, 2]],
        );
        Check::default().run(&*layer("type: 'Slice' top: 'a'"), &[&[2, 3]]);
    }

    #[test]
    fn parts() {
        let dims = |text: &str| -> Result<Vec<usize>> {
            let tops = slice(text).shapes(&[Shape::new([4, 6, 5])])?;
            Ok(tops.iter().map(|t| t.dim(1)).collect())
        };
        assert_eq!(dims("").unwrap(), [2, 2, 2]);
        assert_eq!(dims("slice_point: 1 slice_point: 3").unwrap(), [1, 2, 3]);
        let fails = |text: &str| dims(text).unwrap_err().to_string();
        assert!(fails("axis: 2").contains("4 6 5 (120)"));
        assert!(fails("slice_point: 1").contains("need 2 slice_point, found 1"));
        for points in [[0, 3], [3, 3], [4, 3], [3, 6], [3, 9]] {
            let text = format!("slice_point: {} slice_point: {}", points[0], points[1]);
            assert!(fails(&text).contains("must grow"), "{points:?}");
        }
        assert!(fails("slice_dim: 3").contains("slice_dim 3"));
        assert!(
            layer_in(
                "type: 'Slice' slice_param { axis: 1 slice_dim: 1 }",
                Mode::Test
            )
            .is_err()
        );
        let x = [Shape::new([6, 3])];
        assert_eq!(slice("axis: 0").facts(&x).coupling, Coupling::Whole);
        assert_eq!(slice("").facts(&x).coupling, Coupling::Free);
    }
}
