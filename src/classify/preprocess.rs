//! What is done to a picture before a net sees it, so that it is what `dsd test` would see.

use crate::data::datum::{Channels, Picture, Pixels, decode_picture};
use crate::data::transform::{Transform, read_mean};
use crate::data::{self, digits, resize};
use crate::files;
use crate::layers::Mode;
use crate::proto::caffe::{LayerParameter, TransformationParameter};
use crate::random::{Purpose, Random};
use crate::report::number::G;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the user says of the preprocessing, before what the net says.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// A mean file.
    pub mean_file: Option<PathBuf>,
    /// One value, or one a channel.
    pub mean_value: Vec<f32>,
    /// Side of the square that pictures are resized to.
    pub resize: Option<usize>,
    /// Factor behind the mean.
    pub scale: Option<f32>,
    /// Channels, height and width of the pictures in the data, where these need not be at hand.
    pub stored: Option<[usize; 3]>,
}

/// From a picture's file to a net's input.
#[derive(Debug)]
pub struct Preprocess {
    channels: Channels,
    /// Channels, and height and width before the crop.
    pub size: [usize; 3],
    transform: Transform,
    /// Channels, height and width that the net sees.
    pub input: [usize; 3],
    /// All of it in one line.
    pub text: String,
    /// Whether anything is subtracted.
    pub has_mean: bool,
}

impl Preprocess {
    /// The preprocessing for the net whose pictures come from `source`: a data layer says how to transform
    /// them, an Input layer only their size. `input` is the shape that the net is known to want, if it is.
    /// `folder` is where the layer's files are looked up.
    pub fn new(
        source: &LayerParameter,
        input: Option<[usize; 3]>,
        given: &Given,
        folder: &Path,
    ) -> Result<Self> {
        let mut param = source.transform_param.clone().unwrap_or_default();
        let resolve = |name: &str| files::resolve(name, folder);
        // Caffe mirrors at random in the TEST phase too; a label should not depend on chance.
        param.mirror = None;
        let stored = given
            .stored
            .or_else(|| stored_size(source, &param, &resolve));
        if builtin_digits(source) {
            // Pictures of digits have 15 levels for each one stored.
            param.scale = Some(param.scale() / f32::from(digits::LEVEL));
        }
        if given.mean_file.is_some() || !given.mean_value.is_empty() {
            param.mean_file = None;
            param.mean_value = given.mean_value.clone();
        }
        param.scale = given.scale.or(param.scale);
        let mean_file = given
            .mean_file
            .clone()
            .or_else(|| param.mean_file.take().map(|name| resolve(&name)));
        let mean = match &mean_file {
            Some(file) => Some(read_mean(file).context("cannot read the mean")?),
            None => None,
        };
        let channels = channels(
            &param,
            source,
            [
                input.map(|d| d[0]),
                stored.map(|d| d[0]),
                mean.as_ref().map(|m| m.0[0]),
                (param.mean_value.len() > 1).then_some(param.mean_value.len()),
            ],
        )?;
        let from_file = mean
            .as_ref()
            .filter(|_| given.mean_file.is_none() || input.is_none());
        // One value a channel says nothing of the size.
        let from_file = from_file.map(|m| [m.0[1], m.0[2]]);
        let from_file = from_file.filter(|size| *size != [1, 1]);
        let [height, width] = size(source, &param, input, stored, from_file, given.resize)?;
        let size = [channels, height, width];
        if let Some([_, h, w]) = input.filter(|i| [i[1], i[2]] != [height, width]) {
            ensure!(
                h == w && param.crop_size.is_none_or(|c| c as usize == h),
                "the net's input is {h} x {w}, its crop_size {}; expected a square input of the crop's size",
                param.crop_size()
            );
            param.crop_size = Some(h as u32);
        }
        let mut mean_text = None;
        if let (Some(file), Some((dims, values))) = (&mean_file, mean) {
            if dims == size {
                mean_text = Some(format!("the picture {}", file.display()));
                param.mean_file = Some(file.display().to_string());
            } else {
                // As Caffe's classification example.
                ensure!(
                    dims[0] == channels,
                    "the mean file {} has {} channels; expected {channels}",
                    file.display(),
                    dims[0]
                );
                let area = (dims[1] * dims[2]).max(1);
                param.mean_value = values
                    .chunks(area)
                    .map(|c| (c.iter().map(|v| f64::from(*v)).sum::<f64>() / area as f64) as f32)
                    .collect();
                let values = listed(&param.mean_value);
                mean_text = Some(format!("mean {values} (of {} by channel)", file.display()));
            }
        } else if !param.mean_value.is_empty() {
            mean_text = Some(format!("mean {}", listed(&param.mean_value)));
        }
        let random = Random::new(0, Purpose::Transform, 0);
        let own = mean_file.unwrap_or_default();
        let transform = Transform::new(&param, Mode::Test, random, &|_| own.clone())?;
        let output = transform.output(size)?;
        if let Some(wanted) = input {
            ensure!(
                output == wanted,
                "the net's input is {wanted:?} (channels, height, width), but pictures come out as {output:?}"
            );
        }
        Ok(Self {
            channels: if channels == 1 {
                Channels::Gray
            } else {
                Channels::Color
            },
            size,
            transform,
            input: output,
            text: text(size, output, mean_text.as_deref(), param.scale()),
            has_mean: mean_text.is_some(),
        })
    }

