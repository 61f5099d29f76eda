//! Picture files other than JPEG, decoded to what OpenCV gives Caffe. Each of OpenCV's decoders has its own way
//! to make 8 bits of 16 and gray of colours; they are followed, because Caffe's numbers depend on them.

use std::io::Cursor;

use anyhow::{Context, Result, bail, ensure};
use image::{DynamicImage, ImageFormat};
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;

use super::datum::{Channels, SMALLER, of_size, planes};
use super::pnm;
use crate::memory;

/// The endings of the names of pictures that can be read, in lower case.
pub const ENDINGS: [&str; 13] = [
    "jpg", "jpeg", "jpe", "png", "bmp", "dib", "pbm", "pgm", "ppm", "tif", "tiff", "webp", "gif",
];

/// [`ENDINGS`] for messages.
pub const ENDINGS_SHOWN: &str = ".jpg, .jpeg, .png, .bmp, .pbm, .pgm, .ppm, .tiff, .webp or .gif";

/// Whether a file name is that of a picture which can be read.
pub fn is_picture(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    extension.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

/// A decoded picture before it becomes planes.
pub(super) struct Raw {
    /// Height and width.
    pub size: [usize; 2],
    /// Interleaved: gray, or red, green, blue and where there is one alpha.
    pub pixels: Vec<u8>,
    /// 1, 3 or 4.
    pub channels: usize,
    /// Whether the file has more than 8 bits a channel, which nothing but a forced kind makes 8.
    pub deep: bool,
    /// How gray is made of colours.
    pub gray: Gray,
}

/// Brightness (0.299 red, 0.587 green, 0.114 blue) in the fixed-point forms of OpenCV's decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gray {
    /// libpng's: rounded down.
    Png,
    /// OpenCV's own decoders (BMP, PNM, TIFF): 14 bits, rounded.
    Own,
    /// OpenCV's conversion of whole pictures: 15 bits, rounded.
    Whole,
}

impl Gray {
    fn of(self, rgb: [u8; 3]) -> u8 {
        let [r, g, b] = rgb.map(u32::from);
        (match self {
            Self::Png => (r * 9797 + g * 19234 + b * 3737) >> 15,
            Self::Own => (r * 4899 + g * 9617 + b * 1868 + (1 << 13)) >> 14,
            Self::Whole => (r * 9798 + g * 19235 + b * 3735 + (1 << 14)) >> 15,
        }) as u8
    }
}

/// Decodes a picture that is no JPEG to planes in `out`; returns channels,
/// height and width.
pub(super) fn decode(file: &[u8], channels: Channels, out: &mut Vec<u8>) -> Result<[usize; 3]> {
    let raw = match pnm::decode(file) {
        Some(raw) => raw?,
        None => {
            let format = image::guess_format(file).ok().with_context(|| {
                format!(
                    "expected a JPEG, PNG, BMP, PNM, TIFF, WebP or GIF picture, found a file that begins with \
                     '{}'",
                    file[..file.len().min(8)].escape_ascii()
                )
            })?;
            raw(file, format, channels)?
        }
    };
    raw.planes(channels, out)
}

impl Raw {
    fn planes(self, channels: Channels, out: &mut Vec<u8>) -> Result<[usize; 3]> {
        let [h, w] = self.size;
        let pixels = &self.pixels[..];
        let most = pixels.len().max(3 * h * w);
        memory::reserve(out, most, || of_size([self.channels, h, w]), SMALLER)?;
        let count = match (channels, self.channels) {
            (Channels::AsStored, _) if self.deep => {
                bail!("it has 16 bits a channel; expected 8 (force_color, force_gray make it so)")
            }
            (Channels::AsStored | Channels::Gray, 1) => planes(pixels, [0], out)?,
            (Channels::Color, 1) => {
                (0..3).for_each(|_| out.extend_from_slice(pixels));
                3
            }
            (Channels::Gray, n) => {
                let gray = self.gray;
                out.extend(pixels.chunks_exact(n).map(|p| gray.of([p[0], p[1], p[2]])));
                1
            }
            (Channels::AsStored, 4) => planes(pixels, [2, 1, 0, 3], out)?,
            (Channels::Color, 4) => {
                for channel in [2, 1, 0] {
                    out.extend(pixels.chunks_exact(4).map(|p| p[channel]));
                }
                3
            }
            _ => planes(pixels, [2, 1, 0], out)?,
        };
        Ok([count, h, w])
    }
}

