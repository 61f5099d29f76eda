//! `--sparsity`: which of each layer's weights are pruned.

use super::mask::pruned_count;
use crate::files;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;

/// The density of every layer in the published 3x-pruned SqueezeNet: layer, weights, weights that are
/// not 0. Measured on the released Deep Compression file.
const SQUEEZENET_3X: &str = include_str!("squeezenet_3x.tsv");

/// The name of that profile.
const PROFILE: &str = "squeezenet_3x";

/// How many of one layer's weights go; always those of smallest magnitude.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// This fraction of them, in [0, 1).
    Fraction(f64),
    /// Those with |w| < quality · the standard deviation of the layer's weights (Han et al. 2015,
    /// "Learning both Weights and Connections for Efficient Neural Networks", section 3.1). The deviation
    /// is NumPy's `std`: from the mean, over all values, the zeros of earlier pruning included.
    Quality(f64),
}

impl Rule {
    /// The number of `weights` to prune, for [`super::mask::Mask::prune_smallest`].
    pub fn pruned(self, weights: &[f32]) -> usize {
        match self {
            Self::Fraction(fraction) => pruned_count(fraction, weights.len()),
            Self::Quality(quality) => {
                let threshold = quality * deviation(weights);
                let below = |w: &&f32| f64::from(w.abs()) < threshold;
                weights.iter().filter(below).count()
            }
        }
    }

    /// Reads `0.3` or `std:0.5`.
    fn parse(text: &str) -> Result<Self> {
        let number = |text: &str| -> Result<f64> {
            let text = text.trim();
            text.parse()
                .with_context(|| format!("'{text}' is not a number"))
        };
        if let Some(quality) = text.trim().strip_prefix("std:") {
            let quality = number(quality)?;
            if !(0.0..f64::INFINITY).contains(&quality) {
                bail!(
                    "{quality} must be 0 or more: weights below it times their layer's standard deviation go"
                );
            }
            return Ok(Self::Quality(quality));
        }
        let fraction = number(text)?;
        if !(0.0..1.0).contains(&fraction) {
            bail!("{fraction} must lie in [0, 1): it is the fraction of weights removed");
        }
        Ok(Self::Fraction(fraction))
    }
}

/// The standard deviation of some weights about their mean, dividing by their number.
fn deviation(weights: &[f32]) -> f64 {
    let n = weights.len().max(1) as f64;
    let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / n;
    let square = |w: &f32| (f64::from(*w) - mean).powi(2);
    (weights.iter().map(square).sum::<f64>() / n).sqrt()
}

/// A rule for every layer; the first that matches wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Sparsity {
    text: String,
    rules: Vec<(String, Rule)>,
    /// Layer names in rules that must all exist (a profile made for one net).
    profile: bool,
}

impl Sparsity {
    /// Reads `0.3`, `std:0.5`, `conv1=0,fc*=std:1.2,*=0.3`, `@squeezenet_3x`, or `@FILE`: the rules of a
    /// file, one or more a line, with comments after `#`; or the suggestion in a `.json` file that
    /// `dsd sensitivity --suggest` has written.
    ///
    /// # Errors
    /// A fraction that is no number in [0, 1), a quality below 0, or a profile that is neither known nor
    /// a file; of a file, the error says which line.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text == format!("@{PROFILE}") {
            return Ok(Self {
                text: text.into(),
                rules: profile(SQUEEZENET_3X)?,
                profile: true,
            });
        }
        let rules = match text.strip_prefix('@') {
            Some(name) => of_file(name)?,
            None => of_line(text)?,
        };
        Ok(Self {
            text: text.into(),
            rules,
            profile: false,
        })
    }

    /// The rule for `layer`; `None` if none matches (nothing is pruned then).
    pub fn of(&self, layer: &str) -> Option<Rule> {
        let known = |name: &str| {
            self.rules
                .iter()
                .find(|(p, _)| wildcard(p, name))
                .map(|r| r.1)
        };
        known(layer).or_else(|| {
            if self.profile {
                known(&release_name(layer))
            } else {
                None
            }
        })
    }

    /// The patterns that match none of `layers`: probably misspelt.
    pub fn unmatched<'a>(&'a self, layers: &[&str]) -> Vec<&'a str> {
        let idle = |p: &str| {
            !layers
                .iter()
                .any(|l| wildcard(p, l) || wildcard(p, &release_name(l)))
        };
        self.rules
            .iter()
            .map(|(p, _)| p.as_str())
            .filter(|p| idle(p))
            .collect()
    }

    /// As the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What to keep of it for the record: as the user wrote it, but the rules of a file themselves, which
    /// may be another's tomorrow.
    pub fn recorded(&self) -> String {
        if self.profile || !self.text.starts_with('@') {
            return self.text.clone();
        }
        let rule = |(pattern, rule): &(String, Rule)| match rule {
            Rule::Fraction(f) => format!("{pattern}={f}"),
            Rule::Quality(q) => format!("{pattern}=std:{q}"),
        };
        self.rules.iter().map(rule).collect::<Vec<_>>().join(",")
    }
}