    /// Reads a picture and writes what the net shall see of it.
    pub fn read(&self, file: &Path, out: &mut [f32]) -> Result<()> {
        let bytes = files::read(file)?;
        let mut planes = Vec::new();
        let [channels, height, width] = self.size;
        let dims = decode_picture(&bytes, self.channels, &mut planes)
            .with_context(|| file.display().to_string())?;
        let resized = resize::resize(&planes, dims, [height, width]);
        let picture = Picture {
            dims: [channels, height, width],
            pixels: Pixels::Bytes(&resized),
        };
        self.transform.apply(&picture, 0, out)
    }
}

fn builtin_digits(source: &LayerParameter) -> bool {
    let named = source.data_param.as_ref().map(|p| p.source());
    named.is_some_and(|name| digits::NAMES.contains(&name))
}

/// Channels, height and width of the pictures in the data that a layer names, where it is at hand.
fn stored_size(
    source: &LayerParameter,
    param: &TransformationParameter,
    resolve: &dyn Fn(&str) -> PathBuf,
) -> Option<[usize; 3]> {
    if source.r#type() != "Data" {
        return None;
    }
    let mut bare = source.clone();
    bare.transform_param = Some(TransformationParameter {
        force_color: param.force_color,
        force_gray: param.force_gray,
        ..TransformationParameter::default()
    });
    let options = data::Options {
        mode: Mode::Test,
        seed: 0,
        source: None,
        resolve,
        skip_bad: data::bad_records::left_out(),
        warn: &|_| (),
    };
    let shapes = data::open(&bare, &options).ok()?.shapes();
    match shapes.first()?.dims() {
        [_, c, h, w] => Some([*c, *h, *w]),
        _ => None,
    }
}

/// How many channels a picture shall have: what the parameters force, else the first that is known.
fn channels(
    param: &TransformationParameter,
    source: &LayerParameter,
    known: [Option<usize>; 4],
) -> Result<usize> {
    let gray_list = source
        .image_data_param
        .as_ref()
        .is_some_and(|p| !p.is_color());
    let forced = match (param.force_gray() || gray_list, param.force_color()) {
        (true, _) => Some(1),
        (_, true) => Some(3),
        _ => None,
    };
    let count = known[0]
        .or(forced)
        .or_else(|| known.into_iter().flatten().next())
        .unwrap_or(3);
    match count {
        1 | 3 => Ok(count),
        other => bail!(
            "the net's input has {other} channels; pictures have 1 (gray) or 3 (blue, green, red)"
        ),
    }
}

/// Height and width to which pictures are resized, before any crop.
fn size(
    source: &LayerParameter,
    param: &TransformationParameter,
    input: Option<[usize; 3]>,
    stored: Option<[usize; 3]>,
    mean: Option<[usize; 2]>,
    given: Option<usize>,
) -> Result<[usize; 2]> {
    if let Some(side) = given {
        return Ok([side, side]);
    }
    let list = source.image_data_param.as_ref();
    let new = list.map(|p| [p.new_height() as usize, p.new_width() as usize]);
    let crop = match param.crop_size() as usize {
        0 => None,
        // ImageNet's databases hold 256 x 256, from which the nets cut 224 or 227.
        200..=256 => Some([256; 2]),
        crop => Some([(crop * 8 + 3) / 7; 2]),
    };
    let known = new
        .filter(|d| d[0] > 0 && d[1] > 0)
        .or(stored.map(|d| [d[1], d[2]]))
        .or(mean)
        .or(crop)
        .or(input.map(|d| [d[1], d[2]]));
    known.context("the net does not say how large its pictures are; give --resize N")
}

fn listed(values: &[f32]) -> String {
    let words: Vec<String> = values.iter().map(|v| G(*v).to_string()).collect();
    words.join(" ")
}

/// The line that says what is done.
fn text(size: [usize; 3], output: [usize; 3], mean: Option<&str>, scale: f32) -> String {
    let [channels, h, w] = size;
    let mut text = format!("resize {h} x {w} (bilinear)");
    if output != size {
        // Writing to a string cannot fail.
        let _ = write!(text, ", centre crop {}", output[1]);
    }
    text += if channels == 1 { ", gray" } else { ", BGR" };
    if let Some(mean) = mean {
        let _ = write!(text, ", minus {mean}");
    }
    if scale != 1.0 {
        let _ = write!(text, ", times {}", G(scale));
    }
    text
}
