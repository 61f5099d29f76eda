//! Weights that share their values (Han, Mao, Dally 2015, "Deep Compression", section 3): a layer has a few
//! values, its centroids, and each weight a code that says which is its.
//!
//! In training the codes are fixed and the centroids are the parameters. The loss depends on a centroid through
//! all its members, so its gradient is the *sum* of theirs (the paper's equation 3), and so is that of the weight
//! decay: with n members, λ/2·Σw² has the gradient n·λ·c. As a sum over thousands of weights is much larger than
//! one weight's gradient, the learning rate has to be smaller than the one that trained the weights apart.

use crate::compress::codebook::Codebook;
use crate::kernels::crew::Crew;
use crate::kernels::each_chunk;

/// Weights whose gradients are summed in one go; a size, not a share, so that sums do not depend on the threads.
const CHUNK: usize = 1 << 16;

/// The most values of a codebook.
const MOST: usize = 256;

/// One parameter whose weights share values. Arrays "by centroid" have 2^bits entries; entry 0 belongs to the
/// weights that are 0 and stays 0 in all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    book: Codebook,
    codes: Vec<u8>,
    counts: Vec<usize>,
    /// By centroid: first the gradients, after the rule's step what was subtracted from the centroids.
    gradient: Vec<f32>,
}

impl Shared {
    /// A codebook of 2^`bits` values for `weights`: exactly theirs where they are so few, else by k-means.
    /// `None` if a weight is not finite.
    pub fn of(weights: &[f32], bits: u32) -> Option<Self> {
        if !weights.iter().all(|w| w.is_finite()) {
            return None;
        }
        let exact = Codebook::of_values(weights, bits).filter(|book| book.bits() == bits);
        let book = exact.unwrap_or_else(|| Codebook::k_means(weights, bits));
        let codes = book.assign(weights);
        Self::new(book, codes)
    }

    /// A codebook with the code of every weight; `None` if a code is out of its range.
    pub fn new(book: Codebook, codes: Vec<u8>) -> Option<Self> {
        let mut counts = vec![0; book.values().len()];
        for code in &codes {
            *counts.get_mut(usize::from(*code))? += 1;
        }
        Some(Self {
            gradient: vec![0.0; counts.len()],
            book,
            codes,
            counts,
        })
    }

    /// The codebook.
    pub fn book(&self) -> &Codebook {
        &self.book
    }

    /// The code of every weight.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// By centroid: how many weights have it.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// By centroid: the gradient, or after a step what it has changed.
    pub fn gradient(&self) -> &[f32] {
        &self.gradient
    }

    /// As [`Self::gradient`], to be changed.
    pub fn gradient_mut(&mut self) -> &mut [f32] {
        &mut self.gradient
    }

    /// The centroids, their gradients and their member counts, for a step.
    pub fn parts(&mut self) -> (&mut [f32], &mut [f32], &[usize]) {
        (self.book.values_mut(), &mut self.gradient, &self.counts)
    }

    /// Weights that are not held at 0.
    pub fn alive(&self) -> usize {
        self.codes.len() - self.counts[0]
    }

    /// Sums the weights' gradients by centroid. Those of weights held at 0 are dropped.
    pub fn gather(&mut self, crew: &Crew, gradients: &[f32]) {
        let sum = |(codes, gradients): (&[u8], &[f32])| {
            let mut sums = [0.0f64; MOST];
            for (code, g) in codes.iter().zip(gradients) {
                sums[usize::from(*code)] += f64::from(*g);
            }
            sums
        };
        let pairs: Vec<_> = self
            .codes
            .chunks(CHUNK)
            .zip(gradients.chunks(CHUNK))
            .collect();
        let mut parts = vec![[0.0f64; MOST]; pairs.len()];
        each_chunk(crew, 1, &mut parts, |i, part| part.fill(sum(pairs[i])));
        for (k, g) in self.gradient.iter_mut().enumerate() {
            *g = match k {
                0 => 0.0,
                _ => parts.iter().map(|sums| sums[k]).sum::<f64>() as f32,
            };
        }
    }