/// Decodes by the image crate, and turns its numbers into what OpenCV's decoder of the format makes.
fn raw(file: &[u8], format: ImageFormat, wanted: Channels) -> Result<Raw> {
    if format == ImageFormat::Tiff
        && let Some(raw) = special_tiff(file)?
    {
        return Ok(raw);
    }
    let mut reader = image::ImageReader::with_format(Cursor::new(file), format);
    // Its defaults: a broken header may promise any size.
    reader.limits(image::Limits::default());
    let size = image::ImageReader::with_format(Cursor::new(file), format).into_dimensions()?;
    room(size)?;
    let image = reader.decode()?;
    let gray = match format {
        ImageFormat::Png => Gray::Png,
        ImageFormat::Bmp | ImageFormat::Tiff => Gray::Own,
        _ => Gray::Whole,
    };
    let mut raw = Raw {
        size: [image.height() as usize, image.width() as usize],
        pixels: Vec::new(),
        channels: 1,
        deep: has_16_bits(&image),
        gray,
    };
    (raw.channels, raw.pixels) = match image {
        DynamicImage::ImageLuma8(gray) => (1, gray.into_raw()),
        DynamicImage::ImageRgb8(rgb) => (3, rgb.into_raw()),
        DynamicImage::ImageRgba8(rgba) => (4, rgba.into_raw()),
        DynamicImage::ImageLumaA8(both) => {
            // A gray PNG with one transparent value stays gray, and so does TIFF's gray with alpha.
            let gray_png = format == ImageFormat::Png && file.get(25) == Some(&0);
            if gray_png || format == ImageFormat::Tiff {
                (1, both.pixels().map(|p| p.0[0]).collect())
            } else {
                (4, DynamicImage::ImageLumaA8(both).into_rgba8().into_raw())
            }
        }
        DynamicImage::ImageLuma16(gray) => (1, upper(gray.as_raw())),
        DynamicImage::ImageLumaA16(both) => {
            (1, both.pixels().map(|p| (p.0[0] >> 8) as u8).collect())
        }
        // libpng makes gray of all 16 bits.
        image @ (DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_))
            if format == ImageFormat::Png && wanted == Channels::Gray =>
        {
            let rgb = image.into_rgb16();
            (1, rgb.pixels().map(|p| gray16(p.0)).collect())
        }
        DynamicImage::ImageRgb16(rgb) if format == ImageFormat::Tiff => (3, rounded(rgb.as_raw())),
        DynamicImage::ImageRgba16(rgba) if format == ImageFormat::Tiff => {
            (4, rounded(rgba.as_raw()))
        }
        DynamicImage::ImageRgb16(rgb) => (3, upper(rgb.as_raw())),
        DynamicImage::ImageRgba16(rgba) => (4, upper(rgba.as_raw())),
        image => bail!(
            "it has numbers of type {:?}; expected 8 or 16 bits a channel",
            image.color()
        ),
    };
    match format {
        ImageFormat::Bmp => bmp(file, &mut raw),
        ImageFormat::Tiff if raw.channels == 4 => premultiply(file, &mut raw)?,
        // OpenCV gives what is stored for printing an alpha.
        ImageFormat::Tiff
            if raw.channels == 3 && wanted == Channels::AsStored && is_cmyk(file)? =>
        {
            raw.pixels = raw
                .pixels
                .chunks_exact(3)
                .flat_map(|p| [p[0], p[1], p[2], 255])
                .collect();
            raw.channels = 4;
        }
        // What is transparent has no place in a record whose other pictures have 3 channels.
        ImageFormat::Gif if raw.channels == 4 => {
            raw.pixels = raw
                .pixels
                .chunks_exact(4)
                .flat_map(|p| [p[0], p[1], p[2]])
                .collect();
            raw.channels = 3;
        }
        _ => {}
    }
    Ok(raw)
}

