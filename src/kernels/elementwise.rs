//! Loops over single elements and rows.

use super::simd::{Isa, Lanes, dispatch, wide};
use super::{CHUNK, each_chunk};
use crate::kernels::crew::Crew;

/// x ← max(x, 0) + `slope`·min(x, 0).
pub fn relu(crew: &Crew, slope: f32, x: &mut [f32]) {
    each_chunk(crew, CHUNK, x, |_, part| {
        if slope == 0.0 {
            // A NaN stays, as in Caffe, and shows in the loss. Not `wide`: masked stores take their place there, and are
            // slow.
            part.iter_mut()
                .for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
        } else {
            part.iter_mut()
                .for_each(|v| *v = if *v > 0.0 { *v } else { slope * *v });
        }
    });
}

/// diff ← diff where `value` > 0, `slope`·diff elsewhere. `value` may be the input or (for a slope of at
/// least 0) the output of [`relu`].
pub fn relu_backward(crew: &Crew, slope: f32, value: &[f32], diff: &mut [f32]) {
    assert_eq!(value.len(), diff.len());
    each_chunk(crew, CHUNK, diff, |start, part| {
        let value = &value[start..][..part.len()];
        if slope == 0.0 {
            // Signs are as good as random: no branches.
            return relu_backward_slices(part.len(), part.len(), value, part);
        }
        for (d, v) in part.iter_mut().zip(value) {
            *d *= if *v > 0.0 { 1.0 } else { slope };
        }
    });
}

/// The elements of a task over rows that are `step` apart: whole rows.
fn rows_of_a_task(step: usize) -> usize {
    step * (CHUNK / step.max(1)).max(1)
}

/// The first `run` of every `step` elements of `x` ← `value`.
pub fn fill_rows(crew: &Crew, [run, step]: [usize; 2], value: f32, x: &mut [f32]) {
    if run == step {
        return each_chunk(crew, CHUNK, x, |_, part| part.fill(value));
    }
    each_chunk(crew, rows_of_a_task(step), x, |_, part| {
        for row in part.chunks_mut(step) {
            let n = run.min(row.len());
            row[..n].fill(value);
        }
    });
}

/// [`relu_backward`] with slope 0 for the first `run` of every `step` elements.
pub fn relu_backward_rows(crew: &Crew, [run, step]: [usize; 2], value: &[f32], diff: &mut [f32]) {
    if run == step {
        return relu_backward(crew, 0.0, value, diff);
    }
    assert_eq!(value.len(), diff.len());
    each_chunk(crew, rows_of_a_task(step), diff, |start, part| {
        relu_backward_slices(step, run, &value[start..][..part.len()], part);
    });
}

/// [`relu_backward`] with slope 0 for `channels` values at the start of every `pitch`.
pub fn relu_backward_slices(pitch: usize, channels: usize, value: &[f32], diff: &mut [f32]) {
    mask_by(Isa::current(), pitch, channels, value, diff);
}

#[allow(unsafe_code)]
fn mask_by(isa: Isa, pitch: usize, channels: usize, value: &[f32], diff: &mut [f32]) {
    assert!(value.len() == diff.len() && channels <= pitch);
    // SAFETY: the body is safe code.
    unsafe { mask(isa, pitch, channels, value, diff) }
}

#[inline(always)]
#[allow(unsafe_code, clippy::extra_unused_type_parameters)]
unsafe fn mask_body<L: Lanes, const M: usize>(
    pitch: usize,
    channels: usize,
    value: &[f32],
    diff: &mut [f32],
) {
    for (v, d) in value.chunks(pitch).zip(diff.chunks_mut(pitch)) {
        for (d, v) in d[..channels].iter_mut().zip(&v[..channels]) {
            *d *= if *v > 0.0 { 1.0 } else { 0.0 };
        }
    }
}

dispatch! {
    /// The loop of [`relu_backward_slices`].
    #[allow(unsafe_code)]
    unsafe fn mask(pitch: usize, channels: usize, value: &[f32], diff: &mut [f32]) = mask_body
}

