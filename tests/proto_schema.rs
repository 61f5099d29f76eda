//! The schema against the list of Caffe's fields and enum values in `../shared/facts`.

use dsd::proto::descriptors;
use prost_reflect::{Cardinality, Kind, MessageDescriptor, Value};

/// Messages of the SSD family.
const OF_FORKS: [&str; 12] = [
    "ResizeParameter",
    "SaltPepperParameter",
    "NoiseParameter",
    "DistortionParameter",
    "ExpansionParameter",
    "EmitConstraint",
    "LabelNoise",
    "ROIPoolingParameter",
    "SmoothL1LossParameter",
    "PermuteParameter",
    "NormalizeParameter",
    "ShuffleChannelParameter",
];

fn facts(name: &str) -> Option<Vec<Vec<String>>> {
    let path = format!("../shared/facts/{name}");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no {path}");
        return None;
    };
    let rows = text
        .lines()
        .skip(1)
        .map(|l| l.split('\t').map(str::to_owned).collect());
    Some(rows.collect())
}

fn message(name: &str) -> MessageDescriptor {
    let found = descriptors().get_message_by_name(&format!("caffe.{name}"));
    found.unwrap_or_else(|| panic!("no message {name}"))
}

fn type_name(kind: &Kind) -> String {
    let short = |name: &str| name.trim_start_matches("caffe.").to_owned();
    match kind {
        Kind::Message(m) => format!("message:{}", short(m.full_name())),
        Kind::Enum(e) => format!("enum:{}", short(e.full_name())),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn default(value: &Value, kind: &Kind) -> String {
    match value {
        Value::EnumNumber(n) => kind
            .as_enum()
            .unwrap()
            .get_value(*n)
            .unwrap()
            .name()
            .to_owned(),
        Value::String(s) => s.clone(),
        Value::F32(v) => v.to_string(),
        other => other.to_string(),
    }
}

#[test]
fn every_field_of_caffe_is_there() {
    let Some(rows) = facts("caffe_schema.tsv") else {
        return;
    };
    assert_eq!(rows.len(), 423);
    for row in &rows {
        let [
            name,
            field,
            number,
            label,
            kind,
            default_value,
            packed,
            deprecated,
            ..,
        ] = row.as_slice()
        else {
            panic!("a short row: {row:?}");
        };
        let found = message(name).get_field_by_name(field);
        let found = found.unwrap_or_else(|| panic!("no field {name}.{field}"));
        let label_found = match found.cardinality() {
            Cardinality::Optional => "optional",
            Cardinality::Required => "required",
            Cardinality::Repeated => "repeated",
        };
        assert_eq!(found.number().to_string(), *number, "{name}.{field}");
        assert_eq!(label_found, label, "{name}.{field}");
        assert_eq!(type_name(&found.kind()), *kind, "{name}.{field}");
        assert_eq!(found.is_packed(), packed == "yes", "{name}.{field}");
        let options = found
            .field_descriptor_proto()
            .options
            .clone()
            .unwrap_or_default();
        assert_eq!(options.deprecated(), deprecated == "yes", "{name}.{field}");
        let stated = found.field_descriptor_proto().default_value.is_some();
        assert_eq!(stated, !default_value.is_empty(), "{name}.{field}");
        if stated {
            let value = default(&found.default_value(), &found.kind());
            let same = value == *default_value
                || matches!((value.parse::<f64>(), default_value.parse::<f64>()), (Ok(a), Ok(b)) if a == b);
            assert!(same, "{name}.{field}: default {value}, not {default_value}");
        }
    }
}

#[test]
fn nothing_is_there_that_caffe_lacks_but_our_own_fields() {
    let Some(rows) = facts("caffe_schema.tsv") else {
        return;
    };
    for message in descriptors()
        .all_messages()
        .filter(|m| !m.name().starts_with("Dsd"))
    {
        for field in message.fields() {
            let known = rows
                .iter()
                .any(|r| r[0] == message.name() && r[1] == field.name());
            // What is not Caffe's has numbers that no Caffe uses, so that binary files of forks are not misread.
            let ours = field.number() >= 7001 || OF_FORKS.contains(&message.name());
            assert!(known || ours, "{} is not Caffe's", field.full_name());
        }
    }
}

#[test]
fn every_enum_value_of_caffe_is_there() {
    let Some(rows) = facts("caffe_enums.tsv") else {
        return;
    };
    assert_eq!(rows.len(), 111);
    for row in &rows {
        let [name, scope, value, number] = row.as_slice() else {
            panic!("a short row: {row:?}")
        };
        let full = if scope.is_empty() {
            format!("caffe.{name}")
        } else {
            format!("caffe.{scope}.{name}")
        };
        let found = descriptors()
            .get_enum_by_name(&full)
            .unwrap_or_else(|| panic!("no enum {full}"));
        let found = found
            .get_value_by_name(value)
            .unwrap_or_else(|| panic!("no value {full}.{value}"));
        assert_eq!(found.number().to_string(), *number, "{full}.{value}");
    }
    let of_caffe = descriptors().all_enums().filter(|e| {
        let parent = e.parent_message();
        !parent.is_some_and(|m| OF_FORKS.contains(&m.name()))
    });
    let ours: usize = of_caffe.map(|e| e.values().count()).sum();
    assert_eq!(ours, rows.len());
}

#[test]
fn the_state_of_a_run_lies_in_a_field_that_caffe_skips() {
    let dsd = message("SolverState")
        .get_field_by_name("dsd")
        .expect("the field dsd");
    assert_eq!(
        (dsd.number(), type_name(&dsd.kind())),
        (7001, "message:DsdState".to_owned())
    );
}

#[test]
fn the_codebook_of_a_blob_lies_in_a_field_that_caffe_skips() {
    let dsd = message("BlobProto")
        .get_field_by_name("dsd")
        .expect("the field dsd");
    assert_eq!(
        (dsd.number(), type_name(&dsd.kind())),
        (7001, "message:DsdCodebook".to_owned())
    );
}
