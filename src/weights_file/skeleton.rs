//! What a caffemodel has beside the numbers of its blobs: the net's name, its layers with all their parameters, and
//! whatever a fork of Caffe wrote. Weights that go through another file and come back keep it.

use super::write::blob_of;
use super::{Stored, StoredLayer};
use crate::files::encoding;
use crate::proto::lenient::{Field, Part, fields, part, put};
use crate::proto::{self, NetParameter};
use prost::{Message, Name};
use prost_reflect::MessageDescriptor;

const BLOB: &str = "caffe.BlobProto";

/// A caffemodel's bytes without its blobs' shapes and numbers.
pub fn of(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(stripped(bytes, &net()?))
}

fn net() -> Option<MessageDescriptor> {
    proto::descriptors().get_message_by_name(&NetParameter::full_name())
}

/// Whether blobs stand in such a message, or below it.
fn has_blobs(message: &MessageDescriptor) -> bool {
    matches!(
        message.name(),
        "LayerParameter" | "V1LayerParameter" | "V0LayerParameter"
    )
}

fn stripped(bytes: &[u8], message: &MessageDescriptor) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields(bytes).flatten() {
        match part(message, &field) {
            Part::Nested(inner) if inner.full_name() == BLOB => {
                put(&mut out, field.number, &unknown(&field, &inner));
            }
            Part::Nested(inner) if has_blobs(&inner) => {
                put(&mut out, field.number, &stripped(field.content, &inner));
            }
            _ => out.extend(field.whole),
        }
    }
    out
}

/// The fields of a blob that the schema does not know.
fn unknown(blob: &Field<'_>, message: &MessageDescriptor) -> Vec<u8> {
    let all = fields(blob.content).flatten();
    let odd = all.filter(|field| matches!(part(message, field), Part::Unknown));
    odd.flat_map(|field| field.whole).copied().collect()
}

/// The caffemodel that [`of`] was given, with the blobs of `stored`; nothing if they are not those of its layers.
pub fn filled(skeleton: &[u8], stored: &Stored) -> Option<Vec<u8>> {
    let mut layers = stored.layers.iter();
    let bytes = fill(skeleton, &net()?, &mut layers)?;
    layers.next().is_none().then_some(bytes)
}

fn fill(
    bytes: &[u8],
    message: &MessageDescriptor,
    layers: &mut std::slice::Iter<'_, StoredLayer>,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut name = String::new();
    let mut own: Option<&StoredLayer> = None;
    let mut count = 0;
    for field in fields(bytes).flatten() {
        match part(message, &field) {
            Part::Nested(inner) if inner.full_name() == BLOB => {
                let own = match own {
                    Some(own) => own,
                    None => own.insert(layers.next()?),
                };
                own.blob(count)?;
                let mut blob = blob_of(own, count).encode_to_vec();
                blob.extend(field.content);
                put(&mut out, field.number, &blob);
                count += 1;
            }
            Part::Nested(inner) if has_blobs(&inner) => {
                put(
                    &mut out,
                    field.number,
                    &fill(field.content, &inner, layers)?,
                );
            }
            kind => {
                let field_name = message.get_field(field.number);
                if matches!(kind, Part::Text) && field_name.is_some_and(|f| f.name() == "name") {
                    name = encoding::escaped(field.content);
                }
                out.extend(field.whole);
            }
        }
    }
    let fits = own.is_none_or(|own| own.name == name && own.blobs.len() == count);
    fits.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{binary, blob};

    /// A net of which the layer, its blob and the net itself have a field that nobody knows.
    fn bytes() -> Vec<u8> {
        let odd = |what: &[u8]| {
            let mut out = Vec::new();
            put(&mut out, 8888, what);
            out
        };
        let mut one = blob::blob(&[2, 2], &[1.0, 0.0, 0.0, 2.0]).encode_to_vec();
        one.extend(odd(b"blob"));
        let mut layer = Vec::new();
        put(&mut layer, 1, b"ip\xff");
        put(&mut layer, 2, b"InnerProduct");
        put(&mut layer, 7, &one);
        layer.extend(odd(b"layer"));
        let mut net = Vec::new();
        put(&mut net, 1, b"\xcd\xf8");
        put(&mut net, 100, b"\x0a\x04data");
        put(&mut net, 100, &layer);
        net.extend(odd(b"net"));
        net
    }

    #[test]
    fn a_caffemodel_comes_back_byte_by_byte() {
        let bytes = bytes();
        let message = binary::decode_caffemodel(&bytes, "w").unwrap();
        let mut stored = Stored::from_message(&message, "w").unwrap();
        let skeleton = of(&bytes).unwrap();
        assert!(skeleton.len() < bytes.len() - 16);
        assert!(filled(&skeleton, &stored).unwrap() == bytes);
        stored.layers[0].name = "other".into();
        assert_eq!(filled(&skeleton, &stored), None);
        stored.layers.clear();
        assert_eq!(filled(&skeleton, &stored), None);
    }
}
