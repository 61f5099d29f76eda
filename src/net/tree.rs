//! The sum of the leaves' gradients: a balanced tree that depends on the number of leaves alone, so that it has the
//! same bits whichever thread ends first.

use super::frame::Grads;
use crate::kernels::crew::Crew;
use crate::kernels::elementwise::add_scaled;
use std::sync::Mutex;

/// A tree over leaves 0 … n − 1. Each half of a node waits until the other is there.
pub(super) struct Tree {
    leaves: usize,
    /// By the number of the node: the root is 1, the halves of k are 2k and 2k + 1.
    waiting: Vec<Mutex<Option<Grads>>>,
    root: Mutex<Option<Grads>>,
}

impl Tree {
    pub fn new(leaves: usize) -> Self {
        let nodes = leaves.next_power_of_two();
        Self {
            leaves,
            waiting: (0..nodes).map(|_| Mutex::default()).collect(),
            root: Mutex::default(),
        }
    }

    /// The node of a leaf: halves of the range of leaves, down to the one.
    fn node(&self, leaf: usize) -> usize {
        let (mut node, mut from, mut to) = (1, 0, self.leaves);
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            let right = leaf >= middle;
            node = 2 * node + usize::from(right);
            (from, to) = if right { (middle, to) } else { (from, middle) };
        }
        node
    }

    /// Adds what leaf number `leaf` has, as far up as the other halves are there; `done` gets arrays that are in a
    /// sum.
    pub fn add(&self, crew: &Crew, leaf: usize, grads: Grads, done: impl Fn(Grads)) {
        let (mut node, mut sum) = (self.node(leaf), grads);
        while node > 1 {
            let waiting = &self.waiting[node / 2];
            let other = {
                let mut waiting = waiting.lock().unwrap_or_else(|e| e.into_inner());
                match waiting.take() {
                    Some(other) => other,
                    None => {
                        *waiting = Some(sum);
                        return;
                    }
                }
            };
            let (mut left, right) = if node % 2 == 0 {
                (sum, other)
            } else {
                (other, sum)
            };
            crew.next_step();
            crew.name_step(|| "tree of gradients".to_string());
            add(crew, &mut left, &right);
            done(right);
            (sum, node) = (left, node / 2);
        }
        *self.root.lock().unwrap_or_else(|e| e.into_inner()) = Some(sum);
    }

    /// The sum, once all leaves are in.
    pub fn sum(self) -> Option<Grads> {
        self.root.into_inner().unwrap_or_else(|e| e.into_inner())
    }
}

/// `sum` ← `sum` + `more`, array by array.
pub(super) fn add(crew: &Crew, sum: &mut [Vec<f32>], more: &[Vec<f32>]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        add_scaled(crew, 1.0, more, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_leaves_does_not_matter() {
        for leaves in 1..20usize {
            let of = |i: usize| vec![vec![1.0 / (i as f32 + 3.0)], vec![]];
            let sum = |order: &[usize]| {
                let tree = Tree::new(leaves);
                let crew = Crew::alone();
                order.iter().for_each(|&i| tree.add(&crew, i, of(i), drop));
                tree.sum().unwrap()
            };
            let forward: Vec<usize> = (0..leaves).collect();
            let backward: Vec<usize> = (0..leaves).rev().collect();
            let mixed: Vec<usize> = (0..leaves).map(|i| (i * 7 + 3) % leaves).collect();
            let want = sum(&forward);
            assert_eq!(want, sum(&backward));
            if leaves % 7 != 0 {
                assert_eq!(want, sum(&mixed));
            }
        }
    }
}
