//! What is recorded: nets, at their real sizes.

use dsd::layers::Mode;
use dsd::models::{self, Builtin, Family};
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass, Weights};
use dsd::phase::Phase;
use dsd::random::{Purpose, Random};
use dsd::session::Synthetic;
use dsd::solver::config::Config;
use dsd::solver::{self, Reports, Solver};
use dsd::tensor::{Shape, Tensor};
use std::hint::black_box;
use std::path::PathBuf;

/// A net, what it does, and with how many pictures.
pub struct Case {
    net: &'static str,
    mode: Mode,
    batch: usize,
    /// The samples of the batch go through the net apart from each other.
    leaves: bool,
}

/// Training is a whole iteration of the solver: zeroing, forward, backward, the sum of the gradients, update and the
/// weights' check. ResNets in training are one leaf: BatchNorm needs all samples at once. 256 pictures of ResNet-50
/// do not fit into this machine's memory; with fewer there is less to share out, so it scales no better.
pub const CASES: [Case; 6] = [
    case("squeezenet_v1.0", Mode::Train, 256, true),
    case("resnet50", Mode::Train, 32, false),
    case("resnet18", Mode::Train, 32, false),
    case("squeezenet_v1.0", Mode::Test, 64, true),
    case("squeezenet_v1.0", Mode::Test, 32, true),
    case("squeezenet_v1.0", Mode::Test, 1, false),
];

const fn case(net: &'static str, mode: Mode, batch: usize, leaves: bool) -> Case {
    Case {
        net,
        mode,
        batch,
        leaves,
    }
}

/// Something to run once and again.
pub enum Job {
    Train(Box<Solver>),
    Test(Box<(Net, Weights, Vec<Tensor>)>),
}

impl Job {
    pub fn run(&mut self) {
        match self {
            Self::Train(solver) => {
                solver.iterate(&mut Reports::default()).expect("trains");
            }
            Self::Test(all) => {
                let (net, weights, batch) = &**all;
                black_box(net.forward(&Pass::new(1, 0), weights, batch)).expect("runs");
            }
        }
    }
}

impl Case {
    pub fn name(&self) -> String {
        self.cells().join(" ")
    }

    pub fn cells(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Train => "training",
            Mode::Test => "inference",
        };
        [self.net, mode, &self.batch.to_string()]
            .map(String::from)
            .to_vec()
    }

    /// The threads to record for, where it is played on so many: leaves are cut no further before each has more than
    /// one; where there are few, records of four numbers of threads do.
    pub fn cut_for(&self, threads: usize) -> usize {
        match self.leaves {
            true if threads <= self.batch.min(64) => 1,
            _ => match threads {
                1 | 2 => threads,
                3..=8 => 8,
                _ => threads.next_power_of_two().max(32),
            },
        }
    }

    pub fn job(&self) -> Job {
        let model = models::find(self.net).expect("built in");
        match self.mode {
            Mode::Train => Job::Train(Box::new(self.solver(model))),
            Mode::Test => Job::Test(Box::new(self.inference(model))),
        }
    }

    fn inference(&self, model: &Builtin) -> (Net, Weights, Vec<Tensor>) {
        let parsed = model.deploy(Family::Release).expect("parses");
        let graph = Graph::new(&parsed, &State::new(Mode::Test)).expect("a graph");
        let shape = picture(model).with_rows(self.batch);
        let net =
            Net::new(graph, std::slice::from_ref(&shape), &Options::default()).expect("a net");
        // A deploy net has no fillers: it would be filled with zeros, which sparse kernels pass over.
        let mut weights = net.fill(1).expect("weights");
        weights.iter_mut().for_each(|w| noise(w, 0.05));
        let mut pictures = Tensor::zeros(shape);
        noise(&mut pictures, 50.0);
        (net, weights, vec![pictures])
    }

    fn solver(&self, model: &Builtin) -> Solver {
        let mut solver = model.solver(Phase::Dense).expect("parses");
        let p = &mut solver.message;
        p.iter_size = Some(1);
        (p.test_iter, p.test_interval) = (Vec::new(), Some(0));
        (p.display, p.snapshot) = (Some(0), Some(0));
        // So that numbers stay what they are.
        p.base_lr = Some(1e-9);
        let mut net = model.train_val(Family::Release).expect("parses");
        for layer in &mut net.message.layer {
            if let Some(data) = &mut layer.data_param {
                data.batch_size = Some(self.batch as u32);
            }
        }
        let load = |_: &str| Ok(net.clone());
        let config = Config::new(solver, PathBuf::new(), &load, 0, &[]).expect("a solver");
        let data = Synthetic {
            deploy: model.deploy(Family::Release).expect("parses"),
            seed: 1,
        };
        let options = solver::Options {
            phase: Phase::Dense,
            seed: None,
            prefix: "scaling".to_string(),
            sparse: Default::default(),
            precision: Default::default(),
        };
        Solver::new(config, options, &data, &data).expect("a solver")
    }
}

/// The shape of a net's picture.
fn picture(model: &Builtin) -> Shape {
    let deploy = model.deploy(Family::Release).expect("parses");
    let graph = Graph::new(&deploy, &State::new(Mode::Test)).expect("a graph");
    models::input_shapes(&graph).expect("shapes").swap_remove(0)
}

/// Numbers between -`most` and `most`.
fn noise(array: &mut Tensor, most: f32) {
    let random = Random::new(1, Purpose::Transform, 0);
    for (i, v) in array.data.iter_mut().enumerate() {
        *v = most * (2.0 * random.unit(i as u64) - 1.0);
    }
}