/// `--sparsity`'s text as another file gives it: the path in `@FILE` is looked up from the working
/// folder, else from `folder`.
pub fn located(text: &str, folder: &Path) -> String {
    match text.trim().strip_prefix('@') {
        Some(name) if name != PROFILE => format!("@{}", files::resolve(name, folder).display()),
        _ => text.to_string(),
    }
}

/// Rules with commas in between.
fn of_line(text: &str) -> Result<Vec<(String, Rule)>> {
    let rule = |part: &str| {
        let (pattern, rule) = part.split_once('=').unwrap_or(("*", part));
        let rule = Rule::parse(rule).with_context(|| format!("sparsity '{}'", part.trim()))?;
        Ok((pattern.trim().to_string(), rule))
    };
    text.split(',').map(rule).collect()
}

fn of_file(name: &str) -> Result<Vec<(String, Rule)>> {
    let path = Path::new(name);
    if name.is_empty() || !path.exists() {
        bail!(
            "unknown sparsity profile '@{name}'; known: @{PROFILE}, and @FILE for the rules of a file: there is \
             no file '{name}'"
        );
    }
    let text = files::read_text(path)?;
    if path.extension().is_some_and(|e| e == "json") {
        return of_json(&text).with_context(|| name.to_string());
    }
    let mut rules = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let line = line.trim_end_matches(',');
        if !line.is_empty() {
            rules.extend(of_line(line).with_context(|| format!("{name}:{}", i + 1))?);
        }
    }
    if rules.is_empty() {
        bail!("{name}: no rule in it; a line is PATTERN=FRACTION, such as conv1=0.3");
    }
    Ok(rules)
}

/// The suggestion of `dsd sensitivity`.
fn of_json(text: &str) -> Result<Vec<(String, Rule)>> {
    let value: Value = serde_json::from_str(text).context("not JSON")?;
    let Some(layers) = value["suggestion"]["layers"].as_array() else {
        bail!("no suggestion in it; `dsd sensitivity --suggest DENSITY` makes one");
    };
    let rule = |(k, layer): (usize, &Value)| {
        let wanted = || format!("suggestion.layers[{k}]: expected a \"name\" and a \"sparsity\"");
        let name = layer["name"].as_str().with_context(wanted)?;
        let fraction = layer["sparsity"].as_f64().with_context(wanted)?;
        let rule = Rule::parse(&fraction.to_string()).with_context(|| format!("layer '{name}'"))?;
        Ok((name.to_string(), rule))
    };
    layers.iter().enumerate().map(rule).collect()
}

fn profile(tsv: &str) -> Result<Vec<(String, Rule)>> {
    let row = |line: &str| {
        let mut cells = line.split('\t');
        let name = cells.next()?.to_string();
        let (n, alive): (f64, f64) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
        Some((name, Rule::Fraction(1.0 - alive / n)))
    };
    let rules = tsv
        .lines()
        .skip(1)
        .filter(|l| !l.is_empty())
        .map(row)
        .collect::<Option<Vec<_>>>();
    rules.context("the built-in sparsity profile is damaged")
}

/// The layer name of the DSD release for a layer name of the original SqueezeNet.
pub fn release_name(layer: &str) -> String {
    layer
        .replace("squeeze1x1", "conv1x1_1")
        .replace("expand1x1", "conv1x1_2")
        .replace("expand3x3", "conv3x3_2")
        .replace("conv10", "conv_final")
}

/// Whether `name` fits `pattern`, in which `*` stands for any run and `?` for any one character.
pub(crate) fn wildcard(pattern: &str, name: &str) -> bool {
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut i, mut j) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while j < n.len() {
        if i < p.len() && p[i] == '*' {
            star = Some((i, j));
            i += 1;
        } else if i < p.len() && (p[i] == '?' || p[i] == n[j]) {
            (i, j) = (i + 1, j + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (i, j) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    p[i..].iter().all(|&c| c == '*')
}

#[cfg(test)]
#[path = "sparsity_tests.rs"]
mod tests;
