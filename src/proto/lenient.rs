//! Binary messages as protobuf's C++ library reads them, where prost is stricter: a known field of another wire type
//! is an unknown field, a string may have any bytes. Every fork of Caffe gives the same field numbers to other
//! messages; of weights, states, means and records only Caffe's own part is wanted, so that whatever stands in a
//! layer's parameters never stops the reading. What bounds the message itself (layers, blobs, their numbers) must hold.
//!
//! And the other way round: what a file has beyond the schema stays in one that is written from it ([`graft`]).

use std::collections::HashMap;

use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use prost_reflect::{Kind, MessageDescriptor};

use crate::files::encoding;

/// Messages that must be whole; of every other one, what cannot be read is left out.
const WHOLE: [&str; 9] = [
    "caffe.NetParameter",
    "caffe.LayerParameter",
    "caffe.V1LayerParameter",
    "caffe.V0LayerParameter",
    "caffe.BlobProto",
    "caffe.BlobShape",
    "caffe.SolverState",
    "caffe.DsdState",
    "caffe.Datum",
];

/// A field as it stands in a message.
pub(crate) struct Field<'a> {
    pub number: u32,
    pub wire: WireType,
    /// All of its bytes.
    pub whole: &'a [u8],
    /// What a field with a length holds.
    pub content: &'a [u8],
}

/// The fields of a message in their order; ends after the first mistake.
pub(crate) fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<Field<'_>, DecodeError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, DecodeError> {
    let before = *rest;
    let (number, wire) = decode_key(rest)?;
    let mut content = *rest;
    skip_field(wire, number, rest, DecodeContext::default())?;
    let end = content.len() - rest.len();
    content = &content[..end];
    if wire == WireType::LengthDelimited {
        decode_varint(&mut content)?;
    }
    Ok(Field {
        number,
        wire,
        whole: &before[..before.len() - rest.len()],
        content,
    })
}

/// What a field is to a message.
pub(crate) enum Part {
    /// A number, or several, or bytes.
    Plain,
    /// A string.
    Text,
    /// A message.
    Nested(MessageDescriptor),
    /// None of its fields, or one of another form.
    Unknown,
}

/// What `field` is to `message`.
pub(crate) fn part(message: &MessageDescriptor, field: &Field<'_>) -> Part {
    use WireType::{LengthDelimited, SixtyFourBit, ThirtyTwoBit, Varint};
    let Some(known) = message.get_field(field.number) else {
        return Part::Unknown;
    };
    let own = match known.kind() {
        Kind::Message(inner) if field.wire == LengthDelimited => return Part::Nested(inner),
        Kind::String if field.wire == LengthDelimited => return Part::Text,
        Kind::Message(_) | Kind::String | Kind::Bytes => LengthDelimited,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => ThirtyTwoBit,
        _ => Varint,
    };
    // Lists of numbers come packed or one by one, whatever the schema says.
    let packed = known.is_list() && field.wire == LengthDelimited;
    match field.wire == own || packed && (is_packed(own, field.content) || is_whole(message)) {
        true => Part::Plain,
        false => Part::Unknown,
    }
}

/// Whether numbers of this form fill `bytes`.
fn is_packed(wire: WireType, mut bytes: &[u8]) -> bool {
    match wire {
        WireType::SixtyFourBit => bytes.len().is_multiple_of(8),
        WireType::ThirtyTwoBit => bytes.len().is_multiple_of(4),
        _ => {
            while !bytes.is_empty() {
                if decode_varint(&mut bytes).is_err() {
                    return false;
                }
            }
            true
        }
    }
}

fn is_whole(message: &MessageDescriptor) -> bool {
    WHOLE.contains(&message.full_name())
}

/// The part of a message that the schema knows, in prost's stricter form.
///
/// # Errors
/// The message is damaged where it must be whole.
pub(crate) fn sieve(bytes: &[u8], message: &MessageDescriptor) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(bytes.len());
    for field in fields(bytes) {
        let field = field?;
        match part(message, &field) {
            Part::Unknown => {}
            Part::Plain => out.extend(field.whole),
            Part::Text => put(
                &mut out,
                field.number,
                encoding::escaped(field.content).as_bytes(),
            ),
            Part::Nested(inner) => match sieve(field.content, &inner) {
                Ok(content) => put(&mut out, field.number, &content),
                Err(e) if is_whole(&inner) => return Err(e),
                Err(_) => {}
            },
        }
    }
    Ok(out)
}

/// A message of which strings have characters that stand for bytes (see [`encoding`]), with these bytes.
pub(crate) fn restore(bytes: Vec<u8>, message: &MessageDescriptor) -> Vec<u8> {
    match is_marked(&bytes, message) {
        true => restored(&bytes, message),
        false => bytes,
    }
}

/// Whether a string in the message has such a character.
fn is_marked(bytes: &[u8], message: &MessageDescriptor) -> bool {
    fields(bytes)
        .flatten()
        .any(|field| match part(message, &field) {
            // Every such character begins so.
            Part::Text => field.content.windows(2).any(|pair| pair == [0xf4, 0x8f]),
            Part::Nested(inner) => is_marked(field.content, &inner),
            Part::Plain | Part::Unknown => false,
        })
}

fn restored(bytes: &[u8], message: &MessageDescriptor) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for field in fields(bytes).flatten() {
        match part(message, &field) {
            Part::Text => {
                let text = String::from_utf8_lossy(field.content);
                put(&mut out, field.number, &encoding::bytes(&text));
            }
            Part::Nested(inner) => put(&mut out, field.number, &restored(field.content, &inner)),
            Part::Plain | Part::Unknown => out.extend(field.whole),
        }
    }
    out
}

