//! Scale: y = x·s, with `bias_term` y = x·s + b. The shape of s is that of `num_axes` axes of x from
//! `axis` on (−1 for all, 0 for a scalar); s is learned, or the second bottom, whose shape then says
//! how many axes it spans. b is always learned and has the shape of s.

use super::bias::{coupling, inner, spanned};
use super::{Backward, Coupling, Facts, Forward, Layer, Layouts, Mode, ParamSpec, Role};
use crate::kernels::broadcast::{add_sums, map};
use crate::proto::caffe::{FillerParameter, LayerParameter, ScaleParameter};
use crate::tensor::{Layout, Shape, View};
use anyhow::Result;

/// A Scale layer.
#[derive(Debug)]
pub struct Scale {
    param: ScaleParameter,
}

impl Scale {
    /// The layer that `param` describes. Without a filler s starts at 1.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let mut param = param.scale_param.clone().unwrap_or_default();
        param.filler.get_or_insert_with(|| FillerParameter {
            value: Some(1.0),
            ..Default::default()
        });
        Ok(Self { param })
    }

    /// The shape of s and b.
    fn spanned(&self, bottoms: &[Shape]) -> Result<Shape> {
        spanned(bottoms, self.param.axis(), self.param.num_axes())
    }

    fn coupling(&self, bottoms: &[Shape]) -> Coupling {
        let Ok(s) = self.spanned(bottoms) else {
            return Coupling::Whole;
        };
        let free = |bottoms| coupling(bottoms, self.param.axis(), &s) == Coupling::Free;
        // A learned b along the samples has a value for each of the whole batch.
        Coupling::free_if(free(bottoms) && (!self.param.bias_term() || free(&bottoms[..1])))
    }
}

