//! How a `convolution_param` moves its windows over the spatial axes: what Convolution, Deconvolution and
//! Im2col read alike.

use crate::kernels::convolution::im2col::Axis;
use crate::proto::caffe::ConvolutionParameter;
use crate::tensor::Shape;
use anyhow::{Context, Result, bail};

/// The windows along one spatial axis; `kernel` and `stride` are at least 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Size of the axis of bottom 0.
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub dilation: usize,
}

/// The axis of the channels of a bottom of shape `x`, and the windows along each axis behind it.
pub(super) fn windows(p: &ConvolutionParameter, x: &Shape) -> Result<(usize, Vec<Window>)> {
    let channel_axis = super::axis(x, p.axis(), "axis")?;
    let spatial = &x.dims()[channel_axis + 1..];
    let n = spatial.len();
    // Without spatial axes there is nothing to give a size for.
    if n > 0 && p.kernel_size.is_empty() && p.kernel_h.is_none() && p.kernel_w.is_none() {
        bail!("convolution_param needs kernel_size, or kernel_h and kernel_w");
    }
    let kernel = sizes("kernel", &p.kernel_size, p.kernel_h, p.kernel_w, None, n, x)?;
    let stride = sizes("stride", &p.stride, p.stride_h, p.stride_w, Some(1), n, x)?;
    let pad = sizes("pad", &p.pad, p.pad_h, p.pad_w, Some(0), n, x)?;
    let dilation = sizes("dilation", &p.dilation, None, None, Some(1), n, x)?;
    let windows: Vec<Window> = (0..n)
        .map(|i| Window {
            size: spatial[i],
            kernel: kernel[i],
            stride: stride[i],
            pad: pad[i],
            dilation: dilation[i],
        })
        .collect();
    let none = |w: &Window| w.size == 0 || w.kernel == 0 || w.stride == 0;
    match windows.iter().position(none) {
        Some(i) => Err(no_window(&windows[i], i, x)),
        None => Ok((channel_axis, windows)),
    }
}

/// The axes of a convolution of `x`.
pub(super) fn axes(windows: &[Window], x: &Shape) -> Result<Vec<Axis>> {
    let axis = |(i, w): (usize, &Window)| {
        Axis::new(w.size, w.kernel, w.stride, w.pad, w.dilation)
            .with_context(|| format!("{:#}", no_window(w, i, x)))
    };
    windows.iter().enumerate().map(axis).collect()
}

/// What is wrong with spatial axis `i` of `x`.
pub(super) fn no_window(w: &Window, i: usize, x: &Shape) -> anyhow::Error {
    anyhow::anyhow!(
        "no window fits spatial axis {i}: size {}, kernel {}, stride {}, pad {}, dilation {} \
         (bottom 0 has shape {x})",
        w.size,
        w.kernel,
        w.stride,
        w.pad,
        w.dilation
    )
}

/// What can be told without a bottom about the parameters of a layer with weights.
pub(super) fn check(p: &ConvolutionParameter) -> Result<()> {
    if p.num_output() == 0 {
        bail!("convolution_param needs num_output, the number of output channels");
    }
    if p.group() == 0 {
        bail!("group is 0, it must be at least 1");
    }
    Ok(())
}

/// The channels of `x` and the groups, if they and `num_output` can be divided.
pub(super) fn groups(p: &ConvolutionParameter, channels: usize, x: &Shape) -> Result<usize> {
    let (outputs, groups) = (p.num_output() as usize, p.group() as usize);
    if channels == 0 || !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
        bail!(
            "group {groups} must divide the channels of bottom 0 ({channels}, of shape {x}) and num_output ({outputs})"
        );
    }
    Ok(groups)
}

/// The one shape of all bottoms.
pub(super) fn one_shape(bottoms: &[Shape]) -> Result<&Shape> {
    let [first, rest @ ..] = bottoms else {
        bail!("it takes at least one bottom, but none is named");
    };
    if let Some((i, x)) = rest.iter().enumerate().find(|(_, x)| *x != first) {
        bail!(
            "all bottoms must have one shape: bottom 0 has {first}, bottom {} has {x}",
            i + 1
        );
    }
    Ok(first)
}

/// One size for each of `n` spatial axes, from a repeated field or a pair `_h`, `_w`.
fn sizes(
    name: &str,
    all: &[u32],
    h: Option<u32>,
    w: Option<u32>,
    default: Option<usize>,
    n: usize,
    x: &Shape,
) -> Result<Vec<usize>> {
    if h.is_some() || w.is_some() {
        if n != 2 || !all.is_empty() {
            bail!(
                "{name}_h and {name}_w are for two spatial axes and without another {name}: bottom 0 of shape {x} \
                 has {n} spatial axes, and {} other values are given",
                all.len()
            );
        }
        let missing = default.unwrap_or(0);
        return Ok([h, w].map(|v| v.map_or(missing, |v| v as usize)).to_vec());
    }
    match (all, default) {
        ([], Some(default)) => Ok(vec![default; n]),
        ([one], _) => Ok(vec![*one as usize; n]),
        _ if all.len() == n => Ok(all.iter().map(|v| *v as usize).collect()),
        _ => bail!(
            "{} values for {name}, but bottom 0 of shape {x} has {n} spatial axes",
            all.len()
        ),
    }
}
