//! Windows of a picture as columns of a matrix, and back.
//!
//! For C channels, a kernel of k₀ × … elements and P = o₀ × … output positions, the column matrix has
//! C·k₀·… rows and P columns, both in C order, so that a convolution is weights · columns.

use std::ops::Range;

/// One spatial axis of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Size of the input.
    pub input: usize,
    /// Size of the kernel, without dilation.
    pub kernel: usize,
    /// Distance of neighbouring windows.
    pub stride: usize,
    /// Zeros assumed before and after the input.
    pub pad: usize,
    /// Distance of neighbouring kernel elements.
    pub dilation: usize,
    /// Number of windows.
    pub output: usize,
}

impl Axis {
    /// The axis with its number of windows, (input + 2·pad − (dilation·(kernel−1)+1)) / stride + 1;
    /// `None` where not even one window fits.
    pub fn new(
        input: usize,
        kernel: usize,
        stride: usize,
        pad: usize,
        dilation: usize,
    ) -> Option<Self> {
        let extent = dilation
            .checked_mul(kernel.checked_sub(1)?)?
            .checked_add(1)?;
        let room = pad
            .checked_mul(2)?
            .checked_add(input)?
            .checked_sub(extent)?;
        Some(Self {
            input,
            kernel,
            stride,
            pad,
            dilation,
            output: room.checked_div(stride)? + 1,
        })
    }

    /// An axis of size 1 that changes nothing.
    pub const ONE: Self = Self {
        input: 1,
        kernel: 1,
        stride: 1,
        pad: 0,
        dilation: 1,
        output: 1,
    };

    /// Whether columns along this axis are the input itself.
    pub fn is_identity(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.pad == 0
    }

    /// The windows (within `among`) whose element `k` lies inside the input, and the input index of the
    /// first of them.
    pub(in crate::kernels) fn inside(
        &self,
        k: usize,
        among: &Range<usize>,
    ) -> (Range<usize>, usize) {
        let shift = k * self.dilation;
        let lo = self
            .pad
            .saturating_sub(shift)
            .div_ceil(self.stride)
            .max(among.start);
        let hi = match (self.input + self.pad).checked_sub(shift + 1) {
            Some(last) => (last / self.stride + 1).min(among.end),
            None => 0,
        };
        if lo < hi {
            (lo..hi, lo * self.stride + shift - self.pad)
        } else {
            (among.start..among.start, 0)
        }
    }
}

/// The two axes of a picture, if there are not more.
pub fn picture(axes: &[Axis]) -> Option<[Axis; 2]> {
    match *axes {
        [] => Some([Axis::ONE, Axis::ONE]),
        [w] => Some([Axis::ONE, w]),
        [h, w] => Some([h, w]),
        _ => None,
    }
}

/// Writes the columns of output rows `rows` of a 2-D convolution: `col` gets
/// [C · kernel_h · kernel_w, rows.len() · output_w] of `x`, [C, input_h, input_w].
pub fn im2col(x: &[f32], [h, w]: [Axis; 2], rows: Range<usize>, col: &mut [f32]) {
    let width = rows.len() * w.output;
    let mut lines = col.chunks_exact_mut(width.max(1));
    for plane in x.chunks_exact(h.input * w.input) {
        for ky in 0..h.kernel {
            let (ys, y0) = h.inside(ky, &rows);
            for kx in 0..w.kernel {
                let Some(line) = lines.next() else { return };
                let (xs, x0) = w.inside(kx, &(0..w.output));
                line[..(ys.start - rows.start) * w.output].fill(0.0);
                line[(ys.end - rows.start) * w.output..].fill(0.0);
                for (i, y) in ys.clone().enumerate() {
                    let out = &mut line[(y - rows.start) * w.output..][..w.output];
                    let row = &plane[(y0 + i * h.stride) * w.input..][..w.input];
                    gather(out, row, &xs, x0, w.stride);
                }
            }
        }
    }
}

