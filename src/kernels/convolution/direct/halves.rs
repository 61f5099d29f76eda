//! Strips of input in bfloat16, as AMX's tiles read them: zero-padded, all channels of a pixel side by side, whatever
//! lies between the pixels of X.

#![allow(unsafe_code)]

use super::{Direct, Order};
use crate::kernels::amx::DEPTH;
use crate::kernels::scratch;
use std::arch::x86_64::*;
use std::ops::Range;

/// The first `n` of `from`, rounded to bfloat16.
///
/// # Safety
/// There are as many at both; AVX-512 with BF16, BW and VL is there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn halve(from: *const f32, n: usize, to: *mut u16) {
    let whole = n / 32 * 32;
    for i in (0..whole).step_by(32) {
        // SAFETY: as the caller says.
        unsafe {
            let (low, high) = (
                _mm512_loadu_ps(from.add(i)),
                _mm512_loadu_ps(from.add(i + 16)),
            );
            let both = _mm512_cvtne2ps_pbh(high, low);
            _mm512_storeu_si512(
                to.add(i).cast(),
                std::mem::transmute::<__m512bh, __m512i>(both),
            );
        }
    }
    for i in (whole..n).step_by(16) {
        let mask = (1u32 << (n - i).min(16)) - 1;
        // SAFETY: as the caller says; the mask leaves out the rest.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask as __mmask16, from.add(i));
            let half = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
            _mm256_mask_storeu_epi16(to.add(i).cast(), mask as __mmask16, half);
        }
    }
}

impl Direct {
    /// Calls `f` with the padded input of output rows `rows` in bfloat16, and `behind` more zeros after it.
    ///
    /// # Safety
    /// X holds a sample in `order`; AVX-512 with BF16, BW and VL is there.
    pub(super) unsafe fn with_halves(
        &self,
        x: &[f32],
        order: Order,
        rows: &Range<usize>,
        behind: usize,
        f: impl FnOnce(*const u16),
    ) {
        let under = self.under(rows);
        let n = under.len() * self.strip_row(self.groups * self.channels);
        scratch::halves(n + behind, |strip| {
            let (inside, rest) = strip.split_at_mut(n);
            rest.fill(0);
            // SAFETY: as the caller says.
            unsafe { self.halve_rows(x, order, under, inside) };
            f(strip.as_ptr());
        });
    }

    /// Elements that a tile may read behind the last pixel of a strip of so many pixels a line: of pixels that are not
    /// there, `step` pixels apart, and of a step in depth that goes past its run.
    pub(super) fn behind(&self, pixels: usize, step: usize) -> usize {
        let more = 16usize.saturating_sub(pixels);
        more * step * self.groups * self.channels + DEPTH
    }

    /// [`Direct::pad`] to bfloat16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn halve_rows(&self, x: &[f32], order: Order, rows: Range<usize>, to: &mut [u16]) {
        let (c, w) = (self.groups * self.channels, self.w.input);
        if let Some(taken) = &self.taken {
            for (to, at) in to.chunks_exact_mut(c).zip(rows.map(|i| taken.at(i))) {
                match order {
                    Order::Nhwc => {
                        let from = &x[at * self.x_pitch..][..c];
                        // SAFETY: both have as many.
                        unsafe { halve(from.as_ptr(), c, to.as_mut_ptr()) };
                    }
                    Order::Nchw => scatter(x[at..].iter().step_by(taken.pixels()), to, 1),
                }
            }
            return;
        }
        for (row, to) in rows.zip(to.chunks_exact_mut(self.strip_row(c))) {
            let Some(y) = row.checked_sub(self.h.pad).filter(|y| *y < self.h.input) else {
                to.fill(0);
                continue;
            };
            let (left, rest) = to.split_at_mut(self.w.pad * c);
            let (inside, right) = rest.split_at_mut(w * c);
            left.fill(0);
            right.fill(0);
            match order {
                Order::Nhwc => {
                    let pitch = w + 2 * self.crop[1]; // pixels of a row
                    let at = ((y + self.crop[0]) * pitch + self.crop[1]) * self.x_pitch;
                    let (run, step) = match self.x_pitch == c {
                        true => (w * c, w * c),
                        false => (c, self.x_pitch),
                    };
                    let from = x[at..].chunks(step);
                    for (to, from) in inside.chunks_exact_mut(run).zip(from) {
                        let from = &from[..run];
                        // SAFETY: both have as many.
                        unsafe { halve(from.as_ptr(), run, to.as_mut_ptr()) };
                    }
                }
                Order::Nchw => {
                    for k in 0..c {
                        let from = &x[(k * self.h.input + y) * w..][..w];
                        scatter(from.iter(), &mut inside[k..], c);
                    }
                }
            }
        }
    }
}

/// Every `step`-th of `to` ← `from`, rounded.
#[inline(always)]
fn scatter<'a>(from: impl Iterator<Item = &'a f32>, to: &mut [u16], step: usize) {
    for (to, v) in to.iter_mut().step_by(step).zip(from) {
        *to = (crate::kernels::bf16::nearest(*v).to_bits() >> 16) as u16;
    }
}