    /// Writes the values of weights from number `start` on.
    pub fn write_from(&self, start: usize, weights: &mut [f32]) {
        self.book.decode(&self.codes[start..], weights);
    }

    /// Writes every weight's value.
    pub fn write(&self, weights: &mut [f32]) {
        self.book.decode(&self.codes, weights);
    }

    /// An array by centroid as one by weight.
    pub fn spread(&self, by_centroid: &[f32]) -> Vec<f32> {
        let of = |code: &u8| by_centroid[usize::from(*code)];
        self.codes.iter().map(of).collect()
    }

    /// The array by centroid that [`Self::spread`] made `by_weight` of: each centroid has its first member's
    /// value. One without members has 0, which is what a history that never saw a gradient holds.
    pub fn collect(&self, by_weight: &[f32]) -> Vec<f32> {
        let mut values = vec![0.0; self.counts.len()];
        for (code, v) in self.codes.iter().zip(by_weight).rev() {
            values[usize::from(*code)] = *v;
        }
        values[0] = 0.0;
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::noise;

    #[test]
    fn the_gradient_of_a_centroid_is_that_of_the_loss() {
        // A loss of many weights, L = Σ sin(a·w), whose gradients are known; the centroids' by differences.
        let n = CHUNK + 1234;
        let mut weights = noise(1, n);
        weights.iter_mut().step_by(5).for_each(|w| *w = 0.0);
        let factors = noise(2, n);
        let mut shared = Shared::of(&weights, 3).unwrap();
        shared.write(&mut weights);
        let gradients: Vec<f32> = weights
            .iter()
            .zip(&factors)
            .map(|(w, a)| a * (a * w).cos())
            .collect();
        shared.gather(&Crew::alone(), &gradients);
        let loss = |values: &[f32]| -> f64 {
            let terms = shared.codes().iter().zip(&factors);
            terms
                .map(|(c, a)| f64::from(*a) * f64::from(values[usize::from(*c)]))
                .map(f64::sin)
                .sum()
        };
        for k in 1..8 {
            let moved = |by: f32| {
                let mut values = shared.book().values().to_vec();
                values[k] += by;
                (loss(&values), f64::from(values[k]))
            };
            let ((up, a), (down, b)) = (moved(0.01), moved(-0.01));
            let (want, got) = ((up - down) / (a - b), f64::from(shared.gradient()[k]));
            assert!(
                (got - want).abs() < 1e-3 * want.abs().max(1.0),
                "{k}: {got} {want}"
            );
        }
        assert_eq!(shared.gradient()[0], 0.0);
    }

    #[test]
    fn few_values_are_kept_and_zeros_stay() {
        let weights = [0.0, 1.5, -2.0, 1.5, 0.0, 0.25];
        let shared = Shared::of(&weights, 2).unwrap();
        let mut written = [9.0; 6];
        shared.write(&mut written);
        assert_eq!(written, weights);
        assert_eq!((shared.counts(), shared.alive()), (&[2, 1, 1, 2][..], 4));
        assert!(Shared::of(&[1.0, f32::NAN], 2).is_none());
        assert!(Shared::of(&[1.0, f32::INFINITY], 2).is_none());
        let book = shared.book().clone();
        assert!(Shared::new(book, vec![0, 4]).is_none());
    }

    #[test]
    fn histories_survive_a_snapshot() {
        let shared = Shared::of(&[0.0, 3.0, -1.0, 3.0], 2).unwrap();
        let by_centroid: Vec<f32> = (0..4)
            .map(|k| {
                if shared.counts()[k] == 0 {
                    0.0
                } else {
                    k as f32
                }
            })
            .collect();
        let by_weight = shared.spread(&by_centroid);
        assert_eq!(by_weight.len(), 4);
        assert_eq!(shared.collect(&by_weight), by_centroid);
    }
}
