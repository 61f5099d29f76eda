//! A solver state as Caffe's protobuf message; what only `dsd` has is in a field that Caffe skips.

use super::State;
use super::own::{own, own_message};
use crate::proto::{SolverState, binary, blob};
use crate::tensor::Tensor;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Writes a state.
pub(super) fn write(path: &Path, mut state: State) -> Result<()> {
    let history = std::mem::take(&mut state.history).into_iter();
    let message = SolverState {
        iter: Some(int32(state.iter, "the iteration")?),
        learned_net: Some(std::mem::take(&mut state.learned_net)),
        history: history
            .map(|t| blob::owned(t.shape.dims(), t.data))
            .collect(),
        current_step: Some(int32(state.current_step, "the learning-rate step")?),
        dsd: Some(own_message(&state)),
    };
    binary::write(path, &message)
}

/// A count as Caffe stores it.
pub(super) fn int32(value: u64, what: &str) -> Result<i32> {
    i32::try_from(value).with_context(|| format!("{what} does not fit Caffe's int32"))
}

/// Reads a state.
pub(super) fn read(bytes: &[u8], file: &str) -> Result<State> {
    let message = match binary::decode::<SolverState>(bytes, file, "solverstate") {
        Ok(message) if message.iter.is_some() => message,
        other => {
            if binary::decode_caffemodel(bytes, file).is_ok() {
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
    let own = message.dsd.map(own).transpose();
    Ok(State {
        iter: message.iter.unwrap_or(0).max(0) as u64,
        learned_net: message.learned_net.unwrap_or_default(),
        history,
        current_step: message.current_step.unwrap_or(0).max(0) as u64,
        own: own.with_context(|| file.to_owned())?,
    })
}
