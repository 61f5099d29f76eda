//! bfloat16, the upper half of a float32: 8 bits of exponent and 7 of fraction.
//!
//! Numbers stay float32 here, with the lower 16 bits 0: a product of two of them is exact in float32, so sums of products
//! are those that a processor with instructions for bfloat16 adds up in float32, but for their order. A number is
//! rounded to the nearest, halves to the even one; beyond the largest it becomes infinite. Infinities stay, a NaN stays
//! one (a quiet one), a zero keeps its sign. Subnormal numbers are rounded like others.

#![allow(unsafe_code)]

use super::simd::{Isa, Lanes, dispatch};
use super::{CHUNK, each_chunk};
use crate::kernels::crew::Crew;

/// The nearest bfloat16.
#[inline(always)]
pub fn nearest(x: f32) -> f32 {
    let bits = x.to_bits();
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    // What is added carries into the upper half from above one half, and from one half if that half is odd.
    let near = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let quiet = bits | 0x0040_0000;
    f32::from_bits(if is_nan { quiet } else { near } & 0xffff_0000)
}

/// Rounds the first `run` of every `step` elements of `x`.
pub fn round(crew: &Crew, [run, step]: [usize; 2], x: &mut [f32]) {
    let isa = Isa::current();
    if run == step {
        return each_chunk(crew, CHUNK, x, |_, part| round_part(isa, part));
    }
    let rows = step * (CHUNK / step.max(1)).max(1);
    each_chunk(crew, rows, x, |_, part| {
        for row in part.chunks_mut(step) {
            let n = run.min(row.len());
            round_part(isa, &mut row[..n]);
        }
    });
}

/// `to` ← `from`, rounded.
pub fn copy(crew: &Crew, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    let isa = Isa::current();
    each_chunk(crew, CHUNK, to, |start, to| {
        to.copy_from_slice(&from[start..][..to.len()]);
        round_part(isa, to);
    });
}

fn round_part(isa: Isa, x: &mut [f32]) {
    // SAFETY: the body is safe code.
    unsafe { round_with(isa, x) }
}

#[inline(always)]
#[allow(clippy::extra_unused_type_parameters)]
unsafe fn round_body<L: Lanes, const M: usize>(x: &mut [f32]) {
    // No branch and no load but of x: the compiler takes as many at a time as the set has room for.
    x.iter_mut().for_each(|v| *v = nearest(*v));
}

dispatch! {
    /// The loop of [`round`].
    unsafe fn round_with(x: &mut [f32]) = round_body
}

/// Numbers as bfloat16, two in a float.
#[cfg(test)]
pub(crate) fn to_halves(x: &[f32]) -> Vec<f32> {
    let half = |x: f32| nearest(x).to_bits() >> 16;
    let pair = |p: &[f32]| half(p[0]) | half(*p.get(1).unwrap_or(&0.0)) << 16;
    x.chunks(2).map(|p| f32::from_bits(pair(p))).collect()
}

/// And back.
#[cfg(test)]
pub(crate) fn from_halves(x: &[f32]) -> Vec<f32> {
    let two = |x: &f32| [x.to_bits() << 16, x.to_bits() & 0xffff_0000].map(f32::from_bits);
    x.iter().flat_map(two).collect()
}

/// Instructions of this processor for bfloat16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    /// AMX's tiles.
    pub amx_tile: bool,
    /// AMX's products of bfloat16 tiles.
    pub amx_bf16: bool,
    /// AVX-512's products of bfloat16 pairs.
    pub avx512_bf16: bool,
}

impl Hardware {
    /// What this processor says of itself.
    pub fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{__cpuid, __cpuid_count};
            if __cpuid(0).eax >= 7 {
                let features = __cpuid_count(7, 0);
                let more = match features.eax {
                    0 => 0,
                    _ => __cpuid_count(7, 1).eax,
                };
                return Self {
                    amx_bf16: features.edx >> 22 & 1 == 1,
                    amx_tile: features.edx >> 24 & 1 == 1,
                    avx512_bf16: more >> 5 & 1 == 1,
                };
            }
        }
        Self::default()
    }

    /// Whether it multiplies bfloat16 in AMX's tiles.
    pub fn has_amx(self) -> bool {
        self.amx_tile && self.amx_bf16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{crew, noise};

    /// The twin: the nearer of the two neighbours, by their distances in float64.
    fn twin(x: f32) -> u32 {
        let bits = x.to_bits();
        if x.is_nan() {
            return (bits | 0x0040_0000) & 0xffff_0000;
        }
        let below = bits & 0xffff_0000;
        if below == bits {
            return bits;
        }
        let above = below + 0x1_0000;
        // Beyond the largest the next step would be 2^128.
        let value = |bits: u32| match f32::from_bits(bits) {
            v if v.is_infinite() => 2f64.powi(128),
            v => f64::from(v).abs(),
        };
        let x = f64::from(x).abs();
        let (down, up) = (x - value(below), value(above) - x);
        match down.total_cmp(&up) {
            std::cmp::Ordering::Less => below,
            std::cmp::Ordering::Greater => above,
            std::cmp::Ordering::Equal if below >> 16 & 1 == 0 => below,
            std::cmp::Ordering::Equal => above,
        }
    }

    /// Numbers of every exponent and sign, around halves, and all special ones.
    fn numbers() -> Vec<f32> {
        let mut all = vec![
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
        ];
        all.extend([
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            f32::from_bits(0x8000_7fff),
        ]);
        let nans = [
            0x7fc0_0000,
            0x7f80_0001,
            0xff80_ffff,
            0x7fff_ffff,
            0xffc1_8000,
        ];
        all.extend(nans.map(f32::from_bits));
        for top in (0..=0xffffu32).step_by(61) {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                all.push(f32::from_bits(top << 16 | low));
            }
        }
        all.extend(noise(5, 5000));
        all
    }

    #[test]
    fn the_nearest_for_every_instruction_set() {
        let x = numbers();
        for isa in Isa::all() {
            let mut got = x.clone();
            round_part(isa, &mut got);
            for (x, got) in x.iter().zip(&got) {
                let (bits, want) = (got.to_bits(), twin(*x));
                assert_eq!(bits, want, "{isa:?}: {x:e} {:#x}", x.to_bits());
                assert_eq!(bits, nearest(*got).to_bits(), "again: {x:e}");
            }
        }
    }

    #[test]
    fn zeros_infinities_and_nans_stay_what_they_are() {
        for x in numbers() {
            let y = nearest(x);
            assert_eq!(x.is_nan(), y.is_nan());
            assert!(!x.is_infinite() || x == y);
            assert!(x != 0.0 || y.to_bits() == x.to_bits());
        }
        assert_eq!(nearest(f32::MAX), f32::INFINITY);
        assert_eq!(nearest(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(nearest(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
    }

    #[test]
    fn slices_and_copies_for_every_number_of_threads() {
        let x = noise(2, 40 * 1201);
        crew::tests::each(|crew| {
            let mut got = x.clone();
            round(crew, [33, 40], &mut got);
            for (i, (got, x)) in got.iter().zip(&x).enumerate() {
                let want = if i % 40 < 33 { nearest(*x) } else { *x };
                assert_eq!(got.to_bits(), want.to_bits(), "element {i}");
            }
            let (mut all, mut copied) = (x.clone(), vec![7.0; x.len()]);
            round(crew, [x.len(); 2], &mut all);
            copy(crew, &x, &mut copied);
            assert!(all == copied && all.iter().zip(&x).all(|(y, x)| *y == nearest(*x)));
        });
    }
}
