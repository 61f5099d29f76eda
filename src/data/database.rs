//! Caffe's Data layer: batches of pictures and labels from a database.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::about::About;
use super::class_list;
use super::datum::picture;
use super::records::Records;
use super::shuffle::Shuffle;
use super::transform::Transform;
use super::{Options, Source, by_x, check_batch, records};
use crate::proto::caffe::{Datum, LayerParameter};
use crate::tensor::{Shape, Tensor};

/// Batch `i` is the records from `i * batch_size` on, beginning again at the end of the data. Its shape is that of
/// its first picture, as in Caffe: with batch_size 1, pictures may have different sizes.
pub struct DataLayer {
    /// `data_param.shuffle`, of Intel's and NVIDIA's forks: another order in each round.
    shuffle: Option<Shuffle>,
    records: Box<dyn Records>,
    transform: Transform,
    batch: usize,
    /// Channels, height, width of a transformed picture.
    dims: [usize; 3],
    labels: bool,
    about: About,
    datum: Datum,
    decoded: Vec<u8>,
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
        let records = records::open(&source, data.backend())?;
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
            transform,
            batch,
            dims: [0; 3],
            labels,
            about: about(param.name(), &source, batch, &*records)?,
            records,
            datum: Datum::default(),
            decoded: Vec::new(),
        };
        layer.dims = layer.first_dims()?;
        if !layer.datum.encoded() && (transform_param.force_color() || transform_param.force_gray())
        {
            (options.warn)(
                "force_color and force_gray change encoded pictures only, and these are not encoded",
            );
        }
        Ok(layer)
    }

    /// The size of the first picture when transformed.
    fn first_dims(&mut self) -> Result<[usize; 3]> {
        self.records.read(0, &mut self.datum)?;
        let picture = picture(&self.datum, self.transform.channels(), &mut self.decoded);
        let dims = picture.and_then(|p| self.transform.output(p.dims));
        let dims = dims.with_context(|| place(&*self.records))?;
        check_batch(self.batch, &dims, "pictures")?;
        Ok(dims)
    }

    /// Reads record `number` of the run into place `i` of a batch; returns its label. The first gives the batch its
    /// shape.
    fn read_one(&mut self, number: u64, i: usize, batch: &mut Tensor) -> Result<i32> {
        let count = self.records.count();
        let record = match &mut self.shuffle {
            Some(shuffle) => shuffle.record(number, count),
            None => number % count,
        };
        self.records.read(record, &mut self.datum)?;
        let mut transform = || {
            let picture = picture(&self.datum, self.transform.channels(), &mut self.decoded)?;
            let dims = self.transform.output(picture.dims)?;
            let [c, h, w] = dims;
            if i == 0 {
                batch.reshape(Shape::new([self.batch, c, h, w]))?;
            }
            ensure!(
                batch.shape.dims()[1..] == dims,
                "expected {} (channels, height, width) like the first record of its batch, found {}; only \
                 batch_size 1 takes pictures of different sizes",
                by_x(&batch.shape.dims()[1..]),
                by_x(&dims)
            );
            let count = c * h * w;
            self.transform
                .apply(&picture, number, &mut batch.data[i * count..][..count])
        };
        transform().with_context(|| place(&*self.records))?;
        Ok(self.datum.label())
    }
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

    fn read(&mut self, index: u64, out: &mut [Tensor]) -> Result<()> {
        let (data, mut labels) = match out {
            [data] if !self.labels => (data, None),
            [data, labels] if self.labels => (data, Some(labels)),
            _ => bail!(
                "a batch has {} arrays, found {}",
                1 + usize::from(self.labels),
                out.len()
            ),
        };
        if let Some(labels) = &mut labels {
            labels.reshape(Shape::new([self.batch]))?;
        }
        let first = index.wrapping_mul(self.batch as u64);
        for i in 0..self.batch {
            let label = self.read_one(first.wrapping_add(i as u64), i, data)?;
            if let Some(labels) = &mut labels {
                labels.data[i] = label as f32;
            }
        }
        Ok(())
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
