//! Which arrays share a buffer of the leaf's frame.

use super::form::{Form, shares};
use super::{Cut, Source};
use crate::net::graph::ValueId;
use crate::net::needs::Needs;

/// Where a value's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In the batch: input number `k` of the net.
    Feed(usize),
    /// In buffer `b` of the frame.
    Buffer(usize),
}

/// The buffers of a frame: those of values, then those of gradients, then those for what is on its way.
#[derive(Debug)]
pub(super) struct Buffers {
    pub homes: Vec<Home>,
    /// For every value: the buffer of its gradient, where it has one.
    pub diffs: Vec<Option<usize>>,
    /// Floats in each buffer, for the largest leaf.
    pub sizes: Vec<usize>,
    /// Those for the bottoms of a layer, turned into its layout.
    turned: Vec<usize>,
    /// Those for the bottoms' gradients as the layer gives them.
    given: Vec<usize>,
    /// That for a gradient that is turned before it is added.
    extra: Option<usize>,
}

impl Buffers {
    /// Buffers for the values and gradients of a net.
    pub fn assign(source: Source, cut: &Cut, form: &Form, needs: &Needs) -> Self {
        let shapes = source.shapes.iter().enumerate();
        let counts = shapes.map(|(v, shape)| {
            let count = cut.shape(shape, v, cut.most()).count();
            match form.layouts[v].is_halves() {
                true => count.div_ceil(2),
                false => count,
            }
        });
        let counts: Vec<usize> = counts.collect();
        let (homes, mut sizes) = values(source, &counts, form);
        let diffs = match source.backward {
            true => {
                let first = sizes.len();
                let (diffs, more) = gradients(source, &counts, &homes, needs, form);
                sizes.extend(more);
                diffs.into_iter().map(|d| Some(d? + first)).collect()
            }
            false => vec![None; counts.len()],
        };
        Self {
            homes,
            diffs,
            sizes,
            turned: Vec::new(),
            given: Vec::new(),
            extra: None,
        }
    }

    /// The buffer for `count` numbers of bottom `k`, turned.
    pub fn turned(&mut self, k: usize, count: usize) -> usize {
        nth(&mut self.turned, &mut self.sizes, k, count)
    }

    /// The buffer for the gradient of bottom `k`, as the layer gives it.
    pub fn given(&mut self, k: usize, count: usize) -> usize {
        nth(&mut self.given, &mut self.sizes, k, count)
    }

    /// The buffer for a gradient between being turned and being added.
    pub fn extra(&mut self, count: usize) -> usize {
        let mut extra: Vec<usize> = self.extra.into_iter().collect();
        let b = nth(&mut extra, &mut self.sizes, 0, count);
        self.extra = Some(b);
        b
    }
}

/// The `k`th of some buffers, made if it is not there, at least `count` large.
fn nth(of: &mut Vec<usize>, sizes: &mut Vec<usize>, k: usize, count: usize) -> usize {
    while of.len() <= k {
        of.push(sizes.len());
        sizes.push(0);
    }
    sizes[of[k]] = sizes[of[k]].max(count);
    of[k]
}

/// Buffers that are given out and come back.
#[derive(Default)]
struct Pool {
    /// Floats in each.
    sizes: Vec<usize>,
    /// What is still to happen before each is free again.
    pending: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// A free buffer of at least `count` floats if there is one, the tightest; else the largest free
    /// one, grown; else a new one.
    fn take(&mut self, count: usize) -> usize {
        let (sizes, free) = (&self.sizes, &self.free);
        let fits = (0..free.len())
            .filter(|&k| sizes[free[k]] >= count)
            .min_by_key(|&k| sizes[free[k]]);
        let pick = fits.or_else(|| (0..free.len()).max_by_key(|&k| sizes[free[k]]));
        match pick {
            Some(k) => {
                let b = self.free.swap_remove(k);
                self.sizes[b] = self.sizes[b].max(count);
                b
            }
            None => {
                self.sizes.push(count);
                self.pending.push(0);
                self.sizes.len() - 1
            }
        }
    }

