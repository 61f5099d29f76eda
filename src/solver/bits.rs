//! `--bits`: how many bits the codes of each layer's weights have, in a quantize phase and in `dsd compress`.

use super::patterns::Rules;
use crate::compress::codebook::MOST_BITS;
use anyhow::{Context, Result, ensure};

/// The fewest bits of a code: 0 and three other values. With one bit a layer would have a single value beside 0.
pub const FEWEST_BITS: u32 = 2;

/// What a quantize phase has that names none: the bits that Deep Compression spends on a weight of SqueezeNet
/// (Iandola et al. 2016, table 2).
const DEFAULT: u32 = 6;

/// A number of bits for every layer; the first rule that matches wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Bits {
    text: String,
    rules: Rules<u32>,
}

impl Default for Bits {
    fn default() -> Self {
        Self {
            text: DEFAULT.to_string(),
            rules: Rules::all(DEFAULT),
        }
    }
}

impl Bits {
    /// Reads `6` or `conv*=8,fc*=4,*=6`.
    ///
    /// # Errors
    /// A number that is none, or not in 2..=8.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let number = |bits: &str| {
            let number: u32 = bits.parse().with_context(|| {
                format!("'{bits}' is not a whole number; write 6, or conv*=8,fc*=4,*=6")
            })?;
            ensure!(
                (FEWEST_BITS..=MOST_BITS).contains(&number),
                "the number must lie in {FEWEST_BITS} to {MOST_BITS}"
            );
            Ok(number)
        };
        Ok(Self {
            text: text.into(),
            rules: Rules::parse(text, "bits", number)?,
        })
    }

    /// The bits of `layer`; `None` if no rule matches (its weights are not shared then).
    pub fn of(&self, layer: &str) -> Option<u32> {
        self.rules.of(layer).copied()
    }

    /// Whether the rules are those of another text.
    pub fn agrees(&self, other: &Self) -> bool {
        self.rules == other.rules
    }

    /// The patterns that match none of `layers`: probably misspelt.
    pub fn unmatched<'a>(&'a self, layers: &[&str]) -> Vec<&'a str> {
        self.rules.unmatched(layers)
    }

    /// A pattern that never decides, and the earlier one that takes its layers; as for sparsity.
    pub fn shadowed<'a>(&'a self, layers: &[&str]) -> Option<(&'a str, &'a str)> {
        self.rules.shadowed(layers)
    }

    /// The bits of all layers, if there is only one rule and it is for all.
    pub fn everywhere(&self) -> Option<u32> {
        self.rules.everywhere().copied()
    }

    /// As the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_wins() {
        let bits = Bits::parse("conv*=8, fc6=4,*=6").unwrap();
        let of = |l| bits.of(l);
        assert_eq!(
            (of("conv2"), of("fc6"), of("fc7")),
            (Some(8), Some(4), Some(6))
        );
        assert_eq!(Bits::parse("5").unwrap().of("any"), Some(5));
        let some = Bits::parse("conv=3,cov=2").unwrap();
        assert_eq!(
            (some.of("ip"), some.unmatched(&["conv", "ip"])),
            (None, vec!["cov"])
        );
    }

    #[test]
    fn wildcards_and_misspelt_patterns() {
        let bits = Bits::parse("conv1=8, fire?/*=5,fc*=4").unwrap();
        let of = ["conv1", "fire2/squeeze1x1", "fc6", "ip"].map(|l| bits.of(l));
        assert_eq!(of, [Some(8), Some(5), Some(4), None]);
        assert_eq!(Bits::parse("6").unwrap().of("anything"), Some(6));
        assert_eq!(bits.unmatched(&["conv1", "fc6"]), ["fire?/*"]);
        for bad in ["", "1", "9", "-2", "six", "conv1=", "conv1=6,,"] {
            assert!(Bits::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_range() {
        let says = |text: &str| format!("{:#}", Bits::parse(text).unwrap_err());
        for bad in ["1", "9", "conv=0", "*=32"] {
            assert!(says(bad).contains("2 to 8"), "{bad}");
        }
        for bad in ["", "six", "conv=", "4.5", "-3", "conv=4,,"] {
            assert!(says(bad).contains("not a whole number"), "{bad}");
        }
    }
}
