//! Products of a matrix and a few vectors: an inner product of one sample reads its weights once and is as
//! fast as they come from memory, so they are read in rows, by all threads.

#![allow(unsafe_code)]

use crate::kernels::crew::Crew;
use crate::kernels::each_chunk;
use crate::kernels::simd::{Isa, Lanes, dispatch};

/// More vectors than this are a matrix, for [`gemm`](super::gemm).
pub const MOST: usize = 4;

/// Floats of weights that one task reads: enough to pay for the task.
const TASK: usize = 1 << 17;

/// y\[m\]\[n\] = b\[n\] + Σₖ w\[n\]\[k\] · x\[m\]\[k\], for `rows` rows of x; `w` is [outputs, depth] in C order.
pub fn inner_products(
    crew: &Crew,
    rows: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    inner_products_by(Isa::current(), crew, rows, x, w, bias, y);
}

/// [`inner_products`] with an instruction set of one's own choice.
fn inner_products_by(
    isa: Isa,
    crew: &Crew,
    rows: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (outputs, depth) = (y.len() / rows.max(1), x.len() / rows.max(1));
    assert_eq!(w.len(), outputs * depth);
    assert!(bias.is_none_or(|b| b.len() == outputs));
    if depth == 0 {
        for row in y.chunks_exact_mut(outputs.max(1)) {
            match bias {
                Some(b) => row.copy_from_slice(b),
                None => row.fill(0.0),
            }
        }
        return;
    }
    let each = (TASK / depth.max(1)).max(4).next_multiple_of(4);
    for (x, y) in x
        .chunks_exact(depth.max(1))
        .zip(y.chunks_exact_mut(outputs.max(1)))
    {
        each_chunk(crew, each, y, |start, part| {
            let w = &w[start * depth..][..part.len() * depth];
            // SAFETY: `w` has `depth` floats for each element of `part`, `x` has `depth`.
            unsafe {
                dots(
                    isa,
                    x.as_ptr(),
                    w.as_ptr(),
                    depth,
                    part.as_mut_ptr(),
                    part.len(),
                )
            };
            if let Some(b) = bias {
                part.iter_mut().zip(&b[start..]).for_each(|(y, b)| *y += b);
            }
        });
    }
}

/// The sum of the lanes, halves first.
#[inline(always)]
unsafe fn total<L: Lanes>(v: L) -> f32 {
    let mut lanes = [0.0f32; 16];
    // SAFETY: there is room for sixteen.
    unsafe { v.store(lanes.as_mut_ptr()) };
    let mut width = 8;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
unsafe fn some<L: Lanes, const N: usize>(x: *const f32, w: *const f32, depth: usize, y: *mut f32) {
    // SAFETY: as the caller says.
    unsafe {
        let mut acc = [L::zero(); N];
        let whole = depth / 16 * 16;
        for k in (0..whole).step_by(16) {
            let v = L::load(x.add(k));
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = acc.mul_add(v, L::load(w.add(i * depth + k)));
            }
        }
        for (i, acc) in acc.into_iter().enumerate() {
            let mut sum = total(acc);
            for k in whole..depth {
                sum += *x.add(k) * *w.add(i * depth + k);
            }
            *y.add(i) = sum;
        }
    }
}

#[inline(always)]
unsafe fn dots_body<L: Lanes, const M: usize>(
    x: *const f32,
    w: *const f32,
    depth: usize,
    y: *mut f32,
    n: usize,
) {
    // SAFETY: as the caller says.
    unsafe {
        let fours = n / 4 * 4;
        for i in (0..fours).step_by(4) {
            some::<L, 4>(x, w.add(i * depth), depth, y.add(i));
        }
        for i in fours..n {
            some::<L, 1>(x, w.add(i * depth), depth, y.add(i));
        }
    }
}

dispatch! {
    /// `n` rows of weights times one vector.
    unsafe fn dots(x: *const f32, w: *const f32, depth: usize, y: *mut f32, n: usize) = dots_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::crew;
    use crate::kernels::noise;

    #[test]
    fn as_written_down() {
        for (rows, outputs, depth) in [
            (1, 1, 1),
            (1, 7, 33),
            (3, 1001, 250),
            (4, 64, 4096),
            (2, 3, 0),
        ] {
            let (x, w) = (noise(1, rows * depth), noise(2, outputs * depth));
            let b = noise(3, outputs);
            for isa in Isa::all() {
                let mut y = vec![f32::NAN; rows * outputs];
                inner_products_by(isa, &Crew::alone(), rows, &x, &w, Some(&b), &mut y);
                for (i, y) in y.iter().enumerate() {
                    let (m, n) = (i / outputs, i % outputs);
                    let terms = (0..depth)
                        .map(|k| f64::from(x[m * depth + k]) * f64::from(w[n * depth + k]));
                    let want = terms.sum::<f64>() + f64::from(b[n]);
                    assert!(
                        (f64::from(*y) - want).abs() < 1e-4,
                        "{isa:?} {rows} {outputs} {depth}: {y} {want}"
                    );
                }
                let mut again = vec![f32::NAN; rows * outputs];
                crew::tests::with(3, |crew| {
                    inner_products_by(isa, crew, rows, &x, &w, Some(&b), &mut again)
                });
                assert_eq!(y, again, "{isa:?}");
            }
        }
    }
}
