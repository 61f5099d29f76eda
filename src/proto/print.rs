//! Messages as text that Caffe reads: one field a line, in the order of the field numbers, two spaces a level.
//!
//! prost-reflect's own printer writes lists as `[a, b]`, which the protobuf of Caffe's days cannot read.

use std::fmt::Write;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, Kind, ReflectMessage, Value};

/// The text form of a message, ending in a new line; empty for an empty message.
pub fn print<M: Message + Name>(message: &M) -> String {
    let mut text = String::new();
    let root = super::descriptors().get_message_by_name(&M::full_name());
    // Both steps fail only for a type outside the schema.
    let bytes = message.encode_to_vec();
    if let Some(dynamic) = root.and_then(|r| DynamicMessage::decode(r, bytes.as_slice()).ok()) {
        print_fields(&dynamic, 0, &mut text);
    }
    text
}

/// Every field of the outermost level by name, printed; a scalar that is not set as its default.
pub fn by_field<M: Message + Name>(message: &M) -> Vec<(String, String)> {
    let root = super::descriptors().get_message_by_name(&M::full_name());
    let bytes = message.encode_to_vec();
    let dynamic = root.and_then(|r| DynamicMessage::decode(r, bytes.as_slice()).ok());
    let Some(dynamic) = dynamic else {
        return Vec::new();
    };
    let field = |field: prost_reflect::FieldDescriptor| {
        let (value, kind) = (dynamic.get_field(&field), field.kind());
        let text = match value.as_ref() {
            Value::List(values) => {
                let values = values.iter().map(|v| whole(v, &kind));
                values.collect::<Vec<_>>().join(", ")
            }
            value => whole(value, &kind),
        };
        (field.name().to_owned(), text)
    };
    dynamic.descriptor().fields().map(field).collect()
}

fn whole(value: &Value, kind: &Kind) -> String {
    match value {
        Value::Message(inner) => {
            let mut text = String::new();
            print_fields(inner, 0, &mut text);
            format!(
                "{{ {} }}",
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            )
        }
        value => scalar(value, kind),
    }
}

fn print_fields(message: &DynamicMessage, depth: usize, text: &mut String) {
    let mut fields: Vec<_> = message.fields().collect();
    fields.sort_by_key(|(field, _)| field.number());
    for (field, value) in fields {
        let kind = field.kind();
        match value {
            Value::List(values) => {
                for value in values {
                    print_field(field.name(), value, &kind, depth, text);
                }
            }
            value => print_field(field.name(), value, &kind, depth, text),
        }
    }
}

fn print_field(name: &str, value: &Value, kind: &Kind, depth: usize, text: &mut String) {
    let indent = depth * 2;
    if let Value::Message(inner) = value {
        let _ = writeln!(text, "{:indent$}{name} {{", "");
        print_fields(inner, depth + 1, text);
        let _ = writeln!(text, "{:indent$}}}", "");
    } else {
        let _ = writeln!(text, "{:indent$}{name}: {}", "", scalar(value, kind));
    }
}

fn scalar(value: &Value, kind: &Kind) -> String {
    match value {
        Value::Bool(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::U32(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        Value::F32(v) => float(f64::from(*v), &format!("{v:e}")),
        Value::F64(v) => float(*v, &format!("{v:e}")),
        Value::String(v) => quoted(v.as_bytes()),
        Value::Bytes(v) => quoted(v),
        Value::EnumNumber(number) => {
            let named = kind.as_enum().and_then(|e| e.get_value(*number));
            named.map_or_else(|| number.to_string(), |v| v.name().to_owned())
        }
        // Lists and messages are handled above; the schema has no maps.
        Value::List(_) | Value::Message(_) | Value::Map(_) => String::new(),
    }
}

/// The shortest digits that read back the same, laid out as C's `%g` does: `0.1`, `1e-05`, `1e+06`.
///
/// `shortest` is Rust's `{:e}` of the value in its own width.
fn float(value: f64, shortest: &str) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // protobuf tries 6 digits first, then all that the type has.
    let precision = [6, 9, 17].into_iter().find(|&p| digits <= p).unwrap_or(17);
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|&c| c != '.').collect();
    let plain = match usize::try_from(exponent) {
        Err(_) => format!("0.{}{digits}", "0".repeat((-exponent - 1) as usize)),
        Ok(e) if digits.len() > e + 1 => format!("{}.{}", &digits[..=e], &digits[e + 1..]),
        Ok(e) => format!("{digits}{}", "0".repeat(e + 1 - digits.len())),
    };
    format!("{sign}{plain}")
}

/// A quoted string: UTF-8 as it is, other bytes in octal.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_ascii_control() => {
                    let _ = write!(text, "\\{:03o}", u32::from(c));
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
    text.push('"');
    text
}
