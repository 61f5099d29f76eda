//! The one training loop: Caffe's solver, aware of masks.
//!
//! Every phase (dense, sparse, redense) runs here; it differs from the others only in the masks and
//! rates it starts with. What the next iteration depends on is in [`Solver::snapshot`].

pub mod config;
pub mod lr_policy;
pub mod mask;
pub mod rules;
pub mod signals;
pub mod snapshot;
pub mod sparsity;
mod step;
mod test;
mod update;
mod watch;

pub(crate) use step::loss_note;

use crate::data::batches::Batches;
use crate::layers::Mode;
use crate::net::graph::Graph;
use crate::net::weights::{LoadPlan, Stored};
use crate::net::{self, Net, Weights};
use crate::report::human::HumanBytes;
use crate::report::metrics::Metrics;
use crate::tensor::{Shape, Tensor};
use crate::{info, warn};
use anyhow::{Context, Result, bail};
use config::Config;
use indicatif::ProgressBar;
use lr_policy::LrPolicy;
use mask::Mask;
use signals::Signals;
use snapshot::Format;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;
use test::TestNet;

/// The seed of a run that names none: runs repeat unless they ask not to.
pub const DEFAULT_SEED: u64 = 1;

/// Opens the data of a net: the shapes of its source layers' tops, and from batch `first` on the
/// batches.
pub trait OpenData {
    /// Opens what `graph` reads.
    fn open(&self, graph: &Graph, first: u64) -> Result<Opened>;
}

/// The data of a net.
pub struct Opened {
    /// The shapes of the source layers' tops, in order.
    pub shapes: Vec<Shape>,
    /// Where the batches come from.
    pub batches: Batches,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All iterations are done.
    Done,
    /// SIGINT or SIGHUP asked to stop.
    Stopped,
}

/// Where a run's results go.
#[derive(Default)]
pub struct Reports {
    /// `--metrics`.
    pub metrics: Option<Metrics>,
    /// The bar of the phase.
    pub bar: Option<ProgressBar>,
    /// What SIGINT and SIGHUP do.
    pub signals: Signals,
}

/// A training run.
pub struct Solver {
    config: Config,
    policy: LrPolicy,
    phase: String,
    seed: u64,
    prefix: String,
    net: Net,
    weights: Weights,
    gradients: Vec<Vec<f32>>,
    /// All first arrays of the parameters before all second ones, as in Caffe's files.
    history: Vec<Vec<f32>>,
    masks: Vec<Option<Mask>>,
    batches: Batches,
    tests: Vec<TestNet>,
    iter: u64,
    /// The losses of the last `average_loss` iterations and the iteration they count from.
    losses: VecDeque<f32>,
    smoothed: f32,
    start: u64,
    watch: watch::ChanceWatch,
    clock: Instant,
    clock_iter: u64,
    last_test: Option<(u64, Vec<(String, f32)>)>,
    /// The iteration of the last snapshot under `prefix`.
    saved: Option<u64>,
}

/// What a solver is made with beside its prototxt.
pub struct Options<'a> {
    /// dense, sparse or redense.
    pub phase: &'a str,
    /// `--seed`; else the prototxt's.
    pub seed: Option<u64>,
    /// Where snapshots go: the path before `_iter_N`.
    pub prefix: String,
}

impl Solver {
    /// Builds the nets and fills the weights. `data` opens the training data, `test_data` the test
    /// nets'.
    pub fn new(
        config: Config,
        options: Options,
        data: &dyn OpenData,
        test_data: &dyn OpenData,
    ) -> Result<Self> {
        let policy = LrPolicy::new(&config.param).with_context(|| config.file.clone())?;
        let seed = options.seed.unwrap_or(match config.param.random_seed() {
            s if s < 0 => DEFAULT_SEED,
            s => s as u64,
        });
        let graph = Graph::new(&config.train, &config.train_state)?;
        let opened = data.open(&graph, 0)?;
        let net = Net::new(
            graph,
            &opened.shapes,
            &net::Options {
                backward: true,
                ..Default::default()
            },
        )?;
        if !net
            .graph()
            .values
            .iter()
            .enumerate()
            .any(|(v, _)| net.loss_weight(v) != 0.0)
        {
            bail!(
                "{}: the net has no loss in the TRAIN phase; there is nothing to train",
                net.graph().file
            );
        }
        if Format::of(&config.param) == Format::Hdf5 {
            net.check_hdf5_names()
                .context("snapshot_format: HDF5 cannot store this net")?;
        }
        let mut tests = Vec::new();
        for (i, test) in config.tests.iter().enumerate() {
            tests.push(TestNet::new(i, test, test_data, net.params())?);
        }
        let arrays = config.rule.histories();
        log_memory(&net, &tests, arrays);
        let weights = net.fill(seed)?;
        let history = (0..arrays)
            .flat_map(|_| weights.iter().map(|w| vec![0.0; w.data.len()]))
            .collect();
        let gradients = net.zero_gradients();
        let masks = vec![None; weights.len()];
        let watch = watch::ChanceWatch::new(&net, config.max_iter());
        Ok(Self {
            policy,
            phase: options.phase.to_string(),
            seed,
            prefix: options.prefix,
            net,
            weights,
            gradients,
            history,
            masks,
            batches: opened.batches,
            tests,
            iter: 0,
            losses: VecDeque::new(),
            smoothed: 0.0,
            start: 0,
            watch,
            clock: Instant::now(),
            clock_iter: 0,
            last_test: None,
            saved: None,
            config,
        })
    }

