//! A net that can run: layers with shapes, parameters without values, and the plan.
//!
//! The weights' values stay outside ([`Weights`]), so that the test net reads the training net's, and
//! a net can be shared between threads.

mod build;
pub mod carried;
pub mod debug;
pub mod finite;
mod frame;
pub mod graph;
mod leaf;
mod lower;
pub mod memory;
mod moves;
mod needs;
mod pass;
mod program;
mod ready;
mod registry;
mod run;
pub mod sizes;
mod statistics;
mod timer;
mod tree;
mod values;
pub mod weights;
pub mod zeros;

use crate::filler;
use crate::kernels::amx::{Amx, State};
use crate::kernels::convolution::choice::UseSparse;
pub use crate::layers::Precision;
use crate::layers::{self, Facts, Layer, Mode};
use crate::proto::caffe::FillerParameter;
use crate::random::{Purpose, Random};
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, Result};
use build::Built;
use graph::{Graph, ValueId};
use lower::Lowered;
use needs::{Needs, Question};
pub use pass::{Outputs, Pass};
use ready::Ready;
use std::sync::Mutex;
pub use timer::{MOVES, Timer};
pub use values::Weights;

/// A learnable array of a net, without its values.
#[derive(Clone, Debug)]
pub struct Param {
    /// The layer that owns it.
    pub layer: String,
    /// How many layers with weights before that one have its name.
    pub twin: usize,
    /// Its index among the layer's blobs.
    pub index: usize,
    /// The sizes.
    pub shape: Shape,
    /// How it starts.
    pub filler: FillerParameter,
    /// Factor on the learning rate.
    pub lr_mult: f32,
    /// Factor on the weight decay.
    pub decay_mult: f32,
    /// Whether pruning may take values from it.
    pub prunable: bool,
    /// Whether it counts as learnable (running statistics do not).
    pub learnable: bool,
}

impl Param {
    /// The layer's name; of the second layer of a name `NAME#2`, and so on.
    pub fn owner(&self) -> String {
        owner(&self.layer, self.twin)
    }

    /// `LAYER:K`, the name of the array in .npz files; LAYER is [`Param::owner`].
    pub fn label(&self) -> String {
        format!("{}:{}", self.owner(), self.index)
    }
}

fn owner(layer: &str, twin: usize) -> String {
    match twin {
        0 => layer.to_string(),
        n => format!("{layer}#{}", n + 1),
    }
}

/// A layer's use of a parameter.
#[derive(Clone, Debug)]
struct ParamUse {
    /// Index in [`Net::params`].
    id: usize,
    /// The shape under which this layer sees it.
    shape: Shape,
    /// Whether it is the layer's own, not one that a layer before it has.
    own: bool,
}

/// What a net shall be able to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Backward will be asked for.
    pub backward: bool,
    /// Every gradient that can be computed is wanted (also by the net's `force_backward`).
    pub force_backward: bool,
    /// Any blob may be asked for, not only outputs: nothing is fused that would leave one without numbers.
    pub every_blob: bool,
    /// All blobs lie in C order and every layer does its own work, also where it could be done faster. The
    /// results are the same but for rounding: this is the yardstick of the tests.
    pub plain: bool,
    /// Blobs on which gradients will be put from outside.
    pub gradient_targets: Vec<String>,
    /// When weights that are 0 are left out of the work.
    pub sparse: UseSparse,
    /// In what numbers layers multiply.
    pub precision: Precision,
    /// For every layer its stream of random numbers; its index where none is given. A net with more layers
    /// (debug_info's splits) draws the numbers of the net that it shows.
    pub streams: Vec<u64>,
}

impl Options {
    /// Whether values may lie in bfloat16: where tiles read them so, and nobody else.
    fn takes_halves(&self) -> bool {
        let forward = !(self.backward || self.every_blob || self.plain);
        forward && self.sparse != UseSparse::Always && self.precision.amx().is_some()
    }
}

/// A net that can run.
pub struct Net {
    graph: Graph,
    layers: Vec<Option<Box<dyn Layer>>>,
    /// What the layers say of themselves; the default for sources.
    facts: Vec<Facts>,
    shapes: Vec<Shape>,
    loss_weights: Vec<f32>,
    params: Vec<Param>,
    uses: Vec<Vec<ParamUse>>,
    inputs: Vec<ValueId>,
    backward: bool,
    force: bool,
    lowered: Lowered,
    /// Frames, with the threads that had them last, and partial gradients that are not in use, so that passes
    /// need not allocate.
    spare: Mutex<Vec<(Option<usize>, frame::Frame)>>,
    spare_grads: Mutex<Vec<frame::Grads>>,
    sparse: UseSparse,
    precision: Precision,
    streams: Vec<u64>,
    /// Dropout ratios that were changed.
    ratios: Vec<(usize, f32)>,
    ready: Ready,
}

