//! `--model`: from a name or a path, or the weights' own layers, to a net.

use super::Packed;
use crate::cli::NetState;
use crate::info;
use crate::layers::Mode;
use crate::models::{self, Builtin, Family};
use crate::net::graph::State;
use crate::proto::{self, NetParameter, Parsed};
use crate::solver::config::set_level;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Where a net comes from.
pub enum Model {
    /// A prototxt.
    File(Box<Parsed<NetParameter>>),
    /// A model in one file, `.dsdz`.
    Packed(Box<Packed>),
    /// A net of `models/`.
    Builtin(&'static Builtin, Family),
}

impl Model {
    /// The net that `--model` names, else the built-in one that fits the weights (and says which).
    ///
    /// # Errors
    /// There is no such file or built-in net, or a built-in net's weights are not there.
    pub fn find(model: Option<&Path>, weights: &[PathBuf]) -> Result<Self> {
        // What is named is meant, else what the weights bring.
        if let Some(file) = model.or(weights.first().map(PathBuf::as_path))
            && let Some(packed) = Packed::at(file)?
        {
            return Ok(Self::Packed(Box::new(packed)));
        }
        let builtin = model.filter(|m| !m.is_file()).and_then(Path::to_str);
        let builtin = builtin.and_then(models::find).map(|b| b.name);
        if builtin.is_some() || model.is_none() {
            check_there(builtin, weights)?;
        }
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
            Self::Packed(packed) => Ok(packed.net.clone()),
            Self::Builtin(builtin, family) => builtin.train_val(*family),
        }
    }

    /// The net, a built-in one with Input layers.
    pub fn deploy(&self) -> Result<Parsed<NetParameter>> {
        match self {
            Self::File(net) => Ok((**net).clone()),
            Self::Packed(packed) => packed.deploy(),
            Self::Builtin(builtin, family) => builtin.deploy(*family),
        }
    }

    /// The folder from which the net's paths are looked up.
    pub fn folder(&self) -> PathBuf {
        let file = match self {
            Self::File(net) => Path::new(&net.file),
            Self::Packed(packed) => &packed.file,
            Self::Builtin(..) => return PathBuf::new(),
        };
        file.parent().unwrap_or(Path::new("")).to_path_buf()
    }

    /// The model in one file, if it is one.
    pub fn packed(&self) -> Option<&Packed> {
        match self {
            Self::Packed(packed) => Some(packed),
            Self::File(_) | Self::Builtin(..) => None,
        }
    }
}

/// Refuses weights that are not there where it is known where they can be had.
fn check_there(net: Option<&str>, weights: &[PathBuf]) -> Result<()> {
    let gone = |w: &&PathBuf| !w.exists();
    if let Some(file) = weights.iter().find(gone)
        && let Some(hint) = models::published::hint(net, file)
    {
        bail!("{}: no such file; {hint}", file.display());
    }
    Ok(())
}

/// The state in which Caffe's tools build `net`: the phase asked for, the command line's level (its default
/// too), and its stages beside the net's own.
pub fn state(net: &NetParameter, mode: Mode, args: &NetState) -> State {
    let mut state = State::new(mode);
    if let Some(own) = &net.state {
        state.level = own.level();
        state.stages.extend(own.stage.iter().cloned());
    }
    set_level(&mut state, args.level, net.name());
    state.stages.extend(args.stage.iter().cloned());
    state
}
