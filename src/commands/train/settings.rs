//! How a phase quantizes, prunes and scales dropout: the command line's flags over the flow's.

use crate::cli::TrainArgs;
use crate::commands::Usage;
use crate::flow::{Flow, Schedule, Step};
use crate::phase::Phase;
use crate::solver::Solver;
use crate::solver::bits::Bits;
use crate::solver::config::Config;
use crate::solver::converge::{Patience, check_display};
use crate::solver::patterns::never_decides;
use crate::solver::schedule::Pruning;
use crate::solver::sparsity::Sparsity;
use crate::warn;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// The types of layers whose weights rules are mostly for: errors name one of these.
const WEIGHTY: [&str; 6] = [
    "Convolution",
    "Deconvolution",
    "InnerProduct",
    "Embed",
    "LSTM",
    "RNN",
];

/// What of it holds for one phase.
pub(super) struct Settings {
    /// Of a quantize phase.
    pub bits: Option<Bits>,
    /// Of a sparse one.
    pub pruning: Option<Pruning>,
    /// When the phase has converged, if that ends it.
    patience: Option<Patience>,
    scale_dropout: bool,
}

impl Settings {
    /// The settings of phase `step`.
    pub fn of(args: &TrainArgs, step: &Step) -> Self {
        let sparse = step.phase == Phase::Sparse;
        let step = Step {
            prune_every: args.prune_every.or(step.prune_every),
            prune_until: args.prune_until.or(step.prune_until),
            ..step.clone()
        };
        let schedule = args.schedule.or(step.schedule);
        let follows = step.phase.keeps_zeros();
        Self {
            bits: step.code_bits(),
            pruning: sparse.then(|| step.pruning(schedule)),
            // What is out of range, the flow has refused when it was read.
            patience: step.convergence().ok().flatten(),
            scale_dropout: follows && (args.scale_dropout || step.scale_dropout),
        }
    }

