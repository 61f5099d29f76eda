//! Pictures into the databases that a new net trains and tests on.

use super::stock::{Raw, Stock};
use crate::data::convert::pixels;
use crate::data::datum::Channels;
use crate::data::encode::{Format, encode};
use crate::data::resize::resize;
use crate::data::writer::DatabaseWriter;
use crate::error;
use crate::proto::caffe::Datum;
use crate::proto::caffe::data_parameter::Db;
use crate::report::progress;
use crate::solver::signals::{Request, Signals};
use anyhow::{Result, bail};
use prost::Message;
use rayon::prelude::*;
use std::path::Path;

/// Pictures for each thread that are read at a time.
const CHUNK: usize = 16;

/// Bytes of pixels beyond which a database holds JPEG files.
const LARGE: usize = 2 << 30;

/// Unreadable pictures that are named.
const NAMED: usize = 5;

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

/// How pictures are stored.
pub(super) struct Form {
    /// 1 or 3.
    pub channels: usize,
    /// Height and width.
    pub side: usize,
    /// As JPEG files, not as pixels.
    coded: bool,
}

impl Form {
    /// That of `count` pictures: many large ones are coded.
    pub fn new(channels: usize, side: usize, count: usize) -> Self {
        Self {
            channels,
            side,
            coded: channels * side * side * count > LARGE,
        }
    }

    /// The planes of a picture in this form.
    fn planes(&self, raw: &Raw) -> Result<Vec<u8>> {
        let channels = match self.channels {
            1 => Channels::Gray,
            _ => Channels::Color,
        };
        let (planes, dims) = raw.decode(channels)?;
        let [own, h, w] = dims;
        let mut planes = match [h, w] == [self.side; 2] {
            true => planes,
            false => resize(&planes, dims, [self.side; 2]),
        };
        let area = self.side * self.side;
        match (own, self.channels) {
            // All planes of a gray picture are the same.
            (3, 1) => planes.truncate(area),
            (1, 3) => planes = planes.repeat(3),
            _ => {}
        }
        Ok(planes)
    }

    fn record(&self, planes: Vec<u8>, label: i32) -> Result<Datum> {
        let dims = [self.channels, self.side, self.side];
        if self.coded {
            return Ok(Datum {
                data: Some(encode(&planes, dims, Format::Jpeg)?),
                label: Some(label),
                encoded: Some(true),
                ..Datum::default()
            });
        }
        pixels(planes, dims, label)
    }
}

/// Writes the pictures `order` of `stock` into the new LMDB `target`; `None` if a signal stopped it.
pub(super) fn write(
    target: &Path,
    what: &str,
    (stock, order): (&Stock, &[usize]),
    form: &Form,
    classes: &[String],
    signals: &Signals,
) -> Result<Option<Written>> {
    let mut reader = stock.reader()?;
    let mut writer = DatabaseWriter::create(target, Db::Lmdb)?;
    let bar = progress::bar(what.to_string(), 0, order.len() as u64);
    let mut written = Written {
        of_class: vec![0; classes.len()],
        ..Written::default()
    };
    let mut sums = vec![0.0f64; form.channels];
    let chunk = CHUNK * rayon::current_num_threads();
    for (k, part) in order.chunks(chunk).enumerate() {
        if signals.peek() == Request::Stop {
            return Ok(None);
        }
        let raws: Result<Vec<(Raw, i32)>> = part
            .iter()
            .map(|i| Ok((reader.fetch(*i)?, stock.labels[*i])))
            .collect();
        let one = |(raw, label): &(Raw, i32)| {
            let planes = form.planes(raw)?;
            let means = means(&planes, form.channels);
            Ok((form.record(planes, *label)?.encode_to_vec(), means))
        };
        let read: Vec<Result<(Vec<u8>, Vec<f64>)>> = raws?.par_iter().map(one).collect();
        for (i, (record, number)) in read.into_iter().zip(part).enumerate() {
            bar.inc(1);
            match record {
                Ok((record, means)) => {
                    let key = format!("{:08}", k * chunk + i);
                    writer.put(key.as_bytes(), record)?;
                    sums.iter_mut().zip(means).for_each(|(s, m)| *s += m);
                    written.count += 1;
                    let class = usize::try_from(stock.labels[*number]).unwrap_or(usize::MAX);
                    if let Some(n) = written.of_class.get_mut(class) {
                        *n += 1;
                    }
                }
                Err(e) => {
                    written.unreadable += 1;
                    if written.unreadable <= NAMED {
                        error!("{}: {e:#}; it is left out", stock.name(*number));
                    }
                }
            }
        }
    }
    bar.finish_and_clear();
    if written.count == 0 {
        bail!(
            "none of the {} {what} pictures can be read (see above)",
            order.len()
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

/// The mean of each plane.
fn means(planes: &[u8], channels: usize) -> Vec<f64> {
    let area = (planes.len() / channels).max(1);
    let mean = |plane: &[u8]| plane.iter().map(|v| f64::from(*v)).sum::<f64>() / area as f64;
    planes.chunks_exact(area).map(mean).collect()
}
