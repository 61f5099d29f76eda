//! Sixteen floats at a time, as the instruction set at hand has them.
//!
//! The kernels are written once, over [`Lanes`]; each instruction set instantiates them in a function
//! that has its target features, into which everything here is inlined. [`Portable`] is the twin that
//! runs anywhere and that the tests compare with.

#![allow(unsafe_code, clippy::missing_safety_doc)]

/// Sixteen floats in registers.
///
/// # Safety
/// The methods may be called only in code that runs where the type's instruction set is present.
pub unsafe trait Lanes: Copy {
    /// Rows of a register tile of one panel: as many accumulators as leave room for the operands.
    const ROWS: usize;
    /// Panels of a register tile, at most: more than one where there are registers for as many rows as it takes to have
    /// the multiplications wait for nothing.
    const COLUMNS: usize = 1;
    /// Sixteen zeros.
    unsafe fn zero() -> Self;
    /// Sixteen times `x`.
    unsafe fn splat(x: f32) -> Self;
    /// Reads sixteen floats from `p`.
    unsafe fn load(p: *const f32) -> Self;
    /// Writes sixteen floats to `p`.
    unsafe fn store(self, p: *mut f32);
    /// Whether [`load_first`](Self::load_first) and [`store_first`](Self::store_first) are single instructions.
    const MASKED: bool = false;
    /// The first `n` floats at `p`, at most sixteen, and zeros; what is behind them is not read.
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        let mut first = [0.0f32; 16];
        // SAFETY: the caller has `n` floats at `p`.
        unsafe {
            std::ptr::copy_nonoverlapping(p, first.as_mut_ptr(), n);
            Self::load(first.as_ptr())
        }
    }
    /// Writes the first `n` lanes, at most sixteen, to `p`.
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        let mut first = [0.0f32; 16];
        // SAFETY: the caller has room for `n` floats at `p`.
        unsafe {
            self.store(first.as_mut_ptr());
            std::ptr::copy_nonoverlapping(first.as_ptr(), p, n);
        }
    }
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
            // SAFETY: the caller has AVX2 and FMA and eight rows of eight floats at both.
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
            // SAFETY: the caller has AVX2 and FMA.
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the caller has AVX2 and FMA.
            unsafe {
                let v = _mm256_set1_ps(x);
                Self(v, v)
            }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: the caller has AVX2 and FMA and sixteen floats at `p`.
            unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: the caller has AVX2 and FMA and room for sixteen floats at `p`.
            unsafe {
                _mm256_storeu_ps(p, self.0);
                _mm256_storeu_ps(p.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> Self {
            // SAFETY: the caller has AVX2 and `n` floats at `p`; the masks leave out the rest.
            unsafe {
                let n = _mm256_set1_epi32(n.min(16) as i32);
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                let behind = _mm256_add_epi32(lanes, _mm256_set1_epi32(8));
                Self(
                    _mm256_maskload_ps(p, _mm256_cmpgt_epi32(n, lanes)),
                    _mm256_maskload_ps(p.wrapping_add(8), _mm256_cmpgt_epi32(n, behind)),
                )
            }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller has AVX2 and FMA.
            unsafe {
                Self(
                    _mm256_fmadd_ps(a.0, b.0, self.0),
                    _mm256_fmadd_ps(a.1, b.1, self.1),
                )
            }
        }
        #[inline(always)]
        unsafe fn add(self, o: Self) -> Self {
            // SAFETY: the caller has AVX2 and FMA.
            unsafe { Self(_mm256_add_ps(self.0, o.0), _mm256_add_ps(self.1, o.1)) }
        }
        #[inline(always)]
        unsafe fn sub(self, o: Self) -> Self {
            // SAFETY: the caller has AVX2 and FMA.
            unsafe { Self(_mm256_sub_ps(self.0, o.0), _mm256_sub_ps(self.1, o.1)) }
        }
        #[inline(always)]
        unsafe fn mul(self, o: Self) -> Self {
            // SAFETY: the caller has AVX2 and FMA.
            unsafe { Self(_mm256_mul_ps(self.0, o.0), _mm256_mul_ps(self.1, o.1)) }
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // The second operand is returned where the first is NaN or both are zero.
            // SAFETY: the caller has AVX2 and FMA.
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

    /// The first `n` of sixteen lanes.
    #[inline(always)]
    fn mask(n: usize) -> __mmask16 {
        ((1u32 << n.min(16)) - 1) as __mmask16
    }

    /// AVX-512F: one register.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    // SAFETY: the caller has AVX-512F, as the trait demands; loads and stores are unaligned.
    unsafe impl Lanes for Avx512 {
        const ROWS: usize = 12;
        const COLUMNS: usize = 4;
        #[inline(always)]
        unsafe fn turn8(
            from: *const f32,
            from_pitch: usize,
            to: *mut f32,
            to_pitch: usize,
            relu: bool,
        ) {
            // SAFETY: the caller has AVX-512F and eight rows of eight floats at both.
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
            // SAFETY: the caller has AVX-512F.
            unsafe { Self(_mm512_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { Self(_mm512_set1_ps(x)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: the caller has AVX-512F and sixteen floats at `p`.
            unsafe { Self(_mm512_loadu_ps(p)) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: the caller has AVX-512F and room for sixteen floats at `p`.
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        const MASKED: bool = true;
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> Self {
            // SAFETY: the caller has AVX-512F and `n` floats at `p`; the mask leaves out the rest.
            unsafe { Self(_mm512_maskz_loadu_ps(mask(n), p)) }
        }
        #[inline(always)]
        unsafe fn store_first(self, p: *mut f32, n: usize) {
            // SAFETY: the caller has AVX-512F and room for `n` floats at `p`; the mask leaves out the rest.
            unsafe { _mm512_mask_storeu_ps(p, mask(n), self.0) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { Self(_mm512_fmadd_ps(a.0, b.0, self.0)) }
        }
        #[inline(always)]
        unsafe fn add(self, o: Self) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { Self(_mm512_add_ps(self.0, o.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, o: Self) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { Self(_mm512_sub_ps(self.0, o.0)) }
        }
        #[inline(always)]
        unsafe fn mul(self, o: Self) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { Self(_mm512_mul_ps(self.0, o.0)) }
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // SAFETY: the caller has AVX-512F.
            unsafe { Self(_mm512_max_ps(_mm512_setzero_ps(), self.0)) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

pub use super::isa::{Isa, Set};

/// Defines a function that may be called with any instruction set: `$name(isa, args…)` runs `$body::<L>(args…)`
/// compiled for it.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        $vis unsafe fn $name(isa: $crate::kernels::simd::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::kernels::simd::{Avx2, Avx512, Set};
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $ty),*) {
                    // SAFETY: the set is there; the rest is as the caller says.
                    unsafe { $body::<Avx2, 6>($($arg),*) }
                }
                #[target_feature(enable = "avx512f")]
                unsafe fn avx512($($arg: $ty),*) {
                    // SAFETY: the set is there; the rest is as the caller says.
                    unsafe { $body::<Avx512, 12>($($arg),*) }
                }
                match isa.set() {
                    // SAFETY: an `Isa` is of a set that the processor has; the rest is as the caller says.
                    Set::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Set::Avx2 => return unsafe { avx2($($arg),*) },
                    Set::Portable => {}
                }
            }
            // SAFETY: this needs no set; the rest is as the caller says.
            unsafe { $body::<$crate::kernels::simd::Portable, 4>($($arg),*) }
        }
    };
}

pub(crate) use dispatch;

/// Calls `f`, compiled for AVX2 where the processor has it: plain loops that are inlined into it take its registers. The
/// results are the same, since the compiler changes no order of sums and joins no product with a sum.
#[inline]
pub fn wide<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        if Isa::current().set() >= Set::Avx2 {
            // SAFETY: an `Isa` is of a set that the processor has.
            return unsafe { avx2(f) };
        }
    }
    f()
}
