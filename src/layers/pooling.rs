//! Pooling: the maximum (MAX), the average (AVE) or a number drawn at random (STOCHASTIC) of each window
//! of each channel, [N, C, H, W] → [N, C, pooled H, pooled W]. A second top of MAX gets the index of each
//! maximum within its channel.

use super::{Backward, Facts, Forward, Halves, Layer, Layouts, Mode, take};
use crate::kernels::convolution::im2col::Axis;
use crate::kernels::crew::Crew;
use crate::kernels::pooling::channels_last;
use crate::kernels::pooling::{NONE, average, average_backward, max, max_backward, max_indices};
use crate::kernels::stochastic::{expect, expect_backward, sample};
use crate::proto::caffe::pooling_parameter::{PoolMethod, RoundMode};
use crate::proto::caffe::{LayerParameter, PoolingParameter};
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// A Pooling layer.
#[derive(Debug)]
pub struct Pooling {
    param: PoolingParameter,
    tops: usize,
    mode: Mode,
}

impl Pooling {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, mode: Mode) -> Result<Self> {
        let p = param.pooling_param.unwrap_or_default();
        Self::of(p, param.top.len(), mode)
    }

    /// The layer of `p` with so many tops.
    pub(super) fn of(p: PoolingParameter, tops: usize, mode: Mode) -> Result<Self> {
        if p.global_pooling() {
            if p.kernel_size.or(p.kernel_h).or(p.kernel_w).is_some() {
                bail!(
                    "global_pooling pools whole channels: kernel_size, kernel_h and kernel_w cannot be given with it"
                );
            }
            let plain = [p.pad, p.pad_h, p.pad_w]
                .iter()
                .all(|v| v.unwrap_or(0) == 0);
            if !plain
                || [p.stride, p.stride_h, p.stride_w]
                    .iter()
                    .any(|v| v.unwrap_or(1) != 1)
            {
                bail!("global_pooling allows only pad 0 and stride 1");
            }
        } else {
            match (p.kernel_size, p.kernel_h, p.kernel_w) {
                (Some(_), None, None) | (None, Some(_), Some(_)) => {}
                _ => bail!("pooling_param needs either kernel_size, or both kernel_h and kernel_w"),
            }
        }
        for (name, one, h, w) in [
            ("pad", p.pad, p.pad_h, p.pad_w),
            ("stride", p.stride, p.stride_h, p.stride_w),
        ] {
            match (one, h, w) {
                (_, None, None) | (None, Some(_), Some(_)) => {}
                _ => bail!("pooling_param takes either {name}, or both {name}_h and {name}_w"),
            }
        }
        let padded = [p.pad, p.pad_h, p.pad_w].iter().any(|v| v.unwrap_or(0) > 0);
        if padded && p.pool() == PoolMethod::Stochastic {
            bail!("pool: STOCHASTIC cannot pad");
        }
        if tops > 1 && p.pool() != PoolMethod::Max {
            bail!("only pool: MAX has a second top, the indices of the maxima");
        }
        Ok(Self {
            param: p,
            tops: tops.max(1),
            mode,
        })
    }

    /// The window along height and width, for a bottom of shape `x`.
    fn axes(&self, x: &Shape) -> Result<[Axis; 2]> {
        let &[_, _, height, width] = x.dims() else {
            bail!(
                "it pools arrays of 4 axes (samples, channels, height, width), bottom 0 has shape {x}"
            );
        };
        let p = &self.param;
        let axis = |name: &str,
                    input: usize,
                    kernel: Option<u32>,
                    stride: Option<u32>,
                    pad: Option<u32>| {
            let kernel = match p.global_pooling() {
                true => input,
                false => kernel.or(p.kernel_size).unwrap_or(0) as usize,
            };
            let stride = stride.unwrap_or_else(|| p.stride()) as usize;
            let pad = pad.unwrap_or_else(|| p.pad()) as usize;
            let padded = p.pad() > 0 || p.pad_h() > 0 || p.pad_w() > 0;
            let sizes = [input, kernel, stride, pad].map(|v| v as i64);
            let Some(output) = windows(sizes, p.round_mode(), padded) else {
                bail!(
                    "no window fits the {name}: size {input}, kernel {kernel}, stride {stride}, pad {pad} (bottom 0 has \
                     shape {x}; the pad must be smaller than the kernel)"
                );
            };
            Ok(Axis {
                input,
                kernel,
                stride,
                pad,
                dilation: 1,
                output,
            })
        };
        Ok([
            axis("height", height, p.kernel_h, p.stride_h, p.pad_h)?,
            axis("width", width, p.kernel_w, p.stride_w, p.pad_w)?,
        ])
    }

    /// Whether forward leaves the places of the numbers it took. Where it does not, backward finds the
    /// maxima.
    fn keeps_indices(&self) -> bool {
        match self.param.pool() {
            PoolMethod::Max => self.mode == Mode::Train || self.tops > 1,
            PoolMethod::Stochastic => self.mode == Mode::Train,
            PoolMethod::Ave => false,
        }
    }

    /// Pools `x` into `y`. `indices` gets the places of the numbers taken, or nothing. `draw(i)` gives
    /// output i its random number, above 0 and up to 1.
    pub(super) fn pool(
        &self,
        crew: &Crew,
        x: &View,
        y: &mut [f32],
        indices: &mut Vec<u32>,
        draw: impl Fn(usize) -> f32 + Sync,
    ) -> Result<()> {
        let axes = self.axes(&x.shape)?;
        indices.clear();
        if self.keeps_indices() {
            indices.resize(y.len(), NONE);
        }
        if x.layout.is_pixels() {
            let channels = x.shape.dim(1);
            match self.param.pool() {
                PoolMethod::Ave if x.layout.is_halves() => {
                    channels_last::average_halves(crew, x.data, channels, axes, y);
                }
                _ if x.layout.is_halves() => {
                    channels_last::max_halves(crew, x.data, channels, axes, y);
                }
                PoolMethod::Ave => channels_last::average(crew, x.data, channels, axes, y),
                _ => {
                    let indices = self.keeps_indices().then_some(&mut indices[..]);
                    channels_last::max(crew, x.data, channels, axes, y, indices);
                }
            }
            return Ok(());
        }
        match (self.param.pool(), self.keeps_indices()) {
            (PoolMethod::Max, true) => max_indices(crew, x.data, axes, y, indices),
            (PoolMethod::Max, false) => max(crew, x.data, axes, y),
            (PoolMethod::Ave, _) => average(crew, x.data, axes, y),
            (PoolMethod::Stochastic, true) => sample(crew, x.data, axes, y, indices, draw),
            (PoolMethod::Stochastic, false) => expect(crew, x.data, axes, y),
        }
        Ok(())
    }

    /// The gradient of `x` from that of [`Pooling::pool`]'s result; `indices` are what it left.
    pub(super) fn unpool(
        &self,
        crew: &Crew,
        x: &View,
        dy: &[f32],
        indices: &[u32],
        dx: &mut [f32],
    ) -> Result<()> {
        let axes = self.axes(&x.shape)?;
        let [h, w] = axes;
        let sizes = [h.input * w.input, h.output * w.output];
        if x.layout.is_pixels() {
            let channels = x.shape.dim(1);
            if self.param.pool() == PoolMethod::Ave {
                channels_last::average_backward(crew, dy, channels, axes, dx);
            } else if indices.len() == dy.len() {
                channels_last::max_backward(crew, dy, indices, channels, axes, dx);
            } else {
                let (mut y, mut indices) = (vec![0.0; dy.len()], vec![NONE; dy.len()]);
                let places = Some(&mut indices[..]);
                channels_last::max(crew, x.data, channels, axes, &mut y, places);
                channels_last::max_backward(crew, dy, &indices, channels, axes, dx);
            }
            return Ok(());
        }
        match self.param.pool() {
            PoolMethod::Ave => average_backward(crew, dy, axes, dx),
            PoolMethod::Stochastic if !self.keeps_indices() => {
                expect_backward(crew, x.data, dy, axes, dx);
            }
            _ if indices.len() == dy.len() => max_backward(crew, dy, indices, sizes, dx),
            _ => {
                let (mut y, mut indices) = (vec![0.0; dy.len()], vec![NONE; dy.len()]);
                max_indices(crew, x.data, axes, &mut y, &mut indices);
                max_backward(crew, dy, &indices, sizes, dx);
            }
        }
        Ok(())
    }
}

