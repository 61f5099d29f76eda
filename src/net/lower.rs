//! Lowering: from a graph of layers with shapes to a [`Program`]. All that shapes, roles and wishes decide is decided
//! here, once, when the net is built.

mod backward;
mod buffers;
mod cut;
mod form;
mod forward;
mod halves;
mod rounding;

pub(super) use cut::{Cut, Gather};
pub(super) use form::Form;
pub(super) use rounding::Rounding;

use super::graph::{Graph, ValueId};
use super::needs::Needs;
use super::program::{Operand, Place, Program};
use crate::layers::{Facts, Precision};
use crate::tensor::{Layout, Shape};
use buffers::{Buffers, Home};

/// What is lowered: a graph, its layers, and what is known of them.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub graph: &'a Graph,
    pub facts: &'a [Facts],
    /// The values' shapes in a whole batch.
    pub shapes: &'a [Shape],
    pub loss_weights: &'a [f32],
    pub backward: bool,
    /// No value disappears that somebody could ask for by its name.
    pub every_blob: bool,
    /// All values lie in C order and every layer does its own work.
    pub plain: bool,
    pub precision: Precision,
    /// Values may lie in bfloat16.
    pub halves: bool,
    /// For every layer: whether it has weights.
    pub weighted: &'a [bool],
}

/// A lowered net.
#[derive(Debug)]
pub(super) struct Lowered {
    pub cut: Cut,
    pub form: Form,
    pub needs: Needs,
    /// Floats in each buffer of a frame.
    pub buffers: Vec<usize>,
    /// One for every size of leaf.
    pub programs: Vec<Program>,
    /// How each layer sees its bottoms.
    pub seen: Vec<Vec<Layout>>,
    pub rounding: Rounding,
}

impl Lowered {
    /// Lowers `source`, whose parameters have `params` numbers.
    pub fn new(source: Source, needs: Needs, rows: usize, params: usize) -> Self {
        let cut = Cut::new(source, rows, params);
        let mut form = form::form(source);
        let rounding = Rounding::new(source);
        halves::halve(source, &rounding, &mut form);
        let form = form;
        let mut buffers = Buffers::assign(source, &cut, &form, &needs);
        let mut sizes: Vec<usize> = cut.leaves.iter().map(|leaf| leaf.len()).collect();
        sizes.dedup();
        let mut lower = |rows: usize| {
            let mut lowering = Lowering {
                source,
                cut: &cut,
                form: &form,
                needs: &needs,
                rounding: &rounding,
                buffers: &mut buffers,
                program: Program::default(),
            };
            lowering.program.rows = rows;
            lowering.places();
            lowering.forward();
            if source.backward {
                lowering.backward();
            }
            lowering.program
        };
        let programs = sizes.into_iter().map(&mut lower).collect();
        let nodes = 0..source.graph.nodes.len();
        let seen = nodes.map(|i| seen(source, &form, i)).collect();
        Self {
            buffers: buffers.sizes,
            cut,
            form,
            needs,
            programs,
            seen,
            rounding,
        }
    }

    /// The program of leaf number `leaf`.
    pub fn program(&self, leaf: usize) -> Option<&Program> {
        let rows = self.cut.leaves.get(leaf)?.len();
        self.programs.iter().find(|p| p.rows == rows)
    }
}

/// How layer `i` sees its bottoms.
fn seen(source: Source, form: &Form, i: usize) -> Vec<Layout> {
    let one = |&v: &ValueId| {
        if !form.pixels[i] || form.reads_planes[i] {
            Layout::Planes
        } else if form.layouts[v].is_pixels() {
            form.layouts[v]
        } else {
            Layout::pixels(&source.shapes[v])
        }
    };
    source.graph.nodes[i].bottoms.iter().map(one).collect()
}

/// A program in the making.
struct Lowering<'a> {
    source: Source<'a>,
    cut: &'a Cut,
    form: &'a Form,
    needs: &'a Needs,
    rounding: &'a Rounding,
    buffers: &'a mut Buffers,
    program: Program,
}

impl Lowering<'_> {
    /// The shape of value `v` in a leaf.
    fn shape(&self, v: ValueId) -> Shape {
        self.cut.shape(&self.source.shapes[v], v, self.program.rows)
    }

    /// Where every value and every gradient is.
    fn places(&mut self) {
        let operand = |v: ValueId, place: Place, rounds: bool| Operand {
            value: v,
            place,
            first: match (place, self.form.layouts[v].is_halves()) {
                (Place::Buffer(_), false) => self.form.first(v),
                (Place::Buffer(_), true) => self.form.first(v) / 2,
                _ => 0,
            },
            layout: self.form.layouts[v],
            shape: self.shape(v),
            rounds,
        };
        let values = 0..self.source.shapes.len();
        let data = values.clone().map(|v| {
            let place = match self.buffers.homes[v] {
                Home::Feed(k) => Place::Feed(k),
                Home::Buffer(b) => Place::Buffer(b),
            };
            operand(v, place, self.rounding.values[v])
        });
        let diff = |v: ValueId| {
            let place = Place::Buffer(self.buffers.diffs[v]?);
            Some(operand(v, place, self.rounding.diffs[v]))
        };
        let (data, diffs) = (data.collect(), values.map(diff).collect());
        (self.program.values, self.program.diffs) = (data, diffs);
    }

    /// The bottoms of layer `i` as it sees them; those that lie otherwise, or are not rounded, are copied by steps that
    /// `turned` gets first.
    fn bottoms(
        &mut self,
        i: usize,
        mut turned: impl FnMut(&mut Program, Operand, Operand),
    ) -> Vec<Operand> {
        let seen = seen(self.source, self.form, i);
        let mut bottoms = Vec::new();
        for (k, &v) in self.source.graph.nodes[i].bottoms.iter().enumerate() {
            let from = self.program.values[v].clone();
            let mut operand = Operand {
                layout: seen[k],
                ..from.clone()
            };
            let (turns, copies) = (self.form.turns[i][k], self.rounding.copies[i][k]);
            if turns || copies {
                operand.place = Place::Buffer(self.buffers.turned(k, from.shape.count()));
                operand.first = 0;
                operand.rounds = copies;
                if turns {
                    operand.layout = match self.form.pixels[i] {
                        true => Layout::pixels(&from.shape),
                        false => Layout::Planes,
                    };
                }
                turned(&mut self.program, from, operand.clone());
            }
            bottoms.push(operand);
        }
        bottoms
    }
}
