//! A layer's cost as a function of how many of its weights stay, and the cheapest choice over layers.

/// A corner of a curve: so many weights that are not 0 cost so much.
pub type Knot = (usize, f64);

/// A convex curve through measured points, from many weights to few. The first point costs nothing: it
/// is the layer as it is.
///
/// Measured on few pictures, the cost does not rise evenly. It is made to rise by pooling neighbours that
/// fall (pool adjacent violators, the least-squares isotonic fit), what it falls below 0 is taken as 0,
/// and of the rest the lower convex hull is kept. Points that are not finite are left out.
pub fn convex(own: usize, points: impl IntoIterator<Item = Knot>) -> Vec<Knot> {
    let mut points: Vec<Knot> = points
        .into_iter()
        .filter(|&(kept, cost)| cost.is_finite() && kept < own)
        .map(|(kept, cost)| (kept, cost.max(0.0)))
        .collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.0));
    points.dedup_by_key(|p| p.0);
    points.insert(0, (own, 0.0));
    hull(&rising(&points))
}

/// The costs made to rise: runs of points are replaced by their means until none falls.
fn rising(points: &[Knot]) -> Vec<Knot> {
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for &(_, cost) in points {
        let mut last = (cost, 1);
        while let Some(&(sum, n)) = pools.last()
            && sum / n as f64 > last.0 / last.1 as f64
        {
            pools.pop();
            last = (last.0 + sum, last.1 + n);
        }
        pools.push(last);
    }
    let means = pools
        .into_iter()
        .flat_map(|(sum, n)| std::iter::repeat_n(sum / n as f64, n));
    points.iter().map(|p| p.0).zip(means).collect()
}

/// What one weight less costs between two knots.
fn slope(from: Knot, to: Knot) -> f64 {
    (to.1 - from.1) / (from.0 as f64 - to.0 as f64)
}

/// The lower convex hull of points whose weights fall.
fn hull(points: &[Knot]) -> Vec<Knot> {
    let mut hull: Vec<Knot> = Vec::new();
    for &p in points {
        while let [.., a, b] = hull[..]
            && slope(a, b) >= slope(b, p)
        {
            hull.pop();
        }
        hull.push(p);
    }
    hull
}

/// What a curve costs where `kept` weights stay: linear between its knots.
pub fn cost(curve: &[Knot], kept: usize) -> f64 {
    for pair in curve.windows(2) {
        if kept >= pair[1].0 {
            let less = pair[0].0.saturating_sub(kept) as f64;
            return pair[0].1 + less * slope(pair[0], pair[1]);
        }
    }
    curve.last().map_or(0.0, |k| k.1)
}

/// The weights to keep of every layer, `budget` together, at the least sum of costs; `None` if the curves
/// do not go down so far. Whoever has fewer already keeps all.
///
/// The curves are convex, so taking away weights where the next one costs least is the optimum (the
/// fractional knapsack; the last slope taken is the Lagrange multiplier).
pub fn allocate(curves: &[Vec<Knot>], budget: usize) -> Option<Vec<usize>> {
    let mut kept: Vec<usize> = curves
        .iter()
        .map(|c| c.first().map_or(0, |k| k.0))
        .collect();
    let mut surplus = kept.iter().sum::<usize>().saturating_sub(budget);
    let mut pieces: Vec<(f64, usize, usize)> = Vec::new();
    for (layer, curve) in curves.iter().enumerate() {
        for pair in curve.windows(2) {
            pieces.push((slope(pair[0], pair[1]), layer, pair[0].0 - pair[1].0));
        }
    }
    // Stable: a layer's own pieces stay in order.
    pieces.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, layer, weights) in pieces {
        let taken = weights.min(surplus);
        kept[layer] -= taken;
        surplus -= taken;
    }
    (surplus == 0).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    #[test]
    fn a_curve_is_made_to_rise_and_bend_upwards() {
        let curve = convex(
            100,
            [(80, 0.1), (60, -0.2), (40, 1.0), (20, f64::NAN), (10, 4.0)],
        );
        // 80 and 60 are pooled to a mean of 0.05; the hull then leaves out 80.
        assert_eq!(curve[0], (100, 0.0));
        assert!(
            curve
                .windows(2)
                .all(|w| w[0].1 <= w[1].1 && w[0].0 > w[1].0)
        );
        assert!(
            curve
                .windows(3)
                .all(|w| slope(w[0], w[1]) < slope(w[1], w[2]))
        );
        assert_eq!(curve.last(), Some(&(10, 4.0)));
        assert_eq!(
            rising(&[(9, 0.0), (8, 3.0), (7, 1.0), (6, 2.0)]),
            [(9, 0.0), (8, 2.0), (7, 2.0), (6, 2.0)]
        );
        assert_eq!(convex(5, []), [(5, 0.0)]);
        assert_eq!(cost(&[(10, 0.0), (6, 2.0)], 9), 0.5);
        assert_eq!(cost(&[(10, 0.0), (6, 2.0)], 12), 0.0);
        assert_eq!(cost(&[(10, 0.0)], 3), 0.0);
    }

    #[test]
    fn a_layer_whose_weights_are_free_gives_them_first() {
        let curves = [
            convex(100, [(50, 1.0), (10, 5.0)]),
            convex(100, [(60, 0.0), (10, 0.5)]),
        ];
        assert_eq!(allocate(&curves, 170), Some(vec![100, 70]));
        assert_eq!(allocate(&curves, 110), Some(vec![100, 10]));
        assert_eq!(allocate(&curves, 60), Some(vec![50, 10]));
        assert_eq!(allocate(&curves, 20), Some(vec![10, 10]));
        assert_eq!(allocate(&curves, 19), None);
        assert_eq!(allocate(&curves, 500), Some(vec![100, 100]));
    }

    /// The least cost of keeping `budget` weights, by trying everything.
    fn brute(curves: &[Vec<Knot>], budget: usize) -> Option<f64> {
        let Some((first, rest)) = curves.split_first() else {
            return (budget == 0).then_some(0.0);
        };
        let range = first.last().unwrap().0..=first[0].0.min(budget);
        range
            .filter_map(|kept| Some(cost(first, kept) + brute(rest, budget - kept)?))
            .min_by(f64::total_cmp)
    }

    #[test]
    fn the_choice_is_the_best_of_all() {
        let random = Random::new(5, Purpose::Filler, 0);
        let mut count = 0;
        let mut next = |n: usize| {
            count += 1;
            random.below(count, n)
        };
        for _ in 0..60 {
            let curves: Vec<Vec<Knot>> = (0..3)
                .map(|_| {
                    let own = 6 + next(10);
                    let points: Vec<Knot> = (0..4)
                        .map(|_| (1 + next(own), next(40) as f64 / 8.0 - 1.0))
                        .collect();
                    convex(own, points)
                })
                .collect();
            let all: usize = curves.iter().map(|c| c[0].0).sum();
            for budget in 0..=all {
                let got = allocate(&curves, budget);
                let best = brute(&curves, budget);
                assert_eq!(got.is_some(), best.is_some());
                let (Some(got), Some(best)) = (got, best) else {
                    continue;
                };
                assert_eq!(got.iter().sum::<usize>(), budget);
                let total: f64 = curves.iter().zip(&got).map(|(c, &k)| cost(c, k)).sum();
                assert!((total - best).abs() < 1e-9, "{total} is not {best}");
            }
        }
    }
}
