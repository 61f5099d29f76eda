//! `--precision`, of all commands that run a net.

use clap::Args;

use crate::layers::Precision;

/// In what numbers a net computes.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Numbers {
    /// The numbers that layers multiply: f32; or bf16, where weights, activations and the gradients between layers are
    /// rounded to bfloat16 as convolutions and inner products read them, and sums, the weights themselves and their
    /// updates stay float32
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        hide_possible_values = true,
        value_name = "f32|bf16",
        default_value = "f32"
    )]
    pub precision: Precision,
}
