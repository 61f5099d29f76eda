//! k-means in one dimension, where a cluster is a run of the sorted numbers and the least error can be computed.
//!
//! Deep Compression (section 3.2) starts Lloyd's rounds from evenly spaced centroids, since random and density-based
//! ones lose the few large weights. But a heavy-tailed layer leaves up to a third of even centroids without a
//! member, and Lloyd's rounds end far from the least error. So the cuts come from dynamic programming (Wang and
//! Song 2011, "Ckmeans.1d.dp"), over fine bins where the numbers are many, and one more of Lloyd's rounds
//! after the other lets them settle between the bins.

use rayon::prelude::*;

/// Lloyd's rounds at most; it settles long before.
const ROUNDS: usize = 300;

/// Bins by width and as many by count, where the numbers take more values than that.
const BINS: usize = 2048;

/// Sorted numbers, with what tells the mean and the error of any run of them.
struct Sorted {
    numbers: Vec<f32>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

/// Clusters as runs: their bounds, the first 0, the last the number of all numbers.
type Cuts = Vec<usize>;

/// At most `k` centroids of `numbers`, ascending, with the least sum of squared distances (of more than 4096 values
/// nearly so). Fewer if the numbers take fewer values; none of no numbers.
pub(super) fn k_means(numbers: Vec<f32>, k: usize) -> Vec<f32> {
    let all = Sorted::new(numbers);
    if all.numbers.is_empty() {
        return Vec::new();
    }
    let cuts = all.lloyd(all.means(&all.least(k)));
    all.means(&cuts).into_iter().map(|c| c as f32).collect()
}

impl Sorted {
    fn new(mut numbers: Vec<f32>) -> Self {
        numbers.par_sort_unstable_by(f32::total_cmp);
        let running = |f: fn(f64) -> f64| {
            let sums = numbers.iter().scan(0.0, |sum, w| {
                *sum += f(f64::from(*w));
                Some(*sum)
            });
            std::iter::once(0.0).chain(sums).collect()
        };
        Self {
            sums: running(|w| w),
            squares: running(|w| w * w),
            numbers,
        }
    }

    fn mean(&self, a: usize, b: usize) -> f64 {
        (self.sums[b] - self.sums[a]) / (b - a) as f64
    }

    /// The sum of squared distances of a run from its mean.
    fn error(&self, a: usize, b: usize) -> f64 {
        let sum = self.sums[b] - self.sums[a];
        let squares = self.squares[b] - self.squares[a];
        (squares - sum * sum / (b - a).max(1) as f64).max(0.0)
    }

    fn means(&self, cuts: &Cuts) -> Vec<f64> {
        let runs = cuts.windows(2).filter(|c| c[0] < c[1]);
        runs.map(|c| self.mean(c[0], c[1])).collect()
    }

    /// Where the numbers may be cut: between any two values if these are few, else between bins, narrow where the
    /// numbers are dense and not wide where they are sparse.
    fn bins(&self) -> Cuts {
        let (w, n) = (&self.numbers, self.numbers.len());
        let inner = || (1..n).filter(|i| w[*i - 1] < w[*i]);
        let ends = |inner: Vec<usize>| [vec![0], inner, vec![n]].concat();
        if inner().nth(2 * BINS).is_none() {
            return ends(inner().collect());
        }
        let (low, high) = (f64::from(w[0]), f64::from(w[n - 1]));
        let column = |i: usize| ((f64::from(w[i]) - low) / (high - low) * BINS as f64) as usize;
        let (mut last, mut cuts) = (0, Vec::new());
        for i in inner() {
            if i - last >= n.div_ceil(BINS) || column(i) > column(last) {
                cuts.push(i);
                last = i;
            }
        }
        ends(cuts)
    }

    /// The cuts into at most `k` clusters with the least error, of those at bins.
    fn least(&self, k: usize) -> Cuts {
        let bins = self.bins();
        let n = bins.len() - 1;
        // best[b]: the least error of the bins before b in so many clusters; from[c][b]: where the last one starts.
        let mut best: Vec<f64> = (0..=n).map(|b| self.error(0, bins[b])).collect();
        let mut from: Vec<Vec<u32>> = vec![vec![0; n + 1]];
        for _ in 1..k.min(n) {
            let mut next = vec![0.0; n + 1];
            let mut at = vec![0; n + 1];
            self.extend(&bins, &best, (0, n), (0, n), &mut next, &mut at);
            best = next;
            from.push(at);
        }
        let mut cuts = vec![bins[n]];
        let mut b = n;
        for at in from.iter().rev() {
            b = at[b] as usize;
            cuts.push(bins[b]);
        }
        cuts.reverse();
        cuts.dedup();
        cuts
    }

