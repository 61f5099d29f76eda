//! Dense, Sparse, Redense, Quantize: the phases of training, as the command line, flows, logs and records name them.
//! Which masks, rates and lengths a phase starts with is said by [`flow`](crate::flow); the loop itself is the
//! solver's and differs in none of them.

use anyhow::{Error, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A phase of Dense-Sparse-Dense training, or the one that follows it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// All weights are trained
    #[default]
    Dense,
    /// The smallest weights are zero and stay zero
    Sparse,
    /// All weights again, the pruned ones from zero
    Redense,
    /// The weights of a layer share a few values, which are trained
    Quantize,
}

impl Phase {
    /// All of them, in the order in which they follow each other.
    pub const ALL: [Self; 4] = [Self::Dense, Self::Sparse, Self::Redense, Self::Quantize];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Redense => "redense",
            Self::Quantize => "quantize",
        }
    }

    /// Whether weights that are 0 stay 0.
    pub fn keeps_zeros(self) -> bool {
        matches!(self, Self::Sparse | Self::Quantize)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Phase {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match Self::ALL.into_iter().find(|p| p.name() == name) {
            Some(phase) => Ok(phase),
            None => {
                let known = Self::ALL.map(Self::name).join(", ");
                bail!("'{name}' is no phase; expected one of {known}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_and_written_alike() {
        for phase in Phase::ALL {
            assert_eq!(phase.to_string().parse::<Phase>().unwrap(), phase);
            let json = serde_json::to_string(&phase).unwrap();
            assert_eq!(json, format!("\"{phase}\""));
            assert_eq!(serde_json::from_str::<Phase>(&json).unwrap(), phase);
            let flag = phase.to_possible_value().unwrap();
            assert_eq!(flag.get_name(), phase.name());
        }
        let error = "spase".parse::<Phase>().unwrap_err().to_string();
        assert!(
            error.contains("dense, sparse, redense, quantize"),
            "{error}"
        );
    }
}
