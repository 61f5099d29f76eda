//! The first half of a layered layout (Sugiyama's): in which rank a node stands, and in which order the
//! nodes of a rank stand side by side so that few edges cross.
//!
//! An edge over several ranks gets a bend in each rank that it passes: a node of no size.

/// Nodes in ranks. Bends follow the real nodes in number.
#[derive(Clone, Debug, Default)]
pub struct Ranks {
    /// The nodes of each rank, in order.
    pub ranks: Vec<Vec<usize>>,
    /// The neighbours of each node in the rank before.
    pub before: Vec<Vec<usize>>,
    /// The neighbours of each node in the rank after.
    pub after: Vec<Vec<usize>>,
    /// The way of each edge: its nodes from the first rank to the last.
    pub ways: Vec<Vec<usize>>,
}

/// Sweeps over the ranks in search of an order with few crossings.
const SWEEPS: usize = 24;

impl Ranks {
    /// Ranks and order of `count` nodes; `edges` are pairs (from, to).
    pub fn new(count: usize, edges: &[(usize, usize)]) -> Self {
        let place = places(count, edges);
        // An edge against the order (a net has none, a drawing of two phases may) is drawn backwards.
        let forward: Vec<(usize, usize)> = edges
            .iter()
            .filter(|(a, b)| a != b)
            .map(|&(a, b)| if place[a] < place[b] { (a, b) } else { (b, a) })
            .collect();
        let rank = ranks(count, &forward, &place);
        let mut ranks = Self {
            ranks: vec![Vec::new(); rank.iter().max().map_or(0, |r| r + 1)],
            before: vec![Vec::new(); count],
            after: vec![Vec::new(); count],
            ways: Vec::new(),
        };
        let mut nodes: Vec<usize> = (0..count).collect();
        nodes.sort_by_key(|&n| place[n]);
        for n in nodes {
            ranks.ranks[rank[n]].push(n);
        }
        for &(a, b) in &forward {
            let mut way = vec![a];
            for between in &mut ranks.ranks[rank[a] + 1..rank[b]] {
                let bend = ranks.before.len();
                ranks.before.push(Vec::new());
                ranks.after.push(Vec::new());
                between.push(bend);
                way.push(bend);
            }
            way.push(b);
            for pair in way.windows(2) {
                ranks.after[pair[0]].push(pair[1]);
                ranks.before[pair[1]].push(pair[0]);
            }
            ranks.ways.push(way);
        }
        ranks.sort();
        ranks
    }

    /// Orders each rank by where its neighbours stand, to and fro, and keeps the best order met.
    fn sort(&mut self) {
        let mut best = (self.crossings(), self.ranks.clone());
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            let mut at = vec![0.0; self.before.len()];
            let count = self.ranks.len();
            for i in 0..count {
                let rank = if down { i } else { count - 1 - i };
                let neighbours = if down { &self.before } else { &self.after };
                let key = |(k, &n): (usize, &usize)| {
                    let near = &neighbours[n];
                    match near.len() {
                        0 => k as f64,
                        count => near.iter().map(|&m| at[m]).sum::<f64>() / count as f64,
                    }
                };
                let mut keyed: Vec<(f64, usize)> = self.ranks[rank]
                    .iter()
                    .enumerate()
                    .map(|entry| (key(entry), *entry.1))
                    .collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.ranks[rank] = keyed.into_iter().map(|(_, n)| n).collect();
                for (k, &n) in self.ranks[rank].iter().enumerate() {
                    at[n] = k as f64;
                }
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.ranks.clone());
            }
            if crossings == 0 {
                break;
            }
        }
        self.ranks = best.1;
    }

    /// The number of pairs of edges that cross.
    pub fn crossings(&self) -> usize {
        let mut at = vec![0; self.before.len()];
        for rank in &self.ranks {
            for (k, &n) in rank.iter().enumerate() {
                at[n] = k;
            }
        }
        let mut sum = 0;
        for rank in &self.ranks {
            // Edges by their start; each that ends before an earlier one crosses it.
            let mut ends: Vec<usize> = Vec::new();
            for &n in rank {
                let mut own: Vec<usize> = self.after[n].iter().map(|&m| at[m]).collect();
                own.sort_unstable();
                for end in own {
                    let place = ends.partition_point(|&e| e <= end);
                    sum += ends.len() - place;
                    ends.insert(place, end);
                }
            }
        }
        sum
    }
}

