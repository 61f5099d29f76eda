//! A database: how many records, what pictures, which labels.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Description, bytes_of, counted, noted, things};
use crate::data::datum::{Channels, Pixels, picture};
use crate::data::records::{self, Records};
use crate::proto::caffe::{Datum, data_parameter::Db};
use crate::report::human::HumanBytes;
use crate::report::progress;
use crate::report::table::{Align, Table};

/// A larger database is sampled, if it has more records than a sample.
const READ_WHOLE: u64 = 1 << 30;
/// Records of a sample.
const SAMPLE: u64 = 10_000;
/// Keys that are shown.
const KEYS: u64 = 3;
/// More classes than this are told in one line.
const CLASSES_SHOWN: usize = 20;

/// What was read.
#[derive(Default)]
struct Survey {
    keys: Vec<String>,
    /// Of the first record: channels, height, width.
    shape: [usize; 3],
    /// `bytes`, `floats`, or the format of encoded pictures.
    stored: String,
    encoded: bool,
    /// Raw pictures whose size is not the first one's.
    others: u64,
    labels: BTreeMap<i32, u64>,
    unlabelled: u64,
    /// The number of records read.
    read: u64,
}

/// Describes the database `path`, or a `builtin:` data set.
pub fn describe(path: &Path) -> Result<Description> {
    let backend = match path.join("CURRENT").is_file() {
        true => Db::Leveldb,
        false => Db::Lmdb,
    };
    let mut records = records::open(path, backend)?;
    let bytes = match path.exists() {
        true => Some(bytes_of(path)?),
        false => None,
    };
    let count = records.count();
    let step = match bytes {
        Some(bytes) if bytes > READ_WHOLE && count > SAMPLE => count.div_ceil(SAMPLE),
        _ => 1,
    };
    let survey = survey(&mut *records, step)?;
    let mut notes = Vec::new();
    if survey.read < count {
        notes.push(format!(
            "labels and sizes are those of a sample: every {step}th record, {} in all",
            counted(survey.read as usize)
        ));
    }
    if survey.others > 0 {
        let others = counted(survey.others as usize);
        notes.push(format!(
            "{others} pictures have another size than the first: no net can read them raw"
        ));
    }
    if survey.unlabelled > 0 && !survey.labels.is_empty() {
        notes.push(format!(
            "{} have no label",
            things(survey.unlabelled as usize, "record")
        ));
    }
    Ok(Description {
        text: text(path, count, bytes, &survey, &notes),
        json: to_json(count, bytes, &survey, &notes),
    })
}

fn survey(records: &mut dyn Records, step: u64) -> Result<Survey> {
    let mut survey = Survey::default();
    let mut datum = Datum::default();
    let count = records.count();
    for i in 0..count.min(KEYS) {
        records.read(i, &mut datum)?;
        survey.keys.push(records.key());
        if i == 0 {
            first(&mut survey, &datum)
                .with_context(|| format!("record '{}' of {}", records.key(), records.name()))?;
        }
    }
    let sizes = |d: &Datum| [d.channels(), d.height(), d.width()];
    let usual = survey.shape.map(|d| i32::try_from(d).unwrap_or(0));
    let bar = progress::bar("reading", 0, count.div_ceil(step));
    for i in (0..count).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        records.read(i, &mut datum)?;
        match datum.label {
            Some(label) => *survey.labels.entry(label).or_default() += 1,
            None => survey.unlabelled += 1,
        }
        survey.others += u64::from(!datum.encoded() && sizes(&datum) != usual);
        survey.read += 1;
        bar.inc(1);
    }
    Ok(survey)
}

/// The shape and form of the first record.
fn first(survey: &mut Survey, datum: &Datum) -> Result<()> {
    let mut decoded = Vec::new();
    let picture = picture(datum, Channels::AsStored, &mut decoded)?;
    survey.shape = picture.dims;
    survey.encoded = datum.encoded();
    survey.stored = match (datum.encoded(), picture.pixels) {
        (true, _) => {
            let format = image::guess_format(datum.data());
            format.map_or("encoded".into(), |f| format!("{f:?}").to_uppercase())
        }
        (false, Pixels::Bytes(_)) => "bytes".into(),
        (false, Pixels::Floats(_)) => "floats".into(),
    };
    Ok(())
}

fn text(path: &Path, count: u64, bytes: Option<u64>, survey: &Survey, notes: &[String]) -> String {
    let [c, h, w] = survey.shape;
    let size = bytes.map_or(String::new(), |b| format!(", {}", HumanBytes(b)));
    let mut facts = Table::new([("field", Align::Left), ("value", Align::Left)]);
    facts.row(["records".to_string(), counted(count as usize)]);
    let dots = if count > KEYS { ", …" } else { "" };
    facts.row(["keys".to_string(), survey.keys.join(", ") + dots]);
    let stored = &survey.stored;
    let form = match survey.encoded {
        true => format!(
            "{c} x {h} x {w} (channels, height, width) in the first record, encoded as {stored}"
        ),
        false => format!("{c} x {h} x {w} (channels, height, width), raw {stored}"),
    };
    facts.row(["picture".to_string(), form]);
    facts.row(["labels".to_string(), labels(survey)]);
    let mut text = format!("{}: a database{size}\n{}", path.display(), facts.shown());
    if (2..=CLASSES_SHOWN).contains(&survey.labels.len()) {
        let mut table = Table::new([("label", Align::Right), ("records", Align::Right)]);
        for (label, n) in &survey.labels {
            table.row([label.to_string(), counted(*n as usize)]);
        }
        text += &format!("\n{}", table.shown());
    }
    text + &noted(notes)
}

/// The labels in one line.
fn labels(survey: &Survey) -> String {
    let range = survey.labels.keys().next().zip(survey.labels.keys().last());
    let Some((first, last)) = range else {
        return "none".to_string();
    };
    let sizes = survey.labels.values().map(|&n| n as usize);
    let least = sizes.clone().min().unwrap_or(0);
    let most = sizes.max().unwrap_or(0);
    let each = if least == most {
        counted(least)
    } else {
        format!("{} to {}", counted(least), counted(most))
    };
    let n = survey.labels.len();
    let classes = counted(n) + if n == 1 { " class" } else { " classes" };
    format!("{first} to {last}: {classes} of {each} records")
}

fn to_json(count: u64, bytes: Option<u64>, survey: &Survey, notes: &[String]) -> Value {
    let classes: serde_json::Map<String, Value> = survey
        .labels
        .iter()
        .map(|(label, n)| (label.to_string(), (*n).into()))
        .collect();
    json!({
        "kind": "database",
        "records": count,
        "bytes": bytes,
        "keys": survey.keys,
        "shape": survey.shape,
        "encoded": survey.encoded,
        "stored": survey.stored,
        "labels": {
            "min": survey.labels.keys().next(),
            "max": survey.labels.keys().last(),
            "classes": classes,
        },
        "records_read": survey.read,
        "notes": notes,
    })
}
