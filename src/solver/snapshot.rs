//! Snapshots: all that the next iteration depends on, in two files that Caffe reads too.

use super::mask::Mask;
use crate::files;
use crate::net::weights::Stored;
use crate::proto::caffe::{DsdEntry, DsdMask, DsdState};
use crate::proto::{SolverState, binary, blob};
use crate::tensor::Tensor;
use anyhow::{Context, Result, bail};
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
    /// dense, sparse or redense.
    pub phase: String,
    /// The seed of the run.
    pub seed: u64,
    /// The mask of each masked parameter: layer, blob, mask.
    pub masks: Vec<(String, usize, Mask)>,
    /// For each test net, the batches tested so far.
    pub test_batches: Vec<u64>,
    /// The losses that the smoothed loss is the mean of.
    pub losses: Vec<f32>,
    /// The smoothed loss.
    pub smoothed: f32,
    /// The iteration from which `losses` counts.
    pub start: u64,
    /// Names and values for callers.
    pub notes: Vec<(String, String)>,
}

/// `PREFIX_iter_N.EXT`.
pub fn file_name(prefix: &str, iter: u64, extension: &str) -> PathBuf {
    PathBuf::from(format!("{prefix}_iter_{iter}.{extension}"))
}

/// Writes a solver state.
pub fn write(path: &Path, state: &State) -> Result<()> {
    let own = state.own.clone().unwrap_or_default();
    let dsd = DsdState {
        version: Some(1),
        phase: Some(own.phase),
        masks: own
            .masks
            .iter()
            .map(|(layer, k, mask)| DsdMask {
                layer: Some(layer.clone()),
                blob: Some(*k as u32),
                count: Some(mask.count() as u64),
                bits: Some(mask.bits().to_vec()),
            })
            .collect(),
        seed: Some(own.seed),
        test_batches: own.test_batches,
        recent_losses: own.losses,
        smoothed_loss: Some(own.smoothed),
        phase_start: Some(own.start),
        extra: own
            .notes
            .into_iter()
            .map(|(k, v)| DsdEntry {
                key: Some(k),
                value: Some(v),
            })
            .collect(),
        ..Default::default()
    };
    let message = SolverState {
        iter: Some(i32::try_from(state.iter).context("the iteration does not fit Caffe's int32")?),
        learned_net: Some(state.learned_net.clone()),
        history: state
            .history
            .iter()
            .map(|t| blob::blob(t.shape.dims(), &t.data))
            .collect(),
        current_step: Some(state.current_step as i32),
        dsd: Some(dsd),
    };
    binary::write(path, &message)
}

/// Reads a solver state, Caffe's or ours.
///
/// # Errors
/// A file that is not one; a caffemodel is recognised and the right flag named.
pub fn read(path: &Path) -> Result<State> {
    let file = path.display();
    let message = match binary::read_solverstate(path) {
        Ok(message) if message.iter.is_some() => message,
        other => {
            if path.exists()
                && binary::read_caffemodel(path)
                    .is_ok_and(|n| !n.layer.is_empty() || !n.layers.is_empty())
            {
                bail!(
                    "{file}: this is a caffemodel (weights), not a solver state; give it to --weights"
                );
            }
            other?;
            bail!("{file}: not a solver state: it names no iteration");
        }
    };
    let mut history = Vec::new();
    for (k, b) in message.history.iter().enumerate() {
        let place = || format!("{file}: history blob {k}");
        let shape = blob::shape(b).with_context(place)?.into();
        let data = blob::values(b).with_context(place)?.into_owned();
        history.push(Tensor { shape, data });
    }
    let own = match message.dsd {
        None => None,
        Some(d) => Some(read_own(d).with_context(|| file.to_string())?),
    };
    Ok(State {
        iter: message.iter.unwrap_or(0).max(0) as u64,
        learned_net: message.learned_net.unwrap_or_default(),
        history,
        current_step: message.current_step.unwrap_or(0).max(0) as u64,
        own,
    })
}

fn read_own(d: DsdState) -> Result<Own> {
    let mut masks = Vec::new();
    for m in &d.masks {
        let (layer, k) = (m.layer().to_string(), m.blob() as usize);
        let mask = Mask::from_bits(m.count() as usize, m.bits())
            .with_context(|| format!("the mask of layer '{layer}' is damaged"))?;
        masks.push((layer, k, mask));
    }
    Ok(Own {
        phase: d.phase().to_string(),
        seed: d.seed(),
        masks,
        losses: d.recent_losses.clone(),
        smoothed: d.smoothed_loss(),
        start: d.phase_start(),
        notes: d
            .extra
            .iter()
            .map(|e| (e.key().to_string(), e.value().to_string()))
            .collect(),
        test_batches: d.test_batches,
    })
}

/// The weights that belong to `state`: where it says, else beside the state's own file.
pub fn weights(path: &Path, state: &State) -> Result<Stored> {
    let said = Path::new(&state.learned_net);
    let folder = path.parent().unwrap_or(Path::new(""));
    let beside = said.file_name().map(|n| folder.join(n));
    // Beside comes first: a run folder may have been moved or copied.
    let found = beside
        .into_iter()
        .chain([said.to_path_buf()])
        .find(|p| p.is_file());
    let Some(found) = found else {
        bail!(
            "{}: its weights {} are neither there nor beside it",
            path.display(),
            said.display()
        );
    };
    let (message, _) = crate::proto::load_weights(&found)?;
    Stored::from_message(&message, &found.display().to_string())
}

/// The newest solver state of `prefix` (`PREFIX_iter_N.solverstate` with the largest N) whose weights
/// are there too.
pub fn newest(prefix: &str) -> Option<(u64, PathBuf)> {
    let prefix_path = Path::new(prefix);
    let folder = match prefix_path.parent() {
        Some(p) if p != Path::new("") => p.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let head = format!("{}_iter_", prefix_path.file_name()?.to_str()?);
    let mut best: Option<(u64, PathBuf)> = None;
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let iter = name
            .strip_prefix(&head)
            .and_then(|r| r.strip_suffix(".solverstate"));
        let Some(iter) = iter.and_then(|i| i.parse::<u64>().ok()) else {
            continue;
        };
        let weights = entry.path().with_extension("caffemodel");
        if weights.is_file() && best.as_ref().is_none_or(|(b, _)| iter > *b) {
            best = Some((iter, entry.path()));
        }
    }
    best
}

/// Checks that snapshots can be written under `prefix`, making its folder if need be.
pub fn check_prefix(prefix: &str) -> Result<()> {
    let probe = PathBuf::from(format!("{prefix}_iter_0.tempfile"));
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
