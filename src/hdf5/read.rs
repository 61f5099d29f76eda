//! Reading HDF5 files of any version. What a file claims is bounded by its size before memory is
//! taken for it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdf5_reader::error::{ByteOrder, Error};
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, FileStorage, Hdf5File, OpenOptions};

use crate::files;
use crate::memory;
use crate::tensor::{Shape, Tensor};

/// The deepest group that is looked into.
const DEEPEST: usize = 64;
/// The most groups and datasets that a listing takes: far more than any net has.
const MOST: usize = 1_000_000;
/// What a small file may unfold to, and how many times its size a large one (deflate's limit is
/// 1032).
const ALLOWANCE: usize = 64 << 20;
const UNFOLD: usize = 1032;

/// What a dataset for which there is no memory asks of the user.
const SMALLER: &str = "free some memory, or make the file smaller";

/// An open HDF5 file.
pub struct File {
    inner: Hdf5File,
    shown: String,
    /// The most bytes that one dataset may take.
    most: usize,
}

impl File {
    /// Opens a file; its numbers are read when they are asked for.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let cannot =
            |e: std::io::Error| anyhow!("cannot read {}: {}", path.display(), files::reason(&e));
        let file = std::fs::File::open(path).map_err(cannot)?;
        let size = file.metadata().map_err(cannot)?.len();
        ensure!(size > 0, "{shown}: the file is empty, not HDF5");
        let mut head = Vec::new();
        (&std::fs::File::open(path).map_err(cannot)?)
            .take(64)
            .read_to_end(&mut head)
            .map_err(cannot)?;
        whole(&head, size, &shown)?;
        let storage = FileStorage::from_file(file).map_err(|e| explained(&shown, &e))?;
        let most = most(size);
        let inner = Hdf5File::from_storage_with_options(Arc::new(storage), options(most))
            .map_err(|e| explained(&shown, &e))?;
        Ok(Self { inner, shown, most })
    }

    /// A file of which all bytes are at hand; `shown` is its name for messages.
    pub fn from_bytes(bytes: &[u8], shown: &str) -> Result<Self> {
        ensure!(!bytes.is_empty(), "{shown}: the file is empty, not HDF5");
        whole(bytes, bytes.len() as u64, shown)?;
        let most = most(bytes.len() as u64);
        let inner = Hdf5File::from_bytes_with_options(bytes, options(most))
            .map_err(|e| explained(shown, &e))?;
        let shown = shown.to_owned();
        Ok(Self { inner, shown, most })
    }

    /// The paths of all datasets below the group `root` (none if there is no such group), relative to
    /// it, group by group.
    pub fn list(&self, root: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let Some(group) = self.group(root)? else {
            return Ok(found);
        };
        let mut budget = MOST;
        self.walk(&group, "", DEEPEST, &mut budget, &mut found)
            .with_context(|| self.shown.clone())?;
        Ok(found)
    }

    fn group(&self, path: &str) -> Result<Option<Group>> {
        let mut group = self.inner.root_group().map_err(|e| self.broken(&e))?;
        for part in path.split('/').filter(|p| !p.is_empty()) {
            let (names, _) = group.member_names().map_err(|e| self.broken(&e))?;
            if !names.iter().any(|n| n == part) {
                return Ok(None);
            }
            group = group.group(part).map_err(|e| self.broken(&e))?;
        }
        Ok(Some(group))
    }

    fn walk(
        &self,
        group: &Group,
        path: &str,
        depth: usize,
        budget: &mut usize,
        found: &mut Vec<String>,
    ) -> Result<()> {
        ensure!(depth > 0, "its groups are nested too deep");
        let (groups, datasets) = group.member_names().map_err(|e| plain(&e))?;
        *budget = budget.saturating_sub(1 + groups.len() + datasets.len());
        ensure!(*budget > 0, "it has too many groups, or they form a circle");
        found.extend(datasets.iter().map(|name| format!("{path}{name}")));
        for name in groups {
            let inner = group.group(&name).map_err(|e| plain(&e))?;
            self.walk(&inner, &format!("{path}{name}/"), depth - 1, budget, found)?;
        }
        Ok(())
    }

    /// The dataset at `path`, if there is one.
    fn find(&self, path: &str) -> Result<Option<Dataset>> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(group) = self.group(folder)? else {
            return Ok(None);
        };
        let (_, names) = group.member_names().map_err(|e| self.broken(&e))?;
        if !names.iter().any(|n| n == name) {
            return Ok(None);
        }
        group.dataset(name).map(Some).map_err(|e| self.broken(&e))
    }

    fn dataset(&self, path: &str) -> Result<Dataset> {
        match self.find(path)? {
            Some(dataset) => Ok(dataset),
            None => bail!("{}: it has no dataset '{path}'", self.shown),
        }
    }

    /// The sizes of the array at `path`; none if there is no such dataset.
    pub fn shape(&self, path: &str) -> Result<Option<Shape>> {
        let Some(dataset) = self.find(path)? else {
            return Ok(None);
        };
        self.shape_of(&dataset, path).map(Some)
    }

    fn shape_of(&self, dataset: &Dataset, path: &str) -> Result<Shape> {
        let sizes = dataset.shape().iter();
        let dims: Option<Vec<usize>> = sizes.map(|&d| usize::try_from(d).ok()).collect();
        let counted = dims.filter(|d| {
            let bytes = d.iter().try_fold(4usize, |n, &d| n.checked_mul(d));
            bytes.is_some_and(|n| isize::try_from(n).is_ok())
        });
        let impossible = || {
            format!(
                "{}: the shape {:?} of '{path}' is impossible",
                self.shown,
                dataset.shape()
            )
        };
        counted.map(Shape::new).with_context(impossible)
    }

    /// The numbers at `path` as float32, whatever kind of numbers they are.
    pub fn tensor(&self, path: &str) -> Result<Tensor> {
        let dataset = self.dataset(path)?;
        let shape = self.shape_of(&dataset, path)?;
        let data = self.floats(&dataset, path)?;
        Tensor::new(shape, data)
            .with_context(|| format!("{}: '{path}' holds too few numbers", self.shown))
    }

    fn floats(&self, dataset: &Dataset, path: &str) -> Result<Vec<f32>> {
        let kind = dataset.dtype();
        let size = dataset.raw_byte_len().map_err(|e| self.at(path, &e))?;
        // The crate bounds what it allocates itself.
        if matches!(kind, Datatype::FloatingPoint { size: 4, .. }) && size <= self.most {
            let what = || format!("{}: '{path}'", self.shown);
            let mut data = memory::zeros(size / 4, what, SMALLER)?;
            let done = dataset.read_into(&mut data);
            return done.map(|()| data).map_err(|e| self.at(path, &e));
        }
        let bytes = self.raw(dataset, path)?;
        numbers(kind, &bytes).with_context(|| {
            format!(
                "{}: '{path}' must hold numbers, but holds {}",
                self.shown,
                name(kind)
            )
        })
    }

    /// The one whole number at `path`.
    pub fn int(&self, path: &str) -> Result<i64> {
        let dataset = self.dataset(path)?;
        let bytes = self.raw(&dataset, path)?;
        let value = match dataset.dtype() {
            Datatype::FixedPoint {
                size: size @ (1 | 2 | 4 | 8),
                signed,
                byte_order,
            } if bytes.len() == usize::from(*size) => Some(integer(&bytes, *signed, *byte_order)),
            _ => None,
        };
        value.with_context(|| format!("{}: '{path}' is not one whole number", self.shown))
    }

    /// The string at `path`.
    pub fn text(&self, path: &str) -> Result<String> {
        let dataset = self.dataset(path)?;
        self.room(&dataset, path)?;
        let text = dataset.read_string();
        let text = text.map_err(|e| self.at(path, &e))?;
        Ok(text.split('\0').next().unwrap_or_default().to_owned())
    }

    /// The bytes at `path`; none if there is no such dataset.
    pub fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(dataset) = self.find(path)? else {
            return Ok(None);
        };
        ensure!(
            matches!(dataset.dtype(), Datatype::FixedPoint { size: 1, .. }),
            "{}: '{path}' must hold bytes, but holds {}",
            self.shown,
            name(dataset.dtype())
        );
        self.raw(&dataset, path).map(Some)
    }

    /// The bytes of a dataset as they are stored.
    fn raw(&self, dataset: &Dataset, path: &str) -> Result<Vec<u8>> {
        self.room(dataset, path)?;
        dataset.read_raw_bytes().map_err(|e| self.at(path, &e))
    }

    /// Checks that there is memory for a dataset's bytes, with the floats that are made of them.
    fn room(&self, dataset: &Dataset, path: &str) -> Result<()> {
        let size = dataset.raw_byte_len().map_err(|e| self.at(path, &e))?;
        // More than the crate refuses by itself is not asked for.
        let bytes = size.min(self.most) as u128;
        memory::room(5 * bytes, || format!("{}: '{path}'", self.shown), SMALLER)
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.shown
    }

    fn broken(&self, error: &Error) -> anyhow::Error {
        explained(&self.shown, error)
    }

    fn at(&self, path: &str, error: &Error) -> anyhow::Error {
        anyhow!("{}: cannot read '{path}': {error}", self.shown)
    }
}

