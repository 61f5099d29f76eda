//! Sixteen floats at a time, as the instruction set at hand has them.
//!
//! The kernels are written once, over [`Lanes`]; each instruction set instantiates them in a function
//! that has its target features, into which everything here is inlined. [`Portable`] is the twin that
//! runs anywhere and that the tests compare with.

#![allow(unsafe_code, clippy::missing_safety_doc)]

use anyhow::{Result, bail};
use std::sync::OnceLock;

/// Sixteen floats in registers.
///
/// # Safety
/// The methods may be called only in code that runs where the type's instruction set is present.
pub unsafe trait Lanes: Copy {
    /// Rows of a register tile: as many accumulators as leave room for the operands.
    const ROWS: usize;
    /// Sixteen zeros.
    unsafe fn zero() -> Self;
    /// Sixteen times `x`.
    unsafe fn splat(x: f32) -> Self;
    /// Reads sixteen floats from `p`.
    unsafe fn load(p: *const f32) -> Self;
    /// Writes sixteen floats to `p`.
    unsafe fn store(self, p: *mut f32);
    /// self + a·b, rounded once where the hardware can.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    /// self + other.
    unsafe fn add(self, other: Self) -> Self;
    /// self − other.
    unsafe fn sub(self, other: Self) -> Self;
    /// self · other.
    unsafe fn mul(self, other: Self) -> Self;
    /// max(self, 0), with NaN kept.
    unsafe fn relu(self) -> Self;
    /// `to`[i][j] = `from`[j][i] for i and j below 8, whose rows are `to_pitch` and `from_pitch` floats apart;
    /// negative values become 0 if `relu`.
    #[inline(always)]
    unsafe fn turn8(
        from: *const f32,
        from_pitch: usize,
        to: *mut f32,
        to_pitch: usize,
        relu: bool,
    ) {
        for i in 0..8 {
            for j in 0..8 {
                // SAFETY: the caller has eight rows of eight floats at both.
                unsafe {
                    let v = *from.add(j * from_pitch + i);
                    *to.add(i * to_pitch + j) = if relu && v < 0.0 { 0.0 } else { v };
                }
            }
        }
    }
    /// Asks the first-level cache for the line at `p`, which may be anywhere.
    #[inline(always)]
    fn prefetch(_p: *const f32) {}
    /// Asks the second-level cache for it.
    #[inline(always)]
    fn prefetch_far(_p: *const f32) {}
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub struct Portable([f32; 16]);

// SAFETY: no instruction set is needed.
unsafe impl Lanes for Portable {
    const ROWS: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 16])
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 16])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller has sixteen floats at `p`.
        Self(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller has room for sixteen floats at `p`.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn mul_add(mut self, a: Self, b: Self) -> Self {
        for i in 0..16 {
            self.0[i] += a.0[i] * b.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for i in 0..16 {
            self.0[i] += other.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn sub(mut self, other: Self) -> Self {
        for i in 0..16 {
            self.0[i] -= other.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn mul(mut self, other: Self) -> Self {
        for i in 0..16 {
            self.0[i] *= other.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn relu(mut self) -> Self {
        for i in 0..16 {
            self.0[i] = if self.0[i] < 0.0 { 0.0 } else { self.0[i] };
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// AVX2 and FMA: two registers of eight.
    #[derive(Clone, Copy)]
    pub struct Avx2(__m256, __m256);

    // SAFETY: the caller has AVX2 and FMA, as the trait demands; loads and stores are unaligned.
    unsafe impl Lanes for Avx2 {
        const ROWS: usize = 6;
        #[inline(always)]
        unsafe fn turn8(
            from: *const f32,
            from_pitch: usize,
            to: *mut f32,
            to_pitch: usize,
            relu: bool,
        ) {
            unsafe { turn8(from, from_pitch, to, to_pitch, relu) }
        }
        #[inline(always)]
        fn prefetch(p: *const f32) {
            // SAFETY: a prefetch of any address is harmless.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        fn prefetch_far(p: *const f32) {
            // SAFETY: a prefetch of any address is harmless.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe {
                let v = _mm256_set1_ps(x);
                Self(v, v)
            }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe {
                _mm256_storeu_ps(p, self.0);
                _mm256_storeu_ps(p.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            unsafe {
                Self(
                    _mm256_fmadd_ps(a.0, b.0, self.0),
                    _mm256_fmadd_ps(a.1, b.1, self.1),
                )
            }
        }
        #[inline(always)]
        unsafe fn add(self, o: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, o.0), _mm256_add_ps(self.1, o.1)) }
        }
        #[inline(always)]
        unsafe fn sub(self, o: Self) -> Self {
            unsafe { Self(_mm256_sub_ps(self.0, o.0), _mm256_sub_ps(self.1, o.1)) }
        }
        #[inline(always)]
        unsafe fn mul(self, o: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, o.0), _mm256_mul_ps(self.1, o.1)) }
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // The second operand is returned where the first is NaN or both are zero.
            unsafe {
                let z = _mm256_setzero_ps();
                Self(_mm256_max_ps(z, self.0), _mm256_max_ps(z, self.1))
            }
        }
    }

    /// [`Lanes::turn8`] in eight registers of eight.
    #[inline(always)]
    unsafe fn turn8(
        from: *const f32,
        from_pitch: usize,
        to: *mut f32,
        to_pitch: usize,
        relu: bool,
    ) {
        // SAFETY: the caller has eight rows of eight floats at both, and AVX.
        unsafe {
            let mut a = [_mm256_setzero_ps(); 8];
            for (j, a) in a.iter_mut().enumerate() {
                *a = _mm256_loadu_ps(from.add(j * from_pitch));
                if relu {
                    *a = _mm256_max_ps(_mm256_setzero_ps(), *a);
                }
            }
            // Pairs, then fours, then halves change places.
            let mut b = a;
            for i in 0..4 {
                b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            for h in [0, 4] {
                a[h] = _mm256_shuffle_ps::<0x44>(b[h], b[h + 2]);
                a[h + 1] = _mm256_shuffle_ps::<0xee>(b[h], b[h + 2]);
                a[h + 2] = _mm256_shuffle_ps::<0x44>(b[h + 1], b[h + 3]);
                a[h + 3] = _mm256_shuffle_ps::<0xee>(b[h + 1], b[h + 3]);
            }
            for i in 0..4 {
                let (low, high) = (a[i], a[i + 4]);
                let first = _mm256_permute2f128_ps::<0x20>(low, high);
                let last = _mm256_permute2f128_ps::<0x31>(low, high);
                _mm256_storeu_ps(to.add(i * to_pitch), first);
                _mm256_storeu_ps(to.add((i + 4) * to_pitch), last);
            }
        }
    }

    /// AVX-512F: one register.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    // SAFETY: the caller has AVX-512F, as the trait demands; loads and stores are unaligned.
    unsafe impl Lanes for Avx512 {
        const ROWS: usize = 12;
        #[inline(always)]
        unsafe fn turn8(
            from: *const f32,
            from_pitch: usize,
            to: *mut f32,
            to_pitch: usize,
            relu: bool,
        ) {
            unsafe { turn8(from, from_pitch, to, to_pitch, relu) }
        }
        #[inline(always)]
        fn prefetch(p: *const f32) {
            // SAFETY: a prefetch of any address is harmless.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        fn prefetch_far(p: *const f32) {
            // SAFETY: a prefetch of any address is harmless.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm512_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { Self(_mm512_set1_ps(x)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Self(_mm512_loadu_ps(p)) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(a.0, b.0, self.0)) }
        }
        #[inline(always)]
        unsafe fn add(self, o: Self) -> Self {
            unsafe { Self(_mm512_add_ps(self.0, o.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, o: Self) -> Self {
            unsafe { Self(_mm512_sub_ps(self.0, o.0)) }
        }
        #[inline(always)]
        unsafe fn mul(self, o: Self) -> Self {
            unsafe { Self(_mm512_mul_ps(self.0, o.0)) }
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            unsafe { Self(_mm512_max_ps(_mm512_setzero_ps(), self.0)) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// An instruction set that the kernels know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
}

impl Isa {
    /// The best set that this machine has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// What `DSD_ISA` asks for, or the best: the choice of this process.
    pub fn current() -> Self {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        *CHOSEN.get_or_init(|| Self::asked().unwrap_or_else(|_| Self::best()))
    }

    /// The set that `DSD_ISA` names; the best one where it is not set.
    pub fn asked() -> Result<Self> {
        let Some(name) = std::env::var_os("DSD_ISA") else {
            return Ok(Self::best());
        };
        let all = [Self::Portable, Self::Avx2, Self::Avx512];
        let Some(isa) = all.into_iter().find(|isa| name == isa.name()) else {
            bail!(
                "DSD_ISA is '{}'; it can be portable, avx2 or avx512",
                name.to_string_lossy()
            );
        };
        if !isa.is_available() {
            bail!(
                "DSD_ISA asks for {}, which this processor does not have; the best here is {}",
                isa.name(),
                Self::best().name()
            );
        }
        Ok(isa)
    }

    /// The word for it in `DSD_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match (self, Self::best()) {
            (Self::Portable, _) | (_, Self::Avx512) => true,
            (isa, best) => isa == best,
        }
    }
}

/// Defines a safe-to-dispatch function: `$name(isa, args…)` runs `$body::<L>(args…)` compiled for the
/// instruction set.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        $vis unsafe fn $name(isa: $crate::kernels::simd::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $ty),*) {
                    unsafe { $body::<$crate::kernels::simd::Avx2, 6>($($arg),*) }
                }
                #[target_feature(enable = "avx512f")]
                unsafe fn avx512($($arg: $ty),*) {
                    unsafe { $body::<$crate::kernels::simd::Avx512, 12>($($arg),*) }
                }
                match isa {
                    $crate::kernels::simd::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    $crate::kernels::simd::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::simd::Isa::Portable => {}
                }
            }
            unsafe { $body::<$crate::kernels::simd::Portable, 4>($($arg),*) }
        }
    };
}

pub(crate) use dispatch;
