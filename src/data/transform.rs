//! What Caffe does to a picture before the net sees it: crop, mirror, mean, scale.
//! Every number becomes `(pixel - mean) * scale`, in float32 as in Caffe's `data_transformer.cpp`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::datum::{Channels, Picture, Pixels};
use crate::layers::Mode;
use crate::proto::caffe::TransformationParameter;
use crate::proto::{binary, blob};
use crate::random::Random;

/// A layer's `transform_param`, ready for use.
#[derive(Clone, Debug)]
pub struct Transform {
    crop: usize,
    random_crop: bool,
    mirror: bool,
    scale: f32,
    mean: Mean,
    channels: Channels,
    random: Random,
}

#[derive(Clone, Debug)]
enum Mean {
    None,
    /// One value, or one a channel.
    Values(Vec<f32>),
    /// A picture of the size before cropping.
    Picture {
        dims: [usize; 3],
        values: Vec<f32>,
        file: PathBuf,
    },
}

/// The random numbers of a picture; each picture has this many.
enum Draw {
    Mirror,
    Row,
    Column,
}
const DRAWS: u64 = 3;

impl Transform {
    /// Reads the parameters and the mean file, if one is named; `resolve` finds it. `random` is the
    /// layer's, for [`crate::random::Purpose::Transform`].
    pub fn new(
        param: &TransformationParameter,
        mode: Mode,
        random: Random,
        resolve: &dyn Fn(&str) -> PathBuf,
    ) -> Result<Self> {
        let channels = match (param.force_color(), param.force_gray()) {
            (true, true) => {
                anyhow::bail!("transform_param has both force_color and force_gray; keep one")
            }
            (true, false) => Channels::Color,
            (false, true) => Channels::Gray,
            (false, false) => Channels::AsStored,
        };
        let mean = match &param.mean_file {
            Some(file) => {
                ensure!(
                    param.mean_value.is_empty(),
                    "transform_param has both mean_file and mean_value; keep one"
                );
                mean_picture(&resolve(file))?
            }
            None if param.mean_value.is_empty() => Mean::None,
            None => Mean::Values(param.mean_value.clone()),
        };
        Ok(Self {
            crop: param.crop_size() as usize,
            random_crop: mode == Mode::Train,
            mirror: param.mirror(),
            scale: param.scale(),
            mean,
            channels,
            random,
        })
    }

    /// How encoded pictures are to be decoded.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Whether pictures are cut to one size.
    pub fn crops(&self) -> bool {
        self.crop > 0
    }

    /// Channels, height and width of what comes out for a picture of `dims`; checks that crop and mean fit.
    pub fn output(&self, dims: [usize; 3]) -> Result<[usize; 3]> {
        let [c, h, w] = dims;
        let crop = self.crop;
        ensure!(
            crop <= h && crop <= w,
            "crop_size {crop} does not fit into the picture, {c} x {h} x {w} (channels, height, width)"
        );
        match &self.mean {
            Mean::Values(values) => ensure!(
                values.len() == 1 || values.len() == c,
                "expected 1 mean_value or one for each of {c} channels, found {}",
                values.len()
            ),
            Mean::Picture {
                dims: [mc, mh, mw],
                file,
                ..
            } => ensure!(
                [*mc, *mh, *mw] == dims,
                "the mean file {} is {mc} x {mh} x {mw} (channels, height, width), but the picture {c} x {h} x {w}",
                file.display()
            ),
            Mean::None => {}
        }
        Ok(if crop == 0 { dims } else { [c, crop, crop] })
    }

