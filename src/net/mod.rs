//! A net that can run: layers with shapes, parameters without values, and the plan.
//!
//! The weights' values stay outside ([`Weights`]), so that the test net reads the training net's, and
//! a net can be shared between threads.

mod backward;
pub mod carried;
pub mod debug;
pub mod finite;
mod form;
pub mod graph;
mod group;
mod hdf5_weights;
mod memory;
mod needs;
mod pass;
mod plan;
mod ready;
pub mod sizes;
mod tree;
mod values;
pub mod weights;
pub mod zeros;

use crate::filler;
use crate::kernels::choice::UseSparse;
use crate::layers::{self, Layer, Mode};
use crate::proto::caffe::{FillerParameter, ParamSpec as ProtoParamSpec, param_spec::DimCheckMode};
use crate::random::{Purpose, Random};
use crate::tensor::{Layout, Shape, Tensor};
use anyhow::{Context, Result, bail};
use graph::{Graph, ValueId};
use needs::{Needs, Question};
pub use pass::{Outputs, Pass, Timer};
use plan::Plan;
use ready::Ready;
use std::collections::HashMap;
use std::sync::Mutex;
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
    /// For every layer its stream of random numbers; its index where none is given. A net with more layers
    /// (debug_info's splits) draws the numbers of the net that it shows.
    pub streams: Vec<u64>,
}

/// A net that can run.
pub struct Net {
    graph: Graph,
    layers: Vec<Option<Box<dyn Layer>>>,
    shapes: Vec<Shape>,
    loss_weights: Vec<f32>,
    params: Vec<Param>,
    uses: Vec<Vec<ParamUse>>,
    inputs: Vec<ValueId>,
    backward: bool,
    force: bool,
    plan: Plan,
    /// Workspaces, with the threads that had them last, and partial gradients that are not in use, so that passes
    /// need not allocate.
    spare: Mutex<Vec<(Option<usize>, group::Work)>>,
    spare_grads: Mutex<Vec<group::Grads>>,
    sparse: UseSparse,
    streams: Vec<u64>,
    /// Dropout ratios that were changed.
    ratios: Vec<(usize, f32)>,
    ready: Ready,
}

/// What the layers of a net compute, and what they hold, for the cut of a batch of `rows`.
fn load(
    graph: &Graph,
    layers: &[Option<Box<dyn Layer>>],
    shapes: &[Shape],
    (params, uses): (&[Param], &[Vec<ParamUse>]),
    rows: usize,
) -> plan::Load {
    let mut load = plan::Load {
        params: params.iter().map(|p| p.shape.count() as u64).sum(),
        ..plan::Load::default()
    };
    for (i, node) in graph.nodes.iter().enumerate() {
        let Some(layer) = &layers[i] else { continue };
        let bottoms: Vec<Shape> = node.bottoms.iter().map(|&v| shapes[v].clone()).collect();
        load.macs += layer.macs(&bottoms) / rows.max(1) as u64;
        if node.param.r#type() == "InnerProduct" {
            let own = uses[i].iter().map(|u| u.shape.count() as u64);
            load.thin += own.sum::<u64>();
        }
    }
    load
}

