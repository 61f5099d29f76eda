//! A net's input as a picture that people can look at.

use crate::page::data_uri;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use std::io::Cursor;

/// The longer side of a picture on the page, in pixels: there are many of them, and the page shall stay small.
const SIDE: u32 = 64;

/// A PNG of numbers that lie as channels (gray, or blue, green, red), rows, columns; the least is black, the greatest white.
/// `None` where they are no picture.
pub fn uri([channels, height, width]: [usize; 3], pixels: &[f32]) -> Option<String> {
    let size = height * width;
    if !matches!(channels, 1 | 3) || size == 0 || pixels.len() != channels * size {
        return None;
    }
    let known = || pixels.iter().copied().filter(|v| v.is_finite());
    let (low, high) = known().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    let byte = |v: f32| match high > low {
        true => (255.0 * (v - low) / (high - low)).round() as u8,
        false => 0,
    };
    let (w, h) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let picture = match channels {
        1 => DynamicImage::from(GrayImage::from_raw(
            w,
            h,
            pixels.iter().map(|v| byte(*v)).collect(),
        )?),
        _ => {
            let plane = |k: usize| &pixels[k * size..(k + 1) * size];
            let (blue, green, red) = (plane(0), plane(1), plane(2));
            let colours = (0..size).flat_map(|i| [red[i], green[i], blue[i]].map(byte));
            DynamicImage::from(RgbImage::from_raw(w, h, colours.collect())?)
        }
    };
    let picture = match w.max(h) > SIDE {
        true => {
            let scale = f64::from(SIDE) / f64::from(w.max(h));
            let side = |v: u32| ((f64::from(v) * scale).round() as u32).max(1);
            DynamicImage::from(imageops::resize(
                &picture.to_rgb8(),
                side(w),
                side(h),
                FilterType::Triangle,
            ))
        }
        false => picture,
    };
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).ok()?;
    Some(data_uri("image/png", &file.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_picture_becomes_small_and_what_is_none_is_left_out() {
        let pixels: Vec<f32> = (0..3 * 100 * 200).map(|k| (k % 97) as f32).collect();
        let small = uri([3, 100, 200], &pixels).unwrap();
        assert!(small.starts_with("data:image/png;base64,") && small.len() < 12_000);
        assert!(uri([1, 2, 2], &[0.0, 1.0, f32::NAN, 1.0]).is_some());
        assert!(uri([2, 1, 1], &[0.0, 1.0]).is_none());
        assert!(uri([1, 0, 4], &[]).is_none());
    }
}
