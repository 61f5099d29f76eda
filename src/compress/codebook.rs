//! Codebooks: the few values that a layer's weights share (Han, Mao, Dally 2015, section 3).

use super::k_means::k_means;

/// The most bits of a code.
pub const MOST_BITS: u32 = 8;

/// The values that the codes of a layer's weights stand for. Code 0 is the value 0, that of pruned weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Codebook {
    bits: u32,
    values: Vec<f32>,
}

impl Codebook {
    /// A codebook of `values`, of which there are 2^`bits` and the first is 0; `None` where this does not hold
    /// or a value is not finite.
    pub fn new(bits: u32, values: Vec<f32>) -> Option<Self> {
        let fits = (1..=MOST_BITS).contains(&bits) && values.len() == 1 << bits;
        let sound = values.first() == Some(&0.0) && values.iter().all(|v| v.is_finite());
        (fits && sound).then_some(Self { bits, values })
    }

    /// Bits of a code, 1 to 8.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The 2^bits values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values, for training; entry 0 has to stay 0.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The codebook of exactly the values that `weights` take, ascending, with as few bits as hold them (not
    /// fewer than `least`); `None` if they are more than 8 bits hold, or one is not finite.
    pub fn of_values(weights: &[f32], least: u32) -> Option<Self> {
        let mut distinct = std::collections::HashSet::new();
        for w in weights.iter().filter(|w| **w != 0.0) {
            distinct.insert(w.to_bits());
            if distinct.len() >= 1 << MOST_BITS {
                return None;
            }
        }
        let mut values: Vec<f32> = distinct.into_iter().map(f32::from_bits).collect();
        values.push(0.0);
        values.sort_unstable_by(|a, b| (*a != 0.0).cmp(&(*b != 0.0)).then(a.total_cmp(b)));
        let bits = (values.len().next_power_of_two().trailing_zeros()).max(least.max(1));
        values.resize(1 << bits, 0.0);
        Self::new(bits, values)
    }

    /// k-means over the values of `weights` that are not 0, to the least error: at most 2^`bits` − 1
    /// centroids. Zeros stay code 0. Entries that are left over repeat the last value.
    pub fn k_means(weights: &[f32], bits: u32) -> Self {
        assert!((1..=MOST_BITS).contains(&bits));
        let k = (1usize << bits) - 1;
        let alive = weights.iter().copied().filter(|w| *w != 0.0).collect();
        let mut values = vec![0.0];
        values.extend(k_means(alive, k));
        let last = values[values.len() - 1];
        values.resize(k + 1, last);
        Self { bits, values }
    }

    /// The code of every weight: 0 for zeros, else that of the nearest value other than entry 0 (of two, the
    /// smaller value's). A value that the codebook holds gets the first entry that holds it.
    pub fn assign(&self, weights: &[f32]) -> Vec<u8> {
        let mut order: Vec<(f32, u8)> = (1..self.values.len())
            .map(|i| (self.values[i], i as u8))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        order.dedup_by(|b, a| a.0 == b.0);
        let nearest = |w: f32| {
            let at = order.partition_point(|(v, _)| *v < w);
            match (at.checked_sub(1).map(|i| order[i]), order.get(at)) {
                (Some(below), Some(above)) => {
                    let down = f64::from(w) - f64::from(below.0);
                    let up = f64::from(above.0) - f64::from(w);
                    if down <= up { below.1 } else { above.1 }
                }
                (Some(one), None) => one.1,
                (None, Some(one)) => one.1,
                (None, None) => 0,
            }
        };
        let code = |w: &f32| if *w == 0.0 { 0 } else { nearest(*w) };
        weights.iter().map(code).collect()
    }

    /// The code of every weight, if the codebook holds them all: 0 for zeros of either sign, else the first
    /// entry that holds the value.
    pub fn codes(&self, weights: &[f32]) -> Option<Vec<u8>> {
        let mut order: Vec<(u32, u8)> = (1..self.values.len())
            .map(|i| (self.values[i].to_bits(), i as u8))
            .collect();
        order.sort_unstable();
        let code = |w: &f32| {
            if *w == 0.0 {
                return Some(0);
            }
            let bits = w.to_bits();
            let at = order.partition_point(|(v, _)| *v < bits);
            order.get(at).filter(|(v, _)| *v == bits).map(|o| o.1)
        };
        weights.iter().map(code).collect()
    }

    /// The same codes with the same values in a codebook of `bits`, if they have room in it; further entries
    /// are 0.
    pub fn resized(&self, bits: u32) -> Option<Self> {
        let used = self.values.iter().rposition(|v| *v != 0.0).unwrap_or(0);
        let mut values = self.values.clone();
        values.resize(1 << bits.min(MOST_BITS), 0.0);
        (used < values.len()).then(|| Self::new(bits, values))?
    }

