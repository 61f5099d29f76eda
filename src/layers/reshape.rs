//! Reshape: other sizes for the same numbers. The axes from `axis` on, `num_axes` of them (−1: all),
//! become those of `shape`, in which 0 copies the bottom's size and one −1 takes what is left.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::{LayerParameter, ReshapeParameter};
use crate::tensor::Shape;
use anyhow::{Context, Result, bail, ensure};

/// A Reshape layer.
#[derive(Debug)]
pub struct Reshape {
    param: ReshapeParameter,
}

impl Reshape {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        if let (Some(x), Some(y)) = (param.bottom.first(), param.top.first())
            && x == y
        {
            bail!("it cannot work in place: name its top other than its bottom '{x}'");
        }
        let param = param.reshape_param.clone().unwrap_or_default();
        let dims = param.shape.as_ref().map(|s| &s.dim[..]).unwrap_or_default();
        if let Some(d) = dims.iter().find(|d| **d < -1) {
            bail!("reshape_param has the size {d}; a size is -1, 0 or positive");
        }
        if dims.iter().filter(|d| **d == -1).count() > 1 {
            bail!("reshape_param has more than one -1 in {dims:?}; only one size can be inferred");
        }
        Ok(Self { param })
    }

    fn dims(&self) -> &[i64] {
        self.param
            .shape
            .as_ref()
            .map(|s| &s.dim[..])
            .unwrap_or_default()
    }

    /// The axes of `x` that are replaced. A negative `axis` counts from one past the last.
    fn replaced(&self, x: &Shape) -> Result<std::ops::Range<usize>> {
        let axes = x.axes() as i64;
        let axis = i64::from(self.param.axis());
        let from = if axis < 0 { axes + axis + 1 } else { axis };
        ensure!(
            (0..=axes).contains(&from),
            "axis {axis} is out of range: bottom 0 has shape {x}, {axes} axes"
        );
        let to = match self.param.num_axes() {
            -1 => axes,
            n => from + i64::from(n),
        };
        ensure!(
            (from..=axes).contains(&to),
            "num_axes {} from axis {axis} on is out of range: bottom 0 has shape {x}, {axes} axes",
            self.param.num_axes()
        );
        Ok(from as usize..to as usize)
    }
}

impl Layer for Reshape {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let replaced = self.replaced(x)?;
        let mut dims = x.dims()[..replaced.start].to_vec();
        let mut inferred = None;
        for (i, &d) in self.dims().iter().enumerate() {
            let at = replaced.start + i;
            dims.push(match d {
                0 => *x.dims().get(at).with_context(|| {
                    format!(
                        "size {i} of {:?} is 0, but bottom 0 of shape {x} has no axis {at} to copy",
                        self.dims()
                    )
                })?,
                -1 => {
                    inferred = Some(at);
                    1
                }
                d => usize::try_from(d)?,
            });
        }
        dims.extend(&x.dims()[replaced.end..]);
        let count = dims
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))
            .with_context(|| format!("the shape {dims:?} is too large"))?;
        if let Some(at) = inferred {
            if count == 0 || x.count() % count != 0 {
                bail!(
                    "-1 cannot be inferred: the {} elements of bottom 0 (shape {x}) are no multiple of {count}, \
                     the product of the other sizes of {dims:?}",
                    x.count()
                );
            }
            dims[at] = x.count() / count;
        } else if count != x.count() {
            bail!(
                "{dims:?} has {count} elements, but bottom 0 of shape {x} has {}",
                x.count()
            );
        }
        Ok(vec![dims.into()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let x = &bottoms[0];
        // In C order the rows stay apart where their number stays.
        let keeps = self
            .shapes(bottoms)
            .is_ok_and(|y| y[0].axes() > 0 && x.axes() > 0 && y[0].dim(0) == x.dim(0));
        Facts {
            coupling: Coupling::free_if(keeps),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        f.carry();
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        b.carry();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};

    fn reshape(text: &str) -> Result<Box<dyn Layer>> {
        layer_in(
            &format!("type: 'Reshape' reshape_param {{ {text} }}"),
            Mode::Test,
        )
    }

    #[test]
    fn gradients() {
        let layer = layer("type: 'Reshape' reshape_param { shape { dim: 0 dim: -1 dim: 2 } }");
        Check::default().run(&*layer, &[&[3, 2, 4]]);
    }

    #[test]
    fn sizes() {
        let x = [Shape::new([2, 8, 3])];
        let shape = |text: &str| {
            let layer = reshape(text).unwrap();
            layer
                .shapes(&x)
                .map(|s| (s[0].dims().to_vec(), layer.facts(&x).coupling))
        };
        use Coupling::{Free, Whole};
        for (text, dims, coupling) in [
            ("shape { dim: 0 dim: -1 }", &[2, 24][..], Free),
            ("shape { dim: 2 dim: 2 dim: 12 }", &[2, 2, 12], Free),
            ("shape { dim: -1 }", &[48], Whole),
            ("shape { dim: -1 dim: 3 }", &[16, 3], Whole),
            (
                "shape { dim: 2 dim: 2 dim: -1 } axis: 1 num_axes: 1",
                &[2, 2, 2, 2, 3],
                Free,
            ),
            ("shape { dim: 1 } axis: 0 num_axes: 0", &[1, 2, 8, 3], Whole),
            ("shape { dim: 1 } axis: -1 num_axes: 0", &[2, 8, 3, 1], Free),
            (
                "shape { dim: 1 dim: 1 } axis: 1 num_axes: 0",
                &[2, 1, 1, 8, 3],
                Free,
            ),
            ("shape { dim: 6 dim: 4 } axis: -3", &[2, 6, 4], Free),
            ("shape { dim: 0 dim: 6 dim: 4 } axis: -4", &[2, 6, 4], Free),
            (
                "shape { dim: 6 dim: 0 dim: 3 dim: -1 } num_axes: 3",
                &[],
                Free,
            ),
        ] {
            if dims.is_empty() {
                assert!(shape(text).is_err(), "{text}");
            } else {
                assert_eq!(shape(text).unwrap(), (dims.to_vec(), coupling), "{text}");
            }
        }
        let fails = |text: &str| shape(text).unwrap_err().to_string();
        assert!(fails("shape { dim: 7 dim: -1 }").contains("2 8 3 (48)"));
        assert!(fails("shape { dim: 7 }").contains("7 elements"));
        assert!(fails("").contains("1 elements"));
        assert!(fails("shape { dim: 1 } axis: 4").contains("axis 4"));
        assert!(fails("shape { dim: 1 } axis: 2 num_axes: 2").contains("num_axes 2"));
        assert!(fails("shape { dim: 1 } num_axes: -2").contains("num_axes -2"));
        assert!(fails("shape { dim: 48 dim: 1 dim: 1 dim: 0 }").contains("no axis 3"));
        assert!(reshape("shape { dim: -1 dim: -1 }").is_err());
        assert!(reshape("shape { dim: -2 }").is_err());
        assert!(layer_in("type: 'Reshape' bottom: 'x' top: 'x'", Mode::Test).is_err());
    }
}
