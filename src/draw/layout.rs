//! The second half of a layered layout: where each node stands and along which points each edge runs.
//!
//! "Along" is the way of the data, "across" the other axis; the direction of the picture comes later.
//! Across, every node wants to stand in the middle of its neighbours; the nodes of a rank keep their order
//! and distance. That is least squares under order, solved by pooling neighbours (isotonic regression).

use super::order::Ranks;

/// A place or a size: along and across.
pub type Pair = [f64; 2];

/// Where everything is.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The centres of the nodes.
    pub centres: Vec<Pair>,
    /// For each edge the points that it joins, from its start to its end. At even pieces (0–1, 2–3 …) it
    /// bends from rank to rank, at odd ones it runs straight through a rank.
    pub routes: Vec<Vec<Pair>>,
    /// The size of the whole.
    pub size: Pair,
}

/// Free space between two ranks, and between nodes side by side.
const GAP: Pair = [30.0, 18.0];
/// What a bend needs across.
const BEND: f64 = 10.0;
/// Edges at the same side of a node start so far apart, where there is room.
const PORT: f64 = 14.0;
const ROUNDS: usize = 60;

/// Lays out nodes of the given sizes and edges (from, to); beside an edge stands what takes `rooms` along.
pub fn layout(sizes: &[Pair], edges: &[(usize, usize)], rooms: &[f64]) -> Layout {
    let ranks = Ranks::new(sizes.len(), edges);
    let size = |n: usize| sizes.get(n).copied().unwrap_or([0.0, BEND]);
    let across = across(&ranks, &size, sizes.len());
    let mut centres = vec![[0.0; 2]; ranks.before.len()];
    let mut bounds = vec![[0.0; 2]; ranks.before.len()];
    let mut start = 0.0;
    let gaps = gaps(&ranks, edges, rooms);
    for (r, rank) in ranks.ranks.iter().enumerate() {
        let depth = rank.iter().map(|&n| size(n)[0]).fold(0.0, f64::max);
        for &n in rank {
            centres[n] = [start + depth / 2.0, across[n]];
            let half = match n < sizes.len() {
                true => size(n)[0] / 2.0,
                false => depth / 2.0,
            };
            bounds[n] = [centres[n][0] - half, centres[n][0] + half];
        }
        start += depth + gaps[r];
    }
    let mut routes = Vec::new();
    let mut ways = ranks.ways.iter();
    for &(from, to) in edges {
        // An edge from a node to itself is not drawn: only nets that cannot run have one.
        let Some(way) = (from != to).then(|| ways.next()).flatten() else {
            routes.push(Vec::new());
            continue;
        };
        let mut route = Vec::new();
        for pair in way.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let leave = port(a, b, &ranks.after[a], &across, size(a)[1]);
            let enter = port(b, a, &ranks.before[b], &across, size(b)[1]);
            route.push([bounds[a][1], leave]);
            route.push([bounds[b][0], enter]);
        }
        if way[0] != from {
            route.reverse();
        }
        routes.push(route);
    }
    centres.truncate(sizes.len());
    let width = (0..ranks.before.len()).map(|n| across[n] + size(n)[1] / 2.0);
    Layout {
        centres,
        routes,
        size: [
            (start - gaps.last().unwrap_or(&0.0)).max(0.0),
            width.fold(0.0, f64::max),
        ],
    }
}

/// The free space behind each rank: what stands beside the first piece of an edge must find room there.
fn gaps(ranks: &Ranks, edges: &[(usize, usize)], rooms: &[f64]) -> Vec<f64> {
    let mut rank_of = vec![0; ranks.before.len()];
    for (r, rank) in ranks.ranks.iter().enumerate() {
        rank.iter().for_each(|&n| rank_of[n] = r);
    }
    let mut gaps = vec![GAP[0]; ranks.ranks.len()];
    let real = edges.iter().zip(rooms).filter(|((from, to), _)| from != to);
    for ((&(from, _), room), way) in real.zip(&ranks.ways) {
        // An edge that runs against the data starts behind the rank before its own.
        let r = match way.first() == Some(&from) {
            true => rank_of[from],
            false => rank_of[from].saturating_sub(1),
        };
        gaps[r] = gaps[r].max(*room);
    }
    gaps
}

/// Where at the side of `node` the edge to `other` starts: by the order of the neighbours.
fn port(node: usize, other: usize, neighbours: &[usize], across: &[f64], width: f64) -> f64 {
    let key = |n: usize| (across[n], n);
    let count = neighbours.len();
    let place = neighbours.iter().filter(|&&n| key(n) < key(other)).count();
    let step = PORT.min(0.7 * width / count.max(1) as f64);
    across[node] + (place as f64 - (count as f64 - 1.0) / 2.0) * step
}

