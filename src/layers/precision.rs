//! In what numbers a net multiplies.

use crate::kernels::amx::Amx;
use crate::kernels::bf16;
use crate::kernels::crew::Crew;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The numbers that convolutions and inner products multiply, and that pass from layer to layer. Sums, weights as they
/// are stored and updated, histories, losses and statistics are float32 with either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32 throughout
    #[default]
    F32,
    /// Operands, activations and their gradients rounded to bfloat16
    Bf16,
}

impl Precision {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// The precision of that name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::F32, Self::Bf16]
            .into_iter()
            .find(|p| p.name() == name)
    }

    /// Whether anything is rounded.
    pub fn rounds(self) -> bool {
        self == Self::Bf16
    }

    /// AMX, where it may multiply these numbers.
    pub fn amx(self) -> Option<Amx> {
        Amx::here().filter(|_| self.rounds())
    }

    /// Makes operands of `x`.
    pub fn round(self, crew: &Crew, x: &mut [f32]) {
        if self.rounds() {
            bf16::round(crew, [x.len().max(1); 2], x);
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
