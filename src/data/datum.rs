//! Caffe's `Datum` as a picture: raw bytes, floats, or an encoded picture file.

use std::mem;

use anyhow::{Context, Result, ensure};
use prost::Message;
use prost::encoding::WireType;

use super::{jpeg, orientation, picture_file};
use crate::memory;
use crate::proto::caffe::Datum;
use crate::proto::{binary, lenient};

/// A picture's numbers, channel by channel (CHW), colours in the order blue, green, red.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture<'a> {
    /// Channels, height, width.
    pub dims: [usize; 3],
    /// `dims[0] * dims[1] * dims[2]` numbers.
    pub pixels: Pixels<'a>,
}

/// Numbers as they are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pixels<'a> {
    /// 0 to 255.
    Bytes(&'a [u8]),
    /// Any.
    Floats(&'a [f32]),
}

/// How an encoded picture is decoded: Caffe's `force_color` and `force_gray`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// As many as the file has.
    #[default]
    AsStored,
    /// Three: blue, green, red.
    Color,
    /// One.
    Gray,
}

/// Decodes a record's bytes into `datum`, whose buffers are reused: an absent `data` is an empty one.
pub fn decode(bytes: &[u8], datum: &mut Datum) -> Result<()> {
    let mut data = datum.data.take().unwrap_or_default();
    let mut float_data = mem::take(&mut datum.float_data);
    data.clear();
    float_data.clear();
    let (bytes_in_data, floats) = sizes(bytes);
    let what = || format!("a record of {} bytes", bytes.len());
    memory::reserve(&mut data, bytes_in_data, what, SMALLER)?;
    memory::reserve(&mut float_data, floats, what, SMALLER)?;
    *datum = Datum {
        data: Some(data),
        float_data,
        ..Datum::default()
    };
    if datum.merge(bytes).is_err() {
        // Of a fork, perhaps.
        *datum = binary::decode_any(bytes).context("it is not a Datum")?;
        datum.data.get_or_insert_default();
    }
    Ok(())
}

/// What a picture for which there is no memory asks of the user.
pub(super) const SMALLER: &str = "free some memory, or make the pictures smaller";

/// The lengths of `data` and `float_data` in a record, or more.
fn sizes(bytes: &[u8]) -> (usize, usize) {
    const DATA: u32 = 4;
    const FLOAT_DATA: u32 = 6;
    let (mut data, mut floats) = (0, 0);
    for field in lenient::fields(bytes).map_while(Result::ok) {
        match (field.number, field.wire) {
            (DATA, _) => data = data.max(field.content.len()),
            (FLOAT_DATA, WireType::LengthDelimited) => floats += field.content.len() / 4,
            (FLOAT_DATA, _) => {
                // One by one, in five bytes each; they need not be counted.
                let rest = bytes.len() - data;
                return (if data > 0 { data } else { rest }, rest / 5);
            }
            _ => {}
        }
    }
    (data, floats)
}

/// The picture in `datum`. An encoded one is decoded into `decoded`.
pub fn picture<'a>(
    datum: &'a Datum,
    channels: Channels,
    decoded: &'a mut Vec<u8>,
) -> Result<Picture<'a>> {
    if datum.encoded() {
        ensure!(!datum.data().is_empty(), "its encoded picture is empty");
        let dims = decode_picture(datum.data(), channels, decoded)?;
        return Ok(Picture {
            dims,
            pixels: Pixels::Bytes(decoded),
        });
    }
    let sizes = [datum.channels(), datum.height(), datum.width()];
    let [c, h, w] = sizes;
    let dims = sizes.map(|d| usize::try_from(d).unwrap_or(0));
    let count = dims
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .unwrap_or(0);
    ensure!(
        count > 0,
        "its picture is {c} x {h} x {w} (channels, height, width)"
    );
    let (found, unit) = match datum.data().len() {
        0 => (datum.float_data.len(), "values in float_data"),
        bytes => (bytes, "bytes in data"),
    };
    ensure!(
        found == count,
        "expected {count} {unit} for {c} x {h} x {w} (channels, height, width), found {found}"
    );
    let pixels = match datum.data() {
        [] => Pixels::Floats(&datum.float_data),
        bytes => Pixels::Bytes(bytes),
    };
    Ok(Picture { dims, pixels })
}

