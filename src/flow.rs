//! Flows: phases in turn, and which masks, rates and lengths each starts with.

mod file;

use crate::phase::Phase;
use crate::solver::Precision;
use crate::solver::bits::Bits;
use crate::solver::converge::Patience;
use crate::solver::schedule::Pruning;
use crate::solver::schedule::acdc::{Rounds, Side};
use crate::solver::sparsity::Sparsity;
use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;
use file::{one_line, place};
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a sparse phase starts that shares its solver with a dense one: this fraction of the solver's learning rate (DSD
/// paper, table 1: GoogLeNet and both ResNets).
pub const SPARSE_RATE: f64 = 0.1;

/// Where a redense phase starts, likewise.
pub const REDENSE_RATE: f64 = 0.01;

/// Where a quantize phase starts: this fraction of the solver's learning rate. The gradient of a centroid is the
/// sum over its members, hundreds or more, and so much larger than what the solver's rate was made for.
pub const QUANTIZE_RATE: f64 = 0.01;

/// How a sparse phase comes to its sparsity, and keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// All at the start
    Once,
    /// More and more, fast at first (Zhu and Gupta 2017)
    Cubic,
    /// Sparse and dense in turn (AC/DC, Peste et al. 2021)
    #[value(name = "acdc")]
    AcDc,
    /// Small weights die, others grow by their gradients (RigL, Evci et al. 2020)
    #[value(name = "rigl")]
    RigL,
    /// N:M masks of weights that stay dense behind them (SR-STE, Zhou et al. 2021)
    #[value(name = "srste")]
    SrSte,
}

impl Schedule {
    /// The schedule of a name, as [`fmt::Display`] writes it.
    pub fn of(name: &str) -> Option<Self> {
        let all = Self::value_variants().iter();
        all.copied().find(|s| s.to_string() == name)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once => "once",
            Self::Cubic => "cubic",
            Self::AcDc => "acdc",
            Self::RigL => "rigl",
            Self::SrSte => "srste",
        })
    }
}

/// One phase of a flow. Fields that are not given are those of [`Step::default`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What it does.
    pub phase: Phase,
    /// Its folder under `--out`: the phase's name, numbered when it comes again (`sparse-2`).
    pub name: String,
    /// Its solver, if the flow names one.
    pub solver: Option<PathBuf>,
    /// Whether that solver is this phase's alone, so that its learning rate is meant for it.
    pub own_solver: bool,
    /// Its own length, in iterations.
    pub max_iter: Option<u64>,
    /// What a sparse phase prunes.
    pub sparsity: Option<Sparsity>,
    /// How a sparse phase comes there.
    pub schedule: Option<Schedule>,
    /// Of a gradual schedule: the iterations between two prunings.
    pub prune_every: Option<u64>,
    /// Of a gradual schedule: the iteration of the last one.
    pub prune_until: Option<u64>,
    /// Whether what is pruned once is held at 0; it is where this is not said.
    pub hold: Option<bool>,
    /// Of sparse and dense stretches in turn: the iterations of each.
    pub ac_dc_every: Option<u64>,
    /// Of these: the number of sparse ones, where their length does not say it.
    pub rounds: Option<u64>,
    /// Of these: what the first one is, sparse where this is not said.
    pub starts: Option<Side>,
    /// Of these: what the last one is, likewise.
    pub ends: Option<Side>,
    /// Of an exchange of weights: the iterations from one to the next.
    pub update_every: Option<u64>,
    /// Of it: the iteration from which on the masks stay.
    pub update_until: Option<u64>,
    /// Of it: the part of the living weights that is exchanged at first.
    pub drop_fraction: Option<f64>,
    /// Of weights that stay dense behind N:M masks: the decay of those that are left out.
    pub srste_decay: Option<f32>,
    /// The iteration of the dense phase's rates with which this phase begins.
    pub rewind_to: Option<u64>,
    /// Whether the phase ends when its loss falls no more, before `max_iter`.
    pub until_converged: bool,
    /// Of that: the displays without a fall.
    pub patience: Option<u64>,
    /// Of that: the fall that counts, as a part of the loss.
    pub min_delta: Option<f64>,
    /// With how many bits a quantize phase stores each layer's weights.
    pub bits: Option<Bits>,
    /// Whether dropout gets weaker with the density, in a sparse or quantize phase.
    pub scale_dropout: bool,
    /// In what numbers layers multiply.
    pub precision: Option<Precision>,
    /// Its own learning rate.
    pub base_lr: Option<f32>,
}