impl Net {
    /// Builds the net of `graph`. `input_shapes` are those of the source layers' tops, in order.
    pub fn new(graph: Graph, input_shapes: &[Shape], options: &Options) -> Result<Self> {
        let built = Built::new(&graph, input_shapes)?;
        let force = options.force_backward || graph.force_backward;
        let targets = options.gradient_targets.iter();
        let targets: Vec<ValueId> = targets.filter_map(|n| graph.value(n)).collect();
        let needs = match options.backward {
            false => Needs::none(built.layers.len()),
            true => Question {
                graph: &graph,
                facts: &built.facts,
                learns: &built.learns(),
                loss_weights: &built.loss_weights,
                force,
                targets: &targets,
            }
            .answer(),
        };
        let rows = built.inputs.first().map_or(1, |&v| built.shapes[v].dim(0));
        let params = built.registry.params.iter();
        let values = params.map(|p| p.shape.count()).sum();
        let weighted: Vec<bool> = built.uses.iter().map(|u| !u.is_empty()).collect();
        let source = lower::Source {
            graph: &graph,
            facts: &built.facts,
            shapes: &built.shapes,
            loss_weights: &built.loss_weights,
            backward: options.backward,
            every_blob: options.every_blob,
            plain: options.plain,
            precision: options.precision,
            halves: options.takes_halves(),
            weighted: &weighted,
        };
        let lowered = Lowered::new(source, needs, rows, values);
        Ok(Self {
            graph,
            layers: built.layers,
            facts: built.facts,
            shapes: built.shapes,
            loss_weights: built.loss_weights,
            params: built.registry.params,
            uses: built.uses,
            inputs: built.inputs,
            backward: options.backward,
            force,
            sparse: options.sparse,
            precision: options.precision,
            streams: options.streams.clone(),
            ratios: Vec::new(),
            lowered,
            spare: Mutex::default(),
            spare_grads: Mutex::default(),
            ready: Ready::default(),
        })
    }

    /// The net's name.
    pub fn name(&self) -> &str {
        &self.graph.name
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// TRAIN or TEST.
    pub fn mode(&self) -> Mode {
        self.graph.mode
    }

    /// When weights that are 0 are left out.
    pub fn sparse(&self) -> UseSparse {
        self.sparse
    }

    /// In what numbers its layers multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What is to be said of that on this processor.
    pub fn precision_note(&self) -> Option<&'static str> {
        match (self.precision, self.precision.amx(), Amx::state()) {
            (Precision::F32, ..) | (_, Some(_), _) => None,
            (.., State::Missing) => Some(
                "bf16 is rounded in float32 arithmetic here, since this processor has no AMX: the numbers are bfloat16's, \
                 but it is no faster than f32",
            ),
            (.., State::Refused(_)) => Some(
                "bf16 is rounded in float32 arithmetic here, since the system does not let this process use the \
                 processor's AMX: the numbers are bfloat16's, but it is no faster than f32",
            ),
            (.., State::Granted(_)) => Some(
                "bf16 is rounded in float32 arithmetic here, since DSD_ISA asks for a set without AMX: the numbers are \
                 bfloat16's, but it is no faster than f32",
            ),
        }
    }

    /// The parameters, shared ones once, in the order of the layers.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The shape of a value in a whole batch.
    pub fn shape(&self, v: ValueId) -> &Shape {
        &self.shapes[v]
    }

    /// Whether value `v` lies behind a layer that only the data tell how many rows it gives (Filter).
    pub fn data_decide_rows(&self, v: ValueId) -> bool {
        let mut varies = vec![false; self.graph.values.len()];
        for (node, facts) in self.graph.nodes.iter().zip(&self.facts) {
            let decided = facts.data_decide_rows;
            let below = node.bottoms.iter().any(|&b| varies[b]);
            node.tops.iter().for_each(|&t| varies[t] = decided || below);
        }
        varies[v]
    }

    /// The values that are fed from outside, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The outputs, in the order of their names.
    pub fn outputs(&self) -> &[ValueId] {
        &self.graph.outputs
    }

    /// The weight of value `v` in the loss.
    pub fn loss_weight(&self, v: ValueId) -> f32 {
        self.loss_weights[v]
    }

