//! Pictures as pycaffe prepares them, number by number: `caffe.Classifier`, `caffe.Detector` and `caffe.io` work on
//! floats from 0 to 1 in the order red, green, blue, and resize with scikit-image, where Caffe's data layers work on
//! bytes and resize with OpenCV.

use crate::data::datum::{Channels, decode_picture};
use crate::files;
use crate::tensor::Tensor;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// A picture in floats: height, width and channels, channels innermost.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Height, width, channels.
    pub dims: [usize; 3],
    /// The numbers.
    pub data: Vec<f32>,
}

impl Picture {
    /// A picture of one value.
    pub fn filled(dims: [usize; 3], value: f32) -> Self {
        Self {
            dims,
            data: vec![value; dims.iter().product()],
        }
    }

    /// Reads a file as `caffe.io.load_image`: red, green, blue from 0 to 1, or one channel if `gray`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(path: &Path, gray: bool) -> Result<Self> {
        let file = files::read(path)?;
        let mut planes = Vec::new();
        let wanted = if gray {
            Channels::Gray
        } else {
            Channels::AsStored
        };
        // scikit-image knows no camera's note of what is up; what it stores otherwise (16 bits) is made color.
        let dims = decode_picture(&file, wanted, &mut planes)
            .or_else(|_| decode_picture(&file, Channels::Color, &mut planes))
            .with_context(|| path.display().to_string())?;
        let [count, height, width] = dims;
        let area = height * width;
        let sources: &[usize] = match (gray, count) {
            (true, _) => &[0],
            (false, 1) => &[0, 0, 0],
            // Stored blue, green, red (and alpha, which is left out).
            (false, _) => &[2, 1, 0],
        };
        let mut data = Vec::with_capacity(area * sources.len());
        for at in 0..area {
            let value = |&s: &usize| (f64::from(planes[s * area + at]) / 255.0) as f32;
            data.extend(sources.iter().map(value));
        }
        Ok(Self {
            dims: [height, width, sources.len()],
            data,
        })
    }

    /// The pictures in an array: height x width x channels, or several of them.
    ///
    /// # Errors
    /// Another number of axes.
    pub fn of_array(array: Tensor) -> Result<Vec<Self>> {
        let (count, dims) = match *array.shape.dims() {
            [h, w] => (1, [h, w, 1]),
            [h, w, c] => (1, [h, w, c]),
            [n, h, w, c] => (n, [h, w, c]),
            _ => bail!(
                "expected an array of pictures (number x) height x width x channels, found {}",
                array.shape
            ),
        };
        let size: usize = dims.iter().product();
        ensure!(
            size > 0,
            "expected pictures, found the shape {}",
            array.shape
        );
        let pictures = array.data.chunks_exact(size).take(count);
        Ok(pictures
            .map(|data| Self {
                dims,
                data: data.to_vec(),
            })
            .collect())
    }

    fn at(&self, y: usize, x: usize) -> &[f32] {
        let [_, width, channels] = self.dims;
        &self.data[(y * width + x) * channels..][..channels]
    }

    /// The part from (top, left) of that height and width, which lies inside.
    pub fn crop(&self, [top, left]: [usize; 2], [height, width]: [usize; 2]) -> Self {
        let channels = self.dims[2];
        let mut data = Vec::with_capacity(height * width * channels);
        for y in top..top + height {
            let start = (y * self.dims[1] + left) * channels;
            data.extend(&self.data[start..start + width * channels]);
        }
        Self {
            dims: [height, width, channels],
            data,
        }
    }

    /// Puts another picture over the part from (top, left) on, as far as it lies inside.
    pub fn paste(&mut self, other: &Self, [top, left]: [usize; 2]) {
        let [height, width, channels] = self.dims;
        let columns = other.dims[1].min(width.saturating_sub(left)) * channels;
        for y in 0..other.dims[0].min(height.saturating_sub(top)) {
            let from = &other.data[y * other.dims[1] * channels..][..columns];
            self.data[((top + y) * width + left) * channels..][..columns].copy_from_slice(from);
        }
    }

    /// The picture with left and right exchanged.
    pub fn mirrored(&self) -> Self {
        let [height, width, _] = self.dims;
        let places = (0..height).flat_map(|y| (0..width).rev().map(move |x| (y, x)));
        Self {
            dims: self.dims,
            data: places.flat_map(|(y, x)| self.at(y, x)).copied().collect(),
        }
    }

    /// The picture in another height and width, as `caffe.io.resize_image`: bilinear between pixel centres; what lies
    /// outside is the picture's smallest value.
    pub fn resized(&self, [rows, columns]: [usize; 2]) -> Self {
        let [height, width, channels] = self.dims;
        if [height, width] == [rows, columns] {
            return self.clone();
        }
        let least = self.data.iter().copied().fold(f32::INFINITY, f32::min);
        let most = self.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if most <= least {
            return Self::filled([rows, columns, channels], least);
        }
        // In the range from 0 to 1, with 0 outside.
        let (low, range) = (f64::from(least), f64::from(most) - f64::from(least));
        let value = |y: i64, x: i64, c: usize| match (usize::try_from(y), usize::try_from(x)) {
            (Ok(y), Ok(x)) if y < height && x < width => {
                (f64::from(self.at(y, x)[c]) - low) / range
            }
            _ => 0.0,
        };
        let taps = |from: usize, to: usize| -> Vec<(i64, i64, f64)> {
            let scale = from as f64 / to as f64;
            let tap = |d: usize| {
                let place = (d as f64 + 0.5) * scale - 0.5;
                let first = place.floor();
                (first as i64, place.ceil() as i64, place - first)
            };
            (0..to).map(tap).collect()
        };
        let (down, along) = (taps(height, rows), taps(width, columns));
        let mut data = Vec::with_capacity(rows * columns * channels);
        for &(y0, y1, dy) in &down {
            for &(x0, x1, dx) in &along {
                for c in 0..channels {
                    let top = (1.0 - dx) * value(y0, x0, c) + dx * value(y0, x1, c);
                    let bottom = (1.0 - dx) * value(y1, x0, c) + dx * value(y1, x1, c);
                    data.push((((1.0 - dy) * top + dy * bottom) * range + low) as f32);
                }
            }
        }
        Self {
            dims: [rows, columns, channels],
            data,
        }
    }

    /// The part in the middle, whose edges are cut down to whole pixels as Python does it.
    ///
    /// # Errors
    /// The picture is smaller.
    pub fn centre(&self, size: [usize; 2]) -> Result<Self> {
        self.fits(size)?;
        let middle = |k: usize| (self.dims[k] as f64 / 2.0 - size[k] as f64 / 2.0) as usize;
        Ok(self.crop([middle(0), middle(1)], size))
    }

    /// The four corners and the middle, and then the mirrored ones.
    ///
    /// # Errors
    /// The picture is smaller.
    pub fn oversampled(&self, size: [usize; 2]) -> Result<Vec<Self>> {
        let centre = self.centre(size)?;
        let far = [self.dims[0] - size[0], self.dims[1] - size[1]];
        let corners = [[0, 0], [0, far[1]], [far[0], 0], far];
        let mut crops: Vec<Self> = corners.iter().map(|&at| self.crop(at, size)).collect();
        crops.push(centre);
        let mirrored: Vec<Self> = crops.iter().map(Self::mirrored).collect();
        crops.extend(mirrored);
        Ok(crops)
    }

    fn fits(&self, [height, width]: [usize; 2]) -> Result<()> {
        ensure!(
            height <= self.dims[0] && width <= self.dims[1],
            "the net's input of {height} x {width} does not fit into pictures of {} x {}; give a larger --images_dim",
            self.dims[0],
            self.dims[1]
        );
        Ok(())
    }
}

