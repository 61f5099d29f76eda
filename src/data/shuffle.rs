//! The order of a shuffled database: every record once a round, in another order each round.

use crate::memory;
use crate::random::Random;
use anyhow::Result;

/// The order of a round.
pub struct Shuffle {
    random: Random,
    /// The round that `order` is of.
    round: Option<u64>,
    order: Vec<u32>,
}

impl Shuffle {
    /// Orders that follow from `random` and the round alone.
    pub fn new(random: Random) -> Self {
        Self {
            random,
            round: None,
            order: Vec::new(),
        }
    }

    /// The record, below `count`, that is number `number` of the run.
    ///
    /// # Errors
    /// There is no memory for the order of so many.
    pub fn record(&mut self, number: u64, count: u64) -> Result<u64> {
        let (round, at) = (number / count, number % count);
        let Ok(n) = u32::try_from(count) else {
            // More than four thousand million: too many to order in memory.
            return Ok(at);
        };
        if self.round != Some(round) {
            let random = self.random.branch(round);
            self.order.clear();
            let what = || format!("the order of {n} shuffled records");
            memory::reserve(&mut self.order, n as usize, what, "take shuffle away")?;
            self.order.extend(0..n);
            for i in (1..self.order.len()).rev() {
                self.order.swap(i, random.below(i as u64, i + 1));
            }
            self.round = Some(round);
        }
        Ok(u64::from(self.order[at as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn each_round_has_every_record_once_in_another_order() {
        let mut shuffle = Shuffle::new(Random::new(1, Purpose::Shuffle, 2));
        let mut round = |r: u64| -> Vec<u64> {
            (0..50)
                .map(|i| shuffle.record(r * 50 + i, 50).unwrap())
                .collect()
        };
        let (first, second) = (round(0), round(1));
        assert_ne!(first, second);
        assert_eq!(first, round(0));
        let mut sorted = second.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<u64>>());
    }
}
