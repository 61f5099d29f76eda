//! The one training loop: Caffe's solver, aware of masks and of weights that share values.
//!
//! Every phase (dense, sparse, redense, quantize) runs here; it differs from the others only in the masks,
//! codebooks and rates it starts with. What the next iteration depends on is in [`Solver::snapshot`].

mod announce;
pub mod bits;
pub mod config;
pub mod converge;
mod data_checks;
mod debug;
mod diverged;
mod dropout;
pub mod find_lr;
pub mod forecast;
mod keep;
pub mod lr_policy;
pub mod mask;
mod memory;
pub mod patterns;
mod prune;
pub mod pruning;
mod quantize;
pub mod rules;
pub mod schedule;
mod scheduled;
pub mod scores;
pub mod shared;
pub mod signals;
pub mod snapshot;
pub mod sparsity;
mod state;
mod step;
mod test;
mod through;
mod timekeeper;
mod trial;
mod update;
mod watch;

pub use keep::snapshots_left;
pub use trial::Need;

use crate::data::batches::Batches;
use crate::info;
use crate::kernels::convolution::choice::UseSparse;
pub use crate::layers::Precision;
use crate::net::carried::Carried;
use crate::net::debug::DebugNet;
use crate::net::graph::Graph;
use crate::net::sizes::Sizes;
use crate::net::weights::LoadPlan;
use crate::net::{self, Net, Weights};
use crate::phase::Phase;
use crate::proto::SolverParameter;
use crate::report::metrics::{Densities, Metrics};
use crate::report::nets;
use crate::tensor::Shape;
use crate::weights_file::{self, Stored};
use anyhow::{Context, Result, bail};
use config::Config;
use indicatif::ProgressBar;
use lr_policy::LrPolicy;
use mask::Mask;
use schedule::Schedule;
use shared::Shared;
use signals::Signals;
use snapshot::Format;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use test::TestNet;
use through::Through;
use timekeeper::Timekeeper;

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
    /// A signal asked to stop, or nobody reads the log any more.
    Stopped,
}

/// Where a run's results go.
#[derive(Default)]
pub struct Reports {
    /// Where the course is written to.
    pub metrics: Option<Metrics>,
    /// The bar of the phase.
    pub bar: Option<ProgressBar>,
    /// What signals do.
    pub signals: Signals,
    /// Called when a test has been reported or a snapshot written: there is something new to show.
    pub news: Option<Box<dyn FnMut()>>,
    /// How often a snapshot is written, whatever the solver says.
    pub save_every: Option<Duration>,
    /// The iterations of the phases that follow, as many of this phase's as take the same time.
    pub later: f64,
}

impl Reports {
    /// Tells whoever shows the run that there is something new.
    fn tell(&mut self) {
        if let Some(news) = &mut self.news {
            news();
        }
    }
}

/// A training run.
pub struct Solver {
    config: Config,
    policy: LrPolicy,
    phase: Phase,
    seed: u64,
    prefix: String,
    net: Net,
    weights: Weights,
    gradients: Vec<Vec<f32>>,
    /// All first arrays of the parameters before all second ones, as in Caffe's files.
    history: Vec<Vec<f32>>,
    masks: Vec<Option<Mask>>,
    /// The parameters whose weights share values. Their histories are by centroid.
    shared: Vec<Option<Shared>>,
    /// How the masks change, in a sparse phase where they do.
    schedule: Option<Schedule>,
    /// The parameters that stay dense behind their masks.
    through: Vec<Option<Through>>,
    /// When the phase has converged, if that ends it, and what has been seen of it.
    patience: Option<converge::Patience>,
    seen: converge::Seen,
    /// Whether dropout gets weaker with the density.
    scale_dropout: bool,
    batches: Batches,
    /// What recurrent layers carry from batch to batch.
    carried: Carried,
    /// The net for batches of other shapes.
    sizes: Sizes,
    /// For `debug_info`.
    debug: Option<DebugNet>,
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
    /// How many snapshots of the solver's interval stay; all where this is not said.
    keep: Option<u64>,
    time: Timekeeper,
    /// Bytes of memory that the run needs.
    memory: usize,
}

