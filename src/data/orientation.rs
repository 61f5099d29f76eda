//! The orientation that a camera notes in a JPEG (EXIF). OpenCV, and so Caffe, turns pictures by it where
//! they are read as colour or gray, but not where they are read as stored.

use image::metadata::Orientation;

/// The orientation noted in a file, as one of EXIF's numbers: `None` if there is none but the usual.
pub fn of_jpeg(file: &[u8]) -> Option<Orientation> {
    let mut rest = file.strip_prefix(&[0xff, 0xd8])?;
    while let [0xff, marker, high, low, ..] = *rest {
        // The picture itself begins.
        if matches!(marker, 0xda | 0xd9) {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        if let (0xe1, Some(exif)) = (marker, segment.strip_prefix(b"Exif\0\0")) {
            return Orientation::from_exif_chunk(exif).filter(|o| *o != Orientation::NoTransforms);
        }
        rest = &rest[2 + length..];
    }
    None
}

/// From [y, x, height, width] of a stored picture's sizes, where the turned pixel comes from.
type Source = fn([usize; 4]) -> [usize; 2];

/// Turns planes of `dims` (channels, height, width); returns the new dims.
pub fn apply(planes: &mut Vec<u8>, dims: [usize; 3], orientation: Orientation) -> [usize; 3] {
    use Orientation::*;
    let [channels, h, w] = dims;
    // Where the pixel (y, x) of the turned picture is in the stored one.
    let (across, from): (bool, Source) = match orientation {
        NoTransforms => return dims,
        FlipHorizontal => (false, |[y, x, _, w]| [y, w - 1 - x]),
        Rotate180 => (false, |[y, x, h, w]| [h - 1 - y, w - 1 - x]),
        FlipVertical => (false, |[y, x, h, _]| [h - 1 - y, x]),
        Rotate90FlipH => (true, |[y, x, ..]| [x, y]),
        Rotate90 => (true, |[y, x, h, _]| [h - 1 - x, y]),
        Rotate270FlipH => (true, |[y, x, h, w]| [h - 1 - x, w - 1 - y]),
        Rotate270 => (true, |[y, x, _, w]| [x, w - 1 - y]),
    };
    let (rows, columns) = if across { (w, h) } else { (h, w) };
    let mut turned = Vec::with_capacity(planes.len());
    for plane in planes.chunks_exact((h * w).max(1)) {
        for y in 0..rows {
            turned.extend((0..columns).map(|x| {
                let [i, j] = from([y, x, h, w]);
                plane[i * w + j]
            }));
        }
    }
    *planes = turned;
    [channels, rows, columns]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(orientation: u16) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xe1, 0, 34];
        file.extend(b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0");
        file.extend(u32::from(orientation).to_le_bytes());
        file.extend([0; 4]);
        file
    }

    #[test]
    fn the_note_is_found() {
        assert_eq!(of_jpeg(&noted(6)), Some(Orientation::Rotate90));
        assert_eq!(of_jpeg(&noted(1)), None);
        assert_eq!(of_jpeg(&noted(99)), None);
        for n in 0..noted(6).len() {
            assert_eq!(of_jpeg(&noted(6)[..n]), None);
        }
        assert_eq!(of_jpeg(&[0xff, 0xd8, 0xff, 0xe1, 0, 0, 0, 0]), None);
        assert_eq!(of_jpeg(b"\x89PNG"), None);
    }

    /// The eight ways of EXIF's definition: where row 0 and column 0 are.
    #[test]
    fn pictures_are_turned() {
        let stored = [1, 2, 3, 4, 5, 6];
        for (exif, rows, wanted) in [
            (1, 2, [1, 2, 3, 4, 5, 6]),
            (2, 2, [3, 2, 1, 6, 5, 4]),
            (3, 2, [6, 5, 4, 3, 2, 1]),
            (4, 2, [4, 5, 6, 1, 2, 3]),
            (5, 3, [1, 4, 2, 5, 3, 6]),
            (6, 3, [4, 1, 5, 2, 6, 3]),
            (7, 3, [6, 3, 5, 2, 4, 1]),
            (8, 3, [3, 6, 2, 5, 1, 4]),
        ] {
            let mut planes = stored.repeat(2);
            let orientation = Orientation::from_exif(exif).unwrap();
            let dims = apply(&mut planes, [2, 2, 3], orientation);
            assert_eq!(dims, [2, rows, 6 / rows]);
            assert_eq!(planes, wanted.repeat(2), "{exif}");
        }
    }
}
