//! Bilinear resizing of 8-bit pictures, equal in every bit to what OpenCV's `resize` (INTER_LINEAR, its
//! default) gives Caffe: weights of 11 bits, a row of sums first, then a column.
//!
//! Output pixel d of n looks at place (d + ½) · m / n − ½ of the m input pixels, between its two
//! neighbours. Halving both sides exactly is the mean of four pixels, rounded half up.

/// Bits of a weight.
const BITS: u32 = 11;

/// The two input pixels that an output pixel lies between, and their weights in 2⁻¹¹.
#[derive(Clone, Copy)]
struct Tap {
    at: [usize; 2],
    weight: [i32; 2],
}

/// The taps along an axis of `from` pixels that becomes one of `to`. `sharp`: what lies outside is the
/// border pixel alone; else both taps are the border pixel and keep their weights, which rounds otherwise.
fn taps(from: usize, to: usize, sharp: bool) -> Vec<Tap> {
    let scale = 1.0 / (to as f64 / from as f64);
    let last = from as i64 - 1;
    let tap = |d: usize| {
        let place = ((d as f64 + 0.5) * scale - 0.5) as f32;
        let mut first = place.floor() as i64;
        let mut part = place - first as f32;
        if sharp && (first < 0 || first >= last) {
            first = first.clamp(0, last);
            part = 0.0;
        }
        let weight = |w: f32| (w * (1 << BITS) as f32).round_ties_even() as i32;
        Tap {
            at: [first, first + 1].map(|i| i.clamp(0, last) as usize),
            weight: [weight(1.0 - part), weight(part)],
        }
    };
    (0..to).map(tap).collect()
}

/// Resizes each channel of a picture in planes, `[channels, height, width]` long, to `to` (height,
/// width). A picture without pixels gives none.
///
/// # Panics
/// `planes` is not as long as `dims` says.
pub fn resize(planes: &[u8], dims: [usize; 3], to: [usize; 2]) -> Vec<u8> {
    let [channels, height, width] = dims;
    let [rows, columns] = to;
    assert_eq!(planes.len(), channels * height * width);
    if planes.is_empty() || rows == 0 || columns == 0 {
        return Vec::new();
    }
    if [height, width] == to {
        return planes.to_vec();
    }
    let mut out = vec![0; channels * rows * columns];
    let planes = planes.chunks_exact(height * width);
    let places = out.chunks_exact_mut(rows * columns);
    if height == 2 * rows && width == 2 * columns {
        planes.zip(places).for_each(|(x, y)| halve(x, width, y));
        return out;
    }
    let (down, along) = (taps(height, rows, false), taps(width, columns, true));
    // The two rows of sums at hand, and the input rows they are of.
    let mut sums = [vec![0; columns], vec![0; columns]];
    for (x, y) in planes.zip(places) {
        let mut held = [usize::MAX; 2];
        for (y, tap) in y.chunks_exact_mut(columns).zip(&down) {
            if held[1] == tap.at[0] && held[0] != tap.at[0] {
                sums.swap(0, 1);
                held.swap(0, 1);
            }
            for k in 0..2 {
                if held[k] != tap.at[k] {
                    sum_row(&x[tap.at[k] * width..][..width], &along, &mut sums[k]);
                    held[k] = tap.at[k];
                }
            }
            let [w0, w1] = tap.weight;
            for ((y, s0), s1) in y.iter_mut().zip(&sums[0]).zip(&sums[1]) {
                let sum = ((w0 * (s0 >> 4)) >> 16) + ((w1 * (s1 >> 4)) >> 16);
                *y = ((sum + 2) >> 2) as u8;
            }
        }
    }
    out
}

/// Weighs the neighbours along one input row.
fn sum_row(row: &[u8], taps: &[Tap], sums: &mut [i32]) {
    for (s, t) in sums.iter_mut().zip(taps) {
        *s = i32::from(row[t.at[0]]) * t.weight[0] + i32::from(row[t.at[1]]) * t.weight[1];
    }
}

/// Half the height and half the width of one channel.
fn halve(x: &[u8], width: usize, y: &mut [u8]) {
    let pairs = x.chunks_exact(2 * width);
    for (y, pair) in y.chunks_exact_mut(width / 2).zip(pairs) {
        let (upper, lower) = pair.split_at(width);
        let squares = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for (y, (u, l)) in y.iter_mut().zip(squares) {
            let sum: u32 = u.iter().chain(l).map(|v| u32::from(*v)).sum();
            *y = ((sum + 2) >> 2) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::datum::{Channels, decode_picture};
    use crate::data::lmdb::Lmdb;
    use crate::data::records::Records;
    use crate::proto::caffe::Datum;
    use std::path::Path;

    /// Caffe's `convert_imageset -resize_height=9 -resize_width=17` made the database (OpenCV).
    #[test]
    fn pictures_come_out_as_opencv_makes_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens/formats");
        if !folder.is_dir() {
            eprintln!("skipped: {} is absent", folder.display());
            return;
        }
        let mut lmdb = Lmdb::open(&folder.join("png_rs_lmdb")).unwrap();
        let (mut datum, mut planes) = (Datum::default(), Vec::new());
        for number in 0..lmdb.count() {
            lmdb.read(number, &mut datum).unwrap();
            let key = lmdb.key();
            let name = key.split_once('_').unwrap().1;
            let file = std::fs::read(folder.join("png40").join(name)).unwrap();
            let dims = decode_picture(&file, Channels::Color, &mut planes).unwrap();
            assert!(resize(&planes, dims, [9, 17]) == datum.data(), "{key}");
        }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        for to in [[1, 1], [3, 7], [4, 5], [2, 2], [11, 13]] {
            let out = resize(&[200; 40], [2, 4, 5], to);
            assert_eq!(out, vec![200; 2 * to[0] * to[1]]);
        }
    }

    #[test]
    fn known_pictures() {
        assert_eq!(
            resize(&[0, 255, 2, 0, 0, 5], [1, 2, 3], [2, 3]),
            [0, 255, 2, 0, 0, 5]
        );
        // Halved: 1.5 is rounded up.
        assert_eq!(resize(&[1, 2, 1, 2], [1, 2, 2], [1, 1]), [2]);
        // Enlarged: places −¼, ¼, ¾, 1¼.
        assert_eq!(resize(&[0, 100], [1, 1, 2], [1, 4]), [0, 25, 75, 100]);
        assert!(resize(&[], [1, 0, 4], [2, 2]).is_empty());
    }
}