/// What a solver is made with beside its prototxt.
pub struct Options {
    /// Which phase it trains.
    pub phase: Phase,
    /// `--seed`; else the prototxt's.
    pub seed: Option<u64>,
    /// Where snapshots go: the path before `_iter_N`.
    pub prefix: String,
    /// When weights that are 0 are left out.
    pub sparse: UseSparse,
    /// In what numbers layers multiply, in training and in tests.
    pub precision: Precision,
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
        announce::solver(&config.param);
        let graph = Graph::new(&config.train, &config.train_state)?;
        let opened = data.open(&graph, 0)?;
        let net_options = net::Options {
            backward: true,
            sparse: options.sparse,
            precision: options.precision,
            ..Default::default()
        };
        let net = Net::new(graph, &opened.shapes, &net_options)?;
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
            weights_file::hdf5::check_names(&net)
                .context("snapshot_format: HDF5 cannot store this net")?;
        }
        nets::built(&net);
        nets::precision(&net);
        let mut tests = Vec::new();
        for (i, test) in config.tests.iter().enumerate() {
            announce::test(&config.param, i);
            tests.push(TestNet::new(i, test, test_data, &net)?);
        }
        data_checks::check(&net, opened.batches.about(), &tests)?;
        let arrays = config.rule.histories();
        let memory = memory::announce(
            &net,
            &opened.batches,
            &tests,
            arrays,
            config.param.iter_size(),
        )?;
        let mut debug = None;
        if config.param.debug_info() {
            debug = Some(DebugNet::new(&net)?);
            tests.iter_mut().try_for_each(TestNet::debug)?;
        }
        let weights = net.fill(seed)?;
        let history = (0..arrays)
            .flat_map(|_| weights.iter().map(|w| vec![0.0; w.data.len()]))
            .collect();
        let gradients = net.zero_gradients();
        let masks = vec![None; weights.len()];
        let shared = vec![None; weights.len()];
        let through = vec![None; weights.len()];
        let watch = watch::ChanceWatch::new(&net, config.max_iter());
        info!("Solver scaffolding done.");
        Ok(Self {
            policy,
            phase: options.phase,
            seed,
            prefix: options.prefix,
            net,
            weights,
            gradients,
            history,
            masks,
            shared,
            schedule: None,
            through,
            patience: None,
            seen: converge::Seen::default(),
            scale_dropout: false,
            batches: opened.batches,
            carried: Carried::default(),
            sizes: Sizes::new(&net_options),
            debug,
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
            keep: None,
            time: Timekeeper::new(),
            memory,
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

    /// Takes the rates from iteration `from` of the schedule of `solver` on (rate rewinding: Renda et al. 2020, "Comparing
    /// Rewinding and Fine-tuning in Neural Network Pruning").
    ///
    /// # Errors
    /// A policy that is none.
    pub fn rewind_rates(&mut self, solver: &SolverParameter, from: u64) -> Result<()> {
        self.policy = LrPolicy::new(solver)?.rewound(from);
        Ok(())
    }

    /// The weights files that the solver's prototxt names.
    pub fn weights_of_solver(&self) -> Vec<PathBuf> {
        let lists = self.config.param.weights.iter().flat_map(|w| w.split(','));
        let names = lists.map(str::trim).filter(|w| !w.is_empty());
        names
            .map(|w| crate::files::resolve(w, &self.config.folder))
            .collect()
    }

    /// The seed of every random number of the run.
    pub fn seed(&self) -> u64 {
        self.seed
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

    /// How many samples a test of the first test net takes; none twice, so at most those that there are.
    pub fn tested(&self) -> Option<u64> {
        let test = self.tests.first()?;
        let about = test.about().first()?;
        let asked = test.iterations().saturating_mul(about.batch as u64);
        Some(asked.min(about.samples))
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

    /// The density of each layer that can be pruned.
    pub fn densities(&self) -> Densities {
        let mut counts: Vec<(String, usize, usize)> = Vec::new();
        let params = self.net.params().iter().zip(self.weights.iter());
        for (p, w) in params.filter(|(p, _)| p.prunable) {
            let alive = w.data.iter().filter(|v| **v != 0.0).count();
            match counts.iter_mut().find(|(layer, ..)| *layer == p.layer) {
                Some((_, a, n)) => (*a, *n) = (*a + alive, *n + w.data.len()),
                None => counts.push((p.layer.clone(), alive, w.data.len())),
            }
        }
        let density = |(layer, alive, n)| (layer, alive as f64 / usize::max(n, 1) as f64);
        counts.into_iter().map(density).collect()
    }

    /// Copies weights in by layer name and says what went where.
    pub fn load(&mut self, stored: &Stored) -> Result<LoadPlan> {
        let plan = self.net.load(&mut self.weights, stored)?;
        nets::loaded(&plan, &stored.file);
        if let Some(bad) = self.net.first_bad(&self.weights) {
            bail!(
                "{}: {bad}; nothing can be trained from them: give weights from before they blew up",
                stored.file
            );
        }
        Ok(plan)
    }
}
