//! Bias: y = x + b, where b's shape is that of `num_axes` axes of x from `axis` on (−1 for all, 0 for a
//! scalar). b is learned, or the second bottom, whose shape then says how many axes it spans.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, ParamSpec};
use crate::kernels::broadcast::{add_sums, map};
use crate::proto::caffe::{BiasParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Bias layer.
#[derive(Debug)]
pub struct Bias {
    param: BiasParameter,
}

impl Bias {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self {
            param: param.bias_param.clone().unwrap_or_default(),
        })
    }

    /// The shape of b.
    fn spanned(&self, bottoms: &[Shape]) -> Result<Shape> {
        spanned(bottoms, self.param.axis(), self.param.num_axes())
    }
}

/// The shape of what is broadcast over bottom 0: bottom 1's, or `num_axes` axes of bottom 0 from
/// `axis` on.
pub(super) fn spanned(bottoms: &[Shape], axis: i32, num_axes: i32) -> Result<Shape> {
    let x = match bottoms {
        [x] => x,
        [_, b] => return Ok(b.clone()),
        _ => bail!("it takes 1 or 2 bottoms, but {} are named", bottoms.len()),
    };
    if num_axes == 0 {
        return Ok(Shape::default());
    }
    let from = super::axis(x, axis, "axis")?;
    let to = match usize::try_from(num_axes) {
        Ok(n) => from.saturating_add(n),
        Err(_) if num_axes == -1 => x.axes(),
        Err(_) => {
            bail!("num_axes is {num_axes}: it must be at least 0, or −1 for all axes that follow")
        }
    };
    match x.dims().get(from..to) {
        Some(dims) => Ok(dims.into()),
        None => bail!("{num_axes} axes from axis {axis} on do not exist: bottom 0 has shape {x}"),
    }
}

/// The elements of `x` that share a value of an array of shape `b`, laid along x's axes from `axis` on.
pub(super) fn inner(x: &Shape, axis: i32, b: &Shape) -> Result<usize> {
    if b.axes() == 0 {
        return Ok(x.count());
    }
    let from = super::axis(x, axis, "axis")?;
    let to = from + b.axes();
    if x.dims().get(from..to) != Some(b.dims()) {
        bail!("an array of shape {b} does not fit bottom 0 of shape {x} from axis {axis} on");
    }
    Ok(x.count_from(to))
}

/// Samples are independent if each has its own row of a second bottom, or if a learned array lies
/// along other axes.
pub(super) fn coupling(bottoms: &[Shape], axis: i32, b: &Shape) -> Coupling {
    let by_rows = bottoms.first().and_then(|x| x.axis(axis)) == Some(0) && b.axes() > 0;
    Coupling::free_if(by_rows == (bottoms.len() == 2))
}

impl Layer for Bias {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let b = self.spanned(bottoms)?;
        inner(&bottoms[0], self.param.axis(), &b)?;
        Ok(vec![bottoms[0].clone()])
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        match self.spanned(bottoms) {
            Ok(shape) if bottoms.len() == 1 => {
                vec![ParamSpec::bias(shape, self.param.filler.as_ref())]
            }
            _ => Vec::new(),
        }
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let coupling = match self.spanned(bottoms) {
            Ok(b) => coupling(bottoms, self.param.axis(), &b),
            Err(_) => Coupling::Whole,
        };
        Facts {
            coupling,
            in_place: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let b = f.bottoms.get(1).unwrap_or_else(|| &f.params[0]).clone();
        let inner = inner(&f.bottoms[0].shape, self.param.axis(), &b.shape)?;
        map(f.crew, inner, b.data, f.carry(), |x, b| x + b);
        Ok(())
    }

    /// dx = dy, db = the sum of dy over what shares a value.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (crew, two) = (b.crew, b.bottoms.len() == 2);
        let shape = if two {
            &b.bottoms[1].shape
        } else {
            &b.params[0].shape
        };
        let inner = inner(&b.bottoms[0].shape, self.param.axis(), shape)?;
        b.carry();
        let (first, rest) = b.bottom_diffs.split_at_mut(1);
        let dy: &[f32] = match &first[0] {
            Some(dx) => dx.data,
            None => b.top_diffs[0].data,
        };
        let db = if two {
            rest[0].as_mut().map(|d| {
                d.data.fill(0.0);
                &mut *d.data
            })
        } else {
            b.param_diffs[0].as_deref_mut()
        };
        if let Some(db) = db {
            let every = vec![(); db.len()];
            add_sums(crew, inner, [dy, dy], &every, [db], |dy, _, _| [dy]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    /// Axis, num_axes and the shape of b for a bottom of shape 3 4 2.
    const CASES: [(i32, i32, &[usize]); 7] = [
        (1, 1, &[4]),
        (0, 1, &[3]),
        (0, -1, &[3, 4, 2]),
        (1, 2, &[4, 2]),
        (-1, 1, &[2]),
        (0, 2, &[3, 4]),
        (1, 0, &[]),
    ];

    #[test]
    fn gradients() {
        for (axis, num_axes, shape) in CASES {
            let text = format!("type: 'Bias' bias_param {{ axis: {axis} num_axes: {num_axes} }}");
            let bias = layer(&text);
            let spec = bias.params(&[Shape::new([3, 4, 2])]);
            assert_eq!(spec[0].shape.dims(), shape);
            for in_place in [false, true] {
                let check = Check {
                    in_place,
                    ..Check::default()
                };
                check.run(&*bias, &[&[3, 4, 2]]);
                check.run(&*bias, &[&[3, 4, 2], shape]);
            }
        }
    }

    #[test]
    fn coupling_follows_the_axis() {
        let free = |axis: i32, shapes: &[&[usize]]| {
            let shapes: Vec<Shape> = shapes.iter().map(|s| Shape::from(*s)).collect();
            let bias = layer(&format!("type: 'Bias' bias_param {{ axis: {axis} }}"));
            bias.facts(&shapes).coupling == Coupling::Free
        };
        assert!(free(1, &[&[3, 3]]) && free(0, &[&[3, 3], &[3]]));
        assert!(!free(0, &[&[3, 3]]) && !free(1, &[&[3, 3], &[3]]) && !free(0, &[&[3, 3], &[]]));
    }

    #[test]
    fn shapes_must_fit() {
        let error = |text: &str, shapes: &[&[usize]]| {
            let shapes: Vec<Shape> = shapes.iter().map(|s| Shape::from(*s)).collect();
            layer(text).shapes(&shapes).unwrap_err().to_string()
        };
        let e = error("type: 'Bias'", &[&[2, 3], &[2]]);
        assert!(e.contains("shape 2 (2)") && e.contains("2 3 (6)"), "{e}");
        let e = error("type: 'Bias' bias_param { num_axes: 2 }", &[&[2, 3]]);
        assert!(e.contains("2 axes from axis 1 on do not exist"), "{e}");
        let e = error("type: 'Bias' bias_param { num_axes: -2 }", &[&[2, 3]]);
        assert!(e.contains("num_axes is -2"), "{e}");
    }
}