    /// The samples of a batch.
    pub fn batch(&self) -> usize {
        self.inputs.first().map_or(1, |&v| self.shapes[v].dim(0))
    }

    /// How many layers with weights before layer `i` have its name.
    pub fn twin(&self, i: usize) -> usize {
        let name = self.graph.nodes[i].name();
        (0..i)
            .filter(|&j| !self.uses[j].is_empty() && self.graph.nodes[j].name() == name)
            .count()
    }

    /// The parameters of all layers: `LAYER:K`, the parameter's index in [`Net::params`], and the shape
    /// under which the layer sees it. A shared one comes with each of its layers.
    pub fn all_uses(&self) -> impl Iterator<Item = (String, usize, &Shape)> + '_ {
        (0..self.uses.len()).flat_map(move |i| {
            let name = owner(self.graph.nodes[i].name(), self.twin(i));
            let each = self.uses[i].iter().enumerate();
            each.map(move |(k, u)| (format!("{name}:{k}"), u.id, &u.shape))
        })
    }

    /// Ids of the parameters that layer `i` uses.
    pub fn layer_params(&self, i: usize) -> impl Iterator<Item = usize> + '_ {
        self.uses[i].iter().map(|u| u.id)
    }

    /// Makes layer `i` drop with probability `ratio`; gives its ratio before. `None`, and nothing is changed, if
    /// the layer is no Dropout, or `ratio` is not at least 0 and below 1.
    pub fn set_dropout_ratio(&mut self, i: usize, ratio: f32) -> Option<f32> {
        let node = &self.graph.nodes[i];
        if node.param.r#type() != "Dropout" {
            return None;
        }
        let mut param = node.param.clone();
        let said = param.dropout_param.get_or_insert_default();
        let changed = self.ratios.iter().find(|(layer, _)| *layer == i);
        let before = changed.map_or(said.dropout_ratio(), |(_, ratio)| *ratio);
        said.dropout_ratio = Some(ratio);
        let layer = layers::create(&param, node.mode(self.graph.mode)).ok()?;
        self.facts[i] = layer.facts(&self.bottom_shapes(i));
        self.layers[i] = Some(layer);
        self.ratios.retain(|(layer, _)| *layer != i);
        self.ratios.push((i, ratio));
        Some(before)
    }

    /// The stream of random numbers of layer `i`.
    fn stream(&self, i: usize) -> u64 {
        self.streams.get(i).copied().unwrap_or(i as u64)
    }

    /// Multiply-accumulates of layer `i` for one sample.
    pub fn macs(&self, i: usize) -> u64 {
        let rows = self.batch().max(1) as u64;
        self.facts[i].macs / rows
    }

    /// What computes layer `i`; "in NAME" where another layer does its work, "-" where there is none.
    pub fn kernel(&self, i: usize) -> String {
        let form = &self.lowered.form;
        if let Some(by) = form.absorbed[i] {
            return format!("in {}", self.graph.nodes[by].name());
        }
        if form.free[i] {
            return "-".to_string();
        }
        self.kernel_of(i).unwrap_or("data").to_string()
    }

    /// The shapes of the bottoms of layer `i`.
    fn bottom_shapes(&self, i: usize) -> Vec<Shape> {
        let bottoms = self.graph.nodes[i].bottoms.iter();
        bottoms.map(|&v| self.shapes[v].clone()).collect()
    }

    /// Whether gradients of parameter `id` are computed.
    pub fn learns(&self, id: usize) -> bool {
        self.force || self.params[id].lr_mult != 0.0
    }

    /// How the batch is cut: the number of leaves and the rows of the largest; and the layer that
    /// keeps it whole, if one does.
    pub fn cut(&self) -> (usize, usize, Option<&str>) {
        let cut = &self.lowered.cut;
        let why = cut.whole.map(|i| self.graph.nodes[i].name());
        (cut.leaves.len(), cut.most(), why)
    }

    /// Fresh weights by the fillers.
    ///
    /// # Errors
    /// A filler that cannot be, or parameters that this machine's memory does not hold.
    pub fn fill(&self, seed: u64) -> Result<Weights> {
        self.check_weights_fit()?;
        let fill = |(id, p): (usize, &Param)| {
            let random = Random::new(seed, Purpose::Filler, id as u64);
            let data = filler::fill(&p.filler, &p.shape, random).with_context(|| {
                format!(
                    "{}: layer '{}', parameter {}",
                    self.graph.file, p.layer, p.index
                )
            })?;
            Ok(Tensor {
                shape: p.shape.clone(),
                data,
            })
        };
        self.params.iter().enumerate().map(fill).collect()
    }
}
