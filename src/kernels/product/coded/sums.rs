//! Sums over the inputs, cut into slices of inputs and blocks of outputs for the threads.

#![allow(unsafe_code)]

use crate::kernels::crew::Crew;
use crate::kernels::scratch::{self, Shared};
use std::ops::Range;

/// Outputs of a block at most: their sums stay in the first-level cache, beside weights.
pub const BLOCK: usize = 1 << 12;

/// Entries that are worth a task of their own; more tasks than [`TASKS`] are not made.
const WORTH: usize = 1 << 15;
const TASKS: usize = 8;

/// Floats behind the sums of a block, for kernels that write a little too far.
pub const SPARE: usize = 64;

/// How the [outputs, depth] products of a layer are cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub outputs: usize,
    pub depth: usize,
    /// Outputs of a block; the last may have fewer.
    pub block: usize,
    /// Inputs of a slice; the last may have fewer.
    slice: usize,
}

impl Cut {
    /// Cuts a layer of which `work` entries are likely to be visited. `multiple` divides all blocks but the last.
    pub fn new(outputs: usize, depth: usize, work: usize, multiple: usize) -> Self {
        let blocks = outputs.div_ceil(BLOCK).max(1);
        let block = outputs.div_ceil(blocks).next_multiple_of(multiple).max(1);
        // A power of two, so that two or four threads get equal shares.
        let slices = (work / WORTH).min(TASKS).div_ceil(blocks);
        let slices = slices.next_power_of_two();
        Self {
            outputs,
            depth,
            block,
            slice: depth.div_ceil(slices).max(1),
        }
    }

    pub fn blocks(self) -> usize {
        self.outputs.div_ceil(self.block)
    }

    /// The outputs of a block.
    pub fn rows(self, block: usize) -> Range<usize> {
        let start = block * self.block;
        start..(start + self.block).min(self.outputs)
    }

    /// y = the sum over slices of what `add(block, inputs, sums)` adds to the sums of a block's outputs, which are
    /// 0 before, and behind which there are [`SPARE`] floats more.
    pub fn sum(
        self,
        crew: &Crew,
        y: &mut [f32],
        add: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
    ) {
        let Self { outputs, depth, .. } = self;
        assert_eq!(y.len(), outputs);
        let (blocks, slices) = (self.blocks(), depth.div_ceil(self.slice).max(1));
        let run = |sums: &mut [f32]| {
            let shared = Shared::new(sums);
            crew.for_each(blocks * slices, |task| {
                let (slice, block) = (task / blocks, task % blocks);
                let (rows, start) = (self.rows(block), slice * self.slice);
                // SAFETY: each task has the block's part of the slice's sums for itself.
                let part = unsafe {
                    let start = shared.get().add(slice * outputs + rows.start);
                    std::slice::from_raw_parts_mut(start, rows.len())
                };
                scratch::with(rows.len() + SPARE, |sums| {
                    sums.fill(0.0);
                    add(block, start..(start + self.slice).min(depth), sums);
                    part.copy_from_slice(&sums[..rows.len()]);
                });
            });
        };
        if slices == 1 {
            return run(y);
        }
        scratch::with(slices * outputs, |sums| {
            run(sums);
            y.copy_from_slice(&sums[..outputs]);
            for slice in sums[outputs..].chunks_exact(outputs) {
                y.iter_mut().zip(slice).for_each(|(y, s)| *y += s);
            }
        });
    }
}

/// Inputs that [`active`] looks at together.
pub const GROUP: usize = 512;

/// Which of `x`, at most [`GROUP`], are not 0, without a branch for each.
#[inline(always)]
pub fn active<'a>(x: &[f32], found: &'a mut [u16; GROUP]) -> &'a [u16] {
    let mut n = 0;
    for (j, x) in x.iter().enumerate() {
        // As n ≤ j, the mask changes nothing; it is there for the compiler.
        found[n % GROUP] = j as u16;
        n += usize::from(*x != 0.0);
    }
    &found[..n]
}
