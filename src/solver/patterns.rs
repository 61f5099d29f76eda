//! Rules by layer, as `--sparsity` and `--bits` write them: `conv1=0,conv*=0.5,*=0.3`.

use anyhow::{Context, Result};

/// A value for every layer whose name matches a pattern; the first that matches wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules<T>(Vec<(String, T)>);

impl<T> Rules<T> {
    /// One value for all layers.
    pub fn all(value: T) -> Self {
        Self(vec![("*".into(), value)])
    }

    /// These, in turn.
    pub fn new(rules: Vec<(String, T)>) -> Self {
        Self(rules)
    }

    /// Reads `PATTERN=VALUE` with commas in between; a value alone is for all layers. `what` names them in errors.
    ///
    /// # Errors
    /// Those of `value`, with the part.
    pub fn parse(text: &str, what: &str, value: impl Fn(&str) -> Result<T>) -> Result<Self> {
        let rule = |part: &str| {
            let (pattern, text) = part.split_once('=').unwrap_or(("*", part));
            let value = value(text.trim()).with_context(|| format!("{what} '{}'", part.trim()))?;
            Ok((pattern.trim().to_string(), value))
        };
        text.split(',').map(rule).collect::<Result<_>>().map(Self)
    }

    /// The rules in turn.
    pub fn iter(&self) -> impl Iterator<Item = &(String, T)> {
        self.0.iter()
    }

    /// The value for `layer`.
    pub fn of(&self, layer: &str) -> Option<&T> {
        let rule = self.0.iter().find(|(p, _)| wildcard(p, layer));
        rule.map(|(_, value)| value)
    }

    /// The value for all layers, if there is but that.
    pub fn everywhere(&self) -> Option<&T> {
        match &self.0[..] {
            [(pattern, value)] if pattern == "*" => Some(value),
            _ => None,
        }
    }

    /// The patterns that match none of `layers`: probably misspelt.
    pub fn unmatched<'a>(&'a self, layers: &[&str]) -> Vec<&'a str> {
        let idle = |p: &&str| !layers.iter().any(|l| wildcard(p, l));
        self.patterns().filter(idle).collect()
    }

    /// The first pattern that matches layers of `layers`, all of which earlier ones match too, and one of these; the
    /// first match wins, so it never decides. A last `*` stands for the rest, of which there may be none.
    pub fn shadowed<'a>(&'a self, layers: &[&str]) -> Option<(&'a str, &'a str)> {
        let patterns: Vec<&str> = self.patterns().collect();
        let earlier = |k: usize, layer: &str| {
            let mut before = patterns[..k].iter();
            before.find(|p| wildcard(p, layer)).copied()
        };
        for (k, &pattern) in patterns.iter().enumerate() {
            let repeated = patterns[..k].contains(&pattern);
            if pattern == "*" && k + 1 == patterns.len() && !repeated {
                continue;
            }
            let own: Vec<&&str> = layers.iter().filter(|l| wildcard(pattern, l)).collect();
            if let Some(first) = own.first()
                && own.iter().all(|l| earlier(k, l).is_some())
            {
                return Some((pattern, earlier(k, first)?));
            }
        }
        None
    }

    fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(pattern, _)| pattern.as_str())
    }
}

/// Why a rule that stands behind another one has no effect.
pub fn never_decides(pattern: &str, earlier: &str) -> String {
    format!(
        "the rule for '{pattern}' never decides, for '{earlier}' comes before it and the first match wins; put '{pattern}' \
         first, or leave it out"
    )
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
    fn a_pattern_behind_one_that_takes_all_its_layers_never_decides() {
        let layers = ["conv1", "conv2", "fc6"];
        let rules = |text: &str| {
            let rule = |pattern: &str| (pattern.to_string(), ());
            Rules::new(text.split(',').map(rule).collect())
        };
        for (text, pattern, earlier) in [
            ("*,conv1", "conv1", "*"),
            ("conv*,conv2,*", "conv2", "conv*"),
            ("conv1,conv?,conv2", "conv2", "conv?"),
            ("conv1,conv2,conv*,*", "conv*", "conv1"),
            ("conv1,conv1", "conv1", "conv1"),
            ("*,*", "*", "*"),
        ] {
            let found = rules(text);
            assert_eq!(found.shadowed(&layers), Some((pattern, earlier)), "{text}");
        }
        for well in [
            "*",
            "conv1,*",
            "conv1,conv*,*",
            "conv1,conv2,fc6,*",
            "none,conv1",
        ] {
            assert_eq!(rules(well).shadowed(&layers), None, "{well}");
        }
    }
}
