//! The steps that are no layer's: numbers that move, gradients that are cleared, added and masked.

use super::frame::Frame;
use super::graph::ValueId;
use super::leaf::Leaf;
use super::program::{Step, Work};
use crate::kernels::bf16;
use crate::kernels::crew::Crew;
use crate::kernels::elementwise::{add_scaled, fill_rows, relu_backward_rows};
use crate::kernels::layout::copy;
use crate::tensor::{Tensor, View, ViewMut};
use anyhow::{Result, bail};

/// `at` ← `at`, rounded to bfloat16.
pub(super) fn round(crew: &Crew, at: &mut ViewMut) {
    let (run, step) = at.runs();
    bf16::round(crew, [run, step], at.data);
}

impl Leaf<'_> {
    /// Does such a step.
    pub(super) fn moves(&self, crew: &Crew, step: &Step, frame: &mut Frame) {
        match &step.work {
            Work::Turn { from, to } => {
                let rounds = to.rounds && !from.rounds;
                self.write(to, frame, |arrays, to| {
                    copy(crew, &arrays.view(from), to);
                    if rounds {
                        round(crew, to);
                    }
                });
            }
            Work::Clear { at } => self.write(at, frame, |_, at| {
                let (run, step) = at.runs();
                fill_rows(crew, [run, step], 0.0, at.data);
            }),
            Work::Weigh { at, weight } => {
                // A gradient from outside takes the place of the weight in the loss.
                if !self.pass.top_diffs.iter().any(|(v, _)| *v == at.value) {
                    let rounds = at.rounds;
                    self.write(at, frame, |_, at| {
                        at.data.iter_mut().for_each(|d| *d += weight);
                        if rounds {
                            round(crew, at);
                        }
                    });
                }
            }
            Work::Mask { by, at } => self.write(at, frame, |arrays, at| {
                let (y, (run, step)) = (arrays.view(by), at.runs());
                relu_backward_rows(crew, [run, step], y.data, at.data);
            }),
            Work::Add { from, to } => {
                let rounds = to.rounds;
                self.write(to, frame, |arrays, to| {
                    add_scaled(crew, 1.0, arrays.view(from).data, to.data);
                    if rounds {
                        round(crew, to);
                    }
                });
            }
            Work::Run(_) | Work::Back(_) | Work::Follow => {}
        }
    }

    /// Adds what the caller has put on the gradient of value `v`.
    pub(super) fn give(&self, crew: &Crew, v: ValueId, frame: &mut Frame) -> Result<()> {
        let Some(at) = &self.program.diffs[v] else {
            return Ok(());
        };
        let shape = self.arrays(&frame.buffers, &frame.actual).shape(at);
        let given = self.pass.top_diffs.iter().filter(|(to, _)| *to == v);
        for (_, given) in given {
            let Some(start) = self.start_of(given, shape.count()) else {
                bail!(
                    "the gradient given for blob '{}' has shape {}, the blob has {shape} with these data",
                    self.net.graph.values[v].name,
                    given.shape
                );
            };
            let given = &given.data[start..start + shape.count()];
            let given = View::planes(shape.clone(), given);
            let rounds = at.rounds;
            self.write(at, frame, |_, at| {
                let mut like = vec![0.0; at.data.len()];
                copy(crew, &given, &mut at.like(&mut like));
                add_scaled(crew, 1.0, &like, at.data);
                if rounds {
                    round(crew, at);
                }
            });
        }
        Ok(())
    }

    /// Where the leaf's share of an array for the whole batch begins, of which it has `count` numbers.
    fn start_of(&self, given: &Tensor, count: usize) -> Option<usize> {
        if count == given.data.len() {
            return Some(0);
        }
        let start = self.rows.start * given.shape.count_from(1);
        let fits = self.net.lowered.cut.leaves.len() > 1 && start + count <= given.data.len();
        fits.then_some(start)
    }
}