    /// Checks them against the net and the length of the phase; `sparsity` is what a sparse one prunes.
    pub fn check(&self, config: &Config, sparsity: Option<&Sparsity>) -> Result<()> {
        if let Some(bits) = &self.bits {
            let net = &config.train;
            let layers: Vec<&str> = net.message.layer.iter().map(|l| l.name()).collect();
            if let Some(idle) = bits.unmatched(&layers).first() {
                bail!(
                    "bits {}: '{idle}' matches no layer of {}",
                    bits.text(),
                    net.file
                );
            }
            if let Some((pattern, earlier)) = bits.shadowed(&layers) {
                bail!("bits {}: {}", bits.text(), never_decides(pattern, earlier));
            }
        }
        if self.patience.is_some() {
            check_display(config)?;
        }
        if let (Some(pruning), Some(sparsity)) = (&self.pruning, sparsity) {
            let layers = config.train.message.layer.iter();
            let weighty = layers.filter(|l| WEIGHTY.contains(&l.r#type()));
            let layers: Vec<&str> = weighty.map(|l| l.name()).collect();
            pruning.check(config.max_iter(), sparsity, &layers)?;
        }
        Ok(())
    }

    /// Whether masks hold what is pruned when the phase ends.
    pub fn ends_masked(&self) -> bool {
        self.pruning.as_ref().is_some_and(Pruning::ends_masked)
    }

    /// Tells a new solver what its snapshots would say.
    pub fn prepare(&self, solver: &mut Solver) -> Result<()> {
        if self.scale_dropout {
            solver.scale_dropout();
        }
        if let Some(patience) = self.patience {
            solver.end_when_converged(patience)?;
        }
        Ok(())
    }

    /// Prunes, at once or from now on.
    pub fn prune(&self, solver: &mut Solver, sparsity: &Sparsity) -> Result<()> {
        solver.start_pruning(sparsity, self.pruning.as_ref().unwrap_or(&Pruning::Once))
    }

    /// Makes the codebooks of a quantize phase, unless a state has brought them; says what a state lacks.
    pub fn complete(&self, solver: &mut Solver, resumed: bool) -> Result<()> {
        if let Some(bits) = self.bits.as_ref().filter(|_| !solver.is_quantized()) {
            if resumed {
                warn!(
                    "the state holds no codebooks; they are made of its weights, and their history starts at 0"
                );
            }
            solver.quantize(bits)?;
        }
        match &self.pruning {
            None | Some(Pruning::Once) => {}
            // Caffe's states do not tell which zeros are held.
            Some(Pruning::Released) => solver.release(),
            Some(_) if resumed && solver.schedule().is_none() => {
                warn!("the state holds no pruning schedule; its masks stay as they are");
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// What `--sparsity` and `--bits` say, read once.
pub(super) struct Rules {
    pub sparsity: Option<Sparsity>,
    pub bits: Option<Bits>,
}

impl Rules {
    /// # Errors
    /// They cannot be read; a usage error, but for what a file of rules says.
    pub fn parse(args: &TrainArgs) -> Result<Self> {
        let sparsity = |text: &String| {
            Sparsity::parse(text).map_err(|e| match text.strip_prefix('@') {
                Some(file) if Path::new(file).exists() => e.context("--sparsity"),
                _ => Usage(format!("--sparsity: {e:#}")).into(),
            })
        };
        let bits = |text: &String| Bits::parse(text).map_err(|e| Usage(format!("--bits: {e:#}")));
        Ok(Self {
            sparsity: args.sparsity.as_ref().map(sparsity).transpose()?,
            bits: args.bits.as_ref().map(bits).transpose()?,
        })
    }
}

/// The rules of a sparse phase for the net of its solver, checked against its layers.
pub(super) fn rules_for(rules: Sparsity, config: &Config) -> Result<Sparsity> {
    let net = &config.train;
    let mut convolutions = net.message.layer.iter();
    let first = convolutions.find(|l| l.r#type() == "Convolution");
    let sparsity = rules.on(first.map(|l| l.name()));
    let text = sparsity.text();
    let layers: Vec<&str> = net.message.layer.iter().map(|l| l.name()).collect();
    let idle = sparsity.unmatched(&layers);
    if sparsity.is_profile() {
        if layers.iter().all(|l| sparsity.of(l).is_none()) {
            bail!("sparsity {text}: {} has none of its layers", net.file);
        }
    } else if let Some(idle) = idle.first() {
        bail!("sparsity {text}: '{idle}' matches no layer of {}", net.file);
    }
    if let Some((pattern, earlier)) = sparsity.shadowed(&layers) {
        bail!("sparsity {text}: {}", never_decides(pattern, earlier));
    }
    Ok(sparsity)
}

/// Refuses flags that no phase of the flow takes, and values that are none.
pub(super) fn check_flags(args: &TrainArgs, flow: &Flow) -> Result<(), Usage> {
    let has = |phase: Phase| flow.steps.iter().any(|s| s.phase == phase);
    let idle = |flag: &str, kind: Phase| {
        Err(Usage(format!(
            "{flag} is given, but no phase of this run is {kind}"
        )))
    };
    let flags = [
        ("--schedule", args.schedule.is_some()),
        ("--prune_every", args.prune_every.is_some()),
        ("--prune_until", args.prune_until.is_some()),
    ];
    for (flag, given) in flags {
        if given && !has(Phase::Sparse) {
            return idle(flag, Phase::Sparse);
        }
        let cubic = |s: &Step| {
            let schedule = args.schedule.or(s.schedule);
            s.phase == Phase::Sparse && schedule == Some(Schedule::Cubic)
        };
        if given && flag != "--schedule" && !flow.steps.iter().any(cubic) {
            return Err(Usage(format!(
                "{flag} is of a gradual schedule; add --schedule cubic"
            )));
        }
    }
    if args.bits.is_some() && !has(Phase::Quantize) {
        return idle("--bits", Phase::Quantize);
    }
    if args.scale_dropout && !has(Phase::Sparse) && !has(Phase::Quantize) {
        return Err(Usage(
            "--scale_dropout is given, but no phase of this run is sparse or quantize".into(),
        ));
    }
    Ok(())
}

/// Refuses a sparse phase that follows another one and prunes less of a layer: pruned weights do not return.
pub(super) fn check_nested(
    before: &Sparsity,
    now: &Sparsity,
    config: &Config,
    phase: &str,
) -> Result<()> {
    for layer in &config.train.message.layer {
        let name = layer.name();
        // What a threshold prunes shows only when the weights are there.
        let fraction = |s: &Sparsity| match s.of(name) {
            None => Some(0.0),
            Some(rule) => rule.fraction(),
        };
        if let (Some(a), Some(b)) = (fraction(before), fraction(now))
            && b < a
        {
            bail!(
                "phase {phase}: sparsity {} prunes {b} of layer '{name}', the sparse phase before it {a} already; a \
                 sparse phase can only prune further, and a redense phase between them lets weights back in",
                now.text()
            );
        }
    }
    Ok(())
}

/// Refuses a quantize phase that follows another one and gives a layer more bits.
pub(super) fn check_fewer(before: &Bits, now: &Bits, config: &Config, phase: &str) -> Result<()> {
    for layer in &config.train.message.layer {
        let name = layer.name();
        if let Some(a) = before.of(name)
            && now.of(name).is_none_or(|b| b > a)
        {
            let b = now.of(name).map_or("none".to_string(), |b| b.to_string());
            return Err(anyhow::anyhow!(
                "layer '{name}' has {a} bits before and {b} now; a quantize phase after another can only take fewer"
            ))
            .with_context(|| format!("phase {phase}: bits {}", now.text()));
        }
    }
    Ok(())
}