/// A place in line for each node such that edges run forward; where they run in a circle, the first node
/// of it goes first.
fn places(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut waiting = vec![0usize; count];
    let mut after = vec![Vec::new(); count];
    for &(a, b) in edges.iter().filter(|(a, b)| a != b) {
        waiting[b] += 1;
        after[a].push(b);
    }
    let mut place = vec![usize::MAX; count];
    let mut ready: std::collections::BTreeSet<usize> =
        (0..count).filter(|&n| waiting[n] == 0).collect();
    let mut oldest = 0;
    for next in 0..count {
        while oldest < count && place[oldest] != usize::MAX {
            oldest += 1;
        }
        let n = ready.pop_first().unwrap_or(oldest);
        place[n] = next;
        for &m in &after[n] {
            waiting[m] -= 1;
            if waiting[m] == 0 && place[m] == usize::MAX {
                ready.insert(m);
            }
        }
    }
    place
}

/// The rank of each node: one more than the last before it; then nodes with more edges out than in move as
/// close to what follows as they can.
fn ranks(count: usize, forward: &[(usize, usize)], place: &[usize]) -> Vec<usize> {
    let mut before = vec![Vec::new(); count];
    let mut after = vec![Vec::new(); count];
    for &(a, b) in forward {
        after[a].push(b);
        before[b].push(a);
    }
    let mut nodes: Vec<usize> = (0..count).collect();
    nodes.sort_by_key(|&n| place[n]);
    let mut rank = vec![0usize; count];
    for &n in &nodes {
        rank[n] = before[n].iter().map(|&m| rank[m] + 1).max().unwrap_or(0);
    }
    for &n in nodes.iter().rev() {
        if after[n].len() > before[n].len()
            && let Some(next) = after[n].iter().map(|&m| rank[m]).min()
        {
            rank[n] = next - 1;
        }
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_run_over_one_rank_each() {
        // A chain of four and a way around it.
        let ranks = Ranks::new(4, &[(0, 1), (1, 2), (2, 3), (0, 3)]);
        assert_eq!(
            ranks.ranks.iter().map(Vec::len).collect::<Vec<_>>(),
            [1, 2, 2, 1]
        );
        assert_eq!(ranks.ways[3], [0, 4, 5, 3]);
        assert_eq!(ranks.crossings(), 0);
    }

    #[test]
    fn crossings_are_counted_and_undone() {
        let mut ranks = Ranks::new(4, &[(0, 3), (1, 2)]);
        assert_eq!(ranks.crossings(), 0);
        ranks.ranks[1].reverse();
        assert_eq!(ranks.crossings(), 1);
    }

    #[test]
    fn circles_and_loops_are_no_trouble() {
        let ranks = Ranks::new(3, &[(0, 1), (1, 2), (2, 0), (1, 1)]);
        assert_eq!((ranks.ranks.len(), ranks.ways.len()), (3, 3));
        assert!(Ranks::new(0, &[]).ranks.is_empty());
    }

    #[test]
    fn a_node_that_many_read_stands_close_to_them() {
        // 0 -> 1 -> 2 -> 3 (long chain); 0 -> 4 (labels) -> 3 twice.
        let ranks = Ranks::new(5, &[(0, 1), (1, 2), (2, 3), (0, 4), (4, 3), (4, 3)]);
        assert!(ranks.ranks[2].contains(&4), "{:?}", ranks.ranks);
    }
}
