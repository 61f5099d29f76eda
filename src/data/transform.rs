//! What Caffe does to a picture before the net sees it: crop, mirror, mean, scale.
//! Every number becomes `(pixel - mean) * scale`, in float32 as in Caffe's `data_transformer.cpp`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::augment::Augment;
use super::datum::{Channels, Picture, Pixels};
use super::pictures::Stored;
use crate::compress::container;
use crate::files;
use crate::layers::Mode;
use crate::npz;
use crate::proto::caffe::TransformationParameter;
use crate::proto::{binary, blob};
use crate::random::Random;

/// A layer's `transform_param`, ready for use.
#[derive(Clone, Debug)]
pub struct Transform {
    /// Height and width; 0 leaves the size alone.
    crop: [usize; 2],
    /// The width of the border around a picture, before the crop.
    pad: usize,
    augment: Augment,
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
/// The branch of the random numbers that the transforms of forks use.
const AUGMENT: u64 = 0x5353_4421;

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
            crop: crop(param)?,
            pad: param.pad() as usize,
            augment: Augment::new(param)?,
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
        self.crop[0] > 0
    }

    /// Channels, height and width of what comes out for a picture of `dims`; checks that crop and mean fit.
    pub fn output(&self, dims: [usize; 3]) -> Result<[usize; 3]> {
        let dims = self.augment.output(dims);
        let [c, h, w] = dims;
        let [rows, columns] = self.crop;
        let border = 2 * self.pad;
        ensure!(
            rows <= h + border && columns <= w + border,
            "crop_size {} does not fit into the picture, {c} x {h} x {w} (channels, height, width)",
            match rows == columns {
                true => rows.to_string(),
                false => format!("{rows} x {columns}"),
            }
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
        Ok(if rows == 0 {
            [c, h + border, w + border]
        } else {
            [c, rows, columns]
        })
    }

    /// Writes the transformed picture, [`Transform::output`] in size (CHW). `number` is the picture's in
    /// the run: it alone decides the random crop and mirror.
    ///
    /// # Errors
    /// The picture does not fit the parameters, or `out` the picture.
    pub fn apply(&self, picture: &Picture, number: u64, out: &mut [f32]) -> Result<()> {
        let wanted = self.output(picture.dims)?;
        let [c, rows, columns] = wanted;
        ensure!(
            out.len() == c * rows * columns,
            "the picture comes out as {c} x {rows} x {columns} (channels, height, width), {} values, but there is room for {}",
            c * rows * columns,
            out.len()
        );
        if self.augment.is_none() {
            self.write(picture, wanted, number, out);
            return Ok(());
        }
        let (dims, planes) = self.augmented(picture, number)?;
        let picture = Picture {
            dims,
            pixels: Pixels::Bytes(&planes),
        };
        self.write(&picture, wanted, number, out);
        Ok(())
    }

    /// Does to a decoded picture what may fail and what keeps it a picture of bytes: the forks' transforms. What is
    /// left for [`Transform::write`] cannot fail. Returns the channels, height and width that come out of that.
    ///
    /// # Errors
    /// The picture does not fit the parameters.
    pub fn prepare(&self, stored: &mut Stored, number: u64) -> Result<[usize; 3]> {
        let out = self.output(stored.dims)?;
        if !self.augment.is_none() {
            (stored.dims, stored.bytes) = self.augmented(&stored.picture(), number)?;
        }
        Ok(out)
    }

    /// Whether [`Transform::prepare`] takes long.
    pub fn augments(&self) -> bool {
        !self.augment.is_none()
    }

    fn augmented(&self, picture: &Picture, number: u64) -> Result<([usize; 3], Vec<u8>)> {
        let random = self.random.branch(AUGMENT).branch(number);
        self.augment.apply(picture, random)
    }

    /// Crops, mirrors, subtracts the mean and scales a picture that has been prepared. `wanted` is what
    /// [`Transform::prepare`] gave: channels, height and width of `out`. The border of `pad` has the mean's colour, so
    /// it comes out as 0.
    pub fn write(&self, picture: &Picture, wanted: [usize; 3], number: u64, out: &mut [f32]) {
        let [c, h, w] = picture.dims;
        let [_, rows, columns] = wanted;
        let border = 2 * self.pad;
        let (top, left) = self.corner(h + border - rows, w + border - columns, number);
        let mirror = self.mirror && self.draw(Draw::Mirror, number, 2) == 1;
        // The columns of `out`, before it is mirrored, that are columns of the picture.
        let begin = self.pad.saturating_sub(left).min(columns);
        let end = (w + self.pad).saturating_sub(left).clamp(begin, columns);
        let inside = match mirror {
            true => columns - end..columns - begin,
            false => begin..end,
        };
        for channel in 0..c {
            for row in 0..rows {
                let to = (channel * rows + row) * columns;
                let out = &mut out[to..to + columns];
                let line = (top + row).checked_sub(self.pad).filter(|line| *line < h);
                let Some(line) = line.filter(|_| !inside.is_empty()) else {
                    out.fill(0.0);
                    continue;
                };
                out[..inside.start].fill(0.0);
                out[inside.end..].fill(0.0);
                let out = &mut out[inside.clone()];
                let from = (channel * h + line) * w + left + begin - self.pad;
                let place = from..from + out.len();
                let mean = self.mean_of(channel, place.clone());
                match picture.pixels {
                    Pixels::Bytes(p) => scale_row(&p[place], mean, self.scale, mirror, out),
                    Pixels::Floats(p) => scale_row(&p[place], mean, self.scale, mirror, out),
                }
            }
        }
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

/// Height and width of the crop: `crop_size`, or the two of the SSD family.
fn crop(param: &TransformationParameter) -> Result<[usize; 2]> {
    let [rows, columns] = [param.crop_h() as usize, param.crop_w() as usize];
    match param.crop_size() as usize {
        0 if (rows == 0) != (columns == 0) => anyhow::bail!(
            "transform_param needs crop_h and crop_w together, found {rows} and {columns}"
        ),
        0 => Ok([rows, columns]),
        size => Ok([size, size]),
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
    // Vectorized, which a loop that writes backwards is not; then turned while the row is in the cache.
    out.iter_mut().zip(numbers).for_each(|(o, v)| *o = v);
    if mirror {
        out.reverse();
    }
}

fn mean_picture(file: &Path) -> Result<Mean> {
    let (dims, values) = read_mean(file).with_context(|| match file.exists() {
        true => "cannot read mean_file".to_string(),
        false => format!(
            "mean_file is missing; `dsd compute_image_mean TRAIN_DB {}` makes it from the training database",
            file.display()
        ),
    })?;
    if let [_, 1, 1] = dims {
        return Ok(Mean::Values(values));
    }
    Ok(Mean::Picture {
        dims,
        values,
        file: file.to_path_buf(),
    })
}

/// Channels, height, width and values of a mean file: 3 axes, or 4 with a leading 1. A `.binaryproto`, or
/// NumPy's `.npy` as Caffe's Python tools write it, which may also hold one value a channel (height and width
/// are 1 then).
pub fn read_mean(file: &Path) -> Result<([usize; 3], Vec<f32>)> {
    let bytes = files::read(file)?;
    let named = || file.display().to_string();
    let (shape, values) = if npz::looks_like_npy(&bytes) {
        let array = npz::read_npy(&bytes).with_context(named)?;
        (array.shape.dims().to_vec(), array.data)
    } else {
        // A model in one file has its mean in it.
        let inner = match container::looks_like(&bytes) {
            true => container::part(&bytes, container::MEAN).with_context(named)?,
            false => None,
        };
        let bytes = inner.as_deref().unwrap_or(&bytes);
        let blob = binary::decode_blob(bytes, &named())?;
        let shape = blob::shape(&blob).with_context(named)?;
        (shape, blob::values(&blob).with_context(named)?.into_owned())
    };
    let dims = match shape[..] {
        [1, c, h, w] | [c, h, w] => [c, h, w],
        [c] => [c, 1, 1],
        _ => anyhow::bail!(
            "the mean file {} has the shape {shape:?}; expected channels, height, width, with a leading 1 or \
             without, or one value a channel",
            file.display()
        ),
    };
    ensure!(
        !values.is_empty(),
        "the mean file {} has the shape {shape:?}: it is empty",
        file.display()
    );
    Ok((dims, values))
}

#[cfg(test)]
#[path = "transform_tests.rs"]
mod tests;