/// Decodes a picture file (JPEG, PNG, BMP, PNM, TIFF, WebP, GIF) as OpenCV gives it to Caffe: blue, green, red (and alpha where the file has it
/// and nothing is forced), upright by the camera's note where something is forced. Returns channels,
/// height, width.
pub fn decode_picture(file: &[u8], channels: Channels, out: &mut Vec<u8>) -> Result<[usize; 3]> {
    out.clear();
    let decoded = match jpeg::decode(file, channels, out) {
        Some(result) => result,
        None => picture_file::decode(file, channels, out),
    };
    let dims = decoded.context("its picture cannot be decoded")?;
    match orientation::of_jpeg(file) {
        Some(orientation) if channels != Channels::AsStored => {
            memory::room(out.len() as u128, || of_size(dims), SMALLER)?;
            Ok(orientation::apply(out, dims, orientation))
        }
        _ => Ok(dims),
    }
}

/// A picture of channels, height, width, for messages.
pub(super) fn of_size([c, h, w]: [usize; 3]) -> String {
    format!("a picture of {c} x {h} x {w} (channels, height, width)")
}

/// Interleaved pixels of `N` channels as planes in the given order. Returns `N`.
///
/// # Errors
/// There is no memory for them.
pub(super) fn planes<const N: usize>(
    pixels: &[u8],
    order: [usize; N],
    out: &mut Vec<u8>,
) -> Result<usize> {
    let what = || format!("a picture of {} bytes", pixels.len());
    memory::reserve(out, pixels.len(), what, SMALLER)?;
    let plane = pixels.len() / N;
    out.resize(N * plane, 0);
    // A pixel at a time: its bytes are read once.
    let mut rest = &mut out[..];
    let mut planes = order.map(|channel| {
        let (this, others) = std::mem::take(&mut rest).split_at_mut(plane);
        rest = others;
        (channel, this)
    });
    for (i, pixel) in pixels.as_chunks::<N>().0.iter().enumerate() {
        for (channel, plane) in &mut planes {
            plane[i] = pixel[*channel];
        }
    }
    Ok(N)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::DynamicImage;
    use std::io::Cursor;

    fn datum(c: i32, h: i32, w: i32, data: &[u8]) -> Datum {
        Datum {
            channels: Some(c),
            height: Some(h),
            width: Some(w),
            data: Some(data.to_vec()),
            ..Datum::default()
        }
    }

    fn png(image: &DynamicImage) -> Datum {
        let mut file = Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        Datum {
            encoded: Some(true),
            ..datum(0, 0, 0, file.get_ref())
        }
    }

    fn error(datum: &Datum) -> String {
        format!(
            "{:#}",
            picture(datum, Channels::AsStored, &mut Vec::new()).unwrap_err()
        )
    }

    #[test]
    fn wrong_sizes_are_told() {
        let wanted = "expected 12 bytes in data for 3 x 2 x 2 (channels, height, width), found 11";
        assert_eq!(error(&datum(3, 2, 2, &[0; 11])), wanted);
        let wanted =
            "expected 12 values in float_data for 3 x 2 x 2 (channels, height, width), found 0";
        assert_eq!(error(&datum(3, 2, 2, &[])), wanted);
        assert_eq!(
            error(&datum(-3, 2, 2, &[])),
            "its picture is -3 x 2 x 2 (channels, height, width)"
        );
        assert!(
            error(&datum(i32::MAX, i32::MAX, i32::MAX, &[0]))
                .contains("its picture is 2147483647 x")
        );
        assert_eq!(
            error(&Datum::default()),
            "its picture is 0 x 0 x 0 (channels, height, width)"
        );
    }

    #[test]
    fn broken_pictures_are_told() {
        let mut whole = png(&DynamicImage::new_rgb8(20, 20));
        whole.data.as_mut().unwrap().truncate(60);
        assert!(
            error(&whole).starts_with("its picture cannot be decoded: "),
            "{}",
            error(&whole)
        );
        let text = Datum {
            encoded: Some(true),
            ..datum(0, 0, 0, b"not a picture")
        };
        assert!(error(&text).starts_with("its picture cannot be decoded: "));
        let empty = Datum {
            encoded: Some(true),
            ..Datum::default()
        };
        assert_eq!(error(&empty), "its encoded picture is empty");
        assert!(
            error(&png(&DynamicImage::new_rgb16(2, 2))).contains("16 bits a channel; expected 8")
        );
    }

    #[test]
    fn channels_are_as_opencv_gives_them() {
        let rgb = image::RgbImage::from_raw(2, 1, vec![10, 20, 30, 40, 50, 60]).unwrap();
        let (color, gray) = (
            png(&rgb.into()),
            png(&image::GrayImage::from_raw(2, 1, vec![7, 9]).unwrap().into()),
        );
        let read = |d: &Datum, channels| {
            let mut buffer = Vec::new();
            let dims = picture(d, channels, &mut buffer).unwrap().dims;
            (dims, buffer)
        };
        assert_eq!(
            read(&color, Channels::AsStored),
            ([3, 1, 2], vec![30, 60, 20, 50, 10, 40])
        );
        assert_eq!(read(&color, Channels::Gray), ([1, 1, 2], vec![18, 48]));
        assert_eq!(read(&gray, Channels::AsStored), ([1, 1, 2], vec![7, 9]));
        assert_eq!(
            read(&gray, Channels::Color),
            ([3, 1, 2], vec![7, 9, 7, 9, 7, 9])
        );
        assert_eq!(read(&gray, Channels::Gray), ([1, 1, 2], vec![7, 9]));
        let deep = image::ImageBuffer::from_raw(1, 1, vec![0x12ffu16, 0x80ff, 0xfe80]).unwrap();
        let deep = png(&DynamicImage::ImageRgb16(deep));
        let bgr = vec![0xfe, 0x80, 0x12];
        assert_eq!(read(&deep, Channels::Color), ([3, 1, 1], bgr));
        assert_eq!(read(&deep, Channels::Gray), ([1, 1, 1], vec![0x6e]));
    }

    #[test]
    fn decoding_reuses_the_datum() {
        let mut reused = Datum::default();
        decode(&datum(1, 2, 2, &[1, 2, 3, 4]).encode_to_vec(), &mut reused).unwrap();
        assert_eq!(reused, datum(1, 2, 2, &[1, 2, 3, 4]));
        let floats = Datum {
            label: Some(3),
            float_data: vec![0.5; 4],
            ..datum(1, 2, 2, &[])
        };
        decode(&floats.encode_to_vec(), &mut reused).unwrap();
        assert_eq!(reused, floats);
        let mut buffer = Vec::new();
        let read = picture(&reused, Channels::AsStored, &mut buffer).unwrap();
        assert_eq!(read.pixels, Pixels::Floats(&[0.5; 4]));
        assert!(decode(&[0xff; 7], &mut reused).is_err());
        // One by one as here, or packed; and the room that is made for them.
        assert_eq!(sizes(&datum(1, 2, 2, &[1; 4]).encode_to_vec()), (4, 0));
        let (bytes, floats) = sizes(&floats.encode_to_vec());
        assert!(bytes >= 1 && floats >= 4, "{bytes} {floats}");
        assert_eq!(sizes(&[0x32, 8, 0, 0, 0, 0, 0, 0, 0, 0]), (0, 2));
    }
}