/// y ← x.
pub fn copy(crew: &Crew, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    each_chunk(crew, CHUNK, y, |start, part| {
        part.copy_from_slice(&x[start..][..part.len()]);
    });
}

/// y ← `a`·x.
pub fn scale(crew: &Crew, a: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    each_chunk(crew, CHUNK, y, |start, part| {
        let pairs = part.iter_mut().zip(&x[start..]);
        wide(|| pairs.for_each(|(y, x)| *y = a * x));
    });
}

/// y ← y + `a`·x.
pub fn add_scaled(crew: &Crew, a: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    each_chunk(crew, CHUNK, y, |start, part| {
        let pairs = part.iter_mut().zip(&x[start..]);
        wide(|| pairs.for_each(|(y, x)| *y += a * x));
    });
}

/// y ← y·x.
pub fn multiply(crew: &Crew, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    each_chunk(crew, CHUNK, y, |start, part| {
        let pairs = part.iter_mut().zip(&x[start..]);
        wide(|| pairs.for_each(|(y, x)| *y *= x));
    });
}

/// The sum of `x`, in 16 interleaved partial sums.
pub fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let blocks = x.chunks_exact(16);
    let rest: f32 = blocks.remainder().iter().sum();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(l, v)| *l += v);
    }
    let mut width = 8;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0] + rest
}

/// sums\[i\] ← sums\[i\] + the sum of row i of `x`, [sums.len(), n].
pub fn add_row_sums(x: &[f32], sums: &mut [f32]) {
    let n = x.len() / sums.len().max(1);
    for (s, row) in sums.iter_mut().zip(x.chunks_exact(n.max(1))) {
        *s += sum(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::crew;
    use crate::kernels::noise;

    #[test]
    fn relu_and_its_gradient() {
        for slope in [0.0, 0.25] {
            let x = noise(1, 40_001);
            let mut y = x.clone();
            crew::tests::with(3, |crew| relu(crew, slope, &mut y));
            for (y, x) in y.iter().zip(&x) {
                assert_eq!(*y, x.max(0.0) + slope * x.min(0.0));
            }
            let dy = noise(2, x.len());
            let mut dx = dy.clone();
            crew::tests::with(3, |crew| relu_backward(crew, slope, &x, &mut dx));
            for ((dx, dy), x) in dx.iter().zip(&dy).zip(&x) {
                assert_eq!(*dx, if *x > 0.0 { *dy } else { slope * dy });
            }
        }
    }

    #[test]
    fn gradients_of_slices_for_every_instruction_set() {
        let (value, diff) = (noise(1, 40 * 7), noise(2, 40 * 7));
        for isa in Isa::all() {
            let mut got = diff.clone();
            mask_by(isa, 40, 33, &value, &mut got);
            for (i, (got, diff)) in got.iter().zip(&diff).enumerate() {
                let dead = i % 40 < 33 && value[i] <= 0.0;
                assert_eq!(*got, if dead { 0.0 } else { *diff }, "{isa:?}, element {i}");
            }
        }
    }

    #[test]
    fn sums() {
        for n in [0, 1, 15, 16, 17, 1000] {
            let x = noise(3, 3 * n);
            let mut sums = [1.0; 3];
            add_row_sums(&x, &mut sums);
            for (i, s) in sums.iter().enumerate() {
                let want: f64 = x[i * n..(i + 1) * n].iter().map(|v| f64::from(*v)).sum();
                assert!((f64::from(*s) - 1.0 - want).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn arithmetic() {
        let (x, y) = (noise(1, 20_000), noise(2, 20_000));
        let mut z = y.clone();
        crew::tests::with(3, |crew| scale(crew, 2.0, &x, &mut z));
        crew::tests::with(3, |crew| add_scaled(crew, 3.0, &y, &mut z));
        crew::tests::with(3, |crew| multiply(crew, &x, &mut z));
        for ((x, y), z) in x.iter().zip(&y).zip(&z) {
            assert_eq!(*z, (2.0 * x + 3.0 * y) * x);
        }
    }
}
