//! Which kernel is the fastest for a layer: what each would take, from sizes and density alone, so that a net
//! runs the same way every time (a choice by the clock would change the last digits from run to run).
//!
//! The constants were fitted to the times of `cargo bench --bench sparse` over SqueezeNet's layers at several
//! densities; only their ratios matter.

use super::simd::Set;
use anyhow::{Result, bail};
use std::ffi::OsStr;

/// How many times faster the sparse kernel should be to be taken: the model is no better than this, and where one
/// picture is shared by several threads the sparse kernel loses a little more.
pub const MARGIN: f64 = 1.15;

/// When weights that are 0 are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseSparse {
    /// Where that is faster.
    #[default]
    Auto,
    /// As `Auto` decides on processors with this instruction set, whatever the kernels run on: the same choice
    /// on every machine.
    AutoFor(Set),
    /// Never: all layers run dense.
    Never,
    /// Wherever a kernel is made for it.
    Always,
}

impl UseSparse {
    /// What a value of `DSD_SPARSE` asks for.
    ///
    /// # Errors
    /// It is none of its words.
    pub fn asked(name: &OsStr) -> Result<Self> {
        Ok(match name.to_str() {
            Some("auto") => Self::Auto,
            Some("never") => Self::Never,
            Some("always") => Self::Always,
            _ => bail!(
                "DSD_SPARSE is '{}'; it can be auto, never or always",
                name.to_string_lossy()
            ),
        })
    }
}

/// What a dense kernel does for one sample.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// Products of two numbers.
    pub products: f64,
    /// Results, for the direct kernel; channels of tiles transformed there and back, for Winograd's.
    pub moved: f64,
}

/// What the sparse kernel does for one sample.
#[derive(Clone, Copy, Debug)]
pub struct Thin {
    /// Products of two numbers.
    pub products: f64,
    /// Whether all vectors lie on whole lines of the cache (1 × 1 kernels).
    pub aligned: bool,
    /// Numbers turned from pixels to planes.
    pub inputs: f64,
    /// Sums turned back.
    pub outputs: f64,
    /// Sums loaded and stored again.
    pub passes: f64,
}

/// Nanoseconds of one thread at about 3 GHz.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    product: f64,
    result: f64,
    winograd_product: f64,
    winograd_channel: f64,
    sparse_aligned: f64,
    sparse_product: f64,
    input: f64,
    output: f64,
    pass: f64,
}

impl Costs {
    /// Those of an instruction set. AVX2's are measured (Zen 3), and so are AVX-512's but for the sparse kernel
    /// (Sapphire Rapids at 2.85 GHz).
    pub fn of(set: Set) -> Self {
        let avx2 = Self {
            product: 0.021,
            result: 0.14,
            winograd_product: 0.0225,
            winograd_channel: 10.0,
            sparse_aligned: 0.027,
            sparse_product: 0.038,
            input: 0.1,
            output: 0.2,
            pass: 0.36,
        };
        match set {
            Set::Avx2 => avx2,
            // The dense ones are of tiles of 12 registers: nearly one load for each multiply-add, and both are two
            // a cycle. The sparse kernel has five loads for four, or nine where a register lies across two lines
            // of the cache; this is counted, not measured.
            Set::Avx512 => Self {
                product: 0.016,
                winograd_product: 0.018,
                winograd_channel: 4.5,
                sparse_aligned: 0.0185,
                sparse_product: 0.027,
                ..avx2
            },
            Set::Portable => Self::PORTABLE,
        }
    }

    /// Plain Rust, at SSE2's four floats.
    const PORTABLE: Self = Self {
        product: 0.1,
        result: 0.3,
        winograd_product: 0.1,
        winograd_channel: 20.0,
        sparse_aligned: 0.13,
        sparse_product: 0.15,
        input: 0.6,
        output: 0.8,
        pass: 0.8,
    };

    /// The direct kernel's time.
    pub fn direct(&self, d: Dense) -> f64 {
        self.product * d.products + self.result * d.moved
    }

    /// Winograd's kernel's time.
    pub fn winograd(&self, d: Dense) -> f64 {
        self.winograd_product * d.products + self.winograd_channel * d.moved
    }

    /// The sparse kernel's time.
    pub fn sparse(&self, t: &Thin) -> f64 {
        let product = if t.aligned {
            self.sparse_aligned
        } else {
            self.sparse_product
        };
        let turned = self.input * t.inputs + self.output * t.outputs;
        product * t.products + turned + self.pass * t.passes
    }
}
