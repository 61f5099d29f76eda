//! From pixels to planes and back, by blocks of 8 × 8.

#![allow(unsafe_code)]

use super::simd::Lanes;
use crate::kernels::convolution::channels_last::Then;

/// `to`[c][p] of `from`[p][c] for `pixels` and `channels`; the rows of both are a pitch apart.
///
/// # Safety
/// `from` has the pixels, `to` the channels; L's instruction set is there.
#[inline(always)]
pub(super) unsafe fn turn_in<L: Lanes>(
    (from, from_pitch): (*const f32, usize),
    [pixels, channels]: [usize; 2],
    (to, to_pitch): (*mut f32, usize),
) {
    let whole = if pixels < 8 { 0 } else { channels / 8 * 8 };
    // SAFETY: as the caller says. The last eight pixels overlap those before.
    unsafe {
        // Two blocks of channels are whole lines of the cache here, all pixels are near each other there.
        for pair in (0..whole).step_by(16) {
            for p in (0..pixels).step_by(8) {
                let p = p.min(pixels - 8);
                for c in (pair..(pair + 16).min(whole)).step_by(8) {
                    let (from, to) = (from.add(p * from_pitch + c), to.add(c * to_pitch + p));
                    L::turn8(from, from_pitch, to, to_pitch, false);
                }
            }
        }
        for c in whole..channels {
            for p in 0..pixels {
                *to.add(c * to_pitch + p) = *from.add(p * from_pitch + c);
            }
        }
    }
}

/// `to`[p][o] of `from`[o][p] for `outputs` and `pixels`, and what `then` says.
///
/// # Safety
/// `from` has the outputs, `to` the pixels; L's instruction set is there.
#[inline(always)]
pub(super) unsafe fn turn_out<L: Lanes>(
    (from, from_pitch): (*const f32, usize),
    [outputs, pixels]: [usize; 2],
    (to, to_pitch): (*mut f32, usize),
    then: Then,
) {
    let whole = if pixels < 8 || then.add {
        0
    } else {
        outputs / 8 * 8
    };
    // SAFETY: as the caller says. The last eight pixels overlap those before.
    unsafe {
        for p in (0..pixels).step_by(8).take_while(|_| whole > 0) {
            let p = p.min(pixels - 8);
            for o in (0..whole).step_by(8) {
                let (from, to) = (from.add(o * from_pitch + p), to.add(p * to_pitch + o));
                L::turn8(from, from_pitch, to, to_pitch, then.relu);
            }
        }
        for o in whole..outputs {
            for p in 0..pixels {
                let to = to.add(p * to_pitch + o);
                let v = *from.add(o * from_pitch + p) + if then.add { *to } else { 0.0 };
                *to = if then.relu && v < 0.0 { 0.0 } else { v };
            }
        }
    }
}
