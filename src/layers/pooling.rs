//! Pooling: the maximum (MAX) or average (AVE) of each window of each channel, [N, C, H, W] →
//! [N, C, pooled H, pooled W]. A second top of MAX gets the index of each maximum within its channel.

use super::{Backward, Forward, Layer, Mode, take};
use crate::kernels::im2col::Axis;
use crate::kernels::pooling::{NONE, average, average_backward, max, max_backward, max_indices};
use crate::proto::caffe::pooling_parameter::{PoolMethod, RoundMode};
use crate::proto::caffe::{LayerParameter, PoolingParameter};
use crate::tensor::Shape;
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
        let tops = param.top.len();
        let p = param.pooling_param.unwrap_or_default();
        if p.pool() == PoolMethod::Stochastic {
            bail!("pool: STOCHASTIC is not implemented (Caffe has it on a GPU only)");
        }
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
            let room = (input + 2 * pad).checked_sub(kernel);
            let (Some(room), true) = (room, input > 0 && kernel > 0 && stride > 0 && pad < kernel)
            else {
                bail!(
                    "no window fits the {name}: size {input}, kernel {kernel}, stride {stride}, pad {pad} (bottom 0 has \
                     shape {x}; the pad must be smaller than the kernel)"
                );
            };
            let mut output = match p.round_mode() {
                RoundMode::Ceil => room.div_ceil(stride) + 1,
                RoundMode::Floor => room / stride + 1,
            };
            // With padding the last window must start before the padding behind the input.
            if (p.pad() > 0 || p.pad_h() > 0 || p.pad_w() > 0)
                && (output - 1) * stride >= input + pad
            {
                output -= 1;
            }
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

    fn is_max(&self) -> bool {
        self.param.pool() == PoolMethod::Max
    }

    /// Whether forward leaves the indices of the maxima. Where it does not, backward finds them.
    fn keeps_indices(&self) -> bool {
        self.is_max() && (self.mode == Mode::Train || self.tops > 1)
    }
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

    fn keep_bytes(&self, bottoms: &[Shape]) -> usize {
        let count = |x: &Shape| {
            self.axes(x)
                .map_or(0, |[h, w]| x.count_to(2) * h.output * w.output)
        };
        if self.keeps_indices() {
            bottoms.first().map_or(0, |x| 4 * count(x))
        } else {
            0
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let axes = self.axes(&f.bottoms[0].shape)?;
        let x = f.bottoms[0].data;
        let [y, mask @ ..] = &mut *f.tops else {
            return Ok(());
        };
        f.keep.indices.clear();
        if !self.is_max() {
            average(f.parallel, x, axes, y.data);
        } else if !self.keeps_indices() {
            max(f.parallel, x, axes, y.data);
        } else {
            let indices = &mut f.keep.indices;
            indices.resize(y.data.len(), NONE);
            max_indices(f.parallel, x, axes, y.data, indices);
            for mask in mask {
                let number = |i: u32| if i == NONE { -1.0 } else { i as f32 };
                mask.data
                    .iter_mut()
                    .zip(&*indices)
                    .for_each(|(m, i)| *m = number(*i));
            }
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let axes = self.axes(&dx.shape)?;
        let dy = b.top_diffs[0].data;
        if !self.is_max() {
            average_backward(b.parallel, dy, axes, dx.data);
            return Ok(());
        }
        let sizes = [
            axes[0].input * axes[1].input,
            axes[0].output * axes[1].output,
        ];
        if b.keep.indices.len() != dy.len() {
            b.keep.indices.resize(dy.len(), NONE);
            b.keep.scratch(dy.len());
            let y = &mut b.keep.scratch[..dy.len()];
            max_indices(b.parallel, b.bottoms[0].data, axes, y, &mut b.keep.indices);
        }
        max_backward(b.parallel, dy, &b.keep.indices, sizes, dx.data);
        if !self.keeps_indices() {
            b.keep.indices.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
