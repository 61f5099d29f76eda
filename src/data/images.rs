//! Caffe's ImageData layer: batches of pictures and labels from picture files.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::about::About;
use super::bad_records::BadRecords;
use super::batch::Rows;
use super::datum::{Channels, SMALLER, decode_picture, of_size};
use super::decoders::Decoders;
use super::list::{Entry, List};
use super::pictures::Stored;
use super::resize::resize;
use super::transform::Transform;
use super::{Options, Source, by_x, check_batch, expect_arrays};
use crate::files;
use crate::layers::Mode;
use crate::memory;
use crate::proto::caffe::LayerParameter;
use crate::random::Random;
use crate::tensor::Shape;

/// Picture number `i` of the run is entry `i` of the list, after the random skip, beginning again at its
/// end; a shuffled list has another order in each round.
pub struct ImageData {
    list: List,
    bad: BadRecords,
    /// What stands before the names.
    root: String,
    transform: Arc<Transform>,
    batch: usize,
    channels: Channels,
    /// Height and width to resize to.
    size: Option<[usize; 2]>,
    skip: u64,
    shuffle: Option<Random>,
    /// A round, and its order.
    order: (u64, Vec<u32>),
    /// Channels, height, width of the first picture, transformed.
    dims: [usize; 3],
    /// Bytes that the first picture takes while it waits.
    stored: u128,
    labels: bool,
    name: String,
}

impl ImageData {
    /// Reads the list of a layer of type ImageData. The first picture tells the shape.
    pub fn open(param: &LayerParameter, options: &Options) -> Result<Self> {
        let p = param.image_data_param.clone().unwrap_or_default();
        let labels = match param.top.len() {
            1 => false,
            2 => true,
            n => bail!("expected 1 top (data) or 2 (data and label), found {n}"),
        };
        ensure!(
            p.batch_size() > 0,
            "image_data_param has batch_size 0; expected at least 1"
        );
        let size = match [p.new_height(), p.new_width()] {
            [0, 0] => None,
            [h, w] if h > 0 && w > 0 => Some([h as usize, w as usize]),
            [h, w] => bail!("new_height and new_width must be given together, found {h} and {w}"),
        };
        if let Some([h, w]) = size {
            // Also before the first picture is resized.
            let channels = if p.is_color() { 3 } else { 1 };
            check_batch(p.batch_size() as usize, &[channels, h, w], "pictures")?;
        }
        let source = match &options.source {
            Some(path) => path.into(),
            None if p.source().is_empty() => {
                bail!("image_data_param has no source; name a list file or a folder of classes")
            }
            None => (options.resolve)(p.source()),
        };
        let list = List::read(&source)?;
        let count = list.entries.len();
        if list.left_out > 0 {
            (options.warn)(&format!(
                "{}: left out {} files that are no pictures by their names in a folder of a class",
                source.display(),
                list.left_out
            ));
        }
        let random = options.shuffle(param.name());
        // A folder's pictures are in the order of their classes, which trains badly.
        let shuffle = match p.shuffle {
            Some(said) => said,
            None => list.source.is_dir() && options.mode == Mode::Train,
        };
        let skip = random.branch(u64::MAX).below(0, p.rand_skip() as usize);
        ensure!(
            skip < count,
            "rand_skip {} skipped {skip} pictures, but {} has only {count}",
            p.rand_skip(),
            source.display()
        );
        let root = list.root(p.root_folder(), options.resolve);
        let transform_param = param.transform_param.clone().unwrap_or_default();
        if transform_param.emit_constraint.is_some() {
            (options.warn)(
                "transform_param.emit_constraint (of the SSD family's forks) is ignored: it is about boxes, not pictures",
            );
        }
        let transform = Transform::new(
            &transform_param,
            options.mode.of(param),
            options.random(param.name()),
            options.resolve,
        )?;
        let mut layer = Self {
            list,
            bad: BadRecords::new(options.skip_bad),
            root,
            transform: Arc::new(transform),
            batch: p.batch_size() as usize,
            channels: if p.is_color() {
                Channels::Color
            } else {
                Channels::Gray
            },
            size,
            skip: skip as u64,
            shuffle: shuffle.then_some(random),
            order: (u64::MAX, Vec::new()),
            dims: [0; 3],
            stored: 0,
            labels,
            name: param.name().to_string(),
        };
        let mut stored = Stored::default();
        layer.dims = loop {
            let first = layer.entry_of(0);
            let entry = &layer.list.entries[first];
            let dims = layer.decode(entry, 0, &mut stored);
            match dims.with_context(|| layer.place(entry)) {
                Ok(dims) => break dims,
                Err(error) => {
                    let count = layer.list.entries.len() as u64;
                    layer.bad.note(first as u64, count, error)?;
                }
            }
        };
        layer.stored = stored.bytes.len() as u128;
        check_batch(layer.batch, &layer.dims, "pictures")?;
        Ok(layer)
    }

    /// The index in the list of picture `number` of the run.
    fn entry_of(&mut self, number: u64) -> usize {
        let count = self.list.entries.len() as u64;
        let place = self.skip.wrapping_add(number);
        let (round, at) = (place / count, (place % count) as usize);
        let Some(random) = self.shuffle else {
            return self.bad.good(at as u64, count) as usize;
        };
        if self.order.0 != round {
            self.order.0 = round;
            self.order.1 = shuffled(self.list.entries.len(), random.branch(round));
        }
        self.bad.good(u64::from(self.order.1[at]), count) as usize
    }

