//! `--sparsity`: which of each layer's weights are pruned.

use super::patterns::Rules;
pub(crate) use super::patterns::wildcard;
pub use super::pruning::Rule;
use crate::files;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::Path;

/// The density of every layer in the published 3x-pruned SqueezeNet: layer, weights, weights that are
/// not 0. Measured on the released Deep Compression file.
const SQUEEZENET_3X: &str = include_str!("squeezenet_3x.tsv");

/// The name of that profile.
const PROFILE: &str = "squeezenet_3x";

/// The rule of the DSD paper (Han et al. 2017, section 3): one fraction for every layer but the first convolution, whose
/// few input channels make it sensitive. `@dsd:0.5` is the same with another fraction.
const PAPER: &str = "dsd";

/// The fraction that the paper prunes of all its ImageNet nets.
const PAPER_FRACTION: f64 = 0.3;

/// Where the rules come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The user, in the text itself or in a file.
    User,
    /// A profile made for one net.
    Profile,
    /// [`PAPER`].
    Paper,
}

/// A rule for every layer; the first that matches wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Sparsity {
    text: String,
    rules: Rules<Rule>,
    origin: Origin,
    /// The layer that the paper's rule leaves whole, once the net is known.
    spared: Option<String>,
}

impl Default for Sparsity {
    /// `@dsd`: what a sparse phase prunes that names nothing, as in the DSD paper.
    fn default() -> Self {
        Self {
            text: format!("@{PAPER}"),
            rules: Rules::all(Rule::Fraction(PAPER_FRACTION)),
            origin: Origin::Paper,
            spared: None,
        }
    }
}

impl Sparsity {
    /// Reads `0.3`, `std:0.5`, any other form of a [`Rule`], `conv1=0,fc*=std:1.2,*=0.3`, `@dsd`, `@dsd:0.5`,
    /// `@squeezenet_3x`, or `@FILE`: the rules of a file, one or more a line, with comments after `#`; or the suggestion in a `.json` file that
    /// `dsd sensitivity --suggest` has written.
    ///
    /// # Errors
    /// A fraction that is no number in [0, 1), a quality below 0, or a profile that is neither known nor
    /// a file; of a file, the error says which line.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (rules, origin) = match text.strip_prefix('@') {
            Some(PROFILE) => (Rules::new(profile(SQUEEZENET_3X)?), Origin::Profile),
            Some(name) => match paper(name) {
                Some(fraction) => {
                    let rule =
                        Rule::Fraction(fraction.with_context(|| format!("sparsity '{text}'"))?);
                    (Rules::all(rule), Origin::Paper)
                }
                None => (Rules::new(of_file(name)?), Origin::User),
            },
            None => (of_line(text)?, Origin::User),
        };
        Ok(Self {
            text: text.into(),
            rules,
            origin,
            spared: None,
        })
    }

    /// The same for a net whose first convolution is `first`: what `@dsd` leaves whole. Other rules know their layers
    /// by name.
    pub fn on(mut self, first: Option<&str>) -> Self {
        if self.origin == Origin::Paper {
            self.spared = first.map(str::to_string);
        }
        self
    }

    /// Whether the rules are those of another text.
    pub fn agrees(&self, other: &Self) -> bool {
        self.origin == other.origin && self.rules == other.rules
    }

    /// Whether these are rules of a profile, which was made for one net: those for layers that another net lacks are
    /// left out.
    pub fn is_profile(&self) -> bool {
        self.origin == Origin::Profile
    }

    /// The rule for `layer`; `None` if none matches (nothing is pruned then).
    pub fn of(&self, layer: &str) -> Option<Rule> {
        if self.spared.as_deref() == Some(layer) {
            return Some(Rule::Fraction(0.0));
        }
        let twin = || match self.is_profile() {
            true => self.rules.of(&release_name(layer)),
            false => None,
        };
        self.rules.of(layer).or_else(twin).copied()
    }

    /// The fraction that goes of every layer, if the user wrote one for all.
    pub fn everywhere(&self) -> Option<f64> {
        match self.rules.everywhere() {
            Some(Rule::Fraction(fraction)) if self.origin == Origin::User => Some(*fraction),
            _ => None,
        }
    }

    /// The patterns that match none of `layers`: probably misspelt. A profile's match the other SqueezeNet family's names
    /// too.
    pub fn unmatched<'a>(&'a self, layers: &[&str]) -> Vec<&'a str> {
        let mut known: Vec<String> = layers.iter().map(|l| l.to_string()).collect();
        if self.is_profile() {
            known.extend(layers.iter().map(|l| release_name(l)));
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        self.rules.unmatched(&known)
    }

    /// A pattern that never decides, for every layer of `layers` that it matches has an earlier rule, with that rule's
    /// pattern. A `*` at the end is for the rest, of which there may be none.
    pub fn shadowed<'a>(&'a self, layers: &[&str]) -> Option<(&'a str, &'a str)> {
        match self.origin {
            Origin::User => self.rules.shadowed(layers),
            Origin::Profile | Origin::Paper => None,
        }
    }

    /// As the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What to keep of it for the record: as the user wrote it, but the rules of a file themselves, which
    /// may be another's tomorrow.
    pub fn recorded(&self) -> String {
        if self.origin != Origin::User || !self.text.starts_with('@') {
            return self.text.clone();
        }
        let rule = |(pattern, rule): &(String, Rule)| format!("{pattern}={rule}");
        self.rules.iter().map(rule).collect::<Vec<_>>().join(",")
    }
}

/// `--sparsity`'s text as another file gives it: the path in `@FILE` is looked up from the working
/// folder, else from `folder`.
pub fn located(text: &str, folder: &Path) -> String {
    match text.trim().strip_prefix('@') {
        Some(name) if name != PROFILE && paper(name).is_none() => {
            format!("@{}", files::resolve(name, folder).display())
        }
        _ => text.to_string(),
    }
}

/// The fraction that `dsd` or `dsd:F` names; `None` if it is another name.
fn paper(name: &str) -> Option<Result<f64>> {
    let rest = name.trim().strip_prefix(PAPER)?;
    if rest.is_empty() {
        return Some(Ok(PAPER_FRACTION));
    }
    let fraction = rest.strip_prefix(':')?;
    Some(match Rule::parse(fraction) {
        Ok(Rule::Fraction(fraction)) => Ok(fraction),
        Ok(_) => Err(anyhow!(
            "expected a fraction such as @{PAPER}:0.5, found '{fraction}'"
        )),
        Err(e) => Err(e),
    })
}

/// Rules with commas in between.
fn of_line(text: &str) -> Result<Rules<Rule>> {
    Rules::parse(text, "sparsity", Rule::parse)
}

fn of_file(name: &str) -> Result<Vec<(String, Rule)>> {
    let path = Path::new(name);
    if name.is_empty() || !path.exists() {
        bail!(
            "unknown sparsity profile '@{name}'; known: @{PAPER}, @{PROFILE}, and @FILE for the rules of a file: there \
             is no file '{name}'"
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
            let line = of_line(line).with_context(|| format!("{name}:{}", i + 1))?;
            rules.extend(line.iter().cloned());
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

#[cfg(test)]
#[path = "sparsity_tests.rs"]
mod tests;