/// `new` with what `old`, from which it was made, has and the schema does not know: in the message itself and in each
/// of those inside it that stand at the same place. Layers that were put before the first one are no obstacle.
pub(crate) fn graft(new: &[u8], old: &[u8], message: &MessageDescriptor) -> Vec<u8> {
    let mut unknown: Vec<u8> = Vec::new();
    let mut inside: HashMap<u32, Vec<&[u8]>> = HashMap::new();
    for field in fields(old).flatten() {
        match part(message, &field) {
            Part::Unknown => unknown.extend(field.whole),
            Part::Nested(inner) => match sieve(field.content, &inner) {
                Ok(_) => inside.entry(field.number).or_default().push(field.content),
                Err(_) => unknown.extend(field.whole),
            },
            Part::Plain | Part::Text => {}
        }
    }
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for field in fields(new).flatten() {
        *counts.entry(field.number).or_default() += 1;
    }
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let mut out = Vec::with_capacity(new.len() + unknown.len());
    for field in fields(new).flatten() {
        let Part::Nested(inner) = part(message, &field) else {
            out.extend(field.whole);
            continue;
        };
        let olds = inside.get(&field.number).map_or(&[][..], Vec::as_slice);
        let is_layer = inner.full_name() == "caffe.LayerParameter";
        let before = match is_layer {
            true => counts[&field.number].saturating_sub(olds.len()),
            false => 0,
        };
        let k = seen.entry(field.number).or_default();
        let twin = k.checked_sub(before).and_then(|k| olds.get(k));
        *k += 1;
        match twin {
            Some(old) => put(&mut out, field.number, &graft(field.content, old, &inner)),
            None => out.extend(field.whole),
        }
    }
    out.extend(unknown);
    out
}

/// Adds a field with a length.
pub(crate) fn put(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{NetParameter, descriptors};
    use prost::{Message, Name};

    fn net() -> MessageDescriptor {
        let name = NetParameter::full_name();
        descriptors().get_message_by_name(&name).unwrap()
    }

    /// A field of one length, one of four bytes, and a number.
    fn field(number: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, number, content);
        out
    }

    fn fixed32(number: u32, value: [u8; 4]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(number, WireType::ThirtyTwoBit, &mut out);
        out.extend(value);
        out
    }

    #[test]
    fn every_number_that_forks_reuse_may_hold_anything() {
        for number in (101..=159).chain(200..=206) {
            for odd in [
                field(number, b"\x0d\x6f\x12\x83\x3a"),
                field(number, b"\xff\xff\xff"),
                field(number, b"\x0a\x7fcut"),
                field(number, b""),
                fixed32(number, [1, 2, 3, 4]),
                [&field(number, b"\x08")[..], &field(number, b"\x08\x01")].concat(),
            ] {
                let blob = field(
                    7,
                    &[field(7, b"\x0a\x01\x01"), field(5, &[0, 0, 128, 63])].concat(),
                );
                let layer = [field(1, b"ip"), odd.clone(), blob].concat();
                let bytes = sieve(&field(100, &layer), &net()).unwrap();
                let read = NetParameter::decode(&bytes[..]).unwrap();
                assert_eq!(read.layer[0].name(), "ip");
                assert_eq!(read.layer[0].blobs[0].data, [1.0], "{number} {odd:?}");
            }
        }
    }

    #[test]
    fn what_must_be_whole_is_an_error_elsewhere_it_is_left_out() {
        let layer = [field(1, b"ip"), field(7, &field(5, &[0, 0, 128]))].concat();
        let bytes = sieve(&field(100, &layer), &net());
        assert!(bytes.is_err() || NetParameter::decode(&bytes.unwrap()[..]).is_err());
        assert!(sieve(&field(100, &[0x0a, 9, b'i']), &net()).is_err());
        assert!(sieve(&[0x0a, 9, b'i'], &net()).is_err());
    }

    #[test]
    fn strings_of_any_bytes_go_in_and_out() {
        let bytes = [field(1, b"\xcd\xf8"), field(100, &field(1, b"ip\xff"))].concat();
        assert!(NetParameter::decode(&bytes[..]).is_err());
        let read = NetParameter::decode(&sieve(&bytes, &net()).unwrap()[..]).unwrap();
        assert_eq!(*encoding::bytes(read.layer[0].name()), *b"ip\xff");
        assert_eq!(restore(read.encode_to_vec(), &net()), bytes);
    }

    #[test]
    fn what_is_unknown_is_grafted_where_it_was() {
        let unknown = field(9000, b"fork");
        let odd = fixed32(143, [9; 4]);
        let inside = field(121, &[&[0x08, 1][..], &field(77, b"x")].concat());
        let layer = [field(1, b"pool"), odd.clone(), inside, unknown.clone()].concat();
        let old = [field(100, &layer), unknown.clone()].concat();
        let mut read = NetParameter::decode(&sieve(&old, &net()).unwrap()[..]).unwrap();
        read.layer.insert(0, Default::default());
        let new = graft(&read.encode_to_vec(), &old, &net());
        assert!(new.ends_with(&unknown));
        let layers: Vec<_> = fields(&new).flatten().filter(|f| f.number == 100).collect();
        assert!(layers[0].content.is_empty());
        let has = |part: &[u8]| layers[1].content.windows(part.len()).any(|w| w == part);
        assert!(has(&odd) && has(&unknown) && has(&field(77, b"x")));
        let again = NetParameter::decode(&sieve(&new, &net()).unwrap()[..]).unwrap();
        assert_eq!(again, read);
    }
}
