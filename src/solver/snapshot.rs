//! Snapshots: all that the next iteration depends on, in two files that Caffe reads too.

mod binary_state;
mod hdf5_state;
mod own;

use super::converge::Seen;
use super::mask::Mask;
use super::schedule::Schedule;
use super::shared::Shared;
use crate::layers::Precision;
use crate::net::carried::Named;
use crate::net::{Net, Weights};
use crate::phase::Phase;
use crate::proto::caffe::solver_parameter::SnapshotFormat;
use crate::proto::{SolverParameter, binary};
use crate::tensor::Tensor;
use crate::weights_file::Stored;
use crate::{files, hdf5, warn, weights_file};
use anyhow::{Result, anyhow, bail};
use std::path::{Path, PathBuf};

/// What a snapshot holds beside the weights.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Iterations done.
    pub iter: u64,
    /// The file of the weights.
    pub learned_net: String,
    /// The history arrays, all first ones before all second ones.
    pub history: Vec<Tensor>,
    /// Caffe's count of learning-rate steps.
    pub current_step: u64,
    /// What Caffe has no field for; absent in Caffe's own files.
    pub own: Option<Own>,
}

/// What only `dsd` stores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// The phase that was trained.
    pub phase: Phase,
    /// The seed of the run.
    pub seed: u64,
    /// In what numbers its layers multiply.
    pub precision: Precision,
    /// The mask of each masked parameter: layer, blob, mask.
    pub masks: Vec<(String, usize, Mask)>,
    /// What the weights of each quantized parameter share: layer, blob, codebook and codes.
    pub codebooks: Vec<(String, usize, Shared)>,
    /// How the masks of a sparse phase change, if they do.
    pub schedule: Option<Schedule>,
    /// The dense weights behind masks: layer, blob, values.
    pub dense: Vec<(String, usize, Vec<f32>)>,
    /// What a phase that ends by convergence has seen.
    pub seen: Seen,
    /// For each test net, the batches tested so far.
    pub test_batches: Vec<u64>,
    /// The losses that the smoothed loss is the mean of.
    pub losses: Vec<f32>,
    /// The smoothed loss.
    pub smoothed: f32,
    /// The iteration from which `losses` counts.
    pub start: u64,
    /// What recurrent layers carry from batch to batch: 0 the training net's, k test net number k - 1's.
    pub carried: Vec<OfNet>,
    /// Names and values for callers.
    pub notes: Vec<(String, String)>,
}

/// The states of a net's recurrent layers, by layer.
pub type OfNet = (u32, Named);

/// `PREFIX_iter_N.EXT`.
pub fn file_name(prefix: &str, iter: u64, extension: &str) -> PathBuf {
    files::encoding::path(&format!("{prefix}_iter_{iter}.{extension}"))
}

/// How the files are laid out: the solver's `snapshot_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One protobuf message a file.
    Binary,
    /// HDF5 datasets.
    Hdf5,
}

impl Format {
    /// What a solver asks for.
    pub fn of(param: &SolverParameter) -> Self {
        match param.snapshot_format() {
            SnapshotFormat::Hdf5 => Self::Hdf5,
            SnapshotFormat::Binaryproto => Self::Binary,
        }
    }

    /// The ending of weights files.
    pub fn weights(self) -> &'static str {
        match self {
            Self::Binary => "caffemodel",
            Self::Hdf5 => "caffemodel.h5",
        }
    }

    /// The ending of solver states.
    pub fn state(self) -> &'static str {
        match self {
            Self::Binary => "solverstate",
            Self::Hdf5 => "solverstate.h5",
        }
    }

    /// What the log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary proto",
            Self::Hdf5 => "HDF5",
        }
    }
}

/// Writes weights, with the last updates where they are given.
pub fn write_weights(
    path: &Path,
    format: Format,
    net: &Net,
    weights: &Weights,
    diffs: Option<&[Vec<f32>]>,
) -> Result<()> {
    match format {
        Format::Binary => binary::write(path, &net.to_message(weights, diffs)),
        Format::Hdf5 => weights_file::hdf5::of_net(net, weights, diffs)?.save(path),
    }
}

/// Writes a solver state.
pub fn write(path: &Path, format: Format, state: State) -> Result<()> {
    match format {
        Format::Binary => binary_state::write(path, state),
        Format::Hdf5 => hdf5_state::write(path, &state),
    }
}

/// Reads a solver state, Caffe's or ours, of either format.
///
/// # Errors
/// A file that is not one; weights are recognised and the right flag named.
pub fn read(path: &Path) -> Result<State> {
    let bytes = files::read(path).map_err(|e| match twin(path) {
        Some(twin) => anyhow!("{e}, but {} is there; give that", twin.display()),
        None => e,
    })?;
    let file = path.display().to_string();
    if hdf5::looks_like(&bytes) {
        return hdf5_state::read(&hdf5::File::from_bytes(&bytes, &file)?);
    }
    binary_state::read(&bytes, &file)
}

/// The state of the same iteration in the other format, for a `path` where there is none: snapshot_format names
/// files with or without `.h5`.
fn twin(path: &Path) -> Option<PathBuf> {
    let name = path.as_os_str().to_str()?;
    let twin = match name.strip_suffix(".h5") {
        Some(binary) => binary.to_string(),
        None => format!("{name}.h5"),
    };
    let twin = PathBuf::from(twin);
    (!path.exists() && twin.is_file()).then_some(twin)
}