    /// The codebook of at most `bits` bits for `weights`: `given` if it holds them, else one of their own values,
    /// else k-means. Whether the first two would do, and so no weight changes.
    pub fn fit(weights: &[f32], given: Option<&Self>, bits: u32) -> (Self, bool) {
        let holds = |book: &&Self| book.codes(weights).is_some();
        let kept = given.and_then(|g| {
            if g.bits <= bits {
                Some(g.clone())
            } else {
                g.resized(bits)
            }
        });
        let own = || Self::of_values(weights, 1).filter(|b| b.bits <= bits);
        match kept.filter(|b| holds(&b)).or_else(own) {
            Some(book) => (book, true),
            None => (Self::k_means(weights, bits), false),
        }
    }

    /// The values of `codes`.
    pub fn decode(&self, codes: &[u8], to: &mut [f32]) {
        for (to, code) in to.iter_mut().zip(codes) {
            *to = self.values[usize::from(*code)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::noise;

    #[test]
    fn every_weight_gets_its_nearest_value_and_zeros_stay() {
        let mut weights = noise(5, 1000);
        weights.iter_mut().step_by(4).for_each(|w| *w = 0.0);
        let book = Codebook::k_means(&weights, 4);
        let codes = book.assign(&weights);
        for (w, code) in weights.iter().zip(&codes) {
            let own = (w - book.values()[usize::from(*code)]).abs();
            match *w == 0.0 {
                true => assert_eq!(*code, 0),
                false => {
                    assert!(*code != 0 && book.values()[1..].iter().all(|v| own <= (w - v).abs()))
                }
            }
        }
        let mut decoded = vec![0.0; weights.len()];
        book.decode(&codes, &mut decoded);
        assert_eq!(book.assign(&decoded), codes);
    }

    #[test]
    fn values_that_are_few_make_an_exact_codebook() {
        let weights = [0.5, 0.0, -2.0, 0.5, 1.5];
        let book = Codebook::of_values(&weights, 1).unwrap();
        assert_eq!(
            (book.bits(), book.values()),
            (2, &[0.0, -2.0, 0.5, 1.5][..])
        );
        assert_eq!(book.assign(&weights), [2, 0, 1, 2, 3]);
        assert_eq!(Codebook::of_values(&weights, 4).unwrap().bits(), 4);
        let many: Vec<f32> = (1..=256).map(|i| i as f32).collect();
        assert!(Codebook::of_values(&many, 1).is_none());
        assert_eq!(Codebook::of_values(&many[..255], 1).unwrap().bits(), 8);
        assert!(Codebook::of_values(&[f32::NAN, 1.0], 1).is_none());
    }

    #[test]
    fn a_codebook_fits_while_it_holds_every_value_and_has_room() {
        let book = Codebook::new(2, vec![0.0, 3.0, -1.0, 3.0]).unwrap();
        assert_eq!(book.codes(&[-1.0, 0.0, 3.0, -0.0]), Some(vec![2, 0, 1, 0]));
        assert_eq!(book.codes(&[1.0]), None);
        let wide = book.resized(4).unwrap();
        assert_eq!((wide.bits(), wide.codes(&[3.0])), (4, Some(vec![1])));
        assert_eq!(
            (wide.resized(2), wide.resized(1)),
            (Some(book.clone()), None)
        );
        // The given one; it in fewer bits; the values' own; k-means.
        let weights = [3.0, -1.0, 0.0];
        assert_eq!(
            Codebook::fit(&weights, Some(&book), 2),
            (book.clone(), true)
        );
        assert_eq!(Codebook::fit(&weights, Some(&wide), 3).0.bits(), 3);
        let (own, exact) = Codebook::fit(&[5.0, 4.0, 0.0], Some(&book), 2);
        assert_eq!((own.values(), exact), (&[0.0, 4.0, 5.0, 0.0][..], true));
        let (shared, exact) = Codebook::fit(&[1.0, 1.2, 3.0, 3.2, 5.0, 0.0], Some(&book), 2);
        assert!(!exact && shared.bits() == 2);
    }

    #[test]
    fn nothing_but_zeros_and_one_value() {
        assert_eq!(Codebook::k_means(&[0.0; 5], 2).values(), [0.0; 4]);
        let book = Codebook::k_means(&[0.0, 3.0, 3.0], 2);
        let codes = book.assign(&[0.0, 3.0]);
        assert_eq!((codes[0], book.values()[usize::from(codes[1])]), (0, 3.0));
        assert!(Codebook::new(2, vec![1.0, 0.0, 0.0, 0.0]).is_none());
        assert!(Codebook::new(2, vec![0.0; 3]).is_none());
    }
}