    /// One more cluster for the bins before each of `ends.0..=ends.1`, which starts within `starts`: the more bins,
    /// the later it starts, so the middle one's start bounds both halves'.
    fn extend(
        &self,
        bins: &Cuts,
        best: &[f64],
        ends: (usize, usize),
        starts: (usize, usize),
        next: &mut [f64],
        at: &mut [u32],
    ) {
        let middle = ends.0.midpoint(ends.1);
        let candidates = starts.0..=starts.1.min(middle);
        let cost = |a: usize| (best[a] + self.error(bins[a], bins[middle]), a);
        let least = candidates.map(cost).min_by(|a, b| a.0.total_cmp(&b.0));
        let (error, start) = least.unwrap_or((best[middle], middle));
        (next[middle], at[middle]) = (error, start as u32);
        if middle > ends.0 {
            self.extend(
                bins,
                best,
                (ends.0, middle - 1),
                (starts.0, start),
                next,
                at,
            );
        }
        if middle < ends.1 {
            self.extend(
                bins,
                best,
                (middle + 1, ends.1),
                (start, starts.1),
                next,
                at,
            );
        }
    }

    /// The clusters of ascending centroids, after Lloyd's rounds, without the empty ones.
    fn lloyd(&self, mut centroids: Vec<f64>) -> Cuts {
        let mut cuts = Cuts::new();
        for _ in 0..ROUNDS {
            let halves = centroids.windows(2).map(|c| 0.5 * (c[0] + c[1]));
            let inner = halves.map(|h| self.numbers.partition_point(|w| f64::from(*w) < h));
            let ends = [self.numbers.len()];
            let next: Cuts = std::iter::once(0).chain(inner).chain(ends).collect();
            if next == cuts {
                break;
            }
            cuts = next;
            for (c, cut) in centroids.iter_mut().zip(cuts.windows(2)) {
                if cut[0] < cut[1] {
                    *c = self.mean(cut[0], cut[1]);
                }
            }
        }
        cuts.dedup();
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::noise;

    /// The least error of `k` clusters, by dynamic programming over all cuts.
    fn least(all: &Sorted, k: usize) -> f64 {
        let n = all.numbers.len();
        let mut best: Vec<f64> = (0..=n).map(|b| all.error(0, b)).collect();
        for _ in 1..k {
            best = (0..=n)
                .map(|b| {
                    let cut = |a: usize| best[a] + all.error(a, b);
                    (0..=b).map(cut).fold(f64::INFINITY, f64::min)
                })
                .collect();
        }
        best[n]
    }

    fn error_of(all: &Sorted, centroids: &[f32]) -> f64 {
        let near = |w: &f32| {
            let distances = centroids.iter().map(|c| f64::from(w - c).powi(2));
            distances.fold(f64::INFINITY, f64::min)
        };
        all.numbers.iter().map(near).sum()
    }

    #[test]
    fn the_error_is_the_least() {
        for (seed, k) in [(1, 1), (1, 3), (2, 7), (3, 15), (4, 31)] {
            // Heavy tails, as weights have.
            let numbers: Vec<f32> = noise(seed, 400).iter().map(|w| w.powi(5)).collect();
            let all = Sorted::new(numbers.clone());
            let centroids = k_means(numbers, k);
            assert!(centroids.len() == k && centroids.is_sorted());
            let (got, best) = (error_of(&all, &centroids), least(&all, k));
            assert!(
                got <= 1.000_1 * best,
                "{k} centroids: {got}, at best {best}"
            );
        }
    }

    #[test]
    fn of_many_numbers_nearly_so() {
        let numbers: Vec<f32> = noise(5, 40_000).iter().map(|w| w.powi(5)).collect();
        let all = Sorted::new(numbers.clone());
        assert!((BINS / 2..=2 * BINS + 1).contains(&all.bins().len()));
        let fine = all.lloyd(all.means(&all.least(15)));
        let error = |cuts: &Cuts| cuts.windows(2).map(|c| all.error(c[0], c[1])).sum::<f64>();
        // Even centroids, as the paper starts, end far above.
        let even = |i: usize| -1.0 + i as f64 / 7.0;
        let plain = all.lloyd((0..15).map(even).collect());
        assert!(error(&fine) <= error(&plain));
        let centroids = k_means(numbers, 15);
        assert!((error_of(&all, &centroids) / error(&fine) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn few_values_are_their_own_centroids() {
        assert!(k_means(Vec::new(), 3).is_empty());
        assert_eq!(k_means(vec![3.0, 3.0], 3), [3.0]);
        assert_eq!(k_means(vec![1.0, -2.0, 1.0, 0.5], 3), [-2.0, 0.5, 1.0]);
        assert_eq!(k_means(vec![1.0, -2.0], 1), [-0.5]);
    }
}