impl Step {
    /// What this phase prunes, if it is a sparse one.
    pub fn rules(&self) -> Option<Sparsity> {
        (self.phase == Phase::Sparse).then(|| self.sparsity.clone().unwrap_or_default())
    }

    /// How it prunes by `schedule`, its own or another; what is said for other schedules does not count.
    pub fn pruning(&self, schedule: Option<Schedule>) -> Pruning {
        match schedule.unwrap_or(Schedule::Once) {
            Schedule::Once if self.hold == Some(false) => Pruning::Released,
            Schedule::Once => Pruning::Once,
            Schedule::Cubic => Pruning::Cubic {
                every: self.prune_every,
                until: self.prune_until,
            },
            Schedule::AcDc => Pruning::AcDc(Rounds {
                every: self.ac_dc_every,
                rounds: self.rounds,
                starts: self.starts.unwrap_or_default(),
                ends: self.ends.unwrap_or_default(),
            }),
            Schedule::RigL => Pruning::RigL {
                every: self.update_every,
                until: self.update_until,
                drop_fraction: self.drop_fraction,
            },
            Schedule::SrSte => Pruning::SrSte {
                decay: self.srste_decay,
            },
        }
    }

    /// When it has converged, if that ends it.
    ///
    /// # Errors
    /// Numbers that are out of their range.
    pub fn convergence(&self) -> Result<Option<Patience>> {
        let patience = || Patience::new(self.patience, self.min_delta);
        self.until_converged.then(patience).transpose()
    }

    /// What is said of it that only a flow can say, for the record: names and values.
    pub fn extras(&self) -> Vec<(&'static str, String)> {
        let count = |n: Option<u64>| n.map(|n| n.to_string());
        let converges = self.until_converged;
        let side = |s: Option<Side>| s.map(|s| s.name().to_string());
        let all = [
            ("hold", self.hold.map(|h| h.to_string())),
            ("ac_dc_every", count(self.ac_dc_every)),
            ("rounds", count(self.rounds)),
            ("starts", side(self.starts)),
            ("ends", side(self.ends)),
            ("update_every", count(self.update_every)),
            ("update_until", count(self.update_until)),
            ("drop_fraction", self.drop_fraction.map(|f| f.to_string())),
            ("srste_decay", self.srste_decay.map(|d| d.to_string())),
            ("rewind_to", count(self.rewind_to)),
            ("until_converged", converges.then(|| "true".to_string())),
            ("patience", count(self.patience)),
            ("min_delta", self.min_delta.map(|d| d.to_string())),
        ];
        let given = all.into_iter();
        given.filter_map(|(name, v)| Some((name, v?))).collect()
    }

    /// The bits of this phase, if it is a quantize one.
    pub fn code_bits(&self) -> Option<Bits> {
        (self.phase == Phase::Quantize).then(|| self.bits.clone().unwrap_or_default())
    }
}

/// Phases in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The phases.
    pub steps: Vec<Step>,
    /// Weights to start from, if the flow names them.
    pub weights: Option<PathBuf>,
    /// The seed of every random number, if the flow names one.
    pub seed: Option<u64>,
}

impl Flow {
    /// A flow of one phase.
    pub fn single(phase: Phase) -> Self {
        Self::of(&[phase])
    }

    /// Dense, sparse, redense.
    pub fn dsd() -> Self {
        Self::of(&[Phase::Dense, Phase::Sparse, Phase::Redense])
    }

    fn of(phases: &[Phase]) -> Self {
        let step = |&phase| Step {
            phase,
            ..Step::default()
        };
        Self {
            steps: phases.iter().map(step).collect(),
            weights: None,
            seed: None,
        }
        .named()
    }

