//! Concat: the bottoms one after the other along one axis. All other sizes must agree.

use super::{Backward, Coupling, Facts, Forward, Layer, Layouts, Mode, Role};
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Layout, Shape};
use anyhow::{Result, bail};

/// A Concat layer.
#[derive(Debug)]
pub struct Concat {
    axis: i32,
}

impl Concat {
    /// The layer that `param` describes; `concat_dim` is the old word for `axis`.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.concat_param.unwrap_or_default();
        let axis = match (p.axis, p.concat_dim) {
            (Some(_), Some(_)) => bail!(
                "concat_param has both axis and concat_dim; concat_dim is the old word for axis"
            ),
            (_, Some(dim)) => i32::try_from(dim).unwrap_or(i32::MAX),
            _ => p.axis(),
        };
        Ok(Self { axis })
    }
}

impl Layer for Concat {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [first, rest @ ..] = bottoms else {
            bail!("it takes at least one bottom, but none is named");
        };
        let axis = super::axis(first, self.axis, "axis")?;
        let mut dims = first.dims().to_vec();
        for x in rest {
            let fits = |(j, d): (usize, &usize)| j == axis || *d == first.dim(j);
            if x.axes() != first.axes() || !x.dims().iter().enumerate().all(fits) {
                let all = bottoms
                    .iter()
                    .map(Shape::to_string)
                    .collect::<Vec<_>>()
                    .join(", ");
                bail!("the bottoms differ outside axis {axis}: their shapes are {all}");
            }
            dims[axis] += x.dim(axis);
        }
        Ok(vec![dims.into()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let joins = bottoms[0].axes() == 4 && bottoms[0].axis(self.axis) == Some(1);
        let (role, layouts) = match joins {
            true => (Role::Join, Layouts::Either),
            false => (Role::Other, Layouts::Planes),
        };
        Facts {
            coupling: Coupling::along(self.axis, bottoms),
            role,
            layouts,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let axis = f.tops[0].shape.axis(self.axis).unwrap_or(0);
        let inner = inner(f.tops[0].layout, &f.tops[0].shape, axis);
        let row = f.tops[0].shape.dim(axis) * inner;
        let mut at = 0;
        for x in f.bottoms {
            let n = x.shape.dim(axis) * inner;
            if x.data.is_empty() {
                // It is in its place already.
                at += n;
                continue;
            }
            let rows = f.tops[0]
                .data
                .chunks_exact_mut(row.max(1))
                .zip(x.data.chunks_exact(n.max(1)));
            rows.for_each(|(y, x)| y[at..at + n].copy_from_slice(x));
            at += n;
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let dy = &b.top_diffs[0];
        let axis = dy.shape.axis(self.axis).unwrap_or(0);
        let inner = inner(dy.layout, &dy.shape, axis);
        let row = dy.shape.dim(axis) * inner;
        let mut at = 0;
        for (x, dx) in b.bottoms.iter().zip(b.bottom_diffs.iter_mut()) {
            let n = x.shape.dim(axis) * inner;
            if let Some(dx) = dx {
                let rows = dy
                    .data
                    .chunks_exact(row.max(1))
                    .zip(dx.data.chunks_exact_mut(n.max(1)));
                rows.for_each(|(dy, dx)| dx.copy_from_slice(&dy[at..at + n]));
            }
            at += n;
        }
        Ok(())
    }
}

/// The elements that stay together: those of the axes behind `axis`, or with channels last single ones.
fn inner(layout: Layout, shape: &Shape, axis: usize) -> usize {
    match layout {
        Layout::Planes => shape.count_from(axis + 1),
        Layout::Pixels { .. } | Layout::Halves { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        Check::default().run(
            &*layer("type: 'Concat'"),
            &[&[2, 3, 2], &[2, 1, 2], &[2, 2, 2]],
        );
        let check = Check {
            pixels: true,
            ..Check::default()
        };
        check.run(
            &*layer("type: 'Concat'"),
            &[&[2, 3, 2, 1], &[2, 1, 2, 1], &[2, 2, 2, 1]],
        );
        Check::default().run(
            &*layer("type: 'Concat' concat_param { axis: -1 }"),
            &[&[2, 3, 1], &[2, 3, 4]],
        );
        Check::default().run(
            &*layer("type: 'Concat' concat_param { concat_dim: 0 }"),
            &[&[2, 3], &[1, 3]],
        );
    }

    #[test]
    fn shapes_must_agree_outside_the_axis() {
        let layer = layer("type: 'Concat'");
        let e = layer
            .shapes(&[Shape::new([2, 3, 4]), Shape::new([2, 5, 3])])
            .unwrap_err()
            .to_string();
        assert!(e.contains("2 3 4 (24)") && e.contains("2 5 3 (30)"), "{e}");
        assert_eq!(layer.facts(&[Shape::new([2, 3])]).coupling, Coupling::Free);
    }
}
