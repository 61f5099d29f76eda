//! `--model` and `--weights`: from names and paths to nets and values.

use super::inspect::{self, Built};
use crate::models::{self, Builtin, Family};
use crate::net::graph::State;
use crate::net::weights::Stored;
use crate::net::{Net, Weights, zeros};
use crate::proto::{self, NetParameter, Parsed};
use crate::solver::config::set_level;
use crate::{files, info, report, warn, weights_file};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where a net comes from.
pub enum Model {
    /// A prototxt.
    File(Box<Parsed<NetParameter>>),
    /// A net of `models/`.
    Builtin(&'static Builtin, Family),
}

impl Model {
    /// The net that `--model` names, else the built-in one that fits the weights (and says which).
    pub fn find(model: Option<&Path>, weights: &[PathBuf]) -> Result<Self> {
        let Some(model) = model else {
            let Some(weights) = weights.first() else {
                bail!("no net: give --model F, or --weights F of a built-in net");
            };
            let (builtin, family) = models::matching(weights)?;
            info!(
                "The layers of {} are those of the built-in net {}",
                weights.display(),
                builtin.name
            );
            return Ok(Self::Builtin(builtin, family));
        };
        if let Some(builtin) = model
            .to_str()
            .and_then(models::find)
            .filter(|_| !model.is_file())
        {
            // The names of the weights, where they tell, decide which naming the net gets.
            let family = weights
                .first()
                .and_then(|w| models::matching(w).ok())
                .map(|(_, f)| f);
            return Ok(Self::Builtin(builtin, family.unwrap_or(Family::Release)));
        }
        if !model.exists() {
            let known: Vec<&str> = models::BUILTIN.iter().map(|b| b.name).collect();
            bail!(
                "{}: no such file, and no built-in net ({})",
                model.display(),
                known.join(", ")
            );
        }
        let (net, notes) = proto::load_net(model)?;
        for note in notes {
            info!("{note}");
        }
        Ok(Self::File(Box::new(net)))
    }

    /// The net, a built-in one with its data layers.
    pub fn train_val(&self) -> Result<Parsed<NetParameter>> {
        match self {
            Self::File(net) => Ok((**net).clone()),
            Self::Builtin(builtin, family) => builtin.train_val(*family),
        }
    }

    /// The net, a built-in one with Input layers.
    pub fn deploy(&self) -> Result<Parsed<NetParameter>> {
        match self {
            Self::File(net) => Ok((**net).clone()),
            Self::Builtin(builtin, family) => builtin.deploy(*family),
        }
    }

    /// The folder from which the net's paths are looked up.
    pub fn folder(&self) -> PathBuf {
        match self {
            Self::File(net) => Path::new(&net.file)
                .parent()
                .unwrap_or(Path::new(""))
                .to_path_buf(),
            Self::Builtin(..) => PathBuf::new(),
        }
    }
}

/// The state in which Caffe's tools build `net`: the phase asked for, the command line's level (its default
/// too), and its stages beside the net's own.
pub fn state(net: &NetParameter, mode: crate::layers::Mode, args: &crate::cli::NetState) -> State {
    let mut state = State::new(mode);
    if let Some(own) = &net.state {
        state.level = own.level();
        state.stages.extend(own.stage.iter().cloned());
    }
    set_level(&mut state, args.level, net.name());
    state.stages.extend(args.stage.iter().cloned());
    state
}

/// Weights by the fillers, then the files over them, in turn; says what went where.
pub fn weights(net: &Net, files: &[PathBuf], seed: u64) -> Result<Weights> {
    let (weights, given) = filled(net, files, seed)?;
    if files.is_empty() {
        warn!("No --weights: the net runs with the random ones of its fillers");
    }
    if let Some(text) = zeros::said(&net.zero_layers(&weights, &given)) {
        warn!("{text}");
    }
    Ok(weights)
}

/// [`weights`] for timing: weights that would be 0 because neither a filler nor a file gives them are noise. A
/// kernel that leaves zeros out would else have nothing to do.
pub fn weights_to_time(net: &Net, files: &[PathBuf], seed: u64) -> Result<Weights> {
    let (mut weights, given) = filled(net, files, seed)?;
    let names = net.noise_for_zeros(&mut weights, &given, seed)?;
    if !names.is_empty() {
        info!(
            "Weights that neither a filler nor a file gives are random numbers here: {}",
            zeros::listed(&names)
        );
    }
    Ok(weights)
}

/// Weights by the fillers and the files over them, and the layers that the files have.
fn filled(net: &Net, files: &[PathBuf], seed: u64) -> Result<(Weights, BTreeSet<String>)> {
    let mut weights = net.fill(seed).context("initial weights")?;
    let mut given = BTreeSet::new();
    for path in files {
        let stored = weights_file::read(path, net)?;
        stored.warn_of_bad();
        let plan = net.load(&mut weights, &stored)?;
        report::nets::loaded(&plan, &stored.file);
        given.extend(plan.loaded);
    }
    Ok((weights, given))
}

/// The net of `model` for its weights alone: a built-in one as for deployment, another one in the TEST phase;
/// its data need not be there.
pub fn skeleton(model: &Model) -> Result<Net> {
    match model {
        Model::Builtin(builtin, family) => builtin.skeleton(*family),
        Model::File(file) => match inspect::build(model)? {
            (Built::Whole(net), _) => Ok(*net),
            (Built::Names(_), notes) => {
                bail!(
                    "{}: its shapes are unknown: {}",
                    file.file,
                    notes.join("; ")
                )
            }
        },
    }
}

/// The built-in net that fits the weights.
pub fn fitting(weights: &Path) -> Result<Net> {
    skeleton(&Model::find(None, &[weights.to_path_buf()])?)
}

/// The weights in a file with their codebooks, and their net: `model`, which they must fit then, else the
/// built-in one that fits them, if there is one. Only a Deep Compression file needs a net to be read.
pub fn stored(model: Option<&Path>, weights: &Path) -> Result<(Stored, Option<Net>)> {
    let net = match model {
        Some(_) => skeleton(&Model::find(model, &[weights.to_path_buf()])?)?,
        None => match fitting(weights) {
            Ok(net) => net,
            Err(_) => {
                let stored = weights_file::read_named(weights, &files::read(weights)?)?;
                stored.warn_of_bad();
                return Ok((stored, None));
            }
        },
    };
    let mut stored = weights_file::read(weights, &net)?;
    stored.warn_of_bad();
    for name in net.match_weights(&stored)?.missing {
        warn!("Layer {name} is not in {}", stored.file);
    }
    for (i, node) in net.graph().nodes.iter().enumerate() {
        let own = stored.layers.iter_mut();
        for own in own.filter(|l| l.legacy && l.name == node.name()) {
            // The net knows which of the four old axes mean something.
            for (blob, id) in own.blobs.iter_mut().zip(net.layer_params(i)) {
                blob.shape = net.params()[id].shape.clone();
            }
            own.legacy = false;
        }
    }
    Ok((stored, Some(net)))
}
