//! From a picture file to a record of a database: what Caffe's `convert_imageset` stores.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

use super::datum::{Channels, decode_picture};
use super::encode::{Format, TYPES, encode};
use super::resize::resize;
use crate::files::reason;
use crate::proto::caffe::Datum;

/// How pictures are stored.
#[derive(Clone, Debug, Default)]
pub struct Conversion {
    /// One channel, brightness, instead of three.
    pub gray: bool,
    /// Height and width that all get.
    pub size: Option<[usize; 2]>,
    /// Pixels or files.
    pub storage: Storage,
}

/// What of a picture is stored.
#[derive(Clone, Debug, Default)]
pub enum Storage {
    /// Its pixels.
    #[default]
    Pixels,
    /// A file of the type that its name ends with.
    File,
    /// A file of this type (a file name's ending).
    FileOf(String),
}

impl Conversion {
    /// Reads a picture; returns its record and the size (channels, height, width) of what is in it.
    pub fn read(&self, path: &Path, label: i32) -> Result<(Datum, [usize; 3])> {
        let file = fs::read(path).map_err(|e| anyhow!("{}", reason(&e)))?;
        let channels = match self.gray {
            true => Channels::Gray,
            false => Channels::Color,
        };
        let mut planes = Vec::new();
        let mut dims = decode_picture(&file, channels, &mut planes)?;
        if let Some([height, width]) = self.size {
            planes = resize(&planes, dims, [height, width]);
            dims = [dims[0], height, width];
        }
        let own = extension(path);
        let wanted = match &self.storage {
            Storage::Pixels => return Ok((pixels(planes, dims, label)?, dims)),
            Storage::File => own.clone(),
            Storage::FileOf(wanted) => Some(wanted.to_ascii_lowercase()),
        };
        let data = if self.size.is_none() && same_type(own.as_deref(), wanted.as_deref()) {
            file
        } else {
            let format = wanted.as_deref().and_then(Format::of_extension);
            let format = format.with_context(|| {
                format!(
                    "its name says no type that it can be encoded as ({TYPES}); give --encode_type{}",
                    wanted.map_or(String::new(), |w| format!(" (not '{w}')"))
                )
            })?;
            encode(&planes, dims, format)?
        };
        // The fields that Caffe's records have.
        let datum = Datum {
            data: Some(data),
            label: Some(label),
            encoded: Some(true),
            ..Datum::default()
        };
        Ok((datum, dims))
    }
}

/// A record of a picture's planes; `dims` are channels, height and width.
pub fn pixels(planes: Vec<u8>, dims: [usize; 3], label: i32) -> Result<Datum> {
    let [channels, height, width] = dims.map(|d| i32::try_from(d).ok());
    Ok(Datum {
        channels,
        height,
        width,
        data: Some(planes),
        label: Some(label),
        encoded: Some(false),
        ..Datum::default()
    })
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// Whether a file is of the wanted type already, going by its name as Caffe does.
fn same_type(own: Option<&str>, wanted: Option<&str>) -> bool {
    own == wanted || (own, wanted) == (Some("jpeg"), Some("jpg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let picture = image::RgbImage::from_fn(4, 2, |x, y| image::Rgb([x as u8, y as u8, 9]));
        picture.save(folder.path().join("a.png")).unwrap();
        fs::copy(folder.path().join("a.png"), folder.path().join("plain")).unwrap();
        folder
    }

    #[test]
    fn pixels_are_planes_of_blue_green_red() {
        let folder = folder();
        let path = folder.path().join("a.png");
        let (datum, dims) = Conversion::default().read(&path, 7).unwrap();
        assert_eq!(dims, [3, 2, 4]);
        let (c, h, w) = (datum.channels(), datum.height(), datum.width());
        assert_eq!((c, h, w, datum.label()), (3, 2, 4, 7));
        assert_eq!(datum.encoded, Some(false));
        assert_eq!(datum.data()[..8], [9; 8]);
        assert_eq!(datum.data()[8..16], [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(datum.data()[16..], [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn a_file_that_stays_as_it_is_is_stored_as_it_is() {
        let folder = folder();
        let path = folder.path().join("a.png");
        let read = |name: &str, storage: Storage, size| {
            let conversion = Conversion {
                storage,
                size,
                ..Conversion::default()
            };
            conversion.read(&folder.path().join(name), 1)
        };
        let own = fs::read(&path).unwrap();
        for (name, storage) in [
            ("a.png", Storage::File),
            ("a.png", Storage::FileOf("PNG".into())),
            ("plain", Storage::File),
        ] {
            let (datum, _) = read(name, storage, None).unwrap();
            assert_eq!(datum.data(), own);
            assert_eq!((datum.encoded, datum.channels), (Some(true), None));
        }
        let (jpg, _) = read("a.png", Storage::FileOf("jpg".into()), None).unwrap();
        assert!(jpg.data().starts_with(&[0xff, 0xd8]));
        let (small, dims) = read("a.png", Storage::File, Some([1, 2])).unwrap();
        assert!(small.data().starts_with(b"\x89PNG") && dims == [3, 1, 2]);
        let error = read("plain", Storage::File, Some([1, 2])).unwrap_err();
        assert!(error.to_string().contains("--encode_type"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let folder = folder();
        let error = |name: &str| {
            let error = Conversion::default().read(&folder.path().join(name), 0);
            format!("{:#}", error.unwrap_err())
        };
        assert_eq!(error("none.png"), "No such file or directory");
        fs::write(folder.path().join("text.jpg"), "text").unwrap();
        assert!(error("text.jpg").starts_with("its picture cannot be decoded: "));
    }
}