/// What becomes of a picture before the net sees it: `caffe.io.Transformer`.
#[derive(Clone, Debug, Default)]
pub struct Transformer {
    /// Channels, height and width of the net's input.
    pub input: [usize; 3],
    /// The order of the channels, of those of the picture.
    pub channel_swap: Option<Vec<usize>>,
    /// Factor before the mean is subtracted.
    pub raw_scale: Option<f32>,
    /// The mean, of the input's shape.
    pub mean: Option<Vec<f32>>,
    /// Factor after it.
    pub input_scale: Option<f32>,
}

impl Transformer {
    /// Checks the order of the channels.
    ///
    /// # Errors
    /// It is none of the input's channels.
    pub fn check(&self) -> Result<()> {
        if let Some(order) = &self.channel_swap {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            ensure!(
                sorted.iter().copied().eq(0..self.input[0]),
                "--channel_swap: expected the numbers 0 to {} in some order (the net's input has {} channels), found {order:?}",
                self.input[0].saturating_sub(1),
                self.input[0]
            );
        }
        Ok(())
    }

    /// Takes the mean from an array: one value a channel, a picture (height x width, or channels x height x width), or
    /// one behind a 1. A picture of another size than the input's is resized.
    ///
    /// # Errors
    /// The array has another shape.
    pub fn set_mean(&mut self, array: &Tensor) -> Result<()> {
        let [channels, height, width] = self.input;
        let dims = array.shape.dims();
        let dims = match dims {
            [1, rest @ ..] if rest.len() == 3 => rest,
            dims => dims,
        };
        let of_picture = match *dims {
            [c] => [c, 1, 1],
            [h, w] => [1, h, w],
            [c, h, w] => [c, h, w],
            _ => bail!(
                "the mean: expected one value a channel or channels x height x width, found {}",
                array.shape
            ),
        };
        let [c, h, w] = of_picture;
        ensure!(
            (c == channels || c == 1) && h * w > 0,
            "the mean: expected the net's {channels} channels, found the shape {}",
            array.shape
        );
        let area = h * w;
        let planes = if area == 1 || [h, w] == [height, width] {
            array.data.clone()
        } else {
            // Height x width x channels, and back.
            let place = |at: usize| (0..c).map(move |k| k * area + at);
            let picture = Picture {
                dims: [h, w, c],
                data: (0..area).flat_map(place).map(|i| array.data[i]).collect(),
            };
            let resized = picture.resized([height, width]);
            let place = |k: usize| (0..height * width).map(move |at| at * c + k);
            (0..c).flat_map(place).map(|i| resized.data[i]).collect()
        };
        let own = planes.len() / c;
        let value = |i: usize| {
            let (k, at) = (i / (height * width), i % (height * width));
            planes[(k % c) * own + at % own]
        };
        self.mean = Some((0..channels * height * width).map(value).collect());
        Ok(())
    }

