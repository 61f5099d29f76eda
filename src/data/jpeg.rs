//! JPEG as OpenCV decodes it, by the same library: Caffe's numbers depend on how libjpeg rounds and how it
//! interpolates colours.

use std::io;
use std::panic::{self, AssertUnwindSafe};

use anyhow::{Result, anyhow, ensure};
use mozjpeg::{ColorSpace, Decompress};

use super::datum::{Channels, SMALLER, of_size, planes};
use crate::memory;

/// Bytes of the largest picture that is decoded; a broken header may promise any size.
const LARGEST: usize = 1 << 29;

/// Decodes a JPEG to planes in `out`; see [`super::datum::decode_picture`]. `None` if the file is no JPEG,
/// or of colours that are not for screens.
pub fn decode(file: &[u8], channels: Channels, out: &mut Vec<u8>) -> Option<Result<[usize; 3]>> {
    if !file.starts_with(&[0xff, 0xd8, 0xff]) {
        return None;
    }
    // The library's errors unwind, by its design; nothing it touched is used afterwards.
    let decoded = panic::catch_unwind(AssertUnwindSafe(|| read(file, channels)));
    let (pixels, dims) = match decoded {
        Ok(Ok(Some(picture))) => picture,
        Ok(Ok(None)) => return None,
        Ok(Err(error)) => return Some(Err(error)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map_or("it is broken", String::as_str);
            let text = text.trim_start_matches("libjpeg fatal error: ").to_string();
            return Some(Err(anyhow!(text).context("broken JPEG")));
        }
    };
    let placed = match dims[0] {
        1 => planes(&pixels, [0], out),
        _ => planes(&pixels, [2, 1, 0], out),
    };
    Some(placed.map(|_| dims))
}

/// The pixels, interleaved, with channels, height and width.
fn read(file: &[u8], channels: Channels) -> Result<Option<(Vec<u8>, [usize; 3])>> {
    let broken = |e: io::Error| anyhow!("broken JPEG: {e}");
    let jpeg = Decompress::new_mem(file).map_err(broken)?;
    let stored = jpeg.color_space();
    if stored == ColorSpace::JCS_UNKNOWN {
        return Ok(None);
    }
    let printed = matches!(stored, ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK);
    let (w, h) = jpeg.size();
    let gray = match channels {
        Channels::AsStored => stored == ColorSpace::JCS_GRAYSCALE,
        Channels::Color => false,
        Channels::Gray => true,
    };
    let count = if gray { 1 } else { 3 };
    let bytes = w.checked_mul(h).and_then(|n| n.checked_mul(count));
    ensure!(
        bytes.is_some_and(|n| n <= LARGEST),
        "the JPEG is too large: {w} x {h} pixels"
    );
    // libjpeg makes up what is missing at the end; a picture that is partly made up is worth an error.
    let mut rest = file[file.len() / 2..].windows(2);
    ensure!(
        rest.any(|mark| mark == [0xff, 0xd9]),
        "broken JPEG: it ends early"
    );
    let started = match (printed, gray) {
        (true, _) => jpeg.to_colorspace(ColorSpace::JCS_CMYK),
        (false, true) => jpeg.grayscale(),
        (false, false) => jpeg.rgb(),
    };
    let mut started = started.map_err(broken)?;
    let mut pixels = started.read_scanlines::<u8>().map_err(broken)?;
    started.finish().map_err(broken)?;
    if printed {
        memory::room(pixels.len() as u128, || of_size([count, h, w]), SMALLER)?;
        pixels = from_cmyk(&pixels, gray);
    }
    ensure!(
        bytes == Some(pixels.len()),
        "broken JPEG: expected {w} x {h} pixels of {count} channels"
    );
    Ok(Some((pixels, [count, h, w])))
}

/// Colours or gray of a JPEG for printing (Adobe's: 255 is no ink), as OpenCV makes them.
fn from_cmyk(pixels: &[u8], gray: bool) -> Vec<u8> {
    let colors = pixels.chunks_exact(4).map(|p| {
        let [c, m, y, k] = [p[0], p[1], p[2], p[3]].map(u32::from);
        [c, m, y].map(|ink| k - (((255 - ink) * k) >> 8))
    });
    match gray {
        true => colors
            .map(|[r, g, b]| ((r * 4899 + g * 9617 + b * 1868 + (1 << 13)) >> 14) as u8)
            .collect(),
        false => colors.flat_map(|rgb| rgb.map(|v| v as u8)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg() -> Vec<u8> {
        let picture = image::RgbImage::from_fn(33, 17, |x, y| {
            image::Rgb([(7 * x) as u8, (9 * y) as u8, 50])
        });
        let mut file = io::Cursor::new(Vec::new());
        picture
            .write_to(&mut file, image::ImageFormat::Jpeg)
            .unwrap();
        file.into_inner()
    }

    #[test]
    fn colours_and_gray_are_planes() {
        let mut out = Vec::new();
        assert_eq!(
            decode(&jpeg(), Channels::AsStored, &mut out)
                .unwrap()
                .unwrap(),
            [3, 17, 33]
        );
        // Blue is 50 everywhere; red grows to the right.
        assert!(out[..33 * 17].iter().all(|b| b.abs_diff(50) < 25));
        assert!(out[2 * 33 * 17] < 25 && out[2 * 33 * 17 + 32] > 200);
        out.clear();
        assert_eq!(
            decode(&jpeg(), Channels::Gray, &mut out).unwrap().unwrap(),
            [1, 17, 33]
        );
        assert_eq!(out.len(), 33 * 17);
    }

    #[test]
    fn broken_files_are_errors_wherever_they_break() {
        let whole = jpeg();
        let mut out = Vec::new();
        for length in 3..whole.len() {
            let cut = decode(&whole[..length], Channels::AsStored, &mut out).unwrap();
            assert!(cut.is_err(), "{length} of {}", whole.len());
        }
        for place in 3..whole.len() {
            let mut bent = whole.clone();
            bent[place] ^= 0x55;
            // Whatever it gives, it does not end the process.
            let _ = decode(&bent, Channels::AsStored, &mut out);
        }
        assert!(decode(b"\x89PNG", Channels::AsStored, &mut out).is_none());
    }
}
