//! All weights as codes of 4 bits, column by column, for layers of which not so many are 0.

#![allow(unsafe_code)]

use super::sums::{Cut, GROUP, SPARE, active};
use super::{Book, Matrix};
use crate::kernels::crew::Crew;
use crate::kernels::simd::Isa;

/// Outputs that are looked up together.
const TILE: usize = SPARE;

/// The codes of a tile in a column.
type Codes = [u8; TILE / 2];

/// Where the codes have an output's: byte and shift. This is the order in which AVX2 looks up nibbles: a register
/// has two lanes of 16 bytes, of which each becomes four lanes of 4 floats.
#[inline(always)]
fn place(output: usize) -> (usize, usize) {
    let (half, output) = (output / 32, output % 32);
    let (lane, byte) = (output / 4 % 2, output / 8 * 4 + output % 4);
    (16 * lane + byte, 4 * half)
}

#[derive(Clone, Debug)]
pub struct Nibbles {
    cut: Cut,
    values: [f32; 16],
    /// Per block, column and tile.
    codes: Vec<Codes>,
}

impl Nibbles {
    pub fn pack(matrix: Matrix, book: &Book) -> Self {
        let Matrix { outputs, depth, .. } = matrix;
        let cut = Cut::new(outputs, depth, outputs * depth / 16, TILE);
        let tiles = outputs.div_ceil(TILE);
        let mut codes = vec![[0u8; TILE / 2]; tiles * depth];
        for block in 0..cut.blocks() {
            let rows = cut.rows(block);
            let (tiles, first) = (rows.len().div_ceil(TILE), rows.start / TILE * depth);
            for e in matrix.entries(rows.clone()) {
                let at = e.row - rows.start;
                let (byte, shift) = place(at % TILE);
                codes[first + e.column * tiles + at / TILE][byte] |= book.code(e.value) << shift;
            }
        }
        Self {
            cut,
            values: book.values(),
            codes,
        }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&self.values) + size_of_val(&self.codes[..])
    }

    pub fn forward(&self, isa: Isa, crew: &Crew, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), self.cut.depth);
        self.cut.sum(crew, y, |block, inputs, sums| {
            let rows = self.cut.rows(block);
            let tiles = rows.len().div_ceil(TILE);
            let sums = &mut sums[..tiles * TILE];
            let codes = &self.codes[rows.start / TILE * x.len()..][..tiles * x.len()];
            let mut found = [0; GROUP];
            for first in inputs.clone().step_by(GROUP) {
                let last = (first + GROUP).min(inputs.end);
                let codes = &codes[first * tiles..last * tiles];
                let x = &x[first..last];
                let found = active(x, &mut found);
                #[cfg(target_arch = "x86_64")]
                if isa != Isa::PORTABLE {
                    // SAFETY: the processor has AVX2, or AVX-512 that includes it.
                    unsafe { x86::scatter(&self.values, codes, x, found, sums) };
                    continue;
                }
                self.scatter(codes, x, found, sums);
            }
        });
    }

    /// sums\[i\] += x\[j\] · (the weight of output i in column j) for the j in `found`; `codes` has as many columns as x.
    fn scatter(&self, codes: &[Codes], x: &[f32], found: &[u16], sums: &mut [f32]) {
        let tiles = sums.len() / TILE;
        for j in found.iter().map(|j| usize::from(*j)) {
            let products = products(&self.values, x[j]);
            let codes = &codes[j * tiles..][..tiles];
            for (codes, sums) in codes.iter().zip(sums.chunks_exact_mut(TILE)) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let (byte, shift) = place(i);
                    *sum += products[usize::from(codes[byte] >> shift & 15)];
                }
            }
        }
    }
}

/// What the codes add to their outputs: code 0 adds 0, also if x is infinite.
#[inline(always)]
fn products(values: &[f32; 16], x: f32) -> [f32; 16] {
    let mut products = values.map(|v| v * x);
    products[0] = 0.0;
    products
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Codes, TILE, products};
    use std::arch::x86_64::*;

    /// [`Nibbles::scatter`](super::Nibbles::scatter). The 16 products are four tables of bytes, one for each byte of
    /// a float, in which 32 codes are looked up at once; then the bytes are put together.
    #[target_feature(enable = "avx2")]
    pub fn scatter(
        values: &[f32; 16],
        codes: &[Codes],
        x: &[f32],
        found: &[u16],
        sums: &mut [f32],
    ) {
        let tiles = sums.len() / TILE;
        for j in found.iter().map(|j| usize::from(*j)) {
            let tables = tables(&products(values, x[j]));
            let codes = &codes[j * tiles..][..tiles];
            for (codes, sums) in codes.iter().zip(sums.chunks_exact_mut(TILE)) {
                // SAFETY: there are 32 bytes of codes.
                let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
                let mask = _mm256_set1_epi8(15);
                let (near, far) = sums.split_at_mut(TILE / 2);
                add(tables, _mm256_and_si256(codes, mask), near);
                let high = _mm256_srli_epi16::<4>(codes);
                add(tables, _mm256_and_si256(high, mask), far);
            }
        }
    }

    /// The first bytes of all floats, then the second …, in both halves of a register.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn tables(products: &[f32; 16]) -> [__m256i; 4] {
        let by_byte = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        // SAFETY: sixteen floats in four loads.
        let [a, b, c, d] = [0, 4, 8, 12].map(|i| unsafe {
            _mm_shuffle_epi8(_mm_loadu_si128(products.as_ptr().add(i).cast()), by_byte)
        });
        let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
        let (ab2, cd2) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
        [
            _mm_unpacklo_epi64(ab, cd),
            _mm_unpackhi_epi64(ab, cd),
            _mm_unpacklo_epi64(ab2, cd2),
            _mm_unpackhi_epi64(ab2, cd2),
        ]
        .map(|t| _mm256_broadcastsi128_si256(t))
    }

    /// Adds what 32 codes stand for to 32 sums.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn add(tables: [__m256i; 4], codes: __m256i, sums: &mut [f32]) {
        let [b0, b1, b2, b3] = tables.map(|t| _mm256_shuffle_epi8(t, codes));
        let (low0, low1) = (_mm256_unpacklo_epi8(b0, b1), _mm256_unpackhi_epi8(b0, b1));
        let (high0, high1) = (_mm256_unpacklo_epi8(b2, b3), _mm256_unpackhi_epi8(b2, b3));
        let eights = [
            _mm256_unpacklo_epi16(low0, high0),
            _mm256_unpackhi_epi16(low0, high0),
            _mm256_unpacklo_epi16(low1, high1),
            _mm256_unpackhi_epi16(low1, high1),
        ];
        for (sums, eight) in sums.chunks_exact_mut(8).zip(eights) {
            // SAFETY: each chunk has eight floats.
            unsafe {
                let p = sums.as_mut_ptr();
                let sum = _mm256_add_ps(_mm256_loadu_ps(p), _mm256_castsi256_ps(eight));
                _mm256_storeu_ps(p, sum);
            }
        }
    }
}
