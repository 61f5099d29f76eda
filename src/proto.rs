//! Caffe's files: nets and solvers as text, weights and states as binary, and the conversion of old
//! generations. Nothing here knows what a layer computes.
//!
//! The types come from `proto/caffe.proto` (see `build.rs`). `load_net`, `load_solver` and `load_weights`
//! are what commands want: they read, convert to today's form, and say what they converted.

pub mod binary;
pub mod blob;
pub mod forks;
pub(crate) mod lenient;
pub mod print;
mod strings;
mod suggest;
pub mod text;
mod token;
pub mod upgrade;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result};
use prost_reflect::DescriptorPool;

pub use caffe::{
    BlobProto, BlobShape, Datum, DsdEntry, DsdMask, DsdState, FillerParameter, LayerParameter,
    NetParameter, ParamSpec, SolverParameter, SolverState,
};
pub use print::{by_field, print};
pub use text::{BlockLines, Parsed, TextError, parse, prototxt, read_net, read_solver, top_fields};
pub use upgrade::{upgrade_net, upgrade_solver};

/// The messages and enums of `proto/caffe.proto`.
#[allow(missing_docs, clippy::all)]
pub mod caffe {
    include!(concat!(env!("OUT_DIR"), "/caffe.rs"));
}

/// The descriptors of every message, for the text format.
pub fn descriptors() -> &'static DescriptorPool {
    // The set is made by our own build script, so it decodes, or no test passes.
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/caffe.fds")).as_ref())
            .unwrap_or_default()
    });
    &POOL
}

/// Reads a net's text in any generation; the strings tell what was converted to today's form.
pub fn load_net(path: &Path) -> Result<(Parsed<NetParameter>, Vec<String>)> {
    upgraded_net(read_net(path)?)
}

/// The same of a text that is part of `file`.
pub fn net_of_text(text: &str, file: &str) -> Result<(Parsed<NetParameter>, Vec<String>)> {
    upgraded_net(parse(text, file)?)
}

fn upgraded_net(mut net: Parsed<NetParameter>) -> Result<(Parsed<NetParameter>, Vec<String>)> {
    let notes = upgrade::upgrade_parsed(&mut net)?;
    warn_of_ignored(&net);
    Ok((net, notes))
}

/// Reads a solver's text; the strings tell what was converted to today's form.
pub fn load_solver(path: &Path) -> Result<(Parsed<SolverParameter>, Vec<String>)> {
    let mut solver = read_solver(path)?;
    let notes = upgrade::upgrade_parsed_solver(&mut solver)?;
    warn_of_ignored(&solver);
    Ok((solver, notes))
}

/// One line for what was left out of a file, however often it is read.
fn warn_of_ignored<M>(parsed: &Parsed<M>) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let Some(ignored) = &parsed.lines.ignored else {
        return;
    };
    let line = format!("{}: {ignored}", parsed.file);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.insert(line.clone()) {
        crate::warn!("{line}");
    }
}

/// Reads a `.caffemodel` of any generation; the strings tell what was converted to today's form.
pub fn load_weights(path: &Path) -> Result<(NetParameter, Vec<String>)> {
    let mut net = binary::read_caffemodel(path)?;
    let notes = upgrade_net(&mut net).with_context(|| path.display().to_string())?;
    Ok((net, notes))
}