/// The number of windows along an axis, by Caffe's formula: a window larger than the input and its padding
/// counts as one (of Caffe's two ways of rounding, up) as long as less than a stride is missing, and ends
/// where the padding ends. `None` where there is no window, or Caffe refuses the sizes. `padded`: whether
/// this axis or another has padding.
fn windows(
    [input, kernel, stride, pad]: [i64; 4],
    round: RoundMode,
    padded: bool,
) -> Option<usize> {
    if input < 1 || kernel < 1 || stride < 1 || pad >= kernel {
        return None;
    }
    let room = input + 2 * pad - kernel;
    let mut output = 1 + match round {
        RoundMode::Ceil => -(-room).div_euclid(stride),
        RoundMode::Floor => room.div_euclid(stride),
    };
    // With padding the last window must start before the padding behind the input.
    if padded && (output - 1) * stride >= input + pad {
        output -= 1;
    }
    usize::try_from(output).ok().filter(|n| *n > 0)
}

impl Layer for Pooling {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let [h, w] = self.axes(x)?;
        if h.input * w.input >= NONE as usize {
            bail!(
                "a channel of bottom 0 (shape {x}) has too many elements to be indexed by 32 bits"
            );
        }
        Ok(vec![
            Shape::new([x.dim(0), x.dim(1), h.output, w.output]);
            self.tops
        ])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let x = &bottoms[0];
        let count = self
            .axes(x)
            .map_or(0, |[h, w]| x.count_to(2) * h.output * w.output);
        Facts {
            layouts: match self.param.pool() {
                PoolMethod::Max | PoolMethod::Ave if self.tops == 1 => Layouts::Either,
                _ => Layouts::Planes,
            },
            halves: match self.param.pool() {
                PoolMethod::Max if self.tops == 1 && !self.keeps_indices() => Halves::Alike,
                PoolMethod::Ave => Halves::Bottom,
                _ => Halves::Never,
            },
            scratch_bytes: match self.keeps_indices() {
                true => 4 * count,
                false => 0,
            },
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let [y, mask @ ..] = &mut *f.tops else {
            return Ok(());
        };
        let (random, start) = (f.random, f.first * y.shape.count_from(1));
        let indices = &mut f.keep.indices;
        self.pool(f.crew, &f.bottoms[0], y.data, indices, |i| {
            1.0 - random.unit((start + i) as u64)
        })?;
        for mask in mask {
            let number = |i: u32| if i == NONE { -1.0 } else { i as f32 };
            mask.data
                .iter_mut()
                .zip(&*indices)
                .for_each(|(m, i)| *m = number(*i));
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let indices = &b.keep.indices;
        self.unpool(b.crew, &b.bottoms[0], b.top_diffs[0].data, indices, dx.data)
    }
}

#[cfg(test)]
mod tests;