/// The places across, from 0 on.
fn across(ranks: &Ranks, size: &dyn Fn(usize) -> Pair, real: usize) -> Vec<f64> {
    let mut at = vec![0.0; ranks.before.len()];
    for rank in &ranks.ranks {
        let mut edge = 0.0;
        for &n in rank {
            at[n] = edge + size(n)[1] / 2.0;
            edge += size(n)[1] + GAP[1];
        }
        for &n in rank {
            at[n] -= edge / 2.0;
        }
    }
    // Long edges shall be straight before all.
    let pull = |a: usize, b: usize| match (a < real, b < real) {
        (true, true) => 1.0,
        (false, false) => 8.0,
        _ => 2.0,
    };
    let count = ranks.ranks.len();
    for round in 0..ROUNDS {
        // To, fro, and at last both sides at once.
        let (use_before, use_after) = match round {
            r if r >= ROUNDS * 2 / 3 => (true, true),
            r => (r % 2 == 0, r % 2 == 1),
        };
        for i in 0..count {
            let rank = if round % 2 == 0 { i } else { count - 1 - i };
            let wish = |&n: &usize| {
                let (mut sum, mut weight) = (0.0, 0.0);
                let sides = [(use_before, &ranks.before[n]), (use_after, &ranks.after[n])];
                for (_, side) in sides.into_iter().filter(|(used, _)| *used) {
                    for &m in side {
                        sum += pull(n, m) * at[m];
                        weight += pull(n, m);
                    }
                }
                match weight > 0.0 {
                    true => (sum / weight, weight),
                    false => (at[n], 0.1),
                }
            };
            let wishes: Vec<(f64, f64)> = ranks.ranks[rank].iter().map(wish).collect();
            let widths: Vec<f64> = ranks.ranks[rank].iter().map(|&n| size(n)[1]).collect();
            for (&n, x) in ranks.ranks[rank].iter().zip(keep_apart(&wishes, &widths)) {
                at[n] = x;
            }
        }
    }
    let first = (0..at.len()).map(|n| at[n] - size(n)[1] / 2.0);
    let first = first.fold(f64::INFINITY, f64::min);
    at.iter().map(|x| x - first).collect()
}

/// The places closest to the wishes (place, weight) that keep order and distance.
fn keep_apart(wishes: &[(f64, f64)], widths: &[f64]) -> Vec<f64> {
    // Without the widths before them, places need only not decrease.
    let mut offset = 0.0;
    let mut offsets = Vec::new();
    for k in 0..wishes.len() {
        if k > 0 {
            offset += (widths[k - 1] + widths[k]) / 2.0 + GAP[1];
        }
        offsets.push(offset);
    }
    // Blocks of nodes that touch: weighted sum of wishes, weight, number.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (&(place, weight), offset) in wishes.iter().zip(&offsets) {
        let mut block = (weight * (place - offset), weight, 1);
        while let Some(&(sum, weight, count)) = blocks.last()
            && sum / weight >= block.0 / block.1
        {
            block = (block.0 + sum, block.1 + weight, block.2 + count);
            blocks.pop();
        }
        blocks.push(block);
    }
    let places = blocks
        .iter()
        .flat_map(|&(sum, weight, count)| std::iter::repeat_n(sum / weight, count));
    places.zip(offsets).map(|(x, offset)| x + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_keep_apart_as_close_to_their_wishes_as_they_can() {
        let free = keep_apart(&[(0.0, 1.0), (100.0, 1.0)], &[10.0, 10.0]);
        assert_eq!(free, [0.0, 100.0]);
        let tight = keep_apart(&[(50.0, 1.0), (50.0, 1.0)], &[10.0, 10.0]);
        assert_eq!(tight, [36.0, 64.0]);
    }

    #[test]
    fn nothing_overlaps_and_chains_are_straight() {
        // A fork and its join, one side longer.
        let edges = [(0, 1), (0, 2), (1, 3), (2, 4), (4, 3), (3, 5)];
        let sizes = [[20.0, 60.0]; 6];
        let plan = layout(&sizes, &edges, &[0.0; 6]);
        for a in 0..6 {
            for b in 0..a {
                let apart =
                    |k: usize| (plan.centres[a][k] - plan.centres[b][k]).abs() >= sizes[a][k];
                assert!(apart(0) || apart(1), "{a} and {b} overlap");
            }
        }
        assert!((plan.centres[3][1] - plan.centres[5][1]).abs() < 1.0);
        for (route, (from, to)) in plan.routes.iter().zip(edges) {
            let (start, end) = (route[0], route[route.len() - 1]);
            assert_eq!(start[0], plan.centres[from][0] + 10.0);
            assert_eq!(end[0], plan.centres[to][0] - 10.0);
        }
        assert!(
            plan.centres
                .iter()
                .all(|c| c[1] >= 30.0 && c[1] + 30.0 <= plan.size[1] + 1e-9)
        );
    }

    #[test]
    fn odd_graphs_have_a_layout() {
        assert_eq!(layout(&[], &[], &[]).size, [0.0, 0.0]);
        let looped = layout(&[[10.0, 10.0]; 2], &[(0, 0), (0, 1), (1, 0)], &[0.0; 3]);
        assert!(looped.routes[0].is_empty() && looped.routes[2].len() == 2);
        assert!(looped.routes[2][0][0] > looped.routes[2][1][0]);
    }
}
