//! A split into training and validation pictures that keeps the classes' shares.

use crate::random::{Purpose, Random};

/// Indices of the pictures, each part in an order of chance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// To train on.
    pub train: Vec<usize>,
    /// To test on.
    pub val: Vec<usize>,
}

/// Splits pictures of these labels: of each class `share` goes to validation, rounded, at least one and not all, where it
/// has two pictures; a class of one picture is trained on.
pub fn split(labels: &[i32], share: f64, seed: u64) -> Split {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    shuffle(&mut order, seed, 0);
    let mut classes: Vec<i32> = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let mut split = Split::default();
    for class in classes {
        let own: Vec<usize> = order
            .iter()
            .copied()
            .filter(|i| labels[*i] == class)
            .collect();
        let wanted = (own.len() as f64 * share).round() as usize;
        let most = own.len().saturating_sub(1);
        let val = wanted.max(1).min(most);
        split.val.extend(&own[..val]);
        split.train.extend(&own[val..]);
    }
    shuffle(&mut split.train, seed, 1);
    shuffle(&mut split.val, seed, 2);
    split
}

/// `n` pictures in an order of chance.
pub fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(&mut order, seed, 0);
    order
}

/// Brings `order` into an order of chance (Fisher and Yates).
fn shuffle(order: &mut [usize], seed: u64, stream: u64) {
    let random = Random::new(seed, Purpose::Shuffle, stream);
    for i in (1..order.len()).rev() {
        order.swap(i, random.below(i as u64, i + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_is_in_one_part_and_classes_keep_their_shares() {
        let labels: Vec<i32> = (0..110)
            .map(|i| {
                if i < 100 {
                    0
                } else if i < 109 {
                    1
                } else {
                    2
                }
            })
            .collect();
        let parts = split(&labels, 0.2, 7);
        let mut all: Vec<usize> = parts.train.iter().chain(&parts.val).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..110).collect::<Vec<_>>());
        let count = |class: i32| parts.val.iter().filter(|i| labels[**i] == class).count();
        // A class of one picture is only trained on.
        assert_eq!([count(0), count(1), count(2)], [20, 2, 0]);
        assert_eq!(parts, split(&labels, 0.2, 7));
        assert_ne!(parts, split(&labels, 0.2, 8));
    }

    #[test]
    fn small_classes_are_in_both() {
        let parts = split(&[0, 0, 1, 1, 1], 0.01, 1);
        assert_eq!(parts.val.len(), 2);
        let parts = split(&[0, 0], 1.0, 1);
        assert_eq!([parts.train.len(), parts.val.len()], [1, 1]);
    }
}