    /// The net.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Iterations to do.
    pub fn max_iter(&self) -> u64 {
        self.config.max_iter()
    }

    /// The weights files that the solver's prototxt names.
    pub fn weights_of_solver(&self) -> Vec<PathBuf> {
        let lists = self.config.param.weights.iter().flat_map(|w| w.split(','));
        let names = lists.map(str::trim).filter(|w| !w.is_empty());
        names
            .map(|w| crate::files::resolve(w, &self.config.folder))
            .collect()
    }

    /// Iterations done.
    pub fn iter(&self) -> u64 {
        self.iter
    }

    /// The smoothed loss.
    pub fn loss(&self) -> f32 {
        self.smoothed
    }

    /// The outputs of the last test and its iteration.
    pub fn last_test(&self) -> Option<&(u64, Vec<(String, f32)>)> {
        self.last_test.as_ref()
    }

    /// The density of the weights that can be pruned.
    pub fn density(&self) -> f64 {
        let prunable = self
            .net
            .params()
            .iter()
            .zip(self.weights.iter())
            .filter(|(p, _)| p.prunable);
        mask::density(prunable.map(|(_, w)| w))
    }

    /// Copies weights in by layer name and says what went where.
    pub fn load(&mut self, stored: &Stored) -> Result<LoadPlan> {
        let plan = self.net.load(&mut self.weights, stored)?;
        log_plan(&plan, &stored.file);
        Ok(plan)
    }

    /// Takes a mask for every layer that `sparsity` names from the weights as they are, and prunes.
    pub fn prune(&mut self, sparsity: &sparsity::Sparsity) -> Result<()> {
        let layers: Vec<&str> = self
            .net
            .params()
            .iter()
            .filter(|p| p.prunable)
            .map(|p| p.layer.as_str())
            .collect();
        let idle = sparsity.unmatched(&layers);
        if !idle.is_empty() {
            bail!(
                "--sparsity {}: '{}' matches no layer with weights; the net has {}",
                sparsity.text(),
                idle.join("', '"),
                layers.join(", ")
            );
        }
        for (id, p) in self
            .net
            .params()
            .iter()
            .enumerate()
            .filter(|(_, p)| p.prunable)
        {
            let n = p.shape.count();
            let rule = sparsity.of(&p.layer);
            let k = rule.map_or(0, |r| r.pruned(&self.weights[id].data));
            if k == n && n > 0 {
                warn!(
                    "--sparsity {}: no weight of {} stays",
                    sparsity.text(),
                    p.layer
                );
            }
            let mask = Mask::prune_smallest(&self.weights[id].data, k);
            info!(
                "Pruning {}: {} of {n} weights stay, density {:.4}",
                p.layer,
                n - k,
                (n - k) as f64 / n as f64
            );
            self.masks[id] = Some(mask);
        }
        self.apply_masks();
        Ok(())
    }

    /// Goes on from a snapshot, Caffe's or ours.
    pub fn restore(&mut self, path: &Path) -> Result<()> {
        info!("Restoring previous solver status from {}", path.display());
        let state = snapshot::read(path)?;
        let stored = snapshot::weights(path, &state)?;
        self.load(&stored)?;
        if state.history.len() != self.history.len() {
            bail!(
                "{}: {} history blobs for a net of {} (solver type \"{}\"): it belongs to another net or solver",
                path.display(),
                state.history.len(),
                self.history.len(),
                self.config.param.r#type()
            );
        }
        for (k, (mine, given)) in self.history.iter_mut().zip(&state.history).enumerate() {
            let param = &self.net.params()[k % self.weights.len()];
            if mine.len() != given.data.len() {
                bail!(
                    "{}: history blob {k} has shape {}, parameter {} of layer '{}' has {}",
                    path.display(),
                    given.shape,
                    param.index,
                    param.layer,
                    param.shape
                );
            }
            mine.copy_from_slice(&given.data);
        }
        self.iter = state.iter;
        self.start = state.iter;
        let own_file = snapshot::file_name(&self.prefix, self.iter, "solverstate");
        self.saved = (path == own_file).then_some(self.iter);
        let mut tested = Vec::new();
        match state.own {
            Some(own) => {
                if own.phase != self.phase {
                    bail!(
                        "{}: this is a state of the {} phase, not {}",
                        path.display(),
                        own.phase,
                        self.phase
                    );
                }
                if own.seed != self.seed {
                    warn!("the snapshot's seed {} replaces {}", own.seed, self.seed);
                    self.seed = own.seed;
                }
                for (layer, k, mask) in own.masks {
                    let id = self
                        .net
                        .params()
                        .iter()
                        .position(|p| p.layer == layer && p.index == k);
                    match id {
                        Some(id) if self.weights[id].data.len() == mask.count() => {
                            self.masks[id] = Some(mask)
                        }
                        _ => bail!(
                            "{}: its mask of layer '{layer}' fits no layer of the net",
                            path.display()
                        ),
                    }
                }
                self.losses = own.losses.into();
                self.smoothed = own.smoothed;
                // A damaged file may say more.
                self.start = own.start.min(self.iter);
                tested = own.test_batches;
            }
            None if self.phase == "sparse" => {
                info!("The state holds no masks: weights that are 0 stay 0");
                for (id, _) in self
                    .net
                    .params()
                    .iter()
                    .enumerate()
                    .filter(|(_, p)| p.prunable)
                {
                    self.masks[id] = Some(Mask::of_nonzero(&self.weights[id].data));
                }
            }
            None => {}
        }
        self.apply_masks();
        self.clock_iter = self.iter;
        let iter_size = u64::from(self.config.param.iter_size().max(1) as u32);
        self.batches.seek(self.iter * iter_size);
        for (test, batches) in self.tests.iter_mut().zip(tested) {
            test.seek(batches);
        }
        Ok(())
    }