/// The weights that belong to `state`: where it says, else beside the state's own file.
pub fn weights(path: &Path, state: &State) -> Result<Stored> {
    let said = files::encoding::path(&state.learned_net);
    let folder = path.parent().unwrap_or(Path::new(""));
    let beside = said.file_name().map(|n| folder.join(n));
    // Beside comes first: a run folder may have been moved or copied.
    let found = beside
        .into_iter()
        .chain([said.clone()])
        .find(|p| p.is_file());
    let Some(found) = found else {
        bail!(
            "{}: its weights {} are neither there nor beside it",
            path.display(),
            said.display()
        );
    };
    weights_file::read_named(&found, &files::read(&found)?)
}

/// The number of iterations of a solver state named `HEAD` + N + ending, and its format.
fn parse_name(name: &str, head: &str) -> Option<(u64, Format)> {
    let rest = name.strip_prefix(head)?;
    let (number, ending) = rest.split_once('.')?;
    let format = [Format::Binary, Format::Hdf5];
    let format = format.into_iter().find(|f| f.state() == ending)?;
    Some((number.parse().ok()?, format))
}

/// The weights beside a solver state that is named as Caffe and we do it.
pub fn weights_beside(state: &Path) -> Option<PathBuf> {
    let name = state.file_name()?.to_str()?;
    let format = [Format::Binary, Format::Hdf5]
        .into_iter()
        .find(|f| name.ends_with(&format!(".{}", f.state())))?;
    let stem = name.strip_suffix(format.state())?;
    Some(state.with_file_name(format!("{stem}{}", format.weights())))
}

/// The newest solver state of `prefix` (`PREFIX_iter_N.solverstate` or `….solverstate.h5` with the
/// largest N) whose weights are there too. One whose weights are NaN or infinite is passed over, with a warning:
/// nothing can go on from it.
pub fn newest(prefix: &str) -> Option<(u64, PathBuf)> {
    let mut all = states(prefix);
    all.sort_by_key(|(iter, _)| *iter);
    while let Some((iter, path)) = all.pop() {
        // What cannot be read is for the caller to find out, and say.
        let bad = weights_beside(&path).and_then(|w| {
            let stored = weights_file::read_named(&w, &files::read(&w).ok()?).ok()?;
            stored.bad().into_iter().next().map(|bad| (w, bad))
        });
        let Some((weights, bad)) = bad else {
            return Some((iter, path));
        };
        warn!("Passing over {}: {bad}", weights.display());
    }
    None
}

/// The solver states of `prefix` whose weights are there too, in any order.
fn states(prefix: &str) -> Vec<(u64, PathBuf)> {
    named(prefix, parse_name)
        .filter(|(_, path)| weights_beside(path).is_some_and(|w| w.is_file()))
        .collect()
}

/// The files in the folder of `prefix` whose names, of the head before the iteration, `parse` knows; in any order.
fn named<'a, F: 'a>(
    prefix: &str,
    parse: impl Fn(&str, &str) -> Option<(u64, F)> + 'a,
) -> impl Iterator<Item = (u64, PathBuf)> + 'a {
    let prefix = Path::new(prefix);
    let folder = match prefix.parent() {
        Some(p) if p != Path::new("") => p.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let head = prefix.file_name().and_then(|n| n.to_str());
    let head = head.map(|name| format!("{name}_iter_"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name().into_string().ok()?;
        let (iter, _) = parse(&name, head.as_deref()?)?;
        Some((iter, entry.path()))
    })
}

/// The files of weights and states of `prefix`, also of snapshots that are not whole; states before weights: a state
/// without weights would be one that cannot be gone on from.
pub(super) fn parts(prefix: &str) -> Vec<(u64, PathBuf)> {
    let weights = |name: &str, head: &str| {
        let (number, ending) = name.strip_prefix(head)?.split_once('.')?;
        let known = [Format::Binary, Format::Hdf5]
            .iter()
            .any(|f| f.weights() == ending);
        Some((number.parse().ok().filter(|_| known)?, ()))
    };
    named(prefix, parse_name)
        .chain(named(prefix, weights))
        .collect()
}

/// The iterations of the snapshots of `prefix`, in any order.
pub(super) fn iterations(prefix: &str) -> Vec<u64> {
    states(prefix).into_iter().map(|(iter, _)| iter).collect()
}

/// Checks that snapshots can be written under `prefix`, making its folder if need be.
pub fn check_prefix(prefix: &str) -> Result<()> {
    let probe = files::encoding::path(&format!("{prefix}_iter_0.tempfile"));
    if let Some(folder) = probe.parent().filter(|p| *p != Path::new("")) {
        std::fs::create_dir_all(folder).map_err(|e| {
            anyhow::anyhow!(
                "cannot make the snapshot folder {}: {}",
                folder.display(),
                files::reason(&e)
            )
        })?;
    }
    std::fs::write(&probe, b"").map_err(|e| {
        anyhow::anyhow!(
            "cannot write snapshots as {prefix}_iter_N: {}",
            files::reason(&e)
        )
    })?;
    let _ = std::fs::remove_file(&probe);
    Ok(())
}
