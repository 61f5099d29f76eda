//! `transform_param.noise_param` of the SSD family: a picture is spoilt in the order of its switches. `prob`
//! is not used there, and not here.

use std::panic::{self, AssertUnwindSafe};

use anyhow::{Context, Result, anyhow, ensure};
use mozjpeg::{ColorSpace, Compress};

use super::augment::Draws;
use super::colours;
use super::datum::{Channels, decode_picture};
use crate::proto::caffe::NoiseParameter;

/// Checks what can be told without a picture.
pub fn check(p: &NoiseParameter) -> Result<()> {
    for (given, name) in [(p.clahe(), "clahe"), (p.convert_to_lab(), "convert_to_lab")] {
        ensure!(
            !given,
            "noise_param.{name}, of the SSD family's forks of Caffe, is not supported; its other switches are"
        );
    }
    Ok(())
}

/// Spoils a picture in planes of blue, green and red, or of gray.
pub fn apply(
    p: &NoiseParameter,
    planes: &mut Vec<u8>,
    dims: [usize; 3],
    draws: &mut Draws,
) -> Result<()> {
    let [channels, h, w] = dims;
    let pixels = h * w;
    let coloured =
        p.decolorize() || p.hist_eq() && channels > 1 || p.jpeg() > 0.0 || p.convert_to_hsv();
    ensure!(
        !coloured || channels == 3,
        "noise_param changes colours, but the picture has {channels} channels; expected 3"
    );
    if p.decolorize() {
        let gray = colours::gray(planes, pixels);
        *planes = [&gray[..]; 3].concat();
    }
    if p.gauss_blur() {
        planes
            .chunks_exact_mut(pixels)
            .for_each(|plane| blur(plane, h, w));
    }
    if p.hist_eq() {
        colours::equalize(planes, pixels);
    }
    if p.jpeg() > 0.0 {
        let file = jpeg(planes, dims, p.jpeg().clamp(1.0, 100.0).trunc())?;
        decode_picture(&file, Channels::Color, planes)?;
    }
    if p.erode() {
        planes
            .chunks_exact_mut(pixels)
            .for_each(|plane| erode(plane, h, w));
    }
    if p.posterize() {
        // Four values: the middles of quarters.
        planes.iter_mut().for_each(|v| *v = *v / 64 * 64 + 32);
    }
    if p.inverse() {
        planes.iter_mut().for_each(|v| *v = !*v);
    }
    if p.saltpepper() {
        salt_and_pepper(p, planes, dims, draws)?;
    }
    if p.convert_to_hsv() {
        colours::to_hsv(planes, pixels);
    }
    Ok(())
}

/// A JPEG of colours as OpenCV's `imencode` writes it.
fn jpeg(planes: &[u8], [_, h, w]: [usize; 3], quality: f32) -> Result<Vec<u8>> {
    let write = || -> Result<Vec<u8>> {
        let (blue, rest) = planes.split_at(h * w);
        let (green, red) = rest.split_at(h * w);
        let rgb = red.iter().zip(green).zip(blue);
        let pixels: Vec<u8> = rgb.flat_map(|((r, g), b)| [*r, *g, *b]).collect();
        let mut jpeg = Compress::new(ColorSpace::JCS_RGB);
        jpeg.set_fastest_defaults();
        jpeg.set_size(w, h);
        jpeg.set_quality(quality);
        let mut started = jpeg.start_compress(Vec::new())?;
        started.write_scanlines(&pixels)?;
        Ok(started.finish()?)
    };
    // The library's errors unwind, by its design; nothing it touched is used afterwards.
    let file = panic::catch_unwind(AssertUnwindSafe(write));
    let file = file.unwrap_or_else(|_| Err(anyhow!("a picture of {h} x {w} is too large")));
    file.context("noise_param.jpeg")
}

fn salt_and_pepper(
    p: &NoiseParameter,
    planes: &mut [u8],
    [channels, h, w]: [usize; 3],
    draws: &mut Draws,
) -> Result<()> {
    let param = p.saltpepper_param.clone().unwrap_or_default();
    let given = param.value.len();
    ensure!(
        given == 1 || given == channels,
        "saltpepper_param needs 1 value or one for each of {channels} channels, found {given}"
    );
    let count = (param.fraction() * w as f32 * h as f32).floor().max(0.0) as usize;
    for _ in 0..count.min(h * w) {
        let (x, y) = (draws.below(w), draws.below(h));
        for (c, plane) in planes.chunks_exact_mut(h * w).enumerate() {
            plane[y * w + x] = param.value[c.min(given - 1)] as u8;
        }
    }
    Ok(())
}

/// A border that is mirrored, without its last pixel: place `i` of `n`.
fn mirrored(i: i64, n: usize) -> usize {
    let n = n as i64;
    if n == 1 {
        return 0;
    }
    let i = i.rem_euclid(2 * n - 2);
    i.min(2 * n - 2 - i) as usize
}

