//! Arguments of `train` and of its phases' own commands.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum, value_parser};

use super::NetState;
use crate::flow::Schedule;
use crate::layers::Precision;
use crate::phase::Phase;

/// Arguments of `train`.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Train {
    /// A folder that `dsd new` has made: its flow is trained, in its folder run
    #[arg(value_name = "FOLDER", conflicts_with_all = ["phase", "flow", "solver", "out"])]
    pub folder: Option<PathBuf>,
    /// The phase to train; dsd is dense, sparse and redense in turn
    /// [default: dsd without --solver, dense with it]
    #[arg(long, value_enum, ignore_case = true, conflicts_with = "flow")]
    pub phase: Option<Phases>,
    /// A file (TOML) that lists phases, each with its solver, sparsity and length
    #[arg(long, value_name = "F.toml")]
    pub flow: Option<PathBuf>,
    /// Also run the same schedule without a mask, and say whether the mask made a difference: each phase in a process
    /// of its own, several at once; the same command goes on where it was stopped
    #[arg(long)]
    pub control: bool,
    /// Repeat all of it with N seeds, from --seed or 1 on, for means and deviations
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1000))]
    pub seeds: Option<u64>,
    /// With --control and --seeds: how many runs at once, each with a part of the threads [default: one a thread]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub jobs: Option<u64>,
    /// The rest, which all phases share.
    #[command(flatten)]
    pub args: TrainArgs,
}

/// Arguments of `train` and of the commands named after its phases.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct TrainArgs {
    /// The solver (prototxt) [default: a built-in net on the built-in digits]
    #[arg(long, value_name = "F")]
    pub solver: Option<PathBuf>,
    /// Weights to start from; of a layer in several files the last one holds
    #[arg(
        long,
        value_name = "A,B…",
        value_delimiter = ',',
        conflicts_with = "snapshot"
    )]
    pub weights: Vec<PathBuf>,
    /// A solver state to go on from
    #[arg(long, value_name = "F.solverstate")]
    pub snapshot: Option<PathBuf>,
    /// Go on from the newest snapshot in --out, with the settings recorded there; --max_iter, another learning rate
    /// and what is shown or saved may change
    #[arg(long, conflicts_with = "snapshot")]
    pub resume: bool,
    /// What to prune: 0.3 of every layer; std:0.5, all weights below 0.5 standard deviations of their layer's; global:0.8 of
    /// all layers by one threshold; erk:0.8 with densities by kernel; random:0.5 by chance; 2:4, all but 2 of every 4;
    /// conv1=0,fc*=std:1.2,*=0.3 (first match wins); @dsd, 0.3 of every layer but the first convolution, and
    /// @dsd:0.5 likewise; @squeezenet_3x; or @FILE, such rules from a file [default: @dsd]
    #[arg(long, value_name = "S")]
    pub sparsity: Option<String>,
    /// How to come to that sparsity, and keep it; a flow says more of each [default: once]
    #[arg(long, value_enum, ignore_case = true, value_name = "HOW")]
    pub schedule: Option<Schedule>,
    /// With --schedule cubic: the iterations between two prunings [default: a hundredth of --prune_until]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub prune_every: Option<u64>,
    /// With --schedule cubic: the iteration of the last pruning [default: half of the phase]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub prune_until: Option<u64>,
    /// The bits of a quantize phase: 6 for every layer, or conv*=8,*=5 (first match wins), each 2 to 8
    /// [default: 6]
    #[arg(long, value_name = "BITS")]
    pub bits: Option<String>,
    /// Make dropout weaker as weights are removed: ratio times the root of the density, in sparse and quantize
    /// phases
    #[arg(long)]
    pub scale_dropout: bool,
    /// The numbers that layers multiply: f32; or bf16, where weights, activations and the gradients between layers are
    /// rounded to bfloat16 as convolutions and inner products read them, and sums, the weights themselves, their
    /// history and updates stay float32. A run goes on in its own [default: f32]
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        hide_possible_values = true,
        value_name = "f32|bf16"
    )]
    pub precision: Option<Precision>,
    /// Another data source (database or list) for the data layers of the training net
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// The number of iterations; overrides the solver's
    #[arg(long, value_name = "N", value_parser = value_parser!(i32).range(0..))]
    pub max_iter: Option<i32>,
    /// The folder for what the run writes, a folder a phase
    /// [default: dsd_run without --solver, the solver's snapshot_prefix with it]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write the course of the run as JSON lines to this file, beside metrics.jsonl in --out; as CSV if its name ends in .csv
    #[arg(long, value_name = "F.jsonl")]
    pub metrics: Option<PathBuf>,
    /// Write the course of the run for TensorBoard too, to a folder a phase in this folder
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
    /// Save every N minutes and keep the newest of these snapshots; 0: never [default: 15 where the solver has no
    /// snapshot interval]
    #[arg(long, value_name = "N", value_parser = minutes)]
    pub snapshot_minutes: Option<f64>,
    /// Of the snapshots at the solver's interval keep only the newest N of each phase, and its last [default: all]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub keep: Option<u64>,
    /// Print each phase's rate, length, density, time, disk and memory, and the curves of rate and density, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Look for base_lr: train the first phase for N iterations with a rate that rises from 1e-6 to 10, until the loss blows
    /// up; draw the loss over the rate, in find_lr.svg too, and stop
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "100",
        conflicts_with_all = ["dry_run", "resume", "snapshot"],
        value_parser = value_parser!(u32).range(20..=100_000)
    )]
    pub find_lr: Option<u32>,
    /// What SIGINT (Ctrl-C) does; SIGTERM and SIGUSR1 always save and stop
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "EFFECT",
        default_value = "stop"
    )]
    pub sigint_effect: Effect,
    /// What SIGHUP does
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "EFFECT",
        default_value = "snapshot"
    )]
    pub sighup_effect: Effect,
    /// Level and stages.
    #[command(flatten)]
    pub state: NetState,
}

