//! A flow's TOML file: its keys, and which phase has which.

use super::{Flow, Schedule, Step};
use crate::phase::Phase;
use crate::solver::Precision;
use crate::solver::bits::Bits;
use crate::solver::converge::Patience;
use crate::solver::schedule::acdc::Side;
use crate::solver::sparsity::{self, Sparsity};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A flow's TOML file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowFile {
    solver: Option<PathBuf>,
    weights: Option<PathBuf>,
    seed: Option<u64>,
    sparsity: Option<Setting>,
    bits: Option<Setting>,
    scale_dropout: Option<bool>,
    precision: Option<Precision>,
    #[serde(default)]
    phase: Vec<StepFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    kind: Phase,
    solver: Option<PathBuf>,
    max_iter: Option<u64>,
    sparsity: Option<Setting>,
    schedule: Option<Schedule>,
    prune_every: Option<u64>,
    prune_until: Option<u64>,
    hold: Option<bool>,
    ac_dc_every: Option<u64>,
    rounds: Option<u64>,
    starts: Option<Side>,
    ends: Option<Side>,
    update_every: Option<u64>,
    update_until: Option<u64>,
    drop_fraction: Option<f64>,
    srste_decay: Option<f32>,
    rewind_to: Option<u64>,
    #[serde(default)]
    until_converged: bool,
    patience: Option<u64>,
    min_delta: Option<f64>,
    bits: Option<Setting>,
    scale_dropout: Option<bool>,
    precision: Option<Precision>,
    base_lr: Option<f32>,
}

/// One number for all layers (`0.3`), or rules (`"conv1=0,*=0.3"`).
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Setting {
    Number(f64),
    Text(String),
}

impl Setting {
    fn text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Text(t) => t.clone(),
        }
    }
}

impl StepFile {
    /// What only a sparse phase has: name, whether it is there, and the schedule that it belongs to.
    fn pruning_keys(&self) -> [(&'static str, bool, Option<Schedule>); 13] {
        let (cubic, acdc) = (Some(Schedule::Cubic), Some(Schedule::AcDc));
        let (rigl, srste) = (Some(Schedule::RigL), Some(Schedule::SrSte));
        [
            ("sparsity", self.sparsity.is_some(), None),
            ("schedule", self.schedule.is_some(), None),
            ("hold", self.hold.is_some(), Some(Schedule::Once)),
            ("prune_every", self.prune_every.is_some(), cubic),
            ("prune_until", self.prune_until.is_some(), cubic),
            ("ac_dc_every", self.ac_dc_every.is_some(), acdc),
            ("rounds", self.rounds.is_some(), acdc),
            ("starts", self.starts.is_some(), acdc),
            ("ends", self.ends.is_some(), acdc),
            ("update_every", self.update_every.is_some(), rigl),
            ("update_until", self.update_until.is_some(), rigl),
            ("drop_fraction", self.drop_fraction.is_some(), rigl),
            ("srste_decay", self.srste_decay.is_some(), srste),
        ]
    }

    /// Refuses what a phase of this kind does not have.
    fn check(&self) -> Result<()> {
        let kind = self.kind;
        for (name, given, of) in self.pruning_keys() {
            if given && kind != Phase::Sparse {
                bail!("a {kind} phase has no {name}; only a sparse one prunes");
            }
            let schedule = self.schedule.unwrap_or(Schedule::Once);
            if let Some(of) = of.filter(|of| given && *of != schedule) {
                bail!("{name} is of schedule \"{of}\", but this phase's is \"{schedule}\"");
            }
        }
        let counts = [
            ("prune_every", self.prune_every),
            ("prune_until", self.prune_until),
            ("ac_dc_every", self.ac_dc_every),
            ("rounds", self.rounds),
            ("update_every", self.update_every),
            ("update_until", self.update_until),
            ("patience", self.patience),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, n)| *n == Some(0)) {
            bail!("{name} counts from 1; found 0");
        }
        if self.rounds.is_some() && self.ac_dc_every.is_some() {
            bail!("ac_dc_every and rounds both say how long a stretch is; keep one");
        }
        for (name, given) in [
            ("patience", self.patience.is_some()),
            ("min_delta", self.min_delta.is_some()),
        ] {
            if given && !self.until_converged {
                bail!("{name} is of a phase that ends by its loss; add until_converged = true");
            }
        }
        if self.rewind_to.is_some() {
            if kind == Phase::Quantize {
                bail!("a quantize phase has no rewind_to; its rates are made for centroids");
            }
            if self.base_lr.is_some() {
                bail!("rewind_to takes the dense phase's rates, and base_lr another; keep one");
            }
        }
        if self.bits.is_some() && kind != Phase::Quantize {
            bail!("a {kind} phase has no bits; only a quantize one shares weights");
        }
        if self.scale_dropout == Some(true) && !kind.keeps_zeros() {
            bail!(
                "a {kind} phase has no scale_dropout; dropout follows the density in sparse and quantize phases"
            );
        }
        Ok(())
    }
}

impl Flow {
    /// Reads the text of a flow whose paths count from `folder`, too.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self> {
        let file: FlowFile = toml::from_str(text)?;
        let find = |p: &PathBuf| crate::files::resolve(&crate::files::encoding::name(p), folder);
        let mut steps = Vec::new();
        for (i, s) in file.phase.iter().enumerate() {
            let place = || format!("phase {}", i + 1);
            s.check().with_context(place)?;
            let (sparse, quantize) = (s.kind == Phase::Sparse, s.kind == Phase::Quantize);
            let sparsity = s.sparsity.as_ref().or(file.sparsity.as_ref());
            let sparsity = sparsity.filter(|_| sparse).map(|s| {
                let text = sparsity::located(&s.text(), folder);
                Sparsity::parse(&text).with_context(place)
            });
            let bits = s.bits.as_ref().or(file.bits.as_ref());
            let bits = bits.filter(|_| quantize);
            let bits = bits.map(|b| Bits::parse(&b.text()).with_context(place));
            Patience::new(s.patience, s.min_delta).with_context(place)?;
            let scale_dropout = s.scale_dropout.or(file.scale_dropout);
            steps.push(Step {
                phase: s.kind,
                name: String::new(),
                solver: s.solver.as_ref().or(file.solver.as_ref()).map(find),
                own_solver: s.solver.is_some(),
                max_iter: s.max_iter,
                sparsity: sparsity.transpose()?,
                schedule: s.schedule,
                prune_every: s.prune_every,
                prune_until: s.prune_until,
                hold: s.hold,
                ac_dc_every: s.ac_dc_every,
                rounds: s.rounds,
                starts: s.starts,
                ends: s.ends,
                update_every: s.update_every,
                update_until: s.update_until,
                drop_fraction: s.drop_fraction,
                srste_decay: s.srste_decay,
                rewind_to: s.rewind_to,
                until_converged: s.until_converged,
                patience: s.patience,
                min_delta: s.min_delta,
                bits: bits.transpose()?,
                scale_dropout: scale_dropout == Some(true) && (sparse || quantize),
                precision: s.precision.or(file.precision),
                base_lr: s.base_lr,
            });
        }
        Self {
            steps,
            weights: file.weights.as_ref().map(find),
            seed: file.seed,
        }
        .named()
        .checked()
    }
}

/// Line and column, from 1, of byte `at` of a text.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// A message without line breaks.
pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
