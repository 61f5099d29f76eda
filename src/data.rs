//! Data sources: where the numbers of a net's data layers come from.
//!
//! A source is a function from a batch's number to its arrays: nothing streams, so a run can be
//! resumed, and read ahead, at any batch.

pub mod about;
mod augment;
pub mod bad_records;
pub mod batch;
pub mod batches;
pub mod class_list;
pub mod colours;
pub mod convert;
pub mod database;
pub mod datum;
pub mod decoders;
pub mod digits;
pub mod dummy;
pub mod encode;
pub mod hdf5_data;
pub mod idx;
pub mod images;
pub mod interpolate;
mod jpeg;
pub mod leveldb;
pub mod leveldb_writer;
pub mod list;
pub mod lmdb;
mod lmdb_file;
mod lmdb_tree;
pub mod lmdb_writer;
pub mod mean;
pub mod new_folder;
mod noise;
pub mod orientation;
pub mod part;
pub mod picture_file;
pub mod pictures;
mod pnm;
pub mod prefetch;
pub mod records;
pub mod resize;
mod shuffle;
pub mod text;
pub mod transform;
pub mod writer;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use batch::{Batch, Rows};
use decoders::Decoders;

use crate::layers::Mode;
use crate::memory;
use crate::proto::caffe::LayerParameter;
use crate::random::{Purpose, Random};
use crate::tensor::{Shape, Tensor};

/// Something that makes batches.
pub trait Source: Send {
    /// The shapes of the arrays of the first batch, in the order of the layer's tops.
    fn shapes(&self) -> Vec<Shape>;

    /// Reads batch number `index` of the run (it wraps at the end of the data, as Caffe's does) into `out`, as many
    /// arrays as there are shapes, whose memory is used again. What takes long is shared out over `decoders`. The
    /// arrays of pictures get the shape of this batch's pictures, others have that of [`Source::shapes`].
    ///
    /// # Errors
    /// A record cannot be read: of several the first in order, whatever the number of threads, by its name.
    fn load(&mut self, index: u64, out: &mut [Rows], decoders: &Decoders) -> Result<()>;

    /// Batch number `index` as arrays of floats, read by this thread alone.
    ///
    /// # Errors
    /// As [`Source::load`], or the memory is not there.
    fn read(&mut self, index: u64, out: &mut Vec<Tensor>) -> Result<()> {
        let arrays = out.drain(..).map(Rows::Floats);
        let mut batch = Batch::new(arrays.collect());
        self.load(index, batch.arrays_mut(), &Decoders::new(1))?;
        batch.take(out)
    }

    /// Bytes that the first batch takes while it waits to be taken.
    fn batch_bytes(&self) -> u128 {
        self.shapes()
            .iter()
            .map(|s| memory::floats(s.count()))
            .sum()
    }

    /// Bytes that the source holds besides at most, from one batch to the next.
    fn held_bytes(&self) -> u128 {
        0
    }

    /// Frees what is only held to read on faster: nobody wants a batch for some time.
    fn rest(&mut self) {}

    /// The number of different samples, where there is one.
    fn samples(&self) -> Option<u64> {
        None
    }

    /// What is known of the data of each layer that it reads for.
    fn about(&self) -> Vec<about::About> {
        Vec::new()
    }
}

/// What a data layer needs to know besides its own parameters.
pub struct Options<'a> {
    /// The mode of the net that the layer is in.
    pub mode: Mode,
    /// The run's seed.
    pub seed: u64,
    /// Replaces the layer's `source` (taken as it is: a path or a `builtin:` name).
    pub source: Option<String>,
    /// Where a file is that the net's text names.
    pub resolve: &'a dyn Fn(&str) -> PathBuf,
    /// Whether bad records are left out.
    pub skip_bad: bool,
    /// Takes a line for the user to read.
    pub warn: &'a dyn Fn(&str),
}

impl Options<'_> {
    /// The random numbers of the layer `name`; those of the same layer in the other mode are others.
    fn random(&self, name: &str) -> Random {
        self.random_for(Purpose::Transform, name)
    }

    /// As [`Options::random`], for the order of the layer's data.
    fn shuffle(&self, name: &str) -> Random {
        self.random_for(Purpose::Shuffle, name)
    }

    fn random_for(&self, purpose: Purpose, name: &str) -> Random {
        // FNV-1a: the stream follows from the name alone, so that other layers may come and go.
        let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
        Random::new(self.seed, purpose, stream).branch(u64::from(self.mode == Mode::Test))
    }
}

/// `3 x 32 x 32`.
fn by_x(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    sizes.join(" x ")
}

/// Refuses another number of arrays than a source has.
fn expect_arrays(expected: usize, found: usize) -> Result<()> {
    ensure!(
        expected == found,
        "a batch has {expected} arrays, found {found}"
    );
    Ok(())
}

/// Refuses a batch of `rows` samples of `sample` values each that this machine's memory does not hold, with those
/// that are read ahead.
///
/// # Errors
/// The bytes needed and there.
pub fn check_batch(rows: usize, sample: &[usize], what: &str) -> Result<()> {
    let each = sample.iter().map(|&d| d as u128);
    let values = each.fold(rows as u128, u128::saturating_mul);
    let bytes = values.saturating_mul(4 * prefetch::LEAST as u128);
    let text = || format!("a batch of {rows} {what} of {}", by_x(sample));
    memory::require(bytes, text, "lower batch_size")?;
    // Also where nobody says how much memory there is.
    if values > isize::MAX as u128 / 4 {
        bail!("{} is too large for any memory; lower batch_size", text());
    }
    Ok(())
}

/// Opens the source of a layer that reads data from outside the net.
pub fn open(param: &LayerParameter, options: &Options) -> Result<Box<dyn Source>> {
    match param.r#type() {
        "Data" => Ok(Box::new(database::DataLayer::open(param, options)?)),
        "DummyData" => Ok(Box::new(dummy::DummyData::open(param, options)?)),
        "ImageData" => Ok(Box::new(images::ImageData::open(param, options)?)),
        "MemoryData" => Ok(Box::new(dummy::MemoryData::open(param, options)?)),
        "WindowData" => bail!(
            "layers of type WindowData (R-CNN's windows of pictures) are not supported; cut the windows \
             out first and read them with an ImageData or Data layer"
        ),
        "HDF5Data" => Ok(Box::new(hdf5_data::Hdf5Data::open(param, options)?)),
        other => bail!("layers of type '{other}' cannot read data"),
    }
}
