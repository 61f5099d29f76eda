//! The course of a run as TensorBoard's event files: a folder a phase, in it a file a sitting.
//!
//! A file is a row of TFRecords (the length as 8 bytes, its checksum, the data, their checksum; little-endian), each an
//! `Event` message. Only the fields that are written here are described here. A sitting begins with a session start, from
//! whose step on TensorBoard forgets what earlier files of the folder say: so a resumed run shows as if it had never stopped.

use crate::files;
use anyhow::{Result, anyhow};
use prost::Message;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// tensorflow/core/util/event.proto.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// tensorflow/core/framework/summary.proto.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The status of a session that starts.
const START: i32 = 1;

/// An event file that is being written.
#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// A new file in `folder`; what earlier files there say from `step` on holds no more.
    ///
    /// # Errors
    /// The folder cannot be made, or the file not be written.
    pub(super) fn create(folder: &Path, step: u64) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
        let now = jiff::Timestamp::now();
        // TensorBoard reads the files of a folder in the order of their names.
        let name = format!(
            "events.out.tfevents.{:010}.{:09}.dsd.{}",
            now.as_second(),
            now.subsec_nanosecond(),
            std::process::id()
        );
        let path = folder.join(name);
        let file = File::options().append(true).create_new(true).open(&path);
        let file = file.map_err(|e| failed(&path, &e))?;
        let mut events = Self { path, file };
        let wall_time = seconds(now);
        events.write(&Event {
            wall_time,
            file_version: Some("brain.Event:2".to_owned()),
            ..Event::default()
        })?;
        events.write(&Event {
            wall_time,
            step: whole(step),
            session_log: Some(SessionLog { status: START }),
            ..Event::default()
        })?;
        Ok(events)
    }

    /// Writes the values of a point by their tags.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn point(
        &mut self,
        step: u64,
        time: jiff::Timestamp,
        values: &[(String, f64)],
    ) -> Result<()> {
        let scalar = |(tag, value): &(String, f64)| Scalar {
            tag: tag.clone(),
            simple_value: Some(*value as f32),
        };
        self.write(&Event {
            wall_time: seconds(time),
            step: whole(step),
            summary: Some(Summary {
                value: values.iter().map(scalar).collect(),
            }),
            ..Event::default()
        })
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        let bytes = record(&event.encode_to_vec());
        self.file
            .write_all(&bytes)
            .map_err(|e| failed(&self.path, &e))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow!("cannot write {}: {}", path.display(), files::reason(error))
}

fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_nanosecond() as f64 / 1e9
}

fn whole(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

/// A TFRecord of these data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend(length);
    out.extend(checksum(&length).to_le_bytes());
    out.extend(data);
    out.extend(checksum(data).to_le_bytes());
    out
}

/// CRC-32C, turned and moved: a checksum of data that hold checksums would else be weak.
fn checksum(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard_turned() {
        // RFC 3720, B.4: 32 bytes of 0.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        // Turned by 15 bits it is 0x6d551522; to that 0xa282ead8 is added.
        assert_eq!(checksum(&[0; 32]), 0x0fd7_fffa);
    }

    #[test]
    fn a_record_is_what_tensorflow_writes() {
        let event = Event {
            wall_time: 0.0,
            file_version: Some("brain.Event:2".to_owned()),
            ..Event::default()
        };
        let data = event.encode_to_vec();
        assert_eq!(data, b"\x1a\x0dbrain.Event:2");
        let all = record(&data);
        assert_eq!(all.len(), 8 + 4 + 15 + 4);
        assert_eq!(all[..8], [15, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn points_follow_the_session_that_they_are_of() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("a/dense");
        let mut events = Events::create(&home, 7).unwrap();
        let values = [("train/loss".to_owned(), 0.0), ("train/lr".to_owned(), 0.5)];
        events
            .point(9, jiff::Timestamp::UNIX_EPOCH, &values)
            .unwrap();
        let bytes = fs::read(&events.path).unwrap();
        let mut all = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let size = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], checksum(&rest[..8]).to_le_bytes());
            let data = &rest[12..12 + size];
            assert_eq!(rest[12 + size..16 + size], checksum(data).to_le_bytes());
            all.push(Event::decode(data).unwrap());
            rest = &rest[16 + size..];
        }
        let [version, start, point] = &all[..] else {
            panic!("{all:?}");
        };
        assert_eq!(version.file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!(
            (start.step, start.session_log.as_ref().unwrap().status),
            (7, START)
        );
        let value = &point.summary.as_ref().unwrap().value;
        assert_eq!((point.step, value.len()), (9, 2));
        assert_eq!(
            (&value[0].tag[..], value[0].simple_value),
            ("train/loss", Some(0.0))
        );
        // A second sitting's file comes after the first's.
        let second = Events::create(&home, 9).unwrap();
        assert!(second.path.file_name() > events.path.file_name());
    }
}
