//! Caffe's ImageData layer: batches of pictures and labels from picture files.

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::about::About;
use super::datum::{Channels, Picture, Pixels, decode_picture};
use super::list::{Entry, List};
use super::resize::resize;
use super::transform::Transform;
use super::{Options, Source, by_x, check_batch};
use crate::files;
use crate::layers::Mode;
use crate::proto::caffe::LayerParameter;
use crate::random::Random;
use crate::tensor::{Shape, Tensor};

/// Picture number `i` of the run is entry `i` of the list, after the random skip, beginning again at its
/// end; a shuffled list has another order in each round.
pub struct ImageData {
    list: List,
    /// What stands before the names.
    root: String,
    transform: Transform,
    batch: usize,
    channels: Channels,
    /// Height and width to resize to.
    size: Option<[usize; 2]>,
    skip: u64,
    shuffle: Option<Random>,
    /// A round, and its order.
    order: (u64, Vec<u32>),
    /// Channels, height, width of a transformed picture.
    dims: [usize; 3],
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
            root,
            transform,
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
            labels,
            name: param.name().to_string(),
        };
        let first = layer.entry_of(0);
        let entry = &layer.list.entries[first];
        let (dims, _) = layer.decode(entry).with_context(|| layer.place(entry))?;
        layer.dims = layer
            .transform
            .output(dims)
            .with_context(|| layer.place(entry))?;
        check_batch(layer.batch, &layer.dims, "pictures")?;
        Ok(layer)
    }

    /// The index in the list of picture `number` of the run.
    fn entry_of(&mut self, number: u64) -> usize {
        let count = self.list.entries.len() as u64;
        let place = self.skip.wrapping_add(number);
        let (round, at) = (place / count, (place % count) as usize);
        let Some(random) = self.shuffle else {
            return at;
        };
        if self.order.0 != round {
            self.order.0 = round;
            self.order.1 = shuffled(self.list.entries.len(), random.branch(round));
        }
        self.order.1[at] as usize
    }

    /// Channels, height, width and bytes of a picture, resized.
    fn decode(&self, entry: &Entry) -> Result<([usize; 3], Vec<u8>)> {
        let file = files::read(&files::encoding::path(&format!(
            "{}{}",
            self.root, entry.name
        )))?;
        let mut planes = Vec::new();
        let dims = decode_picture(&file, self.channels, &mut planes)?;
        Ok(match self.size {
            Some([h, w]) => ([dims[0], h, w], resize(&planes, dims, [h, w])),
            None => (dims, planes),
        })
    }

    /// Writes picture `number` of the run, transformed, which must come out as the batch's others, `wanted`.
    fn read_one(
        &self,
        entry: &Entry,
        number: u64,
        wanted: [usize; 3],
        out: &mut [f32],
    ) -> Result<()> {
        let (dims, bytes) = self.decode(entry)?;
        let found = self.transform.output(dims)?;
        ensure!(
            found == wanted,
            "expected {} (channels, height, width) like the first picture of its batch, found {}; new_height and \
             new_width make all pictures alike, and batch_size 1 takes them as they are",
            by_x(&wanted),
            by_x(&found)
        );
        let picture = Picture {
            dims,
            pixels: Pixels::Bytes(&bytes),
        };
        self.transform.apply(&picture, number, out)
    }

    /// How the pictures of the batch that begins with `first` come out: as in Caffe, as its first.
    fn dims_of(&self, first: &Entry) -> Result<[usize; 3]> {
        if self.size.is_some() || self.transform.crops() {
            return Ok(self.dims);
        }
        let dims = self
            .decode(first)
            .and_then(|(d, _)| self.transform.output(d));
        dims.with_context(|| self.place(first))
    }

    fn place(&self, entry: &Entry) -> String {
        format!("picture '{}' of {}", entry.name, self.list.place(entry))
    }
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

    /// Pictures are decoded on several threads.
    fn read(&mut self, index: u64, out: &mut [Tensor]) -> Result<()> {
        ensure!(
            out.len() == 1 + usize::from(self.labels),
            "a batch has {} arrays, found {}",
            1 + usize::from(self.labels),
            out.len()
        );
        let first = index.wrapping_mul(self.batch as u64);
        let numbers = (0..self.batch as u64).map(|i| first.wrapping_add(i));
        let entries: Vec<(u64, usize)> = numbers.map(|n| (n, self.entry_of(n))).collect();
        let wanted = match entries.first() {
            Some((_, e)) => self.dims_of(&self.list.entries[*e])?,
            None => self.dims,
        };
        let (data, labels) = out.split_at_mut(1);
        let [c, h, w] = wanted;
        data[0].reshape(Shape::new([self.batch, c, h, w]))?;
        if let Some(labels) = labels.first_mut() {
            labels.reshape(Shape::new([self.batch]))?;
            for (label, (_, e)) in labels.data.iter_mut().zip(&entries) {
                *label = self.list.entries[*e].label as f32;
            }
        }
        let count = wanted.iter().product::<usize>().max(1);
        let work = data[0].data.par_chunks_exact_mut(count).zip(&entries);
        let results: Vec<Result<()>> = work
            .map(|(out, (number, e))| {
                let entry = &self.list.entries[*e];
                self.read_one(entry, *number, wanted, out)
                    .with_context(|| self.place(entry))
            })
            .collect();
        results.into_iter().collect()
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