/// A number of minutes, 0 or more.
fn minutes(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(n) if (0.0..=1e9).contains(&n) => Ok(n),
        _ => Err("expected a number of minutes, 0 or more".to_string()),
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dsd train
  dsd train my                                what dsd new has made
  dsd train --solver solver.prototxt --weights bvlc.caffemodel
  dsd train --solver solver.prototxt --snapshot net_iter_1000.solverstate
  dsd train --phase sparse --solver sparse.prototxt --weights dense.caffemodel --sparsity 0.3
  dsd train --phase sparse --sparsity 0.8 --schedule cubic --prune_every 10 --prune_until 150
  dsd train --phase quantize --weights sparse.caffemodel --bits 6
  dsd train --phase dsd --solver solver.prototxt --sparsity @dsd:0.5 --out run --dry_run
  dsd train --flow flow.toml --out run
  dsd train --solver solver.prototxt --find_lr
  dsd train --phase dsd --solver solver.prototxt --control --seeds 5 --out dsd_and_control
  dsd train --out run --resume
  dsd train --solver solver.prototxt --out run --keep 3
  dsd train --out run --metrics course.csv --tensorboard events";

/// What `--phase` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phases {
    /// This one.
    One(Phase),
    /// Dense, sparse and redense in turn.
    Dsd,
}

impl ValueEnum for Phases {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Phases; 5] = [
            Phases::One(Phase::Dense),
            Phases::One(Phase::Sparse),
            Phases::One(Phase::Redense),
            Phases::One(Phase::Quantize),
            Phases::Dsd,
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::One(phase) => phase.to_possible_value(),
            Self::Dsd => Some(PossibleValue::new("dsd").help("Dense, sparse and redense in turn")),
        }
    }
}

/// What a signal does to training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Effect {
    /// Save a snapshot and go on
    Snapshot,
    /// Save a snapshot and stop
    Stop,
    /// Nothing
    None,
}
