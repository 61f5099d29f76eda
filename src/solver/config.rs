//! A solver's prototxt with its nets: read, checked, and ready to build from.

use super::lr_policy::LrPolicy;
use super::rules::Rule;
use crate::files;
use crate::layers::Mode;
use crate::net::graph::State;
use crate::proto::{self, NetParameter, Parsed, SolverParameter};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// A net to test on while training.
#[derive(Clone, Debug)]
pub struct TestConfig {
    /// The net.
    pub net: Parsed<NetParameter>,
    /// Its state.
    pub state: State,
    /// Batches of one test.
    pub iterations: u64,
}

/// Weight decay's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regularization {
    /// λ·w is added to the gradient.
    L2,
    /// λ·sign(w) is.
    L1,
}

/// A solver's prototxt with its nets.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the prototxt says.
    pub param: SolverParameter,
    /// The file, for messages.
    pub file: String,
    /// Where paths are looked up that do not exist from the working folder.
    pub folder: PathBuf,
    /// The net to train.
    pub train: Parsed<NetParameter>,
    /// Its state.
    pub train_state: State,
    /// The nets to test.
    pub tests: Vec<TestConfig>,
    /// The update rule.
    pub rule: Rule,
    /// The form of the weight decay.
    pub regularization: Regularization,
}

impl Config {
    /// Reads a solver and the nets that it names. `level` and `stages` are the command line's.
    pub fn read(path: &Path, level: i32, stages: &[String]) -> Result<Self> {
        let (solver, notes) = proto::load_solver(path)?;
        for note in notes {
            crate::info!("{note}");
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let load = |name: &str| {
            let net_path = files::resolve(name, &folder);
            let (net, notes) = proto::load_net(&net_path)
                .with_context(|| format!("{}: net: \"{name}\"", path.display()))?;
            for note in notes {
                crate::info!("{note}");
            }
            Ok(net)
        };
        Self::new(solver, folder.clone(), &load, level, stages)
    }

    /// A configuration from a parsed solver; `load` reads the nets that it names.
    pub fn new(
        solver: Parsed<SolverParameter>,
        folder: PathBuf,
        load: &dyn Fn(&str) -> Result<Parsed<NetParameter>>,
        level: i32,
        stages: &[String],
    ) -> Result<Self> {
        let file = solver.file.clone();
        Self::build(solver, folder, load, level, stages).with_context(|| file)
    }

    fn build(
        solver: Parsed<SolverParameter>,
        folder: PathBuf,
        load: &dyn Fn(&str) -> Result<Parsed<NetParameter>>,
        level: i32,
        stages: &[String],
    ) -> Result<Self> {
        let file = solver.file.clone();
        let param = solver.message;
        let inline = |net: &NetParameter, field: &str, i: usize| Parsed {
            message: net.clone(),
            file: solver.file.clone(),
            lines: solver.lines.inner(field, i),
        };
        let mut nets = Vec::new();
        if let Some(net) = &param.net_param {
            nets.push(inline(net, "net_param", 0));
        }
        if let Some(name) = &param.net {
            nets.push(load(name)?);
        }
        let shared = nets.first().cloned();
        if let Some(net) = &param.train_net_param {
            nets.push(inline(net, "train_net_param", 0));
        }
        if let Some(name) = &param.train_net {
            nets.push(load(name)?);
        }
        let train = match nets.len() {
            1 => nets.remove(0),
            0 => bail!("no net: give one of net, net_param, train_net, train_net_param"),
            _ => bail!(
                "several nets to train: give only one of net, net_param, train_net, train_net_param"
            ),
        };
        let mut train_state = State::new(Mode::Train);
        merge(&mut train_state, &train.message, param.train_state.as_ref());
        set_level(&mut train_state, level, &file);
        train_state.stages.extend(stages.iter().cloned());

        let inner = param.test_net_param.iter().enumerate();
        let mut test_nets: Vec<Parsed<NetParameter>> = inner
            .map(|(i, net)| inline(net, "test_net_param", i))
            .collect();
        for name in &param.test_net {
            test_nets.push(load(name)?);
        }
        let given = param.test_iter.len();
        match &shared {
            Some(net) => test_nets.extend((test_nets.len()..given).map(|_| net.clone())),
            None if test_nets.len() != given => bail!(
                "test_iter is given {given} times for {} test nets; give it once a test net",
                test_nets.len()
            ),
            None => {}
        }
        if test_nets.len() > given {
            bail!(
                "test_iter is given {given} times for {} test nets; give it once a test net",
                test_nets.len()
            );
        }
        if !param.test_state.is_empty() && param.test_state.len() != test_nets.len() {
            bail!(
                "test_state is given {} times for {} test nets",
                param.test_state.len(),
                test_nets.len()
            );
        }
        if !test_nets.is_empty() && param.test_interval() <= 0 {
            bail!("test_iter needs test_interval > 0");
        }
        let mut tests = Vec::new();
        for (i, net) in test_nets.into_iter().enumerate() {
            let mut state = State::new(Mode::Test);
            merge(&mut state, &net.message, param.test_state.get(i));
            let iterations = positive("test_iter", param.test_iter[i])?;
            tests.push(TestConfig {
                net,
                state,
                iterations,
            });
        }
        let rule = Rule::new(&param)?;
        LrPolicy::new(&param)?;
        let regularization = match param.regularization_type() {
            "L2" => Regularization::L2,
            "L1" => Regularization::L1,
            other => bail!("unknown regularization_type \"{other}\"; Caffe has L2 and L1"),
        };
        positive("iter_size", param.iter_size())?;
        positive("average_loss", param.average_loss())?;
        if param.max_iter() < 0 {
            bail!("max_iter must not be negative, but is {}", param.max_iter());
        }
        Ok(Self {
            param,
            file: solver.file,
            folder,
            train,
            train_state,
            tests,
            rule,
            regularization,
        })
    }

    /// The iterations to train.
    pub fn max_iter(&self) -> u64 {
        self.param.max_iter().max(0) as u64
    }
}

fn merge(state: &mut State, net: &NetParameter, solver: Option<&proto::caffe::NetState>) {
    if let Some(own) = &net.state {
        state.merge(own);
    }
    if let Some(given) = solver {
        state.merge(given);
    }
}

/// Gives a state the command line's level, which replaces that of the files also where it is the
/// default, 0: so do Caffe's commands.
pub(crate) fn set_level(state: &mut State, level: i32, file: &str) {
    if state.level != level && state.level != 0 {
        let file = if file.is_empty() { "the net" } else { file };
        crate::warn!(
            "{file}: its level {} is replaced by the command line's, {level}, as in Caffe; give --level={} to keep it",
            state.level,
            state.level
        );
    }
    state.level = level;
}

fn positive(name: &str, value: i32) -> Result<u64> {
    match u64::try_from(value) {
        Ok(v) if v > 0 => Ok(v),
        _ => bail!("{name} must be positive, but is {value}"),
    }
}