    /// Writes the transformed picture, [`Transform::output`] in size (CHW). `number` is the picture's in
    /// the run: it alone decides the random crop and mirror.
    pub fn apply(&self, picture: &Picture, number: u64, out: &mut [f32]) -> Result<()> {
        let [c, h, w] = picture.dims;
        let wanted = self.output(picture.dims)?;
        let [_, rows, columns] = wanted;
        ensure!(
            out.len() == c * rows * columns,
            "the picture comes out as {c} x {rows} x {columns} (channels, height, width), {} values, but there is room for {}",
            c * rows * columns,
            out.len()
        );
        let (top, left) = self.corner(h - rows, w - columns, number);
        let mirror = self.mirror && self.draw(Draw::Mirror, number, 2) == 1;
        for channel in 0..c {
            for row in 0..rows {
                let from = (channel * h + top + row) * w + left;
                let to = (channel * rows + row) * columns;
                let out = &mut out[to..to + columns];
                let mean = self.mean_of(channel, from..from + columns);
                match picture.pixels {
                    Pixels::Bytes(p) => {
                        scale_row(&p[from..from + columns], mean, self.scale, mirror, out)
                    }
                    Pixels::Floats(p) => {
                        scale_row(&p[from..from + columns], mean, self.scale, mirror, out)
                    }
                }
            }
        }
        Ok(())
    }

    /// Row and column at which the crop begins, given how far each may go.
    fn corner(&self, rows: usize, columns: usize, number: u64) -> (usize, usize) {
        if self.random_crop {
            (
                self.draw(Draw::Row, number, rows + 1),
                self.draw(Draw::Column, number, columns + 1),
            )
        } else {
            (rows / 2, columns / 2)
        }
    }

    fn draw(&self, what: Draw, number: u64, n: usize) -> usize {
        self.random
            .below(number.wrapping_mul(DRAWS).wrapping_add(what as u64), n)
    }

    fn mean_of(&self, channel: usize, place: std::ops::Range<usize>) -> RowMean<'_> {
        match &self.mean {
            Mean::None => RowMean::Same(0.0),
            Mean::Values(values) => {
                RowMean::Same(values.get(channel).copied().unwrap_or(values[0]))
            }
            Mean::Picture { values, .. } => RowMean::Each(&values[place]),
        }
    }
}

/// What is subtracted from a row.
#[derive(Clone, Copy)]
enum RowMean<'a> {
    Same(f32),
    Each(&'a [f32]),
}

fn scale_row<T: Copy + Into<f32>>(
    row: &[T],
    mean: RowMean,
    scale: f32,
    mirror: bool,
    out: &mut [f32],
) {
    match mean {
        RowMean::Same(mean) => {
            let numbers = row.iter().map(|&v| (v.into() - mean) * scale);
            place(numbers, mirror, out);
        }
        RowMean::Each(mean) => {
            let numbers = row.iter().zip(mean).map(|(&v, m)| (v.into() - m) * scale);
            place(numbers, mirror, out);
        }
    }
}

fn place(numbers: impl Iterator<Item = f32>, mirror: bool, out: &mut [f32]) {
    if mirror {
        out.iter_mut().rev().zip(numbers).for_each(|(o, v)| *o = v);
    } else {
        out.iter_mut().zip(numbers).for_each(|(o, v)| *o = v);
    }
}

fn mean_picture(file: &Path) -> Result<Mean> {
    let (dims, values) = read_mean(file).context("cannot read mean_file")?;
    Ok(Mean::Picture {
        dims,
        values,
        file: file.to_path_buf(),
    })
}

/// Channels, height, width and values of a mean file (`.binaryproto`): 3 axes, or 4 with a leading 1.
pub fn read_mean(file: &Path) -> Result<([usize; 3], Vec<f32>)> {
    let blob = binary::read_blob(file)?;
    let named = || file.display().to_string();
    let shape = blob::shape(&blob).with_context(named)?;
    let dims = match shape[..] {
        [1, c, h, w] | [c, h, w] => [c, h, w],
        _ => anyhow::bail!(
            "the mean file {} has the shape {shape:?}; expected 1, channels, height, width",
            file.display()
        ),
    };
    let values = blob::values(&blob).with_context(named)?.into_owned();
    Ok((dims, values))
}

#[cfg(test)]
#[path = "transform_tests.rs"]
mod tests;
