//! Caffe's HDF5Output: writes the batch to an HDF5 file, bottom 0 as `data`, bottom 1 as `label`.
//!
//! The file always holds the batch of the last forward pass, whole: Caffe 1.0 stops with a failed check
//! at the second pass, because the datasets are there already.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode};
use crate::hdf5::Writer;
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// The layer.
#[derive(Debug)]
pub struct Hdf5Output {
    file: PathBuf,
}

impl Hdf5Output {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let file = param
            .hdf5_output_param
            .as_ref()
            .map(|p| p.file_name())
            .unwrap_or_default();
        ensure!(
            !file.is_empty(),
            "hdf5_output_param has no file_name; name the file to write"
        );
        let file = file.into();
        Ok(Self { file })
    }
}

/// The four axes of Caffe's first blobs: num, channels, height, width.
fn four(shape: &Shape) -> [usize; 4] {
    [0, 1, 2, 3].map(|axis| shape.dim(axis))
}

impl Layer for Hdf5Output {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [data, label] = super::take::<2>(bottoms)?;
        for (k, shape) in [data, label].into_iter().enumerate() {
            ensure!(
                shape.axes() <= 4,
                "it takes blobs of up to 4 axes, but bottom {k} has shape {shape}"
            );
        }
        ensure!(
            data.dim(0) == label.dim(0),
            "data (bottom 0, shape {data}) and label (bottom 1, shape {label}) must have the same number \
             of rows"
        );
        Ok(Vec::new())
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            // The file holds the whole batch.
            coupling: Coupling::Whole,
            has_backward: false,
            flows: vec![false; bottoms.len()],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let mut file = Writer::new();
        let mut add = |name: &str, b: &View| file.floats(name, &four(&b.shape), b.data);
        add("data", &f.bottoms[0])?;
        add("label", &f.bottoms[1])?;
        file.save(&self.file)
    }

    fn backward(&self, _b: &mut Backward) -> Result<()> {
        Ok(())
    }
}
