//! Sizes, batches and lengths that fit a number of pictures.

/// The sides that pictures are brought to where they differ or are large.
const SIDES: std::ops::RangeInclusive<usize> = 16..=128;

/// The height and width that pictures of these sizes (height and width of a sample of them) are brought to: their own, if
/// they are all of one square size of at most 128; else the middle one of their shorter sides, as a multiple of 16 from 16
/// to 128.
pub fn side(sizes: &[[usize; 2]]) -> usize {
    let first = sizes.first().copied().unwrap_or([32, 32]);
    let same = sizes.iter().all(|s| *s == first) && first[0] == first[1];
    if same && (8..=*SIDES.end()).contains(&first[0]) {
        return first[0];
    }
    let mut shorter: Vec<usize> = sizes.iter().map(|s| s[0].min(s[1])).collect();
    shorter.sort_unstable();
    let middle = shorter.get(shorter.len() / 2).copied().unwrap_or(32);
    (middle / 16 * 16).clamp(*SIDES.start(), *SIDES.end())
}

/// How a number of pictures is cut into batches that take none twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Pictures a batch.
    pub size: usize,
    /// Batches.
    pub count: usize,
}

impl Batches {
    /// Batches of at most `most` for a test of `n` pictures: all of them, if a number of batches divides them; else as many as possible.
    pub fn of_test(n: usize, most: usize) -> Self {
        let n = n.max(1);
        let least = n.div_ceil(most);
        let left = |count: &usize| n % count;
        let count = (least..=(2 * least).min(n)).min_by_key(left).unwrap_or(1);
        Self {
            size: n / count,
            count,
        }
    }

    /// The pictures that are in one.
    pub fn pictures(self) -> usize {
        self.size * self.count
    }
}

/// How long and how fast a net learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lengths {
    /// Pictures of a training batch.
    pub batch: usize,
    /// Iterations of the dense phase, of the sparse one and of the re-dense one.
    pub iterations: [usize; 3],
    /// The rates that they start with; each falls to 0 in a straight line.
    pub rates: [f64; 3],
}

impl Lengths {
    /// For `n` training pictures that are seen `epochs` times in the dense phase and half as often in each other one; few
    /// pictures are seen more often, so that it has at least `least` updates. `rate` is the dense phase's for batches of `most`
    /// pictures; smaller ones take less.
    pub fn new(n: usize, epochs: usize, rate: f64, [most, least]: [usize; 2]) -> Self {
        let batch = (n / 10).clamp(4, most).min(n.max(1));
        let all = (n * epochs).div_ceil(batch);
        let dense = all.max(least);
        let other = (dense / 2).max(1);
        let rate = rate * (batch as f64 / most as f64).sqrt();
        Self {
            batch,
            iterations: [dense, other, other],
            rates: [rate, rate / 2.0, rate / 5.0].map(rounded),
        }
    }
}

/// `x` with two digits, as somebody would write it.
fn rounded(x: f64) -> f64 {
    let digit = 10f64.powi(x.log10().floor() as i32 - 1);
    // Divided by a whole number, so that no digit is spurious.
    (x / digit).round() / (1.0 / digit).round().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        assert_eq!(side(&[[32, 32], [32, 32]]), 32);
        assert_eq!(side(&[[28, 28]]), 28);
        assert_eq!(side(&[[227, 227]]), 128);
        assert_eq!(side(&[[50, 70], [64, 64], [90, 40]]), 48);
        assert_eq!(side(&[[3, 500]]), 16);
        assert_eq!(side(&[]), 32);
    }

    #[test]
    fn a_test_takes_every_picture_once_if_it_can() {
        for n in 1..1000 {
            let b = Batches::of_test(n, 100);
            assert!(b.size <= 100 && b.pictures() <= n && b.count > 0 && b.size > 0);
            assert!(n - b.pictures() < 8, "{n}: {b:?}");
        }
        assert_eq!(
            Batches::of_test(400, 100),
            Batches {
                size: 100,
                count: 4
            }
        );
        assert_eq!(Batches::of_test(8, 100), Batches { size: 8, count: 1 });
    }

    #[test]
    fn lengths() {
        let l = Lengths::new(1600, 40, 0.1, [64, 300]);
        assert_eq!((l.batch, l.iterations), (64, [1000, 500, 500]));
        assert_eq!(l.rates, [0.1, 0.05, 0.02]);
        let few = Lengths::new(32, 40, 0.1, [64, 300]);
        assert_eq!((few.batch, few.iterations[0]), (4, 320));
        assert!(few.rates[0] < 0.05);
        assert_eq!(Lengths::new(1, 40, 0.1, [64, 300]).batch, 1);
        assert_eq!(rounded(0.03535), 0.035);
    }
}