    /// Reads a flow:
    ///
    /// ```toml
    /// solver = "solver.prototxt"     # of every phase that names none
    /// weights = "net.caffemodel"     # to start from; nothing without it
    /// seed = 7                       # instead of the solvers' random_seed
    /// precision = "bf16"             # likewise; f32 without it
    /// [[phase]]
    /// kind = "dense"
    /// max_iter = 1000
    /// [[phase]]
    /// kind = "sparse"
    /// sparsity = "conv1=0,*=0.5"
    /// [[phase]]
    /// kind = "redense"
    /// solver = "solver_redense.prototxt"
    /// [[phase]]
    /// kind = "sparse"
    /// sparsity = 0.8
    /// schedule = "cubic"             # with prune_every and prune_until
    /// scale_dropout = true
    /// [[phase]]
    /// kind = "quantize"
    /// bits = "conv*=8,*=5"
    /// base_lr = 0.0001
    /// ```
    ///
    /// Paths are relative to the working folder, else to the flow's own.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_from(path, path.parent().unwrap_or(Path::new("")))
    }

    /// The same of a copy of a flow whose own folder is `folder`.
    pub fn read_from(path: &Path, folder: &Path) -> Result<Self> {
        let text = crate::files::read_text(path)?;
        Self::parse(&text, folder).map_err(|e| match e.downcast_ref::<toml::de::Error>() {
            Some(e) => anyhow!("{}", placed(e, &text, path)),
            None => e.context(path.display().to_string()),
        })
    }

    /// The same of a flow that is no file; paths count from the working folder, else from `folder`.
    pub fn of_text(text: &str, folder: &Path) -> Result<Self> {
        Self::parse(text, folder).map_err(|e| match e.downcast_ref::<toml::de::Error>() {
            Some(e) => anyhow!("{}", one_line(e.message())),
            None => e,
        })
    }

    fn named(mut self) -> Self {
        let mut seen = [0usize; 4];
        for step in &mut self.steps {
            let nth = &mut seen[step.phase as usize];
            *nth += 1;
            step.name = if *nth == 1 {
                step.phase.to_string()
            } else {
                format!("{}-{nth}", step.phase)
            };
        }
        self
    }

    fn checked(self) -> Result<Self> {
        if self.steps.is_empty() {
            bail!("the flow has no [[phase]]");
        }
        let mut pruned: Option<f64> = None;
        // Weights were pruned, but no mask holds them: the next phase may be called dense or redense.
        let mut loose = false;
        let mut quantized: Option<Bits> = None;
        for (i, step) in self.steps.iter().enumerate() {
            let n = i + 1;
            let first = i == 0;
            if quantized.is_some() && step.phase != Phase::Quantize {
                bail!(
                    "phase {n} is {} after a quantize one: it would train every weight by itself again, and the \
                     values shared so far would be lost; put quantize last",
                    step.phase
                );
            }
            match step.phase {
                Phase::Redense if !first && !loose && pruned.is_none() => bail!(
                    "phase {n} is redense, but no sparse phase comes before it: there is no mask to lift"
                ),
                Phase::Dense if pruned.is_some() => bail!(
                    "phase {n} is dense right after a sparse one; to let the pruned weights back in, call it redense"
                ),
                Phase::Redense | Phase::Dense => (pruned, loose) = (None, false),
                Phase::Sparse => {
                    let now = step.sparsity.as_ref().and_then(Sparsity::everywhere);
                    if let (Some(before), Some(now)) = (pruned, now)
                        && now < before
                    {
                        bail!(
                            "phase {n} has sparsity {now} after {before}: a sparse phase can only prune further; \
                             a redense phase between them lets weights back in"
                        );
                    }
                    loose = !step.pruning(step.schedule).ends_masked();
                    pruned = Some(now.unwrap_or(0.0)).filter(|_| !loose);
                }
                Phase::Quantize => {
                    let now = step.bits.clone().unwrap_or_default();
                    if let Some(before) = &quantized
                        && let (Some(b), Some(a)) = (before.everywhere(), now.everywhere())
                        && a > b
                    {
                        bail!(
                            "phase {n} has {a} bits after {b}: the weights share no more than 2^{b} values already; \
                             a quantize phase after another can only take fewer bits"
                        );
                    }
                    quantized = Some(now);
                }
            }
            if step.max_iter == Some(0) {
                bail!("phase {n} has max_iter 0");
            }
        }
        Ok(self)
    }
}

/// Where a phase of this kind starts that shares its solver with a dense one: this fraction of the solver's learning rate.
pub fn rate_of(phase: Phase) -> f64 {
    match phase {
        Phase::Dense => 1.0,
        Phase::Sparse => SPARSE_RATE,
        Phase::Redense => REDENSE_RATE,
        Phase::Quantize => QUANTIZE_RATE,
    }
}

/// A mistake in a TOML file, with its place.
pub fn placed(error: &toml::de::Error, text: &str, path: &Path) -> String {
    let (line, column) = place(text, error.span().map_or(0, |s| s.start));
    format!(
        "{}:{line}:{column}: {}",
        path.display(),
        one_line(error.message())
    )
}

#[cfg(test)]
mod tests;
