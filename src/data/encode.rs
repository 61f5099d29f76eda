//! Encoding pictures as PNG and JPEG, the latter with the settings of OpenCV's `imencode` (quality 95,
//! colours at half the resolution).

use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};

use anyhow::{Context, Result, anyhow};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use mozjpeg::{ColorSpace, Compress};

/// A file format of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Without loss.
    Png,
    /// With loss.
    Jpeg,
}

impl Format {
    /// The format that a file name's ending stands for.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" | "jpe" => Some(Self::Jpeg),
            _ => None,
        }
    }
}

/// OpenCV's default.
const QUALITY: f32 = 95.0;

/// The file of a picture in planes: one of gray, or three of blue, green and red.
pub fn encode(planes: &[u8], dims: [usize; 3], format: Format) -> Result<Vec<u8>> {
    let [channels, h, w] = dims;
    let pixels = match channels {
        3 => {
            let (blue, rest) = planes.split_at(h * w);
            let (green, red) = rest.split_at(h * w);
            let rgb = red.iter().zip(green).zip(blue);
            rgb.flat_map(|((r, g), b)| [*r, *g, *b]).collect()
        }
        _ => planes.to_vec(),
    };
    match format {
        Format::Png => png(&pixels, dims),
        Format::Jpeg => {
            // The library's errors unwind, by its design; nothing it touched is used afterwards.
            let file = panic::catch_unwind(AssertUnwindSafe(|| jpeg(&pixels, dims)));
            file.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map_or("", String::as_str);
                Err(anyhow!(
                    text.trim_start_matches("libjpeg fatal error: ").to_owned()
                ))
            })
            .context("cannot be encoded as JPEG")
        }
    }
}

fn png(pixels: &[u8], [channels, h, w]: [usize; 3]) -> Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    let color = match channels {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    PngEncoder::new(&mut file)
        .write_image(pixels, u32::try_from(w)?, u32::try_from(h)?, color)
        .context("cannot be encoded as PNG")?;
    Ok(file.into_inner())
}

fn jpeg(pixels: &[u8], [channels, h, w]: [usize; 3]) -> Result<Vec<u8>> {
    let space = match channels {
        1 => ColorSpace::JCS_GRAYSCALE,
        _ => ColorSpace::JCS_RGB,
    };
    let mut jpeg = Compress::new(space);
    // libjpeg's own way, not mozjpeg's search for smaller files.
    jpeg.set_fastest_defaults();
    jpeg.set_size(w, h);
    jpeg.set_quality(QUALITY);
    let mut started = jpeg.start_compress(Vec::new())?;
    started.write_scanlines(pixels)?;
    Ok(started.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::datum::{Channels, decode_picture};

    #[test]
    fn pictures_come_back() {
        let (h, w) = (20, 31);
        let planes: Vec<u8> = (0..3 * h * w).map(|i| (i / 12) as u8).collect();
        for channels in [1, 3] {
            let dims = [channels, h, w];
            let planes = &planes[..channels * h * w];
            for format in [Format::Png, Format::Jpeg] {
                let file = encode(planes, dims, format).unwrap();
                let mut out = Vec::new();
                let found = decode_picture(&file, Channels::AsStored, &mut out).unwrap();
                assert_eq!(found, dims);
                let most = planes.iter().zip(&out).map(|(a, b)| a.abs_diff(*b)).max();
                let allowed = if format == Format::Png { 0 } else { 12 };
                assert!(most <= Some(allowed), "{format:?} {most:?}");
            }
        }
    }

    #[test]
    fn what_a_jpeg_cannot_hold_is_an_error() {
        let error = encode(&vec![0; 70_000], [1, 1, 70_000], Format::Jpeg);
        let text = format!("{:#}", error.unwrap_err());
        assert!(text.starts_with("cannot be encoded as JPEG: "), "{text}");
        assert_eq!(Format::of_extension("JPeG"), Some(Format::Jpeg));
        assert_eq!(Format::of_extension("gif"), None);
    }
}
