//! A solver state as Caffe's HDF5 datasets. What only `dsd` has is `dsd/state`, the bytes of the message
//! that binary states hold, of which Caffe takes no notice.

use super::State;
use super::binary_state::int32;
use super::own::{own, own_message};
use crate::hdf5::{File, Writer};
use crate::proto::binary;
use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use std::path::Path;

const OWN: &str = "dsd/state";

/// Writes a state.
pub(super) fn write(path: &Path, state: &State) -> Result<()> {
    let mut file = Writer::new();
    file.int("iter", int32(state.iter, "the iteration")?)?;
    file.text("learned_net", &state.learned_net)?;
    let step = int32(state.current_step, "the learning-rate step")?;
    file.int("current_step", step)?;
    if state.history.is_empty() {
        file.group("history")?;
    }
    for (k, t) in state.history.iter().enumerate() {
        file.floats(&format!("history/{k}"), t.shape.dims(), &t.data)?;
    }
    file.bytes(OWN, &own_message(state).encode_to_vec())?;
    file.save(path)
}

/// Reads a state.
pub(super) fn read(file: &File) -> Result<State> {
    let shown = file.name();
    if file.shape("iter")?.is_none() {
        if !file.list("data")?.is_empty() {
            bail!("{shown}: these are weights, not a solver state; give them to --weights");
        }
        bail!("{shown}: not a solver state: it names no iteration");
    }
    let count = |name: &str| -> Result<u64> { Ok(file.int(name)?.max(0) as u64) };
    let names = file.list("history")?;
    let mut history = Vec::new();
    for k in 0..names.len() {
        ensure!(
            names.contains(&k.to_string()),
            "{shown}: it has {} history blobs, but none is history/{k}",
            names.len()
        );
        history.push(file.tensor(&format!("history/{k}"))?);
    }
    let learned_net = match file.shape("learned_net")? {
        Some(_) => file.text("learned_net")?,
        None => String::new(),
    };
    let own = match file.bytes(OWN)? {
        None => None,
        Some(bytes) => {
            let message = binary::decode(&bytes, OWN, "state of dsd").and_then(own);
            Some(message.with_context(|| shown.to_owned())?)
        }
    };
    Ok(State {
        iter: count("iter")?,
        learned_net,
        history,
        current_step: count("current_step")?,
        own,
    })
}