    /// The mean as a picture before all scaling: what the surroundings of a picture are filled with.
    pub fn surroundings(&self) -> Picture {
        let [channels, height, width] = self.input;
        let Some(mean) = &self.mean else {
            return Picture::filled([height, width, channels], 0.0);
        };
        let area = height * width;
        let place = |c: usize| match &self.channel_swap {
            Some(order) => order.iter().position(|&o| o == c).unwrap_or(c),
            None => c,
        };
        let scale = self.raw_scale.unwrap_or(1.0);
        let value = |at: usize| (0..channels).map(move |c| (place(c), at));
        let all = (0..area).flat_map(value);
        Picture {
            dims: [height, width, channels],
            data: all.map(|(c, at)| mean[c * area + at] / scale).collect(),
        }
    }

    /// Writes what the net sees of `picture`: channels, height, width.
    ///
    /// # Errors
    /// It has another number of channels.
    pub fn apply(&self, picture: &Picture, out: &mut [f32]) -> Result<()> {
        let [channels, height, width] = self.input;
        ensure!(
            picture.dims[2] == channels,
            "the net's input has {channels} channels, the picture {}",
            picture.dims[2]
        );
        let resized = picture.resized([height, width]);
        let area = height * width;
        for c in 0..channels {
            let source = self.channel_swap.as_ref().map_or(c, |order| order[c]);
            for at in 0..area {
                let mut v = resized.data[at * channels + source];
                v = self.raw_scale.map_or(v, |s| v * s);
                v = self.mean.as_ref().map_or(v, |m| v - m[c * area + at]);
                out[c * area + at] = self.input_scale.map_or(v, |s| v * s);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(h: usize, w: usize, c: usize) -> Picture {
        let data = (0..h * w * c).map(|i| i as f32).collect();
        Picture {
            dims: [h, w, c],
            data,
        }
    }

    #[test]
    fn ten_crops_are_corners_centre_and_their_mirrors() {
        let picture = ramp(4, 5, 1);
        let crops = picture.oversampled([2, 2]).unwrap();
        let firsts: Vec<f32> = crops.iter().map(|c| c.data[0]).collect();
        // The middle of 5 columns starts at 1.5, which becomes 1.
        assert_eq!(
            firsts,
            [0.0, 3.0, 10.0, 13.0, 6.0, 1.0, 4.0, 11.0, 14.0, 7.0]
        );
        assert_eq!(picture.centre([2, 2]).unwrap().data, [6.0, 7.0, 11.0, 12.0]);
        let error = picture.centre([5, 2]).unwrap_err().to_string();
        assert!(
            error.contains("5 x 2 does not fit into pictures of 4 x 5"),
            "{error}"
        );
    }

    #[test]
    fn resizing_is_scikit_images() {
        // skimage.transform.resize(order=1, mode='constant') of [[0, 1], [2, 3]] / 3 to 4 x 4, by hand: at the
        // border a quarter comes from the zeros outside.
        let out = ramp(2, 2, 1).resized([4, 4]);
        let row = |y: usize| &out.data[4 * y..4 * y + 4];
        let near = |a: &[f32], b: [f32; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(row(0), [0.0, 0.1875, 0.5625, 0.5625]), "{:?}", row(0));
        assert!(near(row(1), [0.375, 0.75, 1.25, 1.125]), "{:?}", row(1));
        // Smaller: between the centres.
        assert_eq!(ramp(4, 4, 1).resized([2, 2]).data, [2.5, 4.5, 10.5, 12.5]);
        assert_eq!(
            Picture::filled([3, 3, 3], 0.5).resized([7, 2]).data,
            [0.5; 42]
        );
    }

    #[test]
    fn a_transformer_does_pycaffes_steps_in_order() {
        let mut transformer = Transformer {
            input: [3, 1, 1],
            channel_swap: Some(vec![2, 1, 0]),
            raw_scale: Some(255.0),
            input_scale: Some(0.5),
            ..Transformer::default()
        };
        let mean = |dims: &[usize]| Tensor {
            shape: dims.into(),
            data: vec![10.0, 20.0, 30.0],
        };
        for dims in [&[3][..], &[3, 1, 1], &[1, 3, 1, 1]] {
            transformer.set_mean(&mean(dims)).unwrap();
            let mut out = [0.0; 3];
            transformer
                .apply(
                    &Picture {
                        dims: [1, 1, 3],
                        data: vec![0.0, 0.5, 1.0],
                    },
                    &mut out,
                )
                .unwrap();
            assert_eq!(out, [122.5, 53.75, -15.0]);
            let surroundings = transformer.surroundings().data;
            assert_eq!(surroundings, [30.0 / 255.0, 20.0 / 255.0, 10.0 / 255.0]);
        }
        assert!(transformer.set_mean(&mean(&[1, 1, 1, 1, 3])).is_err());
        transformer.input = [2, 1, 1];
        assert!(transformer.set_mean(&mean(&[3])).is_err() && transformer.check().is_err());
    }

    #[test]
    fn arrays_are_pictures() {
        let array = |dims: &[usize]| Tensor::zeros(dims.into());
        assert_eq!(Picture::of_array(array(&[2, 3, 4, 3])).unwrap().len(), 2);
        assert_eq!(
            Picture::of_array(array(&[3, 4, 3])).unwrap()[0].dims,
            [3, 4, 3]
        );
        assert!(Picture::of_array(array(&[3])).is_err());
        assert!(Picture::of_array(array(&[0, 4, 3])).is_err());
    }
}