fn most(size: u64) -> usize {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    size.saturating_mul(UNFOLD).saturating_add(ALLOWANCE)
}

fn options(most: usize) -> OpenOptions {
    OpenOptions::default()
        .with_chunk_cache_bytes(8 << 20)
        .with_max_chunk_bytes(most)
        .with_max_read_bytes(most)
        .with_max_object_header_bytes(ALLOWANCE)
}

fn plain(error: &Error) -> anyhow::Error {
    anyhow!("{error}")
}

/// Whether a file of `size` bytes is as long as its superblock says (format specification, II.A).
fn whole(head: &[u8], size: u64, shown: &str) -> Result<()> {
    let offsets = match head.get(8) {
        Some(0) => Some((13, 40)),
        Some(1) => Some((13, 44)),
        Some(2 | 3) => Some((9, 28)),
        _ => None,
    };
    let end = offsets
        .filter(|&(width, _)| head.starts_with(b"\x89HDF\r\n\x1a\n") && head.get(width) == Some(&8))
        .and_then(|(_, at)| head.get(at..at + 8)?.try_into().ok())
        .map(u64::from_le_bytes);
    match end {
        Some(end) if end > size => {
            bail!(
                "{shown}: truncated or not an HDF5 file: it says that it has {end} bytes, but it has {size}"
            )
        }
        _ => Ok(()),
    }
}

