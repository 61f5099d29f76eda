//! `--bits`: how many bits the codes of each layer's weights may have.

use anyhow::{Context, Result, ensure};

use crate::solver::sparsity::wildcard;

/// A rule for every layer; the first that matches wins.
#[derive(Debug)]
pub struct Bits(Vec<(String, u32)>);

impl Bits {
    /// Reads `6` or `conv*=8,fc*=4,*=6`.
    ///
    /// # Errors
    /// Bits that are no number from 2 to 8.
    pub fn parse(text: &str) -> Result<Self> {
        let rule = |part: &str| {
            let (pattern, bits) = part.rsplit_once('=').unwrap_or(("*", part));
            let bits = bits.trim();
            let n: u32 = bits
                .parse()
                .with_context(|| format!("--bits '{part}': '{bits}' is not a number"))?;
            ensure!(
                (2..=8).contains(&n),
                "--bits '{part}': expected 2 to 8 bits, found {n}"
            );
            Ok((pattern.trim().to_string(), n))
        };
        text.split(',').map(rule).collect::<Result<_>>().map(Self)
    }

    /// The bits for `layer`; `None` if no rule matches.
    pub fn of(&self, layer: &str) -> Option<u32> {
        self.0.iter().find(|(p, _)| wildcard(p, layer)).map(|r| r.1)
    }

    /// The patterns that match none of `layers`: probably misspelt.
    pub fn unmatched<'a>(&'a self, layers: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let idle = |p: &&str| !layers.iter().any(|l| wildcard(p, l));
        self.0.iter().map(|r| r.0.as_str()).filter(idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_wins() {
        let bits = Bits::parse("conv1=8, fire?/*=5,fc*=4").unwrap();
        let of = ["conv1", "fire2/squeeze1x1", "fc6", "ip"].map(|l| bits.of(l));
        assert_eq!(of, [Some(8), Some(5), Some(4), None]);
        assert_eq!(Bits::parse("6").unwrap().of("anything"), Some(6));
        assert_eq!(
            bits.unmatched(&["conv1", "fc6"]).collect::<Vec<_>>(),
            ["fire?/*"]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "1", "9", "-2", "six", "conv1=", "conv1=6,,"] {
            assert!(Bits::parse(bad).is_err(), "{bad}");
        }
    }
}
