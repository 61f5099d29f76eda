//! `--precision bf16`: which numbers are rounded, what that costs in accuracy, and what it does not change.

mod numbers;
mod real;
mod runs;