    fn hold(&mut self, b: usize, times: usize) {
        self.pending[b] += times;
    }

    fn release(&mut self, b: usize) {
        self.pending[b] -= 1;
        if self.pending[b] == 0 {
            self.free.push(b);
        }
    }
}

/// Assigns values to buffers. Where backward will follow, only what is written in place, or is a slice, shares a
/// buffer; else a buffer is free for others after its last reader.
fn values(source: Source, counts: &[usize], form: &Form) -> (Vec<Home>, Vec<usize>) {
    let graph = source.graph;
    let nowhere = Home::Buffer(usize::MAX);
    let mut homes = vec![nowhere; graph.values.len()];
    let mut pool = Pool::default();
    let mut feeds = 0;
    for (i, node) in graph.nodes.iter().enumerate() {
        if node.is_source() {
            for &top in &node.tops {
                homes[top] = Home::Feed(feeds);
                feeds += 1;
            }
            continue;
        }
        // A buffer is held by the readers of its values, and until the layer that makes it has run.
        let mut made = Vec::new();
        for (k, &top) in node.tops.iter().enumerate() {
            let reads = |v: ValueId| graph.values[v].uses.len();
            let in_place = k == 0
                && shares(source, form, i)
                && matches!(homes[node.bottoms[0]], Home::Buffer(_));
            if let Some(other) = form.onto[top] {
                homes[top] = homes[other];
            } else if in_place {
                homes[top] = homes[node.bottoms[0]];
            } else if let Some((wide, _)) = form.slices[top] {
                if homes[wide] == nowhere {
                    let b = pool.take(counts[wide]);
                    pool.hold(b, reads(wide) + 1);
                    homes[wide] = Home::Buffer(b);
                }
                homes[top] = homes[wide];
            } else if let (Home::Buffer(b), false) = (homes[top], homes[top] == nowhere) {
                made.push(b);
                continue;
            } else {
                let b = pool.take(counts[top]);
                pool.hold(b, 1);
                homes[top] = Home::Buffer(b);
                made.push(b);
            }
            if let Home::Buffer(b) = homes[top] {
                pool.hold(b, reads(top));
            }
        }
        if source.backward {
            continue;
        }
        made.into_iter().for_each(|b| pool.release(b));
        for &v in &node.bottoms {
            if let Home::Buffer(b) = homes[v] {
                pool.release(b);
            }
        }
    }
    (homes, pool.sizes)
}

/// Assigns gradients to buffers: a gradient lives from the backward of its last reader to that of its
/// producer.
fn gradients(
    source: Source,
    counts: &[usize],
    homes: &[Home],
    needs: &Needs,
    form: &Form,
) -> (Vec<Option<usize>>, Vec<usize>) {
    let graph = source.graph;
    let mut diffs: Vec<Option<usize>> = vec![None; graph.values.len()];
    let mut pool = Pool::default();
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if !needs.layers[i] {
            continue;
        }
        for &t in &node.tops {
            if diffs[t].is_none() {
                let b = pool.take(counts[t]);
                pool.hold(b, 1);
                diffs[t] = Some(b);
            }
        }
        for (k, &v) in node.bottoms.iter().enumerate() {
            if !needs.bottoms[i][k] || diffs[v].is_some() {
                continue;
            }
            let top = node.tops.first();
            let in_place =
                k == 0 && shares(source, form, i) && top.is_some_and(|&t| homes[v] == homes[t]);
            let slice = form.slices[v].is_some_and(|(wide, _)| top == Some(&wide));
            let shared = top.filter(|_| in_place || slice);
            let b = match shared.and_then(|&t| diffs[t]) {
                Some(b) => b,
                None => pool.take(counts[v]),
            };
            pool.hold(b, 1);
            diffs[v] = Some(b);
        }
        for b in node.tops.iter().filter_map(|&t| diffs[t]) {
            pool.release(b);
        }
    }
    (diffs, pool.sizes)
}
