//! Dense, Sparse, Redense, and flows of them: which masks, rates and lengths a phase starts with.
//! The loop itself is the solver's and knows none of this.

use crate::solver::sparsity::{self, Sparsity};
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// The sparsity of a sparse phase that names none: what the DSD paper (Han et al. 2017) found safe for
/// most nets.
pub const DEFAULT_SPARSITY: &str = "0.3";

/// Where a redense phase starts: this fraction of the solver's learning rate (DSD paper, section 3).
pub const REDENSE_RATE: f32 = 0.1;

/// A phase of Dense-Sparse-Dense training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Ordinary training.
    Dense,
    /// The smallest weights are pruned and the rest retrained under the mask.
    Sparse,
    /// The mask is lifted; pruned weights start again from zero.
    Redense,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Redense => "redense",
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
    pub sparsity: Option<String>,
    /// Its own learning rate.
    pub base_lr: Option<f32>,
}

/// Phases in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The phases.
    pub steps: Vec<Step>,
    /// Weights to start from, if the flow names them.
    pub weights: Option<PathBuf>,
}

/// A flow's TOML file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowFile {
    solver: Option<PathBuf>,
    weights: Option<PathBuf>,
    sparsity: Option<Fraction>,
    #[serde(default)]
    phase: Vec<StepFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    kind: Phase,
    solver: Option<PathBuf>,
    max_iter: Option<u64>,
    sparsity: Option<Fraction>,
    base_lr: Option<f32>,
}

/// `0.3` or `"conv1=0,*=0.3"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Fraction {
    Number(f64),
    Text(String),
}

impl Fraction {
    fn text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Text(t) => t.clone(),
        }
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
            base_lr: None,
        };
        Self {
            steps: phases.iter().map(step).collect(),
            weights: None,
        }
        .named()
    }

    /// Reads a flow:
    ///
    /// ```toml
    /// solver = "solver.prototxt"     # of every phase that names none
    /// [[phase]]
    /// kind = "dense"
    /// max_iter = 1000
    /// [[phase]]
    /// kind = "sparse"
    /// sparsity = "conv1=0,*=0.5"
    /// [[phase]]
    /// kind = "redense"
    /// solver = "solver_redense.prototxt"
    /// ```
    ///
    /// Paths are relative to the working folder, else to the flow's own.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::files::read_text(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::parse(&text, &folder).map_err(|e| match e.downcast_ref::<toml::de::Error>() {
            Some(e) => {
                let (line, column) = place(&text, e.span().map_or(0, |s| s.start));
                anyhow!(
                    "{}:{line}:{column}: {}",
                    path.display(),
                    one_line(e.message())
                )
            }
            None => e.context(path.display().to_string()),
        })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self> {
        let file: FlowFile = toml::from_str(text)?;
        let find = |p: &PathBuf| crate::files::resolve(&p.to_string_lossy(), folder);
        let mut steps = Vec::new();
        for (i, s) in file.phase.iter().enumerate() {
            let sparse = s.kind == Phase::Sparse;
            if s.sparsity.is_some() && !sparse {
                bail!(
                    "phase {}: a {} phase has no sparsity; only a sparse one prunes",
                    i + 1,
                    s.kind
                );
            }
            let sparsity = s
                .sparsity
                .as_ref()
                .or(file.sparsity.as_ref().filter(|_| sparse));
            steps.push(Step {
                phase: s.kind,
                name: String::new(),
                solver: s.solver.as_ref().or(file.solver.as_ref()).map(find),
                own_solver: s.solver.is_some(),
                max_iter: s.max_iter,
                sparsity: sparsity.map(|s| sparsity::located(&s.text(), folder)),
                base_lr: s.base_lr,
            });
        }
        Self {
            steps,
            weights: file.weights.as_ref().map(find),
        }
        .named()
        .checked()
    }

    fn named(mut self) -> Self {
        let mut seen = [0usize; 3];
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
        for (i, step) in self.steps.iter().enumerate() {
            let n = i + 1;
            let first = i == 0;
            match step.phase {
                Phase::Redense if !first && pruned.is_none() => bail!(
                    "phase {n} is redense, but no sparse phase comes before it: there is no mask to lift"
                ),
                Phase::Dense if pruned.is_some() => bail!(
                    "phase {n} is dense right after a sparse one; to let the pruned weights back in, call it redense"
                ),
                Phase::Redense | Phase::Dense => pruned = None,
                Phase::Sparse => {
                    let text = step.sparsity.as_deref().unwrap_or(DEFAULT_SPARSITY);
                    Sparsity::parse(text).with_context(|| format!("phase {n}"))?;
                    let now = text.parse::<f64>().ok();
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
            }
            if step.max_iter == Some(0) {
                bail!("phase {n} has max_iter 0");
            }
        }
        Ok(self)
    }
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
        assert_eq!(flow.steps[1].sparsity.as_deref(), Some("0.4"));
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
        says("[[phase]]\nkind='dense'\nmax_iter=0", "max_iter 0");
    }
}
