//! Encoding pictures as files, with the settings of OpenCV's `imencode` (JPEG: quality 95, colours at half the
//! resolution; WebP: without loss).

use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};

use anyhow::{Context, Result, anyhow, ensure};
use image::codecs::bmp::BmpEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::tiff::TiffEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use mozjpeg::{ColorSpace, Compress};

/// A file format of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Without loss.
    Png,
    /// With loss.
    Jpeg,
    /// Without loss, not compressed.
    Bmp,
    /// Without loss.
    Tiff,
    /// Without loss.
    WebP,
    /// Without loss, not compressed: gray or colours.
    Pnm,
    /// Gray without loss, not compressed.
    Pgm,
    /// Colours without loss, not compressed.
    Ppm,
}

/// The file name endings of the types that can be encoded, for messages.
pub const TYPES: &str = "png, jpg, bmp, tiff, webp, ppm, pgm or pnm";

impl Format {
    /// The format that a file name's ending stands for.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" | "jpe" => Some(Self::Jpeg),
            "bmp" | "dib" => Some(Self::Bmp),
            "tif" | "tiff" => Some(Self::Tiff),
            "webp" => Some(Self::WebP),
            "pnm" | "pxm" => Some(Self::Pnm),
            "pgm" => Some(Self::Pgm),
            "ppm" => Some(Self::Ppm),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::WebP => "WebP",
            Self::Pnm | Self::Pgm | Self::Ppm => "PNM",
        }
    }

    /// Whether the format holds pictures of so many channels.
    ///
    /// # Errors
    /// It does not; the message says which does.
    pub fn check_channels(self, channels: usize) -> Result<()> {
        ensure!(
            self != Self::Pgm || channels == 1,
            "pgm holds gray pictures only; add --gray, or use ppm"
        );
        ensure!(
            self != Self::Ppm || channels == 3,
            "ppm holds coloured pictures only; use pgm for gray ones"
        );
        Ok(())
    }
}

/// OpenCV's default.
const QUALITY: f32 = 95.0;

/// The file of a picture in planes: one of gray, or three of blue, green and red.
pub fn encode(planes: &[u8], dims: [usize; 3], format: Format) -> Result<Vec<u8>> {
    let [channels, h, w] = dims;
    format.check_channels(channels)?;
    let pixels = match channels {
        3 => {
            let (blue, rest) = planes.split_at(h * w);
            let (green, red) = rest.split_at(h * w);
            let rgb = red.iter().zip(green).zip(blue);
            rgb.flat_map(|((r, g), b)| [*r, *g, *b]).collect()
        }
        _ => planes.to_vec(),
    };
    let failed = || format!("cannot be encoded as {}", format.name());
    match format {
        Format::Jpeg => {
            // The library's errors unwind, by its design; nothing it touched is used afterwards.
            let file = panic::catch_unwind(AssertUnwindSafe(|| jpeg(&pixels, dims)));
            file.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map_or("", String::as_str);
                Err(anyhow!(
                    text.trim_start_matches("libjpeg fatal error: ").to_owned()
                ))
            })
            .with_context(failed)
        }
        Format::Pnm | Format::Pgm | Format::Ppm => {
            let kind = if channels == 1 { 5 } else { 6 };
            let mut file = format!("P{kind}\n{w} {h}\n255\n").into_bytes();
            file.extend_from_slice(&pixels);
            Ok(file)
        }
        _ => by_image(&pixels, dims, format).with_context(failed),
    }
}

/// The formats that the image crate writes.
fn by_image(pixels: &[u8], [channels, h, w]: [usize; 3], format: Format) -> Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    let color = match channels {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    let (w, h) = (u32::try_from(w)?, u32::try_from(h)?);
    match format {
        Format::Bmp => BmpEncoder::new(&mut file).write_image(pixels, w, h, color),
        Format::Tiff => TiffEncoder::new(&mut file).write_image(pixels, w, h, color),
        Format::WebP => WebPEncoder::new_lossless(&mut file).write_image(pixels, w, h, color),
        _ => PngEncoder::new(&mut file).write_image(pixels, w, h, color),
    }?;
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
            for name in ["png", "jpg", "bmp", "tif", "webp", "pnm"] {
                let format = Format::of_extension(name).unwrap();
                let file = encode(planes, dims, format).unwrap();
                let mut out = Vec::new();
                let found = decode_picture(&file, Channels::AsStored, &mut out).unwrap();
                if format == Format::WebP && channels == 1 {
                    // It knows no gray.
                    assert_eq!(found, [3, h, w]);
                    out.truncate(h * w);
                } else {
                    assert_eq!(found, dims);
                }
                let most = planes.iter().zip(&out).map(|(a, b)| a.abs_diff(*b)).max();
                let allowed = if format == Format::Jpeg { 12 } else { 0 };
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
        let gray = encode(&[0], [1, 1, 1], Format::Ppm)
            .unwrap_err()
            .to_string();
        assert!(gray.contains("coloured pictures only"), "{gray}");
        let color = encode(&[0; 3], [3, 1, 1], Format::Pgm)
            .unwrap_err()
            .to_string();
        assert!(color.contains("add --gray"), "{color}");
    }
}
