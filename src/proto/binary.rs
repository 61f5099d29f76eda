//! Weights, solver states and means as Caffe stores them: one protobuf message a file.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message, Name};

use super::caffe::{BlobProto, NetParameter, SolverState};
use super::lenient;
use crate::files;

/// Far above any real net.
const MOST_LAYERS: usize = 50_000;

/// Reads a `.caffemodel`, in whatever generation it is.
pub fn read_caffemodel(path: &Path) -> Result<NetParameter> {
    decode_caffemodel(&files::read(path)?, &path.display().to_string())
}

/// Decodes the bytes of a `.caffemodel`; `file` is the name that errors show.
pub fn decode_caffemodel(bytes: &[u8], file: &str) -> Result<NetParameter> {
    // An empty layer takes three bytes in a file but kilobytes in memory.
    if layer_count(bytes) > MOST_LAYERS {
        bail!("{file}: not a caffemodel: more than {MOST_LAYERS} layers");
    }
    let net: NetParameter = decode(bytes, file, "caffemodel")?;
    if net.layer.is_empty() && net.layers.is_empty() {
        bail!(
            "{file}: truncated or not a caffemodel: no layer in its {} bytes",
            bytes.len()
        );
    }
    Ok(net)
}

/// The number of `layer` and `layers` fields before the end or the first mistake.
fn layer_count(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Ok((tag, wire)) = decode_key(&mut bytes) {
        count += usize::from(matches!(tag, 2 | 100));
        if skip_field(wire, tag, &mut bytes, DecodeContext::default()).is_err() {
            break;
        }
    }
    count
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
    decode_blob(&files::read(path)?, &path.display().to_string())
}

/// The same of the bytes of `file`.
pub fn decode_blob(bytes: &[u8], file: &str) -> Result<BlobProto> {
    let blob: BlobProto = decode(bytes, file, "binaryproto blob")?;
    if blob.data.is_empty() && blob.double_data.is_empty() {
        bail!("{file}: not a binaryproto blob (or an empty one): it holds no values");
    }
    Ok(blob)
}

/// Writes a message as Caffe's binary files hold it, whole or not at all.
pub fn write<M: Message + Name>(path: &Path, message: &M) -> Result<()> {
    check_size(path, message.encoded_len())?;
    let mut bytes = message.encode_to_vec();
    if let Some(descriptor) = super::descriptors().get_message_by_name(&M::full_name()) {
        bytes = lenient::restore(bytes, &descriptor);
    }
    files::write_atomic(path, |w| Ok(w.write_all(&bytes)?))
}

/// Checks that protobuf's readers, which count bytes in a signed 32-bit integer, can read so many bytes.
pub fn check_size(path: &Path, size: usize) -> Result<()> {
    if i32::try_from(size).is_err() {
        bail!(
            "cannot write {}: {size} bytes are more than protobuf's limit of 2 GiB",
            path.display()
        );
    }
    Ok(())
}

/// Writes a message that was made from the bytes `old` of the same kind: with what these have beyond the schema.
pub fn rewrite<M: Message + Name>(path: &Path, message: &M, old: &[u8]) -> Result<()> {
    let mut bytes = message.encode_to_vec();
    if let Some(descriptor) = super::descriptors().get_message_by_name(&M::full_name()) {
        bytes = lenient::graft(&lenient::restore(bytes, &descriptor), old, &descriptor);
    }
    check_size(path, bytes.len())?;
    files::write_atomic(path, |w| Ok(w.write_all(&bytes)?))
}

/// Decodes a message that may be a fork's: what is not of the schema, by number or by form, is left out.
///
/// # Errors
/// The message is damaged where it must be whole.
pub fn decode_any<M: Message + Default + Name>(bytes: &[u8]) -> Result<M, DecodeError> {
    match (
        M::decode(bytes),
        super::descriptors().get_message_by_name(&M::full_name()),
    ) {
        (Err(_), Some(descriptor)) => M::decode(&*lenient::sieve(bytes, &descriptor)?),
        (decoded, _) => decoded,
    }
}

/// Decodes the bytes of one message; `what` names the kind of file. See [`decode_any`].
pub fn decode<M: Message + Default + Name>(bytes: &[u8], file: &str, what: &str) -> Result<M> {
    if bytes.is_empty() {
        bail!("{file}: the file is empty, not a {what}");
    }
    decode_any(bytes).map_err(|e| {
        anyhow!(
            "{file}: truncated or not a {what}: {e} (the file has {} bytes)",
            bytes.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::caffe::{DsdMask, DsdState, LayerParameter};
    use crate::proto::{blob, caffe::BlobShape};

    fn net() -> NetParameter {
        let blobs = vec![blob::blob(&[2, 2], &[1.0, -2.0, 0.5, 0.0])];
        let name = Some("ip".to_owned());
        let layer = vec![LayerParameter {
            name,
            blobs,
            ..LayerParameter::default()
        }];
        NetParameter {
            layer,
            ..NetParameter::default()
        }
    }

    #[test]
    fn weights_and_states_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.caffemodel");
        write(&path, &net()).unwrap();
        assert_eq!(read_caffemodel(&path).unwrap(), net());
        let masks = vec![DsdMask {
            bits: Some(vec![0b1011]),
            count: Some(4),
            ..DsdMask::default()
        }];
        let dsd = Some(DsdState {
            version: Some(1),
            masks,
            ..DsdState::default()
        });
        let state = SolverState {
            iter: Some(7),
            dsd,
            ..SolverState::default()
        };
        write(&path, &state).unwrap();
        assert_eq!(read_solverstate(&path).unwrap(), state);
    }

    #[test]
    fn floats_decode_packed_and_one_by_one() {
        let packed = [0x2a, 8, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40];
        let single = [0x2d, 0, 0, 0x80, 0x3f, 0x2d, 0, 0, 0, 0x40];
        for bytes in [packed, single] {
            let blob: BlobProto = decode(&bytes, "b", "blob").unwrap();
            assert_eq!(blob.data, [1.0, 2.0]);
        }
        let shape: BlobShape = decode(&[8, 3, 8, 4], "b", "shape").unwrap();
        assert_eq!(shape.dim, [3, 4]);
    }

    #[test]
    fn a_truncated_file_is_named_with_its_size() {
        let bytes = net().encode_to_vec();
        for cut in 1..bytes.len() {
            let error = decode_caffemodel(&bytes[..cut], "w.caffemodel")
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("w.caffemodel: truncated or not a caffemodel"),
                "{error}"
            );
            assert!(error.contains(&format!("{cut} bytes")), "{error}");
        }
        assert!(
            decode_caffemodel(&[], "w")
                .unwrap_err()
                .to_string()
                .contains("empty")
        );
        assert!(decode_caffemodel(b"name: 'a net'", "w").is_err());
    }

    #[test]
    fn millions_of_empty_layers_are_refused() {
        let error = decode_caffemodel(&[0xa2, 6, 0].repeat(60_000), "w")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "w: not a caffemodel: more than 50000 layers");
    }

    #[test]
    fn changed_bytes_never_panic() {
        let bytes = net().encode_to_vec();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut odd = bytes.clone();
                odd[at] = value;
                let _ = decode_caffemodel(&odd, "w");
            }
        }
    }
}
