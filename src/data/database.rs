//! Caffe's Data layer: batches of pictures and labels from a database.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::about::About;
use super::bad_records::BadRecords;
use super::batch::Rows;
use super::class_list;
use super::datum::picture;
use super::decoders::Decoders;
use super::pictures::Stored;
use super::records::Records;
use super::shuffle::Shuffle;
use super::transform::Transform;
use super::{Options, Source, by_x, check_batch, expect_arrays, records};
use crate::memory;
use crate::proto::caffe::{Datum, LayerParameter};
use crate::tensor::Shape;

/// Batch `i` is the records from `i * batch_size` on, beginning again at the end of the data. Its shape is that of
/// its first picture, as in Caffe: with batch_size 1, pictures may have different sizes.
pub struct DataLayer {
    /// `data_param.shuffle`, of Intel's and NVIDIA's forks: another order in each round.
    shuffle: Option<Shuffle>,
    records: Box<dyn Records>,
    bad: BadRecords,
    transform: Arc<Transform>,
    batch: usize,
    /// Channels, height, width of the first picture, transformed.
    dims: [usize; 3],
    /// Bytes that the first picture takes while it waits.
    stored: u128,
    labels: bool,
    about: About,
    /// The records of a batch, as they come from the database.
    datums: Vec<Datum>,
}

/// A record of a batch and the picture that is made of it.
struct Slot<'a> {
    number: u64,
    datum: &'a mut Datum,
    stored: &'a mut Stored,
    /// Channels, height and width that the net will see.
    dims: [usize; 3],
}

impl DataLayer {
    /// Opens the database of a layer of type Data. The first record tells the shape.
    pub fn open(param: &LayerParameter, options: &Options) -> Result<Self> {
        let data = param.data_param.clone().unwrap_or_default();
        let labels = match param.top.len() {
            1 => false,
            2 => true,
            n => bail!("expected 1 top (data) or 2 (data and label), found {n}"),
        };
        let batch = data.batch_size() as usize;
        ensure!(
            batch > 0,
            "data_param has no batch_size, or 0; expected at least 1"
        );
        if data.rand_skip() > 0 {
            (options.warn)("data_param.rand_skip is ignored, as in Caffe 1.0");
        }
        let source = match &options.source {
            Some(path) => path.into(),
            None if data.source().is_empty() || data.source().starts_with("builtin:") => {
                data.source().into()
            }
            None => (options.resolve)(data.source()),
        };
        let records = records::open_part(&source, &data)?;
        let transform_param = param.transform_param.clone().unwrap_or_default();
        let random = options.random(param.name());
        let transform = Transform::new(
            &transform_param,
            options.mode.of(param),
            random,
            options.resolve,
        )?;
        if transform_param.emit_constraint.is_some() {
            (options.warn)(
                "transform_param.emit_constraint (of the SSD family's forks) is ignored: it is about boxes, not pictures",
            );
        }
        let mut layer = Self {
            shuffle: data
                .shuffle()
                .then(|| Shuffle::new(options.shuffle(param.name()))),
            transform: Arc::new(transform),
            batch,
            dims: [0; 3],
            stored: 0,
            labels,
            about: about(param.name(), &source, batch, &*records)?,
            records,
            bad: BadRecords::new(options.skip_bad),
            datums: Vec::new(),
        };
        let encoded = layer.look_at_first()?;
        if !encoded && (transform_param.force_color() || transform_param.force_gray()) {
            (options.warn)(
                "force_color and force_gray change encoded pictures only, and these are not encoded",
            );
        }
        Ok(layer)
    }

    /// Learns from the first picture how large they are; returns whether it is encoded.
    fn look_at_first(&mut self) -> Result<bool> {
        let (mut datum, mut stored) = (Datum::default(), Stored::default());
        let count = self.records.count();
        loop {
            let record = self.bad.good(0, count);
            let looked = self.look_at(record, &mut datum, &mut stored);
            match looked {
                Ok((dims, encoded)) => {
                    self.dims = dims;
                    self.stored = (stored.bytes.len() + 4 * stored.floats.len()) as u128;
                    check_batch(self.batch, &self.dims, "pictures")?;
                    return Ok(encoded);
                }
                Err(error) => self.bad.note(record, count, error)?,
            }
        }
    }

    fn look_at(
        &mut self,
        record: u64,
        datum: &mut Datum,
        stored: &mut Stored,
    ) -> Result<([usize; 3], bool)> {
        self.records.read(record, datum)?;
        let encoded = datum.encoded();
        let dims = decode(&self.transform, record, datum, stored);
        Ok((dims.with_context(|| place(&*self.records))?, encoded))
    }

    /// The record that is number `number` of the run.
    fn record(&mut self, number: u64) -> Result<u64> {
        let count = self.records.count();
        let record = match &mut self.shuffle {
            Some(shuffle) => shuffle.record(number, count)?,
            None => number % count,
        };
        Ok(self.bad.good(record, count))
    }

    /// Fetches records from number `first` of the run on, until one fails; returns how many came.
    fn fetch(&mut self, first: u64, stored: &mut [Stored]) -> (usize, Result<()>) {
        let mut datums = std::mem::take(&mut self.datums);
        datums.resize_with(stored.len(), Datum::default);
        let mut fetched = (0, Ok(()));
        for (i, (datum, stored)) in datums.iter_mut().zip(stored).enumerate() {
            if !datum.encoded() {
                // What is not encoded comes to where it will wait.
                datum.data = Some(std::mem::take(&mut stored.bytes));
                datum.float_data = std::mem::take(&mut stored.floats);
            }
            let record = self.record(first.wrapping_add(i as u64));
            if let Err(error) = record.and_then(|record| self.records.read(record, datum)) {
                fetched.1 = Err(error);
                break;
            }
            fetched.0 += 1;
        }
        self.datums = datums;
        fetched
    }

