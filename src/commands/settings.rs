//! What holds for every command beside its own arguments: read once, by `main`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Usage;
use crate::cli::{Global, NetState};
use crate::data::bad_records;
use crate::kernels::convolution::choice::UseSparse;
use crate::kernels::simd::Isa;
use crate::layers::{Mode, Precision};
use crate::session::Request;
use crate::solver::DEFAULT_SEED;
use crate::threads::Threads;
use crate::warn;

/// The general options, what the environment asks for, and the threads.
#[derive(Debug)]
pub struct Settings {
    /// `--seed`, if it is given and no word for "none".
    pub seed: Option<u64>,
    /// The instruction set that `DSD_ISA` asks for.
    pub isa: Option<Isa>,
    /// `DSD_SPARSE`.
    pub sparse: UseSparse,
    /// How many threads, and where.
    pub threads: Threads,
}

impl Settings {
    /// Reads them. `variable` gives the environment.
    ///
    /// # Errors
    /// A variable has a value that is none of its words.
    pub fn read(global: &Global, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self> {
        let usage = |error: anyhow::Error| Usage(error.to_string());
        // A misspelt value would else be silently another one.
        let isa = variable("DSD_ISA").map(|name| Isa::asked(&name).map_err(usage));
        let sparse = variable("DSD_SPARSE").map(|name| UseSparse::asked(&name).map_err(usage));
        if global.skip_bad_records {
            bad_records::leave_out(|text| warn!("{text}"));
        }
        Ok(Self {
            // gflags' own default for "none" is -1, as Caffe's random_seed.
            seed: global.seed.and_then(|s| u64::try_from(s).ok()),
            isa: isa.transpose()?,
            sparse: sparse.transpose()?.unwrap_or_default(),
            threads: Threads::choose(global.threads, variable),
        })
    }

    /// Starts the threads and sets what the process computes with, before anything is computed.
    ///
    /// # Errors
    /// The system does not give so many threads.
    pub fn apply(&self) -> Result<()> {
        if let Some(isa) = self.isa {
            isa.choose();
        }
        self.threads.start()
    }

    /// The request for a net of these arguments, in the TEST mode, with its own data and in float32.
    pub fn request<'a>(
        &self,
        model: Option<&'a Path>,
        weights: &'a [PathBuf],
        state: &'a NetState,
    ) -> Request<'a> {
        Request {
            model,
            weights,
            state,
            mode: Mode::Test,
            source: None,
            seed: self.seed(),
            sparse: self.sparse,
            precision: Precision::default(),
        }
    }

    /// The seed, where nothing else gives one.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(DEFAULT_SEED)
    }
}
