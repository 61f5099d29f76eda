//! PReLU (He et al. 2015): y = max(x, 0) + aᵢ·min(x, 0) with a learned slope aᵢ for each channel (axis
//! 1), or one for all with `channel_shared`. Slopes [C] or a scalar.

use super::{Backward, Facts, Forward, Layer, Mode, ParamSpec, take};
use crate::kernels::broadcast::{add_sums, map, zip_map};
use crate::proto::caffe::{FillerParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A PReLU layer.
#[derive(Debug)]
pub struct PReLU {
    filler: FillerParameter,
    shared: bool,
}

impl PReLU {
    /// The layer that `param` describes. Slopes start at 0.25 unless a filler says otherwise.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.prelu_param.clone().unwrap_or_default();
        Ok(Self {
            shared: p.channel_shared(),
            filler: p.filler.unwrap_or_else(|| FillerParameter {
                value: Some(0.25),
                ..Default::default()
            }),
        })
    }

    /// How many neighbouring elements share a slope.
    fn inner(&self, x: &Shape) -> usize {
        if self.shared {
            x.count()
        } else {
            x.count_from(2)
        }
    }
}

impl Layer for PReLU {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        if x.axes() < 2 {
            bail!(
                "it needs a bottom of at least 2 axes (samples, channels, …), bottom 0 has shape {x}"
            );
        }
        Ok(vec![x.clone()])
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let channels = bottoms.first().map_or(1, |x| x.dim(1));
        let shape = if self.shared { vec![] } else { vec![channels] };
        vec![ParamSpec::bias(shape, Some(&self.filler))]
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            in_place: true,
            reads_bottom: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let inner = self.inner(&f.tops[0].shape);
        let (crew, slopes) = (f.crew, f.params[0].data);
        map(crew, inner, slopes, f.carry(), |x, a| {
            if x > 0.0 { x } else { a * x }
        });
        Ok(())
    }

    /// da += Σ dy·x over x ≤ 0, dx = dy · (1 where x > 0, a elsewhere).
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let inner = self.inner(&b.bottoms[0].shape);
        let (crew, slopes) = (b.crew, b.params[0].data);
        let (x, dy) = (b.bottoms[0].data, b.top_diffs[0].data);
        if let Some(Some(da)) = b.param_diffs.first_mut() {
            add_sums(crew, inner, [dy, x], slopes, [da], |dy, x, _| {
                [if x > 0.0 { 0.0 } else { dy * x }]
            });
        }
        if let Some(diff) = b.carry() {
            zip_map(crew, inner, slopes, Some(x), diff, |dy, x, a| {
                dy * if x > 0.0 { 1.0 } else { a }
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        let check = Check {
            kink_range: 0.02,
            ..Check::default()
        };
        for shared in [false, true] {
            let prelu = layer(&format!(
                "type: 'PReLU' prelu_param {{ channel_shared: {shared} }}"
            ));
            for dims in [&[3, 4][..], &[2, 3, 5], &[1, 3, 2, 3]] {
                check.run(&*prelu, &[dims]);
            }
        }
    }

    #[test]
    fn slopes() {
        let spec = |text: &str| layer(text).params(&[Shape::new([2, 3, 4])]).remove(0);
        let each = spec("type: 'PReLU'");
        assert_eq!((each.shape.dims(), each.filler.value()), (&[3][..], 0.25));
        let one = spec("type: 'PReLU' prelu_param { channel_shared: true filler { value: 0.1 } }");
        assert_eq!((one.shape.axes(), one.filler.value()), (0, 0.1));
        let e = layer("type: 'PReLU'").shapes(&[Shape::new([4])]);
        assert!(e.unwrap_err().to_string().contains("has shape 4 (4)"));
    }
}
