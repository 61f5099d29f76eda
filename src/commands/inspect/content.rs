//! What a file is, by its bytes alone: names and extensions are the user's.

use std::collections::BTreeSet;

use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use crate::compress::container;
use crate::files::encoding;
use crate::npz;
use crate::proto::{self, NetParameter, SolverParameter, parse, top_fields};

/// The kinds of files (a Deep Compression `.net` has no mark of its own; only its model tells it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A net's prototxt.
    Net,
    /// A solver's prototxt.
    Solver,
    /// A flow of phases, TOML.
    Flow,
    /// `phase.json`.
    Record,
    /// A zip of NumPy arrays.
    Npz,
    /// Weights that name their layers: a caffemodel, HDF5, or our compressed file.
    Named,
    /// A solver state.
    State,
    /// A single BlobProto, as a mean is.
    Blob,
    /// Nothing that this tool reads.
    Unknown,
}

/// Whether the first bytes of a file are those of an LMDB's `data.mdb`, of whatever byte order.
pub fn is_lmdb(head: &[u8]) -> bool {
    let magic = 0xbeef_c0de_u32;
    head.get(16..20)
        .is_some_and(|b| b == magic.to_le_bytes() || b == magic.to_be_bytes())
}

/// What these bytes are.
pub fn of(bytes: &[u8]) -> Content {
    if npz::looks_like(bytes) {
        Content::Npz
    } else if bytes.starts_with(b"\x89HDF\r\n\x1a\n") || container::looks_like(bytes) {
        Content::Named
    } else if let Some(text) = text(bytes) {
        of_text(&text)
    } else {
        of_message(bytes)
    }
}

/// Whether this was told of bytes that are neither text nor an archive.
pub fn is_binary(content: Content) -> bool {
    use Content::{Blob, Named, State, Unknown};
    matches!(content, Named | State | Blob | Unknown)
}

/// What an unknown file was found to be.
pub fn found(bytes: &[u8]) -> &'static str {
    if text(bytes).is_some() {
        "another text"
    } else {
        "other bytes"
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = encoding::text(bytes.to_vec()).ok()?;
    let mut head = text.as_bytes().iter().take(1 << 16);
    head.all(|&b| b >= b' ' && b != 0x7f || matches!(b, b'\t' | b'\n' | b'\r' | 0x0c))
        .then_some(text)
}

fn of_text(text: &str) -> Content {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') {
        return match text.contains("\"phase\"") && text.contains("\"iterations\"") {
            true => Content::Record,
            false => Content::Unknown,
        };
    }
    if text.lines().any(|l| l.trim() == "[[phase]]") {
        return Content::Flow;
    }
    let net = parse::<NetParameter>(text, "");
    let solver = parse::<SolverParameter>(text, "");
    match (net, solver) {
        (Ok(_), Err(_)) => Content::Net,
        (Err(_), Ok(_)) => Content::Solver,
        // Both allow nothing at all, and debug_info.
        (Ok(_), Ok(_)) => Content::Unknown,
        // One of them with a mistake, whose message will say where.
        (Err(_), Err(_)) => by_fields(text),
    }
}

/// A net or a solver, by the top-level fields; a net inside a solver is a field of it.
fn by_fields(text: &str) -> Content {
    let fields = top_fields::<SolverParameter>(text);
    let names = |message: &str| -> BTreeSet<String> {
        let message = proto::descriptors().get_message_by_name(message);
        let names = message.map(|m| m.fields().map(|f| f.name().to_string()).collect());
        names.unwrap_or_default()
    };
    let (net, solver) = (names("caffe.NetParameter"), names("caffe.SolverParameter"));
    let has = |names: &BTreeSet<String>, others: &BTreeSet<String>| {
        let own = |f: &&String| names.contains(*f) && !others.contains(*f);
        fields.iter().any(|f| own(&f))
    };
    let open_layer = fields.iter().any(|f| f == "layer" || f == "layers");
    // A layer that is closed too early leaves its fields, such as `type`, to the file.
    if has(&solver, &net) && !open_layer {
        Content::Solver
    } else if has(&net, &solver) || fields.iter().any(|f| net.contains(f)) {
        Content::Net
    } else {
        Content::Unknown
    }
}

/// Protobuf messages carry no name: the numbers and wire types of the first fields tell.
fn of_message(mut bytes: &[u8]) -> Content {
    use WireType::{LengthDelimited, SixtyFourBit, ThirtyTwoBit, Varint};
    let Ok((number, wire)) = decode_key(&mut bytes) else {
        return Content::Unknown;
    };
    match (number, wire) {
        // name, layers, input, state, layer
        (1 | 2 | 3 | 6 | 100, LengthDelimited) => Content::Named,
        // data, shape, double_data
        (5 | 7 | 8, LengthDelimited) | (5, ThirtyTwoBit) | (8, SixtyFourBit) => Content::Blob,
        // A state's iter or a blob's num: what comes next decides.
        (1, Varint) => {
            let next = skip_field(wire, number, &mut bytes, DecodeContext::default())
                .and_then(|()| decode_key(&mut bytes));
            match next {
                Ok((2..=4, Varint) | (5, _) | (7, LengthDelimited)) => Content::Blob,
                Ok((2 | 3 | 7001, LengthDelimited)) => Content::State,
                _ => Content::Unknown,
            }
        }
        _ => Content::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{SolverState, blob};
    use prost::Message;

    #[test]
    fn texts_are_told_apart_even_with_a_mistake_in_them() {
        for (text, content) in [
            ("layer { name: 'a' }", Content::Net),
            ("name: 'only a name'", Content::Net),
            ("layer {\n  nme: 'a'\n  type: 'ReLU'\n}", Content::Net),
            ("net: 'a'\nbase_lr: 0.1", Content::Solver),
            ("net: 'a'\nbase_rl: 0.1", Content::Solver),
            ("[[phase]]\nkind = 'dense'", Content::Flow),
            (
                "{ \"phase\": \"dense\", \"iterations\": 3 }",
                Content::Record,
            ),
            ("{ \"a\": 1 }", Content::Unknown),
            ("# nothing\n", Content::Unknown),
            ("[package]\nname = 'dsd'\n", Content::Unknown),
            ("some words: and more\n", Content::Unknown),
        ] {
            assert_eq!(of(text.as_bytes()), content, "{text}");
        }
    }

    #[test]
    fn messages_are_told_apart_even_when_cut() {
        let values = blob::blob(&[2], &[1.0, 2.0]);
        let old = proto::BlobProto {
            shape: None,
            num: Some(1),
            channels: Some(2),
            ..values.clone()
        };
        let state = SolverState {
            iter: Some(7),
            learned_net: Some("a.caffemodel".into()),
            history: vec![values.clone()],
            ..Default::default()
        };
        let net = NetParameter {
            name: Some("n".into()),
            layer: vec![proto::LayerParameter::default()],
            ..Default::default()
        };
        for (bytes, content) in [
            (values.encode_to_vec(), Content::Blob),
            (old.encode_to_vec(), Content::Blob),
            (state.encode_to_vec(), Content::State),
            (net.encode_to_vec(), Content::Named),
        ] {
            assert_eq!(of_message(&bytes), content);
            assert_eq!(of_message(&bytes[..4]), content);
        }
        assert_eq!(of(b"\xff\xd8\xff\xe0"), Content::Unknown);
        assert_eq!(of(&[0]), Content::Unknown);
    }
}