impl Net {
    /// Builds the net of `graph`. `input_shapes` are those of the source layers' tops, in order.
    pub fn new(graph: Graph, input_shapes: &[Shape], options: &Options) -> Result<Self> {
        let mut layers: Vec<Option<Box<dyn Layer>>> = Vec::new();
        let mut shapes = vec![Shape::default(); graph.values.len()];
        let mut loss_weights = vec![0.0; graph.values.len()];
        let mut registry = Registry::default();
        let mut uses = Vec::new();
        let mut inputs = Vec::new();
        let mut given = input_shapes.iter();
        for (i, node) in graph.nodes.iter().enumerate() {
            if node.is_source() {
                for &top in &node.tops {
                    let shape = given
                        .next()
                        .with_context(|| format!("{}: no shape for its tops", graph.place(i)))?;
                    if !shape.is_at_most(isize::MAX as usize / 4) {
                        bail!("{}: a batch of {shape:?} is too large", graph.place(i));
                    }
                    shapes[top] = shape.clone();
                    inputs.push(top);
                }
                layers.push(None);
                uses.push(Vec::new());
                continue;
            }
            let bottoms: Vec<Shape> = node.bottoms.iter().map(|&v| shapes[v].clone()).collect();
            let layer = layers::create(&node.param, node.mode(graph.mode))
                .with_context(|| graph.place(i))?;
            let tops = layer.shapes(&bottoms).with_context(|| graph.place(i))?;
            if tops.len() != node.tops.len() {
                bail!(
                    "{}: type {} makes {} tops here, but {} are named",
                    graph.place(i),
                    node.param.r#type(),
                    tops.len(),
                    node.tops.len()
                );
            }
            if node.param.loss_weight.len() > node.tops.len() {
                bail!(
                    "{}: {} loss weights for {} tops",
                    graph.place(i),
                    node.param.loss_weight.len(),
                    node.tops.len()
                );
            }
            let params = layer.params(&bottoms);
            // Caffe's limit, but of a batch for one sample alone.
            let samples = tops.iter().map(|t| t.with_rows(1));
            let mut arrays = params.iter().map(|p| p.shape.clone()).chain(samples);
            if let Some(large) = arrays.find(|a| !a.is_at_most(i32::MAX as usize)) {
                bail!("{}: an array of {large:?} is too large", graph.place(i));
            }
            if let Some(large) = tops.iter().find(|t| !t.is_at_most(isize::MAX as usize / 4)) {
                bail!("{}: a batch of {large:?} is too large", graph.place(i));
            }
            for (k, (&v, shape)) in node.tops.iter().zip(tops).enumerate() {
                loss_weights[v] = node
                    .param
                    .loss_weight
                    .get(k)
                    .copied()
                    .unwrap_or_else(|| layer.default_loss_weight(k));
                shapes[v] = shape;
            }
            uses.push(registry.add(&graph, i, params)?);
            layers.push(Some(layer));
        }
        let force = options.force_backward || graph.force_backward;
        let learns: Vec<bool> = uses
            .iter()
            .map(|u: &Vec<ParamUse>| u.iter().any(|p| registry.params[p.id].lr_mult != 0.0))
            .collect();
        let targets: Vec<ValueId> = options
            .gradient_targets
            .iter()
            .filter_map(|n| graph.value(n))
            .collect();
        let backward = options.backward;
        let needs = match backward {
            false => Needs::none(layers.len()),
            true => Question {
                graph: &graph,
                layers: &layers,
                learns: &learns,
                loss_weights: &loss_weights,
                force,
                targets: &targets,
            }
            .answer(),
        };
        let (whole, gather) = plan::coupling(&graph, &layers, &shapes);
        let rows = inputs.first().map_or(1, |&v| shapes[v].dim(0));
        let load = plan::Load {
            whole: whole.is_some(),
            backward,
            ..load(&graph, &layers, &shapes, (&registry.params, &uses), rows)
        };
        let groups = plan::groups(rows, load);
        let most = groups.iter().map(|g| g.len()).max().unwrap_or(1);
        let (every, plain) = (options.every_blob, options.plain);
        let form = form::form(&graph, &layers, &shapes, backward, every, plain);
        let counts: Vec<usize> = (0..shapes.len())
            .map(|v| {
                if whole.is_some() || gather[v] == plan::Gather::Mean {
                    shapes[v].count()
                } else {
                    shapes[v].with_rows(most).count()
                }
            })
            .collect();
        let (homes, slots) = plan::buffers(&graph, &layers, &counts, backward, &form);
        let (diff_homes, diff_slots) = if backward {
            plan::diff_buffers(&graph, &layers, &counts, &homes, &needs, &form)
        } else {
            (vec![None; counts.len()], Vec::new())
        };
        let plan = Plan {
            groups,
            whole,
            gather,
            homes,
            slots,
            diff_homes,
            diff_slots,
            needs,
            form,
        };
        let params = registry.params;
        Ok(Self {
            graph,
            layers,
            shapes,
            loss_weights,
            params,
            uses,
            inputs,
            backward,
            force,
            sparse: options.sparse,
            streams: options.streams.clone(),
            ratios: Vec::new(),
            plan,
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
        for (node, layer) in self.graph.nodes.iter().zip(&self.layers) {
            let decided = layer.as_ref().is_some_and(|l| l.data_decide_rows());
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

    /// Makes layer `i` drop with probability `ratio` (at least 0, below 1); gives its ratio before, `None` if the
    /// layer is no Dropout.
    pub fn set_dropout_ratio(&mut self, i: usize, ratio: f32) -> Option<f32> {
        let held = self.layers[i].as_mut()?.dropout_ratio()?;
        let before = std::mem::replace(held, ratio);
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
        let bottoms: Vec<Shape> = self.graph.nodes[i]
            .bottoms
            .iter()
            .map(|&v| self.shapes[v].clone())
            .collect();
        self.layers[i]
            .as_ref()
            .map_or(0, |l| l.macs(&bottoms) / rows)
    }

    /// What computes layer `i`; "in NAME" where another layer does its work, "-" where there is none.
    pub fn kernel(&self, i: usize) -> String {
        let form = &self.plan.form;
        if let Some(by) = form.absorbed[i] {
            return format!("in {}", self.graph.nodes[by].name());
        }
        if form.free[i] {
            return "-".to_string();
        }
        self.kernel_of(i).unwrap_or("data").to_string()
    }

    /// The bottoms of layer `i` as it sees them.
    fn seen(&self, i: usize) -> (Vec<Shape>, Vec<Layout>) {
        let node = &self.graph.nodes[i];
        let shapes: Vec<Shape> = node
            .bottoms
            .iter()
            .map(|&v| self.shapes[v].clone())
            .collect();
        let layouts = (0..shapes.len()).map(|k| self.seen_layout(i, k)).collect();
        (shapes, layouts)
    }

    /// Whether gradients of parameter `id` are computed.
    pub fn learns(&self, id: usize) -> bool {
        self.force || self.params[id].lr_mult != 0.0
    }

    /// How the batch is cut: the number of groups and the rows of the largest; and the layer that
    /// keeps it whole, if one does.
    pub fn cut(&self) -> (usize, usize, Option<&str>) {
        let most = self.plan.groups.iter().map(|g| g.len()).max().unwrap_or(0);
        let why = self.plan.whole.map(|i| self.graph.nodes[i].name());
        (self.plan.groups.len(), most, why)
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

/// Collects parameters and lets layers share them by name.
#[derive(Default)]
struct Registry {
    params: Vec<Param>,
    /// The names of the layers with parameters.
    names: Vec<String>,
    /// Name in the prototxt → parameter, whether lr_mult and decay_mult were given.
    named: HashMap<String, (usize, bool, bool)>,
}

impl Registry {
    fn add(
        &mut self,
        graph: &Graph,
        i: usize,
        specs: Vec<layers::ParamSpec>,
    ) -> Result<Vec<ParamUse>> {
        let node = &graph.nodes[i];
        let place = || graph.place(i);
        if node.param.param.len() > specs.len() {
            bail!(
                "{}: {} param blocks for {} learnable blobs",
                place(),
                node.param.param.len(),
                specs.len()
            );
        }
        let twin = match specs.is_empty() {
            true => 0,
            false => self.names.iter().filter(|n| *n == node.name()).count(),
        };
        if !specs.is_empty() {
            self.names.push(node.name().to_string());
        }
        let blocks = fixed_multipliers(&node.param.param, &specs).with_context(place)?;
        let mut uses = Vec::new();
        for (k, spec) in specs.into_iter().enumerate() {
            let default = ProtoParamSpec::default();
            let given = blocks.get(k).unwrap_or(&default);
            let shape = spec.shape.clone();
            let known = self
                .named
                .get(given.name())
                .copied()
                .filter(|_| !given.name().is_empty());
            let id = match known {
                Some((id, has_lr, has_decay)) => {
                    self.share(id, has_lr, has_decay, given, &spec)
                        .with_context(place)?;
                    id
                }
                None => {
                    self.params.push(Param {
                        layer: node.name().to_string(),
                        twin,
                        index: k,
                        shape: spec.shape,
                        filler: spec.filler,
                        lr_mult: given.lr_mult(),
                        decay_mult: given.decay_mult(),
                        prunable: spec.prunable,
                        learnable: spec.learnable,
                    });
                    let id = self.params.len() - 1;
                    if !given.name().is_empty() {
                        let entry = (id, given.lr_mult.is_some(), given.decay_mult.is_some());
                        self.named.insert(given.name().to_string(), entry);
                    }
                    id
                }
            };
            let own = known.is_none();
            uses.push(ParamUse { id, shape, own });
        }
        Ok(uses)
    }

    /// Checks that parameter `id` can be shared and merges the multipliers.
    fn share(
        &mut self,
        id: usize,
        has_lr: bool,
        has_decay: bool,
        given: &ProtoParamSpec,
        spec: &layers::ParamSpec,
    ) -> Result<()> {
        let owner = &mut self.params[id];
        let name = given.name();
        let permissive = given.share_mode() == DimCheckMode::Permissive;
        let fits = if permissive {
            owner.shape.count() == spec.shape.count()
        } else {
            owner.shape == spec.shape
        };
        if !fits {
            bail!(
                "cannot share param '{name}' of layer '{}': its shape is {}, here it would be {}{}",
                owner.layer,
                owner.shape,
                spec.shape,
                if permissive {
                    ""
                } else {
                    "; share_mode: PERMISSIVE asks only for equal counts"
                }
            );
        }
        if let Some(lr) = given.lr_mult {
            if has_lr && lr != owner.lr_mult {
                bail!(
                    "shared param '{name}' has lr_mult {lr} here and {} in layer '{}'",
                    owner.lr_mult,
                    owner.layer
                );
            }
            owner.lr_mult = lr;
        }
        if let Some(decay) = given.decay_mult {
            if has_decay && decay != owner.decay_mult {
                bail!(
                    "shared param '{name}' has decay_mult {decay} here and {} in layer '{}'",
                    owner.decay_mult,
                    owner.layer
                );
            }
            owner.decay_mult = decay;
        }
        self.named.insert(
            name.to_string(),
            (
                id,
                has_lr || given.lr_mult.is_some(),
                has_decay || given.decay_mult.is_some(),
            ),
        );
        Ok(())
    }
}

/// The param blocks of a layer, with rates of 0 for what nobody learns (BatchNorm's statistics). A rate
/// given to such a blob is an error, except in old nets, which have a block for each blob of the layer
/// and mean nothing by it.
fn fixed_multipliers(
    given: &[ProtoParamSpec],
    specs: &[layers::ParamSpec],
) -> Result<Vec<ProtoParamSpec>> {
    let mut blocks = given.to_vec();
    blocks.resize(specs.len().max(given.len()), ProtoParamSpec::default());
    let old = given.len() == specs.len();
    for (k, (block, _)) in blocks
        .iter_mut()
        .zip(specs)
        .enumerate()
        .filter(|(_, (_, s))| !s.learnable)
    {
        if k < given.len() && !old && block.lr_mult() != 0.0 {
            bail!(
                "param block {} has lr_mult {}, but that blob is a statistic which the layer computes: \
                 its lr_mult must be 0",
                k + 1,
                block.lr_mult()
            );
        }
        block.lr_mult = Some(0.0);
        block.decay_mult = Some(0.0);
    }
    Ok(blocks)
}
