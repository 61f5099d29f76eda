//! `--sparsity`: which fraction of each layer's weights is pruned.

use anyhow::{Context, Result, bail};

/// The density of every layer in the published 3x-pruned SqueezeNet: layer, weights, weights that are
/// not 0. Measured on the released Deep Compression file.
const SQUEEZENET_3X: &str = include_str!("squeezenet_3x.tsv");

/// A rule for every layer; the first that matches wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Sparsity {
    text: String,
    rules: Vec<(String, f64)>,
    /// Layer names in rules that must all exist (a profile made for one net).
    profile: bool,
}

impl Sparsity {
    /// Reads `0.3`, `conv1=0,conv_final=0.8,*=0.3` or `@squeezenet_3x`.
    ///
    /// # Errors
    /// A fraction that is no number in [0, 1), or a profile that is not known.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix('@') {
            if name != "squeezenet_3x" {
                bail!("unknown sparsity profile '@{name}'; known: @squeezenet_3x");
            }
            return Ok(Self {
                text: text.into(),
                rules: profile(SQUEEZENET_3X)?,
                profile: true,
            });
        }
        let mut rules = Vec::new();
        for part in text.split(',') {
            let (pattern, fraction) = part.split_once('=').unwrap_or(("*", part));
            let value: f64 = fraction.trim().parse().with_context(|| {
                format!("sparsity '{part}': '{}' is not a number", fraction.trim())
            })?;
            if !(0.0..1.0).contains(&value) {
                bail!(
                    "sparsity '{part}' must lie in [0, 1): it is the fraction of weights removed"
                );
            }
            rules.push((pattern.trim().to_string(), value));
        }
        Ok(Self {
            text: text.into(),
            rules,
            profile: false,
        })
    }

    /// The fraction to remove from `layer`; `None` if no rule matches (nothing is pruned then).
    pub fn of(&self, layer: &str) -> Option<f64> {
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
}

fn profile(tsv: &str) -> Result<Vec<(String, f64)>> {
    let row = |line: &str| {
        let mut cells = line.split('\t');
        let name = cells.next()?.to_string();
        let (n, alive): (f64, f64) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
        Some((name, 1.0 - alive / n))
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
mod tests {
    use super::*;

    #[test]
    fn the_first_match_wins() {
        let s = Sparsity::parse("conv1=0,conv_final=0.8,fire?/*=0.5,*=0.3").unwrap();
        assert_eq!(s.of("conv1"), Some(0.0));
        assert_eq!(s.of("conv_final"), Some(0.8));
        assert_eq!(s.of("fire2/conv1x1_1"), Some(0.5));
        assert_eq!(s.of("ip"), Some(0.3));
        assert_eq!(Sparsity::parse("0.25").unwrap().of("anything"), Some(0.25));
        assert_eq!(Sparsity::parse("conv1=0.5").unwrap().of("conv2"), None);
    }

    #[test]
    fn the_published_profile_knows_both_families() {
        let s = Sparsity::parse("@squeezenet_3x").unwrap();
        let n = 512_000.0;
        assert_eq!((s.of("conv_final").unwrap() * n).round(), n - 102_323.0);
        assert_eq!(s.of("conv10"), s.of("conv_final"));
        assert_eq!(s.of("fire2/squeeze1x1"), s.of("fire2/conv1x1_1"));
        assert_eq!(s.of("other"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["1.0", "-0.1", "abc", "conv1=", "@other", "conv1=2", ""] {
            assert!(Sparsity::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Sparsity::parse("conv9=0.1,*=0")
                .unwrap()
                .unmatched(&["conv1"]),
            ["conv9"]
        );
    }

    #[test]
    fn wildcards() {
        assert!(
            wildcard("*", "")
                && wildcard("a*b?d", "axxbcd")
                && wildcard("fire*/conv3x3_2", "fire9/conv3x3_2")
        );
        assert!(!wildcard("a?", "a") && !wildcard("a*b", "abc") && !wildcard("", "x"));
    }
}