/// One row of windows: zeros outside `xs`, every `stride`-th element from `x0` on inside.
fn gather(out: &mut [f32], row: &[f32], xs: &Range<usize>, x0: usize, stride: usize) {
    out[..xs.start].fill(0.0);
    out[xs.end..].fill(0.0);
    let out = &mut out[xs.clone()];
    match stride {
        1 => out.copy_from_slice(&row[x0..][..out.len()]),
        2 if !out.is_empty() => {
            // The last pair may lack its second element.
            let n = out.len() - 1;
            for (o, pair) in out[..n].iter_mut().zip(row[x0..].chunks_exact(2)) {
                *o = pair[0];
            }
            out[n] = row[x0 + 2 * n];
        }
        _ => out
            .iter_mut()
            .zip(row[x0.min(row.len())..].iter().step_by(stride))
            .for_each(|(o, v)| *o = *v),
    }
}

/// Adds the columns of output rows `rows` back to where [`im2col`] took them from.
pub fn col2im(col: &[f32], [h, w]: [Axis; 2], rows: Range<usize>, x: &mut [f32]) {
    let width = rows.len() * w.output;
    let mut lines = col.chunks_exact(width.max(1));
    for plane in x.chunks_exact_mut(h.input * w.input) {
        for ky in 0..h.kernel {
            let (ys, y0) = h.inside(ky, &rows);
            for kx in 0..w.kernel {
                let Some(line) = lines.next() else { return };
                let (xs, x0) = w.inside(kx, &(0..w.output));
                for (i, y) in ys.clone().enumerate() {
                    let from = &line[(y - rows.start) * w.output..][xs.clone()];
                    let row = &mut plane[(y0 + i * h.stride) * w.input..][..w.input];
                    let row = &mut row[x0.min(w.input)..];
                    if w.stride == 1 {
                        row.iter_mut().zip(from).for_each(|(r, v)| *r += *v);
                    } else {
                        row.iter_mut()
                            .step_by(w.stride)
                            .zip(from)
                            .for_each(|(r, v)| *r += *v);
                    }
                }
            }
        }
    }
}

/// Calls `f(column offset, input offset)` for every element of one channel's column matrix that lies
/// inside the input, for any number of axes.
fn walk(axes: &[Axis], mut f: impl FnMut(usize, usize)) {
    let kernel: usize = axes.iter().map(|a| a.kernel).product();
    let output: usize = axes.iter().map(|a| a.output).product();
    for k in 0..kernel {
        for p in 0..output {
            let (mut k_left, mut p_left, mut offset, mut step, mut inside) = (k, p, 0, 1, true);
            for a in axes.iter().rev() {
                let at = p_left % a.output * a.stride + k_left % a.kernel * a.dilation;
                p_left /= a.output;
                k_left /= a.kernel;
                inside &= at >= a.pad && at < a.input + a.pad;
                offset += at.wrapping_sub(a.pad).wrapping_mul(step);
                step *= a.input;
                if !inside {
                    break;
                }
            }
            if inside {
                f(k * output + p, offset);
            }
        }
    }
}

/// [`im2col`] for any number of axes and all output positions.
pub fn im2col_nd(x: &[f32], axes: &[Axis], col: &mut [f32]) {
    col.fill(0.0);
    let (plane, block) = sizes(axes);
    for (x, col) in x.chunks_exact(plane).zip(col.chunks_exact_mut(block)) {
        walk(axes, |c, i| col[c] = x[i]);
    }
}

/// [`col2im`] for any number of axes and all output positions.
pub fn col2im_nd(col: &[f32], axes: &[Axis], x: &mut [f32]) {
    let (plane, block) = sizes(axes);
    for (x, col) in x.chunks_exact_mut(plane).zip(col.chunks_exact(block)) {
        walk(axes, |c, i| x[i] += col[c]);
    }
}

/// Elements of one channel of the input and of its columns.
fn sizes(axes: &[Axis]) -> (usize, usize) {
    let plane = axes.iter().map(|a| a.input).product();
    (plane, axes.iter().map(|a| a.kernel * a.output).product())
}

#[cfg(test)]
mod tests;