/// Checks that there is memory for a picture while it is decoded: its pixels of up to 16 bits, and two copies of 8.
fn room((w, h): (u32, u32)) -> Result<()> {
    let bytes = u128::from(w) * u128::from(h) * 16;
    memory::room(bytes, || format!("a picture of {w} x {h} pixels"), SMALLER)
}

fn has_16_bits(image: &DynamicImage) -> bool {
    let color = image.color();
    color.bytes_per_pixel() == 2 * color.channel_count()
}

/// Of 16 bits the upper 8.
fn upper(values: &[u16]) -> Vec<u8> {
    values.iter().map(|v| (v >> 8) as u8).collect()
}

/// libtiff's table from 16 bits to 8.
fn rounded(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .map(|v| ((u32::from(*v) + 128) / 257) as u8)
        .collect()
}

/// Brightness of 16 bits by libpng: rounded, then the upper 8 are kept.
fn gray16(rgb: [u16; 3]) -> u8 {
    let [r, g, b] = rgb.map(u64::from);
    ((r * 9797 + g * 19234 + b * 3737 + (1 << 14)) >> 23) as u8
}

/// BMP: a palette of grays is gray, 5 and 6 bits are shifted and not scaled, and the fourth byte counts only
/// where the header says what it is.
fn bmp(file: &[u8], raw: &mut Raw) {
    let u32_at = |at: usize| {
        let bytes = file.get(at..at + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let header = u32_at(14).unwrap_or(0) as usize;
    let bits = file
        .get(28..30)
        .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let compression = u32_at(30).unwrap_or(0);
    if bits <= 8 && header >= 36 && raw.channels == 3 {
        let used = match u32_at(46).unwrap_or(0) {
            0 => 1usize << bits,
            n => (n as usize).min(256),
        };
        let palette = file.get(14 + header..).unwrap_or_default();
        if palette
            .chunks_exact(4)
            .take(used)
            .all(|c| c[0] == c[1] && c[1] == c[2])
        {
            raw.pixels = raw.pixels.chunks_exact(3).map(|p| p[0]).collect();
            raw.channels = 1;
        }
    }
    if bits == 16 {
        // The masks of red, green and blue, which only compression 3 has.
        let green = if compression == 3 && u32_at(54) == Some(0xf800) {
            0xfc
        } else {
            0xf8
        };
        let masks = [0xf8, green, 0xf8, 0xff];
        for pixel in raw.pixels.chunks_exact_mut(raw.channels) {
            pixel.iter_mut().zip(masks).for_each(|(v, mask)| *v &= mask);
        }
    }
    if raw.channels == 4 && compression == 0 {
        raw.pixels = raw
            .pixels
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect();
        raw.channels = 3;
    }
}

/// TIFF: libtiff multiplies colours by an alpha that they have not been multiplied by.
fn premultiply(file: &[u8], raw: &mut Raw) -> Result<()> {
    const UNASSOCIATED: u16 = 2;
    let mut decoder = Decoder::new(Cursor::new(file))?;
    let extra = decoder.find_tag(Tag::ExtraSamples)?;
    let extra = extra
        .and_then(|v| v.into_u16_vec().ok())
        .unwrap_or_default();
    if extra.first() != Some(&UNASSOCIATED) {
        return Ok(());
    }
    for pixel in raw.pixels.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        pixel[..3]
            .iter_mut()
            .for_each(|v| *v = ((u32::from(*v) * alpha + 127) / 255) as u8);
    }
    Ok(())
}

fn is_cmyk(file: &[u8]) -> Result<bool> {
    let kind = Decoder::new(Cursor::new(file))?.colortype()?;
    Ok(matches!(kind, tiff::ColorType::CMYK(_)))
}

/// A TIFF of a kind that the image crate does not read: places in a table of colours, or gray with other samples;
/// `None` for others.
fn special_tiff(file: &[u8]) -> Result<Option<Raw>> {
    const PALETTE: u16 = 3;
    let mut decoder = Decoder::new(Cursor::new(file))?;
    let kind = decoder.find_tag(Tag::PhotometricInterpretation)?;
    let map = match kind.map(|v| v.into_u16()).transpose()? {
        Some(PALETTE) => Some(decoder.get_tag_u16_vec(Tag::ColorMap)?),
        _ => None,
    };
    let gray: Vec<u8>;
    let (w, h) = decoder.dimensions()?;
    room((w, h))?;
    let mut raw = Raw {
        size: [h as usize, w as usize],
        pixels: Vec::new(),
        channels: 1,
        deep: false,
        gray: Gray::Own,
    };
    if let Some(map) = map {
        // The tiff crate reads the places, too, where they are called gray.
        gray = called_gray(file).context("its table of colours is not where it should be")?;
        decoder = Decoder::new(Cursor::new(&gray[..]))?;
        let (tiff::ColorType::Gray(8), DecodingResult::U8(places)) =
            (decoder.colortype()?, decoder.read_image()?)
        else {
            bail!("its table of colours is for places that are no bytes");
        };
        // Files of old writers hold 8 bits where the format has 16; libtiff tells them so, too.
        let shift = if map.iter().any(|v| *v >= 256) { 8 } else { 0 };
        let size = map.len() / 3;
        let color = |i: u8, k: usize| match usize::from(i) {
            i if i < size => (map[k * size + i] >> shift) as u8,
            _ => 0,
        };
        let colors = places
            .iter()
            .flat_map(|&i| [color(i, 0), color(i, 1), color(i, 2)]);
        raw.pixels = colors.collect();
        raw.channels = 3;
        return Ok(Some(raw));
    }
    if let Ok(tiff::ColorType::Multiband {
        bit_depth: 8,
        num_samples,
    }) = decoder.colortype()
        && let DecodingResult::U8(samples) = decoder.read_image()?
    {
        let first = samples
            .chunks_exact(usize::from(num_samples).max(1))
            .map(|s| s[0]);
        raw.pixels = first.collect();
        ensure!(
            raw.pixels.len() == raw.size[0] * raw.size[1],
            "its samples lie in planes; expected them side by side"
        );
        return Ok(Some(raw));
    }
    Ok(None)
}

/// A copy of a TIFF whose first picture is called gray, whatever it is.
fn called_gray(file: &[u8]) -> Option<Vec<u8>> {
    const KIND: u16 = 262;
    const GRAY: u16 = 1;
    let big = file.starts_with(b"MM");
    let u16_at = |at: usize| {
        let bytes = [*file.get(at)?, *file.get(at + 1)?];
        Some(if big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    };
    let (a, b) = (u16_at(4)?, u16_at(6)?);
    let directory = if big {
        u32::from(a) << 16 | u32::from(b)
    } else {
        u32::from(b) << 16 | u32::from(a)
    } as usize;
    let entries = usize::from(u16_at(directory)?);
    let entry = (0..entries)
        .map(|i| directory + 2 + 12 * i)
        .find(|at| u16_at(*at) == Some(KIND))?;
    let mut copy = file.to_vec();
    let value = copy.get_mut(entry + 8..entry + 10)?;
    value.copy_from_slice(&if big {
        GRAY.to_be_bytes()
    } else {
        GRAY.to_le_bytes()
    });
    Some(copy)
}

#[cfg(test)]
#[path = "picture_file_tests.rs"]
mod tests;
