//! Strips of input in bfloat16, as AMX's tiles read them: zero-padded, all channels of a pixel side by side, whatever
//! lies between the pixels of X.

#![allow(unsafe_code)]

use super::{Direct, Input, Order};
use crate::kernels::amx::DEPTH;
use crate::kernels::bf16::nearest;
use crate::kernels::scratch;
use std::arch::x86_64::*;
use std::ops::Range;

/// The upper half of the nearest bfloat16.
pub(super) fn half(v: f32) -> u16 {
    (nearest(v).to_bits() >> 16) as u16
}

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
        x: Input,
        rows: &Range<usize>,
        behind: usize,
        f: impl FnOnce(*const u16),
    ) {
        let under = self.under(rows);
        let n = under.len() * self.strip_row(self.groups * self.channels);
        scratch::with_halves(n + behind, |strip| {
            let (inside, rest) = strip.split_at_mut(n);
            rest.fill(0);
            // SAFETY: as the caller says.
            unsafe {
                match x {
                    Input::Floats(x, order) => self.halve_rows(x, order, under, inside),
                    Input::Halves(x) => self.copy_rows(x, under, inside),
                }
            }
            f(strip.as_ptr());
        });
    }

    /// Elements that a tile may read behind the last pixel of a strip of so many pixels a line: of pixels that are not
    /// there, `step` pixels apart, and of a step in depth that goes past its run.
    pub(super) fn behind(&self, pixels: usize, step: usize) -> usize {
        let more = 16usize.saturating_sub(pixels);
        more * step * self.groups * self.channels + DEPTH
    }

    /// [`Direct::pad`] of pixels in bfloat16.
    fn copy_rows(&self, x: &[u16], rows: Range<usize>, to: &mut [u16]) {
        let (c, w) = (self.groups * self.channels, self.w.input);
        if let Some(taken) = &self.taken {
            for (to, at) in to.chunks_exact_mut(c).zip(rows.map(|i| taken.at(i))) {
                to.copy_from_slice(&x[at * self.x_pitch..][..c]);
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
            let from = &x[y * w * self.x_pitch..];
            if self.x_pitch == c {
                inside.copy_from_slice(&from[..w * c]);
            } else {
                let from = from.chunks(self.x_pitch);
                for (to, from) in inside.chunks_exact_mut(c).zip(from) {
                    to.copy_from_slice(&from[..c]);
                }
            }
        }
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
                Order::Nchw if c == 3 => {
                    let plane = self.h.input * w;
                    let planes = [0, 1, 2].map(|k| &x[k * plane + y * w..][..w]);
                    // SAFETY: three planes of w numbers, to as many pixels.
                    unsafe { interleave(planes, inside) };
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

/// Three planes of a row, rounded, pixel by pixel: of colour pictures.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn interleave(planes: [&[f32]; 3], to: &mut [u16]) {
    let n = planes[0].len();
    let whole = n / 32 * 32;
    // Number t of 96 is colour t % 3 of pixel t / 3: the first two colours from two registers, then the third.
    let mut orders = [[0u16; 32]; 3];
    let mut third = [0u32; 3];
    for t in 0..96u16 {
        let (k, j) = (usize::from(t / 32), usize::from(t % 32));
        orders[k][j] = t / 3 + if t % 3 == 1 { 32 } else { 0 };
        third[k] |= u32::from(t % 3 == 2) << j;
    }
    for i in (0..whole).step_by(32) {
        // SAFETY: all planes have 32 numbers there, `to` three times as many.
        unsafe {
            let [a, b, c] = planes.map(|p| {
                let p = p.as_ptr().add(i);
                let both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(p.add(16)), _mm512_loadu_ps(p));
                std::mem::transmute::<__m512bh, __m512i>(both)
            });
            for k in 0..3 {
                let order = _mm512_loadu_si512(orders[k].as_ptr().cast());
                let two = _mm512_permutex2var_epi16(a, order, b);
                let all = _mm512_mask_permutexvar_epi16(two, third[k], order, c);
                _mm512_storeu_si512(to.as_mut_ptr().add(3 * i + 32 * k).cast(), all);
            }
        }
    }
    for (k, plane) in planes.into_iter().enumerate() {
        scatter(
            plane.iter().skip(whole),
            to.get_mut(3 * whole + k..).unwrap_or_default(),
            3,
        );
    }
}

/// Every second of `2n - 1` numbers, rounded.
///
/// # Safety
/// There are as many, and `n` at `to`; AVX-512 with BF16, BW and VL is there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn halve_every_second(from: *const f32, n: usize, to: *mut u16) {
    let even: [i32; 16] = std::array::from_fn(|i| 2 * i as i32);
    // SAFETY: as the caller says; masks leave out what is not there.
    unsafe {
        let even = _mm512_loadu_si512(even.as_ptr().cast());
        for i in (0..n).step_by(16) {
            let left = (n - i).min(16);
            let there = (1u64 << (2 * left - 1)) - 1;
            let from = from.add(2 * i);
            let low = _mm512_maskz_loadu_ps(there as __mmask16, from);
            let high = _mm512_maskz_loadu_ps((there >> 16) as __mmask16, from.wrapping_add(16));
            let x = _mm512_permutex2var_ps(low, even, high);
            let half = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
            let mask = ((1u32 << left) - 1) as __mmask16;
            _mm256_mask_storeu_epi16(to.add(i).cast(), mask, half);
        }
    }
}

/// Every `step`-th of `to` ← `from`, rounded.
#[inline(always)]
fn scatter<'a>(from: impl Iterator<Item = &'a f32>, to: &mut [u16], step: usize) {
    for (to, v) in to.iter_mut().step_by(step).zip(from) {
        *to = half(*v);
    }
}