fn explained(shown: &str, error: &Error) -> anyhow::Error {
    anyhow!("{shown}: truncated or not an HDF5 file: {error}")
}

/// Numbers of any width as float32, rounded as libhdf5 does; none if they are no numbers.
fn numbers(kind: &Datatype, bytes: &[u8]) -> Option<Vec<f32>> {
    let each =
        |size: usize, one: &dyn Fn(&[u8]) -> f32| bytes.chunks_exact(size).map(one).collect();
    Some(match *kind {
        Datatype::FloatingPoint {
            size: 4,
            byte_order,
        } => each(4, &|b| f32::from_bits(unsigned(b, byte_order) as u32)),
        Datatype::FloatingPoint {
            size: 8,
            byte_order,
        } => each(8, &|b| f64::from_bits(unsigned(b, byte_order)) as f32),
        Datatype::FloatingPoint {
            size: 2,
            byte_order,
        } => each(2, &|b| half(unsigned(b, byte_order) as u16)),
        Datatype::FixedPoint {
            size: size @ (1 | 2 | 4 | 8),
            signed: true,
            byte_order,
        } => each(size.into(), &|b| integer(b, true, byte_order) as f32),
        Datatype::FixedPoint {
            size: size @ (1 | 2 | 4 | 8),
            signed: false,
            byte_order,
        } => each(size.into(), &|b| unsigned(b, byte_order) as f32),
        _ => return None,
    })
}

/// Up to eight bytes as a number.
fn unsigned(bytes: &[u8], order: ByteOrder) -> u64 {
    let join = |n: u64, &b: &u8| n << 8 | u64::from(b);
    match order {
        ByteOrder::LittleEndian => bytes.iter().rev().fold(0, join),
        ByteOrder::BigEndian => bytes.iter().fold(0, join),
    }
}

/// One to eight bytes as a number; unsigned ones above i64 wrap.
fn integer(bytes: &[u8], signed: bool, order: ByteOrder) -> i64 {
    let value = unsigned(bytes, order) as i64;
    let spare = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    if signed {
        value << spare >> spare
    } else {
        value
    }
}

/// An IEEE half-precision number.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1024.0 + fraction) * 2f32.powi(e - 25),
    }
}

/// What a user knows a kind of value by.
fn name(kind: &Datatype) -> &'static str {
    match kind {
        Datatype::FixedPoint { .. } => "whole numbers of an unknown size",
        Datatype::FloatingPoint { .. } => "floating-point numbers of an unknown size",
        Datatype::String { .. } => "strings",
        Datatype::Compound { .. } => "compounds",
        Datatype::Enum { .. } => "an enumeration (h5py's bool)",
        _ => "something else",
    }
}
