//! `dsd inspect`: describes any file that this tool reads, told apart by its content.
//!
//! Every kind of file has a module of its own, which makes a [`Description`]; here is decided whose it is.

mod blob;
mod compressed;
mod content;
mod database;
mod net;
mod packed;
mod partial;
mod run;
mod solver;
mod sources;
mod state;
mod weights;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use indicatif::HumanCount;
use serde_json::Value;

use crate::cli::Inspect;
use crate::compress::net_file;
use crate::report::human::HumanBytes;
use crate::report::output;
use crate::session::Model;
use crate::{files, models, warn};
use content::Content;
pub(super) use net::{Built, build};

/// What is told of a file, for people and for programs.
struct Description {
    /// Lines.
    text: String,
    /// An object; its "kind" says what the file is.
    json: Value,
}

/// Describes the file on stdout.
pub fn run(args: &Inspect) -> Result<()> {
    let description = describe(args)?;
    match args.json {
        true => output::json(&description.json)?,
        false => output::text(format_args!("{}", description.text))?,
    }
    Ok(())
}

fn describe(args: &Inspect) -> Result<Description> {
    let path = args.file.as_path();
    let name = path.to_str().unwrap_or_default();
    if name.starts_with("builtin:") {
        return database::describe(path);
    }
    if !path.exists() && models::find(name).is_some() {
        return net::describe(&Model::find(Some(path), &[])?, name, args);
    }
    if path.is_dir() {
        return folder(path);
    }
    if content::is_lmdb(&head(path)?) {
        return database::describe(path);
    }
    let bytes = files::read(path)?;
    let shown = path.display();
    ensure!(!bytes.is_empty(), "{shown}: the file is empty");
    let content = content::of(&bytes);
    // A Deep Compression file begins with a count, which other messages may begin with too.
    let may_be_weights = content::is_binary(content);
    if args.model.is_some() && !may_be_weights && content != Content::Npz {
        warn!("--model says nothing about this file: only weights have a model");
    }
    let or_else = content != Content::Unknown;
    if may_be_weights
        && let Some(found) = compressed::describe(path, &bytes, args.model.as_deref(), or_else)?
    {
        return Ok(found);
    }
    if content == Content::Unknown && net_file::layers_in(&bytes).is_some() {
        // Says what of it does not fit, or is not there.
        models::matching(path)?;
    }
    let size = HumanBytes(bytes.len() as u64);
    match content {
        Content::Net => net::describe(&Model::find(Some(path), &[])?, name, args),
        Content::Solver => solver::describe(path),
        Content::Flow => run::flow(path),
        Content::Record => run::record(path),
        Content::Npz => weights::npz(path, size, args.model.as_deref()),
        Content::Named => weights::named(path, &bytes, args.model.as_deref()),
        Content::State => state::describe(path, size),
        Content::Blob => blob::describe(path, size),
        Content::Unknown => bail!(
            "{shown}: expected a net or a solver (prototxt), weights (.caffemodel, .npz, .dsdz, or a Deep Compression .net, \
             whose net --model names unless it is built in), a solver state, a mean (.binaryproto), a flow (TOML), \
             phase.json, or the folder of a database or a run; found {}",
            content::found(&bytes)
        ),
    }
}

/// A folder: of a database, a run, or a phase of one.
fn folder(path: &Path) -> Result<Description> {
    if path.join("data.mdb").exists() || path.join("CURRENT").is_file() {
        return database::describe(path);
    }
    if let Some(found) = run::folder(path)? {
        return Ok(found);
    }
    bail!(
        "{}: expected the folder of a database (LMDB: data.mdb; LevelDB: CURRENT) or of a run (phase.json, in it or in \
         the phases' folders), found neither",
        path.display()
    )
}

/// The first bytes of a file: a database is too large to be read whole.
fn head(path: &Path) -> Result<Vec<u8>> {
    let failed =
        |e: std::io::Error| anyhow!("cannot read {}: {}", path.display(), files::reason(&e));
    ensure!(
        path.metadata().map_err(failed)?.is_file(),
        "{}: expected a file or a folder, found a pipe or a device; save what comes from it first",
        path.display()
    );
    files::head(path, 64)
}

/// A number with commas: `1,248,424`.
fn counted(n: usize) -> String {
    HumanCount(n as u64).to_string()
}

/// A number of things: `1 layer`, `26 layers`.
fn things(n: usize, one: &str) -> String {
    format!("{} {one}{}", counted(n), if n == 1 { "" } else { "s" })
}

/// A shape: `96x3x7x7`.
fn dims(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    match sizes[..] {
        [] => "scalar".to_string(),
        _ => sizes.join("x"),
    }
}

/// The fraction of values that are not pruned; of nothing, nothing is.
fn density(alive: usize, count: usize) -> f64 {
    if count == 0 {
        1.0
    } else {
        alive as f64 / count as f64
    }
}

/// A float32 as the decimal number that a person wrote for it.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// Notes as lines under a description.
fn noted(notes: &[String]) -> String {
    notes.iter().map(|n| format!("note: {n}\n")).collect()
}

/// The bytes of the files in a folder, or of a file.
fn bytes_of(path: &Path) -> Result<u64> {
    let shown = || path.display().to_string();
    if path.is_file() {
        return Ok(path.metadata().with_context(shown)?.len());
    }
    let entries = std::fs::read_dir(path).with_context(shown)?.flatten();
    Ok(entries
        .filter_map(|e| e.metadata().ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum())
}