    /// Decodes picture `number` of the run, resized. Returns the channels, height and width that the net will see.
    fn decode(&self, entry: &Entry, number: u64, out: &mut Stored) -> Result<[usize; 3]> {
        let path = format!("{}{}", self.root, entry.name);
        let file = files::read(&files::encoding::path(&path))?;
        let dims = decode_picture(&file, self.channels, &mut out.bytes)?;
        out.dims = dims;
        if let Some([h, w]) = self.size {
            let wanted = [dims[0], h, w];
            let bytes = wanted.iter().map(|&d| d as u128).product();
            memory::room(bytes, || of_size(wanted), SMALLER)?;
            out.bytes = resize(&out.bytes, dims, [h, w]);
            out.dims = wanted;
        }
        self.transform.prepare(out, number)
    }

    /// Reads the batch from picture `first` of the run on. The inner error is that of an entry of the list, with its index.
    fn attempt(
        &mut self,
        first: u64,
        out: &mut [Rows],
        decoders: &Decoders,
    ) -> Result<Result<(), (usize, anyhow::Error)>> {
        let numbers = (0..self.batch as u64).map(|i| first.wrapping_add(i));
        let entries: Vec<usize> = numbers.map(|n| self.entry_of(n)).collect();
        let entry = |i: usize| &self.list.entries[entries[i]];
        let (data, labels) = out.split_at_mut(1);
        let data = data[0].pictures(&self.transform);

        let stored = data.begin(first, self.batch).iter_mut();
        let mut slots: Vec<(&mut Stored, [usize; 3])> = stored.map(|s| (s, [0; 3])).collect();
        let decoded = decoders.each(&mut slots, |i, (stored, dims)| {
            *dims = self.decode(entry(i), first.wrapping_add(i as u64), stored)?;
            Ok(())
        });
        // The first mistake in order is told: of the pictures before the one that failed, if any.
        let whole = decoded.as_ref().map_or_else(|(i, _)| *i, |()| slots.len());
        let leads = slots.first().map(|s| s.1);
        let wanted = self.bad.shape_of(self.batch, leads, self.dims);
        let failed =
            |i: usize, e: anyhow::Error| Ok(Err((entries[i], e.context(self.place(entry(i))))));
        for (i, (_, found)) in slots[..whole].iter().enumerate() {
            if let Err(e) = check_alike(wanted, *found) {
                return failed(i, e);
            }
        }
        if let Err((i, e)) = decoded {
            return failed(i, e);
        }

        data.finish(wanted);
        if let Some(labels) = labels.first_mut() {
            let labels = labels.floats(&Shape::new([self.batch]))?;
            let found = (0..self.batch).map(|i| entry(i).label as f32);
            labels.data.iter_mut().zip(found).for_each(|(l, f)| *l = f);
        }
        Ok(Ok(()))
    }

    fn place(&self, entry: &Entry) -> String {
        format!("picture '{}' of {}", entry.name, self.list.place(entry))
    }
}

/// Checks that pictures come out like the first of their batch.
fn check_alike(wanted: [usize; 3], found: [usize; 3]) -> Result<()> {
    ensure!(
        found == wanted,
        "expected {} (channels, height, width) like the first picture of its batch, found {}; new_height and \
         new_width make all pictures alike, and batch_size 1 takes them as they are",
        by_x(&wanted),
        by_x(&found)
    );
    Ok(())
}

/// The numbers below `n` in random order, by Fisher and Yates' method.
fn shuffled(n: usize, random: Random) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        order.swap(i, random.below(i as u64, i + 1));
    }
    order
}

impl Source for ImageData {
    fn shapes(&self) -> Vec<Shape> {
        let [c, h, w] = self.dims;
        let mut shapes = vec![Shape::new([self.batch, c, h, w])];
        if self.labels {
            shapes.push(Shape::new([self.batch]));
        }
        shapes
    }

    /// Pictures are read and decoded on several threads; anew where one is left out.
    fn load(&mut self, index: u64, out: &mut [Rows], decoders: &Decoders) -> Result<()> {
        expect_arrays(1 + usize::from(self.labels), out.len())?;
        let first = index.wrapping_mul(self.batch as u64);
        loop {
            let Err((entry, error)) = self.attempt(first, out, decoders)? else {
                return Ok(());
            };
            let count = self.list.entries.len() as u64;
            self.bad.note(entry as u64, count, error)?;
        }
    }

    fn batch_bytes(&self) -> u128 {
        let labels = if self.labels { memory::floats(1) } else { 0 };
        self.batch as u128 * (self.stored + labels)
    }

    fn samples(&self) -> Option<u64> {
        Some(self.list.entries.len() as u64)
    }

    fn about(&self) -> Vec<About> {
        vec![About {
            layer: self.name.clone(),
            source: self.list.source.display().to_string(),
            batch: self.batch,
            samples: self.list.entries.len() as u64,
            classes: self.list.classes.clone(),
            labels: self.labels.then_some(1),
        }]
    }
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;