/// Gauss' bell of 7 pixels with a deviation of 1.5, in 8 bits each way.
fn blur(plane: &mut [u8], h: usize, w: usize) {
    let bell: Vec<f64> = (-3..=3i32)
        .map(|i| (-f64::from(i * i) / 4.5).exp())
        .collect();
    let sum: f64 = bell.iter().sum();
    let bell: Vec<f64> = bell.iter().map(|b| b / sum).collect();
    let along: Vec<f64> = (0..h * w)
        .map(|p| {
            let (y, x) = (p / w, (p % w) as i64);
            let pixel = |k: usize| f64::from(plane[y * w + mirrored(x + k as i64 - 3, w)]);
            bell.iter().enumerate().map(|(k, b)| b * pixel(k)).sum()
        })
        .collect();
    for (p, out) in plane.iter_mut().enumerate() {
        let (y, x) = ((p / w) as i64, p % w);
        let pixel = |k: usize| along[mirrored(y + k as i64 - 3, h) * w + x];
        let sum: f64 = bell.iter().enumerate().map(|(k, b)| b * pixel(k)).sum();
        *out = sum.round().clamp(0.0, 255.0) as u8;
    }
}

/// The least of each pixel and its four neighbours.
fn erode(plane: &mut [u8], h: usize, w: usize) {
    let old = plane.to_vec();
    for (p, out) in plane.iter_mut().enumerate() {
        let (y, x) = (p / w, p % w);
        let mut least = old[p];
        let mut look = |there: bool, at: usize| {
            if there {
                least = least.min(old[at]);
            }
        };
        look(y > 0, p.wrapping_sub(w));
        look(y + 1 < h, p + w);
        look(x > 0, p.wrapping_sub(1));
        look(x + 1 < w, p + 1);
        *out = least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::caffe::SaltPepperParameter;
    use crate::random::{Purpose, Random};

    fn spoilt(p: &NoiseParameter, planes: &[u8], dims: [usize; 3]) -> Vec<u8> {
        let mut planes = planes.to_vec();
        let mut draws = Draws::new(Random::new(1, Purpose::Transform, 2));
        apply(p, &mut planes, dims, &mut draws).unwrap();
        planes
    }

    #[test]
    fn each_switch_does_its_work() {
        let p = NoiseParameter::default;
        let planes = [255, 0, 0, 255, 0, 0];
        let gray = NoiseParameter {
            decolorize: Some(true),
            ..p()
        };
        assert_eq!(
            spoilt(&gray, &planes, [3, 1, 2]),
            [29, 150, 29, 150, 29, 150]
        );
        let inverse = NoiseParameter {
            inverse: Some(true),
            ..p()
        };
        assert_eq!(spoilt(&inverse, &[0, 1, 255], [3, 1, 1]), [255, 254, 0]);
        let four = NoiseParameter {
            posterize: Some(true),
            ..p()
        };
        assert_eq!(
            spoilt(&four, &[0, 63, 64, 255], [1, 2, 2]),
            [32, 32, 96, 224]
        );
        let erode = NoiseParameter {
            erode: Some(true),
            ..p()
        };
        assert_eq!(
            spoilt(&erode, &[9, 9, 9, 9, 1, 9, 9, 9, 9], [1, 3, 3]),
            [9, 1, 9, 1, 1, 1, 9, 1, 9]
        );
        let blur = NoiseParameter {
            gauss_blur: Some(true),
            ..p()
        };
        assert_eq!(spoilt(&blur, &[80; 20], [1, 4, 5]), [80; 20]);
        let hsv = NoiseParameter {
            convert_to_hsv: Some(true),
            ..p()
        };
        assert_eq!(spoilt(&hsv, &[255, 0, 0], [3, 1, 1]), [120, 255, 255]);
        let salt = NoiseParameter {
            saltpepper: Some(true),
            saltpepper_param: Some(SaltPepperParameter {
                fraction: Some(0.1),
                value: vec![255.0],
            }),
            ..p()
        };
        let salted = spoilt(&salt, &[0; 300], [3, 10, 10]);
        let white = salted.iter().filter(|&&v| v == 255).count();
        assert!((3..=30).contains(&white) && white % 3 == 0, "{white}");
        let jpeg = NoiseParameter {
            jpeg: Some(10.0),
            ..p()
        };
        let squeezed = spoilt(&jpeg, &[128; 3 * 64], [3, 8, 8]);
        assert!(squeezed.iter().all(|v| v.abs_diff(128) < 9));
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let p = NoiseParameter {
            clahe: Some(true),
            ..Default::default()
        };
        let said = check(&p).unwrap_err().to_string();
        assert!(
            said.starts_with("noise_param.clahe, of the SSD family"),
            "{said}"
        );
    }
}