impl Layer for Scale {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let s = self.spanned(bottoms)?;
        inner(&bottoms[0], self.param.axis(), &s)?;
        Ok(vec![bottoms[0].clone()])
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let Ok(shape) = self.spanned(bottoms) else {
            return Vec::new();
        };
        let mut specs = Vec::new();
        if bottoms.len() == 1 {
            specs.push(ParamSpec::bias(shape.clone(), self.param.filler.as_ref()));
        }
        if self.param.bias_term() {
            specs.push(ParamSpec::bias(shape, self.param.bias_filler.as_ref()));
        }
        specs
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let coupling = self.coupling(bottoms);
        let channels = bottoms[0].axes() == 4 && bottoms[0].axis(self.param.axis()) == Some(1);
        let affine = bottoms.len() == 1 && channels && self.param.num_axes() == 1;
        let (role, layouts) = match affine {
            true => (Role::Affine, Layouts::Either),
            false => (Role::Other, Layouts::Planes),
        };
        Facts {
            coupling,
            role,
            layouts,
            in_place: true,
            reads_bottom: true,
            ..Facts::default()
        }
    }

    fn affine(&self, params: &[View]) -> (Vec<f32>, Vec<f32>) {
        let scale = params[0].data.to_vec();
        let shift = match self.param.bias_term() {
            true => params[1].data.to_vec(),
            false => vec![0.0; scale.len()],
        };
        (scale, shift)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let s = f.bottoms.get(1).unwrap_or_else(|| &f.params[0]).clone();
        let b = match self.param.bias_term() {
            true => f.params.last().map(|b| b.data),
            false => None,
        };
        let inner = match f.tops[0].layout {
            Layout::Planes => inner(&f.bottoms[0].shape, self.param.axis(), &s.shape)?,
            Layout::Pixels { .. } | Layout::Halves { .. } => 1,
        };
        let crew = f.crew;
        match b {
            Some(b) => {
                let pairs: Vec<(f32, f32)> =
                    s.data.iter().copied().zip(b.iter().copied()).collect();
                map(crew, inner, &pairs, f.carry(), |x, (s, b)| x * s + b);
            }
            None => map(crew, inner, s.data, f.carry(), |x, s| x * s),
        }
        Ok(())
    }

    /// dx = dy·s; ds = the sum of dy·x and db that of dy over what shares a value.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (crew, two) = (b.crew, b.bottoms.len() == 2);
        let s = if two { &b.bottoms[1] } else { &b.params[0] }.clone();
        let inner = match b.bottoms[0].layout {
            Layout::Planes => inner(&b.bottoms[0].shape, self.param.axis(), &s.shape)?,
            Layout::Pixels { .. } | Layout::Halves { .. } => 1,
        };
        let (x, dy) = (b.bottoms[0].data, b.top_diffs[0].data);
        let (first, last) = b
            .param_diffs
            .split_at_mut(usize::from(!two).min(b.param_diffs.len()));
        let ds = if two {
            b.bottom_diffs[1].as_mut().map(|d| {
                d.data.fill(0.0);
                &mut *d.data
            })
        } else {
            first[0].as_deref_mut()
        };
        let db = last.first_mut().and_then(|d| d.as_deref_mut());
        match (ds, db) {
            (Some(ds), Some(db)) => add_sums(crew, inner, [dy, x], s.data, [ds, db], |dy, x, _| {
                [dy * x, dy]
            }),
            (Some(ds), None) => add_sums(crew, inner, [dy, x], s.data, [ds], |dy, x, _| [dy * x]),
            (None, Some(db)) => add_sums(crew, inner, [dy, dy], s.data, [db], |dy, _, _| [dy]),
            (None, None) => {}
        }
        if let Some(diff) = b.carry() {
            map(crew, inner, s.data, diff, |dy, s| dy * s);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    fn scale(param: &str) -> Box<dyn Layer> {
        layer(&format!("type: 'Scale' scale_param {{ {param} }}"))
    }

    #[test]
    fn gradients() {
        let cases: [(i32, i32, &[usize]); 7] = [
            (1, 1, &[4]),
            (0, 1, &[3]),
            (0, -1, &[3, 4, 2]),
            (1, 2, &[4, 2]),
            (-1, 1, &[2]),
            (0, 2, &[3, 4]),
            (1, 0, &[]),
        ];
        for (axis, num_axes, shape) in cases {
            for bias in ["", "bias_term: true"] {
                let scale = scale(&format!("axis: {axis} num_axes: {num_axes} {bias}"));
                Check::default().run(&*scale, &[&[3, 4, 2]]);
                Check::default().run(&*scale, &[&[3, 4, 2], shape]);
            }
        }
    }

    #[test]
    fn gradients_channels_last() {
        let check = Check {
            pixels: true,
            ..Check::default()
        };
        check.run(&*scale("bias_term: true"), &[&[2, 3, 2, 4]]);
        check.run(&*scale(""), &[&[2, 3, 2, 4]]);
    }

    #[test]
    fn blobs() {
        let x = Shape::new([2, 3, 4]);
        let one = scale("bias_term: true").params(std::slice::from_ref(&x));
        assert_eq!(
            (one[0].shape.dims(), one[0].filler.value()),
            (&[3][..], 1.0)
        );
        assert_eq!(
            (one[1].shape.dims(), one[1].filler.value()),
            (&[3][..], 0.0)
        );
        let two = scale("axis: 0 bias_term: true").params(&[x, Shape::new([2, 3])]);
        assert_eq!(two.len(), 1);
        assert_eq!(two[0].shape.dims(), [2, 3]);
    }

    #[test]
    fn coupling_follows_the_axis() {
        let pair = [Shape::new([3, 4]), Shape::new([3])];
        assert_eq!(scale("axis: 0").facts(&pair).coupling, Coupling::Free);
        let bias = scale("axis: 0 bias_term: true");
        assert_eq!(bias.facts(&pair).coupling, Coupling::Whole);
        assert_eq!(
            scale("bias_term: true").facts(&pair[..1]).coupling,
            Coupling::Free
        );
        assert_eq!(scale("axis: 0").facts(&pair[..1]).coupling, Coupling::Whole);
    }
}
