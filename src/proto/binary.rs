//! Weights, solver states and means as Caffe stores them: one protobuf message a file.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use prost::{Message, Name};

use super::caffe::{BlobProto, NetParameter, SolverState};
use crate::files;

/// Reads a `.caffemodel`, in whatever generation it is.
pub fn read_caffemodel(path: &Path) -> Result<NetParameter> {
    decode_caffemodel(&files::read(path)?, &path.display().to_string())
}

/// Decodes the bytes of a `.caffemodel`; `file` is the name that errors show.
pub fn decode_caffemodel(bytes: &[u8], file: &str) -> Result<NetParameter> {
    let net: NetParameter = decode(bytes, file, "caffemodel")?;
    if net.layer.is_empty() && net.layers.is_empty() {
        bail!(
            "{file}: truncated or not a caffemodel: no layer in its {} bytes",
            bytes.len()
        );
    }
    Ok(net)
}

/// Reads a `.solverstate`.
pub fn read_solverstate(path: &Path) -> Result<SolverState> {
    decode(
        &files::read(path)?,
        &path.display().to_string(),
        "solverstate",
    )
}

/// Reads a mean or any other single blob (`.binaryproto`).
pub fn read_blob(path: &Path) -> Result<BlobProto> {
    decode(
        &files::read(path)?,
        &path.display().to_string(),
        "binaryproto blob",
    )
}

/// Writes a message as Caffe's binary files hold it, whole or not at all.
pub fn write<M: Message + Name>(path: &Path, message: &M) -> Result<()> {
    // protobuf's readers count bytes in a signed 32-bit integer.
    let size = message.encoded_len();
    if i32::try_from(size).is_err() {
        bail!(
            "cannot write {}: {size} bytes are more than protobuf's limit of 2 GiB",
            path.display()
        );
    }
    files::write_atomic(path, |w| Ok(w.write_all(&message.encode_to_vec())?))
}

/// Decodes the bytes of one message; `what` names the kind of file.
pub fn decode<M: Message + Default>(bytes: &[u8], file: &str, what: &str) -> Result<M> {
    if bytes.is_empty() {
        bail!("{file}: the file is empty, not a {what}");
    }
    M::decode(bytes).map_err(|e| {
        anyhow!(
            "{file}: truncated or not a {what}: {e} (the file has {} bytes)",
            bytes.len()
        )
    })
}
