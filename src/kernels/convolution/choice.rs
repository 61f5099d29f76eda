//! Which kernel is the fastest for a layer: what each would take, from sizes and density alone, so that a net
//! runs the same way every time (a choice by the clock would change the last digits from run to run).
//!
//! The constants are a table by kinds of processors, fitted to the times of layers at several densities; only their
//! ratios matter. `cargo bench --bench costs -- --check` compares them with the processor at hand.

use crate::kernels::processor::Processor;
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
    /// As `Auto` decides on such processors, whatever the kernels run on: the same choice on every machine.
    AutoFor(Processor),
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

/// Bytes of input in Winograd's form that are worked on at a time: they and their products share the second-level cache.
pub fn winograd_block(processor: Processor) -> usize {
    match processor {
        // 2 MB of it; with less, 16 tiles of 256 channels would be cut, and the weights be read twice.
        Processor::SapphireRapids => 704 << 10,
        _ => 224 << 10,
    }
}

/// What a dense kernel does for one sample.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// Products of two numbers.
    pub products: f64,
    /// Results, for the direct kernel; channels of tiles transformed there and back, for Winograd's.
    pub moved: f64,
    /// Weights as the kernel has them: they are read for each sample, and where pixels are few this takes longest.
    pub weights: f64,
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// The direct kernel: of a product, of a result, and of a weight.
    pub direct: [f64; 3],
    /// Winograd's: of a product, of a channel of a tile, and of a weight.
    pub winograd: [f64; 3],
    /// The sparse kernel: of a product of 1 × 1 kernels and of others; of a number turned from pixels to planes, of a
    /// sum turned back, and of one loaded and stored again.
    pub sparse: [f64; 5],
    /// Where and when they were measured; `None` if they are guessed from another processor's.
    pub measured: Option<&'static str>,
}

impl Costs {
    /// Those of a kind of processors.
    pub fn of(processor: Processor) -> Self {
        let zen3 = Self {
            direct: [0.021, 0.14, 0.15],
            winograd: [0.0225, 10.0, 0.15],
            sparse: [0.027, 0.038, 0.1, 0.2, 0.36],
            measured: Some("AMD EPYC, Zen 3, 2026-11"),
        };
        let sapphire = Self {
            // The fit puts a weight at 0.39, of layers whose weights come from the third-level cache; small ones' do not.
            direct: [0.0102, 0.038, 0.15],
            winograd: [0.0137, 0.47, 0.099],
            sparse: [0.017, 0.025, 0.079, 0.137, 0.175],
            measured: Some("Intel Xeon, Sapphire Rapids, 2026-12"),
        };
        let guessed = |of: Self| Self {
            measured: None,
            ..of
        };
        match processor {
            Processor::Zen3 => zen3,
            Processor::Avx2 => guessed(zen3),
            Processor::SapphireRapids => sapphire,
            Processor::Zen4 | Processor::Skylake => guessed(sapphire),
            // Plain Rust, at SSE2's four floats.
            Processor::Portable => Self {
                direct: [0.1, 0.3, 0.15],
                winograd: [0.1, 20.0, 0.15],
                sparse: [0.13, 0.15, 0.6, 0.8, 0.8],
                measured: Some("AMD EPYC, Zen 3, 2026-11"),
            },
        }
    }

    /// What a dense kernel's costs are multiplied by.
    pub fn dense_counts(d: &Dense) -> [f64; 3] {
        [d.products, d.moved, d.weights]
    }

    /// What the sparse kernel's costs are multiplied by.
    pub fn sparse_counts(t: &Thin) -> [f64; 5] {
        let [one, more] = match t.aligned {
            true => [t.products, 0.0],
            false => [0.0, t.products],
        };
        [one, more, t.inputs, t.outputs, t.passes]
    }

    /// The direct kernel's time.
    pub fn direct(&self, d: Dense) -> f64 {
        sum(&self.direct, &Self::dense_counts(&d))
    }

    /// Winograd's kernel's time.
    pub fn winograd(&self, d: Dense) -> f64 {
        sum(&self.winograd, &Self::dense_counts(&d))
    }

    /// The sparse kernel's time.
    pub fn sparse(&self, t: &Thin) -> f64 {
        sum(&self.sparse, &Self::sparse_counts(t))
    }
}

/// The sum of the products.
fn sum(costs: &[f64], counts: &[f64]) -> f64 {
    costs.iter().zip(counts).map(|(c, n)| c * n).sum()
}
