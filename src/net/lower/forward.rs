//! The steps of forward.

use super::{Gather, Lowering};
use crate::layers::{Coupling, Role};
use crate::net::program::{Operand, Run, Step, Work};

impl Lowering<'_> {
    /// Appends the steps of every layer in turn.
    pub fn forward(&mut self) {
        self.program.made = vec![0; self.source.shapes.len()];
        for i in 0..self.source.graph.nodes.len() {
            if !self.source.graph.nodes[i].is_source() {
                self.run(i);
            }
            for &t in &self.source.graph.nodes[i].tops {
                self.program.made[t] = self.program.forward.len();
            }
        }
    }

    /// Appends the steps of layer `i`.
    fn run(&mut self, i: usize) {
        if self.form.absorbed[i].is_some() || self.form.free[i] {
            // Shapes that only the data decide go with it.
            if self.source.facts.iter().any(|f| f.data_decide_rows) {
                let work = Work::Follow;
                self.program.forward.push(Step { layer: i, work });
            }
            return;
        }
        let source = self.source;
        let node = &source.graph.nodes[i];
        let bottoms = self.bottoms(i, |program, from, to| {
            program.forward.push(Step {
                layer: i,
                work: Work::Turn { from, to },
            });
        });
        let tops = node.tops.iter().map(|&t| self.program.values[t].clone());
        let mut tops: Vec<Operand> = tops.collect();
        for top in &mut tops {
            top.rounds = self.rounding.top(source, self.form, i, top.value);
        }
        let mean = matches!(source.facts[i].coupling, Coupling::Mean { .. });
        let one = self.cut.leaves.len() == 1;
        let gathered = node.tops.first().map(|&t| self.cut.gather[t]);
        let chain = &self.form.chains[i];
        let relu = chain.iter().any(|&j| source.facts[j].role == Role::Relu);
        let add = node.tops.iter().any(|&t| self.form.onto[t].is_some());
        self.program.forward.push(Step {
            layer: i,
            work: Work::Run(Run {
                bottoms,
                tops,
                relu,
                add,
                counts: one && mean,
                divides: one && gathered == Some(Gather::Mean),
            }),
        });
    }
}