    /// Reads the batch from number `first` of the run on. The inner error is that of the picture with the place it has in the
    /// batch.
    fn attempt(
        &mut self,
        first: u64,
        out: &mut [Rows],
        decoders: &Decoders,
    ) -> Result<Result<(), (usize, anyhow::Error)>> {
        let transform = self.transform.clone();
        let (data, labels) = out.split_at_mut(1);
        let data = data[0].pictures(&transform);
        let stored = data.begin(first, self.batch);
        let (count, fetched) = self.fetch(first, stored);

        let mut slots: Vec<Slot> = (self.datums.iter_mut().zip(stored).take(count).enumerate())
            .map(|(i, (datum, stored))| Slot {
                number: first.wrapping_add(i as u64),
                datum,
                stored,
                dims: [0; 3],
            })
            .collect();
        let work = |_, slot: &mut Slot| {
            slot.dims = decode(&transform, slot.number, slot.datum, slot.stored)?;
            Ok(())
        };
        let long = transform.augments() || slots.iter().any(|s| s.datum.encoded());
        let decoded = if long {
            decoders.each(&mut slots, work)
        } else {
            Decoders::new(1).each(&mut slots, work)
        };
        // The first mistake in order is told: of the pictures before the one that failed, if any.
        let whole = decoded.as_ref().map_or_else(|(i, _)| *i, |()| count);
        let leads = slots.first().map(|s| s.dims);
        let wanted = self.bad.shape_of(self.batch, leads, self.dims);
        let unlike = slots[..whole].iter().position(|s| s.dims != wanted);
        if let Some(i) = unlike {
            let (number, found) = (slots[i].number, slots[i].dims);
            let unlike = check_alike(wanted, found);
            return Ok(unlike.map_err(|e| (i, self.at(number, e))));
        }
        if let Err((i, e)) = decoded {
            return Ok(Err((i, self.at(first.wrapping_add(i as u64), e))));
        }
        if let Err(e) = fetched {
            return Ok(Err((count, e)));
        }

        data.finish(wanted);
        if let Some(labels) = labels.first_mut() {
            let labels = labels.floats(&Shape::new([self.batch]))?;
            let found = self.datums.iter().map(|d| d.label() as f32);
            labels.data.iter_mut().zip(found).for_each(|(l, f)| *l = f);
        }
        Ok(Ok(()))
    }

    /// What is wrong with record `number` of the run, with its key.
    fn at(&mut self, number: u64, error: anyhow::Error) -> anyhow::Error {
        // Once more, for its key.
        let record = self.record(number);
        match record.and_then(|record| self.records.read(record, &mut Datum::default())) {
            Ok(()) => error.context(place(&*self.records)),
            Err(_) => error,
        }
    }
}

/// Makes the picture that will wait of a record. Returns the channels, height and width that the net will see.
fn decode(
    transform: &Transform,
    number: u64,
    datum: &mut Datum,
    stored: &mut Stored,
) -> Result<[usize; 3]> {
    stored.dims = picture(datum, transform.channels(), &mut stored.bytes)?.dims;
    stored.floats.clear();
    if !datum.encoded() {
        stored.bytes = datum.data.take().unwrap_or_default();
        if stored.bytes.is_empty() {
            stored.floats = std::mem::take(&mut datum.float_data);
        }
    }
    transform.prepare(stored, number)
}

/// Checks that pictures come out like the first of their batch.
fn check_alike(wanted: [usize; 3], found: [usize; 3]) -> Result<()> {
    ensure!(
        wanted == found,
        "expected {} (channels, height, width) like the first record of its batch, found {}; only \
         batch_size 1 takes pictures of different sizes",
        by_x(&wanted),
        by_x(&found)
    );
    Ok(())
}

/// What a database says of itself.
fn about(layer: &str, source: &Path, batch: usize, records: &dyn Records) -> Result<About> {
    let folder = if source.is_file() {
        source.parent()
    } else {
        Some(source)
    };
    let classes = folder.map(class_list::of).transpose()?.flatten();
    Ok(About {
        layer: layer.to_string(),
        source: records.name(),
        batch,
        samples: records.count(),
        classes: classes.unwrap_or_default(),
        labels: None,
    })
}

/// The record that was read last, for messages.
fn place(records: &dyn Records) -> String {
    format!("record '{}' of {}", records.key(), records.name())
}

impl Source for DataLayer {
    fn shapes(&self) -> Vec<Shape> {
        let [c, h, w] = self.dims;
        let mut shapes = vec![Shape::new([self.batch, c, h, w])];
        if self.labels {
            shapes.push(Shape::new([self.batch]));
        }
        shapes
    }

    /// Records are fetched one after the other and decoded on several threads; anew where one is left out.
    fn load(&mut self, index: u64, out: &mut [Rows], decoders: &Decoders) -> Result<()> {
        expect_arrays(1 + usize::from(self.labels), out.len())?;
        let first = index.wrapping_mul(self.batch as u64);
        loop {
            let Err((i, error)) = self.attempt(first, out, decoders)? else {
                return Ok(());
            };
            let record = self.record(first.wrapping_add(i as u64))?;
            let count = self.records.count();
            self.bad.note(record, count, error)?;
        }
    }

    fn batch_bytes(&self) -> u128 {
        let labels = if self.labels { memory::floats(1) } else { 0 };
        self.batch as u128 * (self.stored + labels)
    }

    fn rest(&mut self) {
        self.datums = Vec::new();
    }

    fn samples(&self) -> Option<u64> {
        Some(self.records.count())
    }

    fn about(&self) -> Vec<About> {
        vec![About {
            labels: self.labels.then_some(1),
            ..self.about.clone()
        }]
    }
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
