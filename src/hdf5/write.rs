//! Writing HDF5 files: contiguous datasets in nested groups, which HDF5 1.8 and every later version read.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hdf5_writer::{
    AttributeBuilder, DatasetBuilder, Datatype, Hdf5Builder, StringEncoding, StringPadding,
    StringSize, WriteOptions,
};

use crate::files;

/// A file that is being put together. Groups come into being with the datasets in them.
#[derive(Default)]
pub struct Writer {
    builder: Hdf5Builder,
}

impl Writer {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds float32 numbers; `data` fills `dims`.
    pub fn floats(&mut self, path: &str, dims: &[usize], data: &[f32]) -> Result<()> {
        let dims: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
        self.add(path, DatasetBuilder::typed_data(path, dims, data))
    }

    /// Adds one int32, as an array of one element.
    pub fn int(&mut self, path: &str, value: i32) -> Result<()> {
        self.add(path, DatasetBuilder::typed_data(path, vec![1], &[value]))
    }

    /// Adds bytes.
    pub fn bytes(&mut self, path: &str, data: &[u8]) -> Result<()> {
        let dims = vec![data.len() as u64];
        self.add(path, DatasetBuilder::typed_data(path, dims, data))
    }

    /// Adds a string with C's zero at its end, which Caffe's reader needs.
    pub fn text(&mut self, path: &str, text: &str) -> Result<()> {
        let bytes = [text.as_bytes(), b"\0"].concat();
        let size = u32::try_from(bytes.len()).with_context(|| format!("{path} is too long"))?;
        let kind = Datatype::String {
            size: StringSize::Fixed(size),
            encoding: StringEncoding::Ascii,
            padding: StringPadding::NullTerminate,
        };
        self.add(
            path,
            Ok(DatasetBuilder::new(path, kind, vec![]).raw_data(bytes)),
        )
    }

    /// Adds strings, each with C's zero at its end.
    pub fn texts(&mut self, path: &str, texts: &[&str]) -> Result<()> {
        let longest = texts.iter().map(|t| t.len()).max().unwrap_or(0) + 1;
        let size = u32::try_from(longest).with_context(|| format!("{path} is too long"))?;
        let kind = Datatype::String {
            size: StringSize::Fixed(size),
            encoding: StringEncoding::Utf8,
            padding: StringPadding::NullTerminate,
        };
        let mut bytes = Vec::with_capacity(longest * texts.len());
        for (k, text) in texts.iter().enumerate() {
            bytes.extend(text.as_bytes());
            bytes.resize((k + 1) * longest, 0);
        }
        let dims = vec![texts.len() as u64];
        self.add(
            path,
            Ok(DatasetBuilder::new(path, kind, dims).raw_data(bytes)),
        )
    }

    /// Makes sure that a group is there even if nothing is in it.
    pub fn group(&mut self, path: &str) -> Result<()> {
        check(path)?;
        // The crate makes a group for its attribute; nobody reads it.
        let mark = AttributeBuilder::scalar("dsd", 0u8)?;
        self.builder = std::mem::take(&mut self.builder).group_attribute(path, mark);
        Ok(())
    }

    fn add(&mut self, path: &str, dataset: hdf5_writer::Result<DatasetBuilder>) -> Result<()> {
        check(path)?;
        let dataset = dataset.with_context(|| path.to_owned())?;
        self.builder = std::mem::take(&mut self.builder).dataset(dataset);
        Ok(())
    }

    /// Finds out whether the paths of what was added agree.
    ///
    /// # Errors
    /// Two datasets with one path, or a dataset that is also a group.
    pub fn check(self) -> Result<()> {
        self.builder.into_plan()?;
        Ok(())
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Two datasets with one path, a dataset that is also a group, or no place to write.
    pub fn save(self, path: &Path) -> Result<()> {
        let shown = || format!("cannot write {}", path.display());
        let plan = self.builder.into_plan().with_context(shown)?;
        let bytes = plan.encode(WriteOptions::default()).with_context(shown)?;
        drop(plan);
        files::write_atomic(path, |w| Ok(w.write_all(&bytes)?))
    }
}

/// Refuses names that HDF5 gives a meaning of its own.
fn check(path: &str) -> Result<()> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    ensure!(
        path.split('/').all(plain),
        "'{path}' cannot be a path in an HDF5 file; choose other names, or write binary files"
    );
    Ok(())
}
