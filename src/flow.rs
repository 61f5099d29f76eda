//! Flows: phases in turn, and which masks, rates and lengths each starts with.

use crate::phase::Phase;
use crate::solver::Precision;
use crate::solver::bits::Bits;
use crate::solver::sparsity::{self, Sparsity};
use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
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

/// How a sparse phase comes to its sparsity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// All at the start
    Once,
    /// More and more, fast at first (Zhu and Gupta 2017)
    Cubic,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once => "once",
            Self::Cubic => "cubic",
        })
    }
}

/// One phase of a flow.
#[derive(Clone, Debug, PartialEq)]
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
    /// Refuses what a phase of this kind does not have.
    fn check(&self) -> Result<()> {
        let (kind, gradual) = (self.kind, self.schedule == Some(Schedule::Cubic));
        let prunes = [
            ("sparsity", self.sparsity.is_some()),
            ("schedule", self.schedule.is_some()),
            ("prune_every", self.prune_every.is_some()),
            ("prune_until", self.prune_until.is_some()),
        ];
        for (name, given) in prunes {
            if given && kind != Phase::Sparse {
                bail!("a {kind} phase has no {name}; only a sparse one prunes");
            }
            if given && name.starts_with("prune_") && !gradual {
                bail!("{name} is of a gradual schedule; add schedule = \"cubic\"");
            }
        }
        if self.prune_every == Some(0) || self.prune_until == Some(0) {
            bail!("prune_every and prune_until count iterations, from 1; found 0");
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
            name: String::new(),
            solver: None,
            own_solver: false,
            max_iter: None,
            sparsity: None,
            schedule: None,
            prune_every: None,
            prune_until: None,
            bits: None,
            scale_dropout: false,
            precision: None,
            base_lr: None,
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

    fn parse(text: &str, folder: &Path) -> Result<Self> {
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
                Phase::Redense if !first && pruned.is_none() => bail!(
                    "phase {n} is redense, but no sparse phase comes before it: there is no mask to lift"
                ),
                Phase::Dense if pruned.is_some() => bail!(
                    "phase {n} is dense right after a sparse one; to let the pruned weights back in, call it redense"
                ),
                Phase::Redense | Phase::Dense => pruned = None,
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
                    pruned = Some(now.unwrap_or(0.0));
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

/// Line and column, from 1, of byte `at` of a text.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Flow> {
        Flow::parse(text, Path::new(""))
    }

    #[test]
    fn phases_that_come_again_are_numbered() {
        let flow = parse(
            "solver = 's'\n[[phase]]\nkind='dense'\n[[phase]]\nkind='sparse'\nsparsity=0.4\n[[phase]]\nkind='redense'\n\
             [[phase]]\nkind='sparse'\nsparsity='a=0.1,*=0.6'\nsolver='t'\n",
        )
        .unwrap();
        let names: Vec<&str> = flow.steps.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["dense", "sparse", "redense", "sparse-2"]);
        let texts = flow.steps[1].sparsity.as_ref().map(Sparsity::text);
        assert_eq!(texts, Some("0.4"));
        assert_eq!(
            (flow.steps[0].own_solver, flow.steps[3].own_solver),
            (false, true)
        );
    }

    #[test]
    fn a_flow_that_makes_no_sense_is_refused_with_the_reason() {
        let says = |text: &str, what: &str| {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(what), "{error}");
        };
        says("", "no [[phase]]");
        says(
            "[[phase]]\nkind='dense'\n[[phase]]\nkind='redense'",
            "no sparse phase",
        );
        says(
            "[[phase]]\nkind='sparse'\n[[phase]]\nkind='dense'",
            "call it redense",
        );
        says(
            "[[phase]]\nkind='sparse'\nsparsity=0.5\n[[phase]]\nkind='sparse'\nsparsity=0.3",
            "only prune further",
        );
        says("[[phase]]\nkind='dense'\nsparsity=0.5", "only a sparse one");
        says("[[phase]]\nkind='spase'", "spase");
        says("[[phase]]\nkind='sparse'\nsparsity=1.5", "[0, 1)");
        says("[[phase]]\nkind='dense'\nmax_itr=5", "max_itr");
        says("precision='fp16'\n[[phase]]\nkind='dense'", "fp16");
        says("[[phase]]\nkind='dense'\nmax_iter=0", "max_iter 0");
        let quantize = |lines: &str| format!("[[phase]]\nkind='quantize'\n{lines}\n");
        says(&quantize("bits=9"), "2 to 8");
        says(&quantize("bits=5.5"), "not a whole number");
        says(&quantize("bits='conv=x'"), "'x' is not a whole number");
        says(
            &quantize("sparsity=0.5"),
            "a quantize phase has no sparsity",
        );
        says(&quantize("schedule='cubic'"), "only a sparse one prunes");
        says(
            "[[phase]]\nkind='sparse'\nbits=6",
            "a sparse phase has no bits",
        );
        for kind in ["dense", "sparse", "redense"] {
            let after = format!("{}[[phase]]\nkind='{kind}'", quantize(""));
            says(&after, &format!("phase 2 is {kind} after a quantize one"));
        }
        says(
            &(quantize("bits=4") + &quantize("bits=6")),
            "phase 2 has 6 bits after 4",
        );
        says(&(quantize("bits=4") + &quantize("")), "6 bits after 4");
        says(
            "[[phase]]\nkind='redense'\nscale_dropout=true",
            "no scale_dropout",
        );
        let sparse = |lines: &str| format!("[[phase]]\nkind='sparse'\n{lines}");
        says(&sparse("prune_every=5"), "add schedule = \"cubic\"");
        says(
            &sparse("schedule='once'\nprune_until=5"),
            "add schedule = \"cubic\"",
        );
        says(&sparse("schedule='cubic'\nprune_every=0"), "from 1");
        says(&sparse("schedule='linear'"), "linear");
    }

    #[test]
    fn settings_of_the_whole_flow_reach_the_phases_that_have_them() {
        let flow = parse(
            "solver='s'\nsparsity=0.5\nbits=5\nscale_dropout=true\nprecision='bf16'\n[[phase]]\nkind='dense'\n[[phase]]\nkind='sparse'\n\
             schedule='cubic'\nprune_every=10\nprune_until=200\n[[phase]]\nkind='quantize'\n\
             [[phase]]\nkind='quantize'\nbits='conv*=4,*=3'\nscale_dropout=false\nprecision='f32'",
        )
        .unwrap();
        let steps = &flow.steps;
        let names: Vec<&str> = steps.iter().map(|s| &s.name[..]).collect();
        assert_eq!(names, ["dense", "sparse", "quantize", "quantize-2"]);
        let bits: Vec<Option<&str>> = steps
            .iter()
            .map(|s| s.bits.as_ref().map(Bits::text))
            .collect();
        assert_eq!(bits, [None, None, Some("5"), Some("conv*=4,*=3")]);
        let scaled: Vec<bool> = steps.iter().map(|s| s.scale_dropout).collect();
        assert_eq!(scaled, [false, true, true, false]);
        let precisions = steps.iter().map(|s| s.precision.unwrap_or_default().name());
        let precisions: Vec<&str> = precisions.collect();
        assert_eq!(precisions, ["bf16", "bf16", "bf16", "f32"]);
        assert_eq!(steps[1].schedule, Some(Schedule::Cubic));
        assert_eq!(
            (steps[1].prune_every, steps[1].prune_until),
            (Some(10), Some(200))
        );
        assert_eq!(
            (steps[0].sparsity.as_ref(), steps[2].sparsity.as_ref()),
            (None, None)
        );
    }
}