    /// Writes the weights and the state; gives the path of the weights.
    pub fn snapshot(&mut self) -> Result<PathBuf> {
        let format = Format::of(&self.config.param);
        let model = snapshot::file_name(&self.prefix, self.iter, format.weights());
        info!("Snapshotting to {} file {}", format.name(), model.display());
        let diffs = self.config.param.snapshot_diff();
        let diffs = diffs.then_some(&self.gradients[..]);
        snapshot::write_weights(&model, format, &self.net, &self.weights, diffs)?;
        let path = snapshot::file_name(&self.prefix, self.iter, format.state());
        info!(
            "Snapshotting solver state to {} file {}",
            format.name(),
            path.display()
        );
        let params = self.net.params();
        let masked = self
            .masks
            .iter()
            .enumerate()
            .filter_map(|(id, m)| Some((id, m.as_ref()?)));
        let tensor = |(k, h): (usize, &Vec<f32>)| Tensor {
            shape: params[k % params.len()].shape.clone(),
            data: h.clone(),
        };
        let state = snapshot::State {
            iter: self.iter,
            learned_net: model.display().to_string(),
            history: self.history.iter().enumerate().map(tensor).collect(),
            current_step: self.policy.step(self.iter.saturating_sub(1)),
            own: Some(snapshot::Own {
                phase: self.phase.clone(),
                seed: self.seed,
                masks: masked
                    .map(|(id, m)| (params[id].layer.clone(), params[id].index, m.clone()))
                    .collect(),
                test_batches: self.tests.iter().map(TestNet::batches_done).collect(),
                losses: self.losses.iter().copied().collect(),
                smoothed: self.smoothed,
                start: self.start,
                notes: Vec::new(),
            }),
        };
        snapshot::write(&path, format, &state)?;
        self.saved = Some(self.iter);
        Ok(model)
    }

    fn apply_masks(&mut self) {
        for (id, mask) in self.masks.iter().enumerate() {
            if let Some(mask) = mask {
                mask.apply(&mut self.weights[id].data);
                for h in self.history.iter_mut().skip(id).step_by(self.weights.len()) {
                    mask.apply(h);
                }
            }
        }
    }
}

/// Says what the run will need, before any of it is allocated.
fn log_memory(net: &Net, tests: &[TestNet], histories: usize) {
    let params: usize = net.params().iter().map(|p| 4 * p.shape.count()).sum();
    let fixed = params * (2 + histories);
    let threads = rayon::current_num_threads();
    let work = net.workspace_bytes(threads);
    let test = tests
        .iter()
        .map(|t| t.workspace_bytes(threads))
        .max()
        .unwrap_or(0);
    let bytes = |n: usize| HumanBytes(n as u64);
    info!(
        "Memory required: {} (weights, gradients and history {}; training {}; testing {})",
        bytes(fixed + work + test),
        bytes(fixed),
        bytes(work),
        bytes(test),
    );
    let (groups, rows, why) = net.cut();
    match why {
        Some(layer) if net.batch() > 1 => {
            info!(
                "The batch of {} runs whole: layer '{layer}' needs all samples at once",
                net.batch()
            );
        }
        _ => info!(
            "The batch of {} runs in {groups} groups of up to {rows}",
            net.batch()
        ),
    }
}

/// Says which layers got weights, which did not, and what of the file was not used.
pub fn log_plan(plan: &LoadPlan, file: &str) {
    info!("Weights from {file}: {} layers loaded", plan.loaded.len());
    for name in &plan.missing {
        warn!("Layer {name} is not in {file}; it keeps its initial weights");
    }
    for name in &plan.unused {
        info!("Ignoring source layer {name}");
    }
}

/// Whether a net trains or tests, in Caffe's words.
pub fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Train => "TRAIN",
        Mode::Test => "TEST",
    }
}
