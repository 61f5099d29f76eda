//! Pictures into the databases that a new net trains and tests on.

use crate::data::convert::{Conversion, Storage};
use crate::data::datum::{Channels, decode_picture};
use crate::data::writer::DatabaseWriter;
use crate::error;
use crate::files::encoding;
use crate::proto::caffe::Datum;
use crate::proto::caffe::data_parameter::Db;
use crate::report::progress;
use crate::solver::signals::{Request, Signals};
use anyhow::{Result, bail};
use prost::Message;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Pictures for each thread that are read at a time.
const CHUNK: usize = 16;

/// Bytes of pixels beyond which a database holds JPEG files.
const LARGE: usize = 2 << 30;

/// Unreadable pictures that are named.
const NAMED: usize = 5;

/// A picture, and its class.
pub(super) type Item<'a> = (&'a PathBuf, i32);

/// What has been written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Records.
    pub count: usize,
    /// Pictures that cannot be read.
    pub unreadable: usize,
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// Records of each class.
    pub of_class: Vec<usize>,
}

/// How pictures of `size` (channels, side) are stored, `count` of them.
pub(super) fn conversion([channels, side]: [usize; 2], count: usize) -> Conversion {
    let bytes = channels * side * side * count;
    Conversion {
        gray: channels == 1,
        size: Some([side, side]),
        storage: match bytes > LARGE {
            true => Storage::FileOf("jpg".to_string()),
            false => Storage::Pixels,
        },
    }
}

/// Writes the pictures in their order into the new LMDB `target`; `None` if a signal stopped it.
pub(super) fn write(
    target: &Path,
    what: &str,
    items: &[Item],
    conversion: &Conversion,
    classes: &[String],
    signals: &Signals,
) -> Result<Option<Written>> {
    let mut writer = DatabaseWriter::create(target, Db::Lmdb)?;
    let bar = progress::bar(what.to_string(), 0, items.len() as u64);
    let mut written = Written {
        of_class: vec![0; classes.len()],
        ..Written::default()
    };
    let mut sums = vec![0.0f64; if conversion.gray { 1 } else { 3 }];
    let chunk = CHUNK * rayon::current_num_threads();
    for (k, part) in items.chunks(chunk).enumerate() {
        if signals.peek() == Request::Stop {
            return Ok(None);
        }
        let one = |(path, label): &Item| {
            let (datum, _) = conversion.read(path, *label)?;
            let means = means(&datum, conversion.gray)?;
            Ok((datum.encode_to_vec(), means))
        };
        let read: Vec<Result<(Vec<u8>, Vec<f64>)>> = part.par_iter().map(one).collect();
        for (i, (record, (path, label))) in read.into_iter().zip(part).enumerate() {
            bar.inc(1);
            match record {
                Ok((record, means)) => {
                    let name = path.file_name().unwrap_or_default();
                    let key = format!("{:08}_{}", k * chunk + i, encoding::name(Path::new(name)));
                    writer.put(&encoding::bytes(&key), record)?;
                    sums.iter_mut().zip(means).for_each(|(s, m)| *s += m);
                    written.count += 1;
                    let class = usize::try_from(*label).unwrap_or(usize::MAX);
                    if let Some(n) = written.of_class.get_mut(class) {
                        *n += 1;
                    }
                }
                Err(e) => {
                    written.unreadable += 1;
                    if written.unreadable <= NAMED {
                        error!("{}: {e:#}; it is left out", path.display());
                    }
                }
            }
        }
    }
    bar.finish_and_clear();
    if written.count == 0 {
        bail!(
            "none of the {} {what} pictures can be read (see above)",
            items.len()
        );
    }
    written.mean = sums
        .iter()
        .map(|s| (s / written.count as f64 * 100.0).round() as f32 / 100.0)
        .collect();
    writer.put_classes(classes)?;
    writer.finish()?;
    Ok(Some(written))
}

/// The mean of each plane of a record.
fn means(datum: &Datum, gray: bool) -> Result<Vec<f64>> {
    let mut decoded = Vec::new();
    let planes = match datum.encoded() {
        true => {
            let channels = if gray {
                Channels::Gray
            } else {
                Channels::Color
            };
            decode_picture(datum.data(), channels, &mut decoded)?;
            &decoded[..]
        }
        false => datum.data(),
    };
    let channels = if gray { 1 } else { 3 };
    let area = (planes.len() / channels).max(1);
    let mean = |plane: &[u8]| plane.iter().map(|v| f64::from(*v)).sum::<f64>() / area as f64;
    Ok(planes.chunks_exact(area).map(mean).collect())
}
