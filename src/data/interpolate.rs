//! Resizing of 8-bit pictures by the other methods of OpenCV's `resize`: nearest pixel, area, cubic and
//! Lanczos over 8 pixels, with its weights of 11 bits. (Bilinear is in [`super::resize`].)

use crate::proto::caffe::resize_parameter::InterpMode;

/// Resizes each channel of a picture in planes, `[channels, height, width]` long, to `to` (height, width).
/// A picture without pixels gives none.
pub fn interpolate(planes: &[u8], dims: [usize; 3], to: [usize; 2], mode: InterpMode) -> Vec<u8> {
    let [channels, height, width] = dims;
    let [rows, columns] = to;
    if planes.len() != channels * height * width || planes.is_empty() || rows * columns == 0 {
        return Vec::new();
    }
    if [height, width] == to {
        return planes.to_vec();
    }
    let shrinks = rows <= height && columns <= width;
    match mode {
        InterpMode::Linear => super::resize::resize(planes, dims, to),
        InterpMode::Nearest => {
            let (down, along) = (nearest(height, rows), nearest(width, columns));
            let pick = |plane: &[u8]| -> Vec<u8> {
                let row = |&y: &usize| along.iter().map(move |&x| plane[y * width + x]);
                down.iter().flat_map(row).collect()
            };
            planes.chunks_exact(height * width).flat_map(pick).collect()
        }
        InterpMode::Area if shrinks => area(planes, [height, width], to),
        // To enlarge, area weighs two neighbours.
        InterpMode::Area => fixed(planes, [height, width], to, &enlarging_area),
        InterpMode::Cubic => fixed(planes, [height, width], to, &cubic),
        InterpMode::Lanczos4 => fixed(planes, [height, width], to, &lanczos),
    }
}

fn nearest(from: usize, to: usize) -> Vec<usize> {
    let scale = 1.0 / (to as f64 / from as f64);
    let at = |d: usize| ((d as f64 * scale).floor() as usize).min(from - 1);
    (0..to).map(at).collect()
}

/// Input pixels of an output pixel, the first of them (may lie outside), and their weights.
type Taps = (i64, Vec<f32>);

fn cubic(d: usize, scale: f64) -> Taps {
    let place = ((d as f64 + 0.5) * scale - 0.5) as f32;
    let first = place.floor();
    let x = place - first;
    const A: f32 = -0.75;
    let outer = |t: f32| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    let inner = |t: f32| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let (w0, w1, w2) = (outer(x + 1.0), inner(x), inner(1.0 - x));
    (first as i64 - 1, vec![w0, w1, w2, 1.0 - w0 - w1 - w2])
}

fn lanczos(d: usize, scale: f64) -> Taps {
    let place = ((d as f64 + 0.5) * scale - 0.5) as f32;
    let first = place.floor();
    let x = f64::from(place - first);
    let sinc = |t: f64| match t * std::f64::consts::PI {
        0.0 => 1.0,
        y => y.sin() / y,
    };
    let weights = (0..8).map(|i| {
        let t = x + 3.0 - f64::from(i);
        sinc(t) * sinc(t / 4.0)
    });
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    let weights = weights.iter().map(|w| (w / sum) as f32).collect();
    (first as i64 - 3, weights)
}

fn enlarging_area(d: usize, scale: f64) -> Taps {
    let first = (d as f64 * scale).floor();
    let part = ((d as f64 + 1.0) - (first + 1.0) / scale) as f32;
    let part = if part <= 0.0 { 0.0 } else { part.fract() };
    (first as i64, vec![1.0 - part, part])
}

/// Weighted sums along the rows and then the columns, with weights of 11 bits; the border pixels go on.
fn fixed(
    planes: &[u8],
    from: [usize; 2],
    to: [usize; 2],
    taps: &dyn Fn(usize, f64) -> Taps,
) -> Vec<u8> {
    let whole = |from: usize, to: usize| -> Vec<Vec<(usize, i64)>> {
        let scale = 1.0 / (to as f64 / from as f64);
        let last = from as i64 - 1;
        let of = |d: usize| {
            let (first, weights) = taps(d, scale);
            let weights = weights.iter().enumerate().map(|(k, w)| {
                let at = (first + k as i64).clamp(0, last) as usize;
                (at, (w * 2048.0).round_ties_even() as i64)
            });
            weights.collect()
        };
        (0..to).map(of).collect()
    };
    let (down, along) = (whole(from[0], to[0]), whole(from[1], to[1]));
    let mut out = Vec::with_capacity(planes.len() / (from[0] * from[1]) * to[0] * to[1]);
    let mut sums = vec![0i64; from[0] * to[1]];
    for plane in planes.chunks_exact(from[0] * from[1]) {
        for (row, sums) in plane
            .chunks_exact(from[1])
            .zip(sums.chunks_exact_mut(to[1]))
        {
            for (sum, taps) in sums.iter_mut().zip(&along) {
                *sum = taps.iter().map(|&(at, w)| i64::from(row[at]) * w).sum();
            }
        }
        for taps in &down {
            out.extend((0..to[1]).map(|x| {
                let sum: i64 = taps.iter().map(|&(at, w)| sums[at * to[1] + x] * w).sum();
                ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
            }));
        }
    }
    out
}

/// The mean of the pixels, and of parts of pixels, under each output pixel.
fn area(planes: &[u8], from: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    let parts = |from: usize, to: usize| -> Vec<Vec<(usize, f32)>> {
        let scale = from as f64 / to as f64;
        let of = |d: usize| {
            let (begin, end) = (d as f64 * scale, ((d + 1) as f64 * scale).min(from as f64));
            let width = scale.min(from as f64 - begin);
            let pixels = begin.floor() as usize..(end.ceil() as usize).min(from);
            let part = |p: usize| {
                let covered = (end.min((p + 1) as f64) - begin.max(p as f64)) / width;
                (p, covered as f32)
            };
            // OpenCV leaves out slivers.
            let kept = |&(_, w): &(usize, f32)| f64::from(w) * width > 1e-3;
            pixels.map(part).filter(kept).collect()
        };
        (0..to).map(of).collect()
    };
    let (down, along) = (parts(from[0], to[0]), parts(from[1], to[1]));
    let mut out = Vec::new();
    for plane in planes.chunks_exact(from[0] * from[1]) {
        for rows in &down {
            out.extend(along.iter().map(|columns| {
                let row = |&(y, wy): &(usize, f32)| {
                    let pixels = columns.iter();
                    let sum = pixels.map(|&(x, w)| f32::from(plane[y * from[1] + x]) * w);
                    wy * sum.sum::<f32>()
                };
                let sum: f32 = rows.iter().map(row).sum();
                sum.round_ties_even().clamp(0.0, 255.0) as u8
            }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [InterpMode; 5] = [
        InterpMode::Linear,
        InterpMode::Area,
        InterpMode::Nearest,
        InterpMode::Cubic,
        InterpMode::Lanczos4,
    ];

    #[test]
    fn a_flat_picture_stays_flat_and_keeps_its_size() {
        for mode in ALL {
            for to in [[1, 1], [3, 7], [4, 5], [2, 2], [11, 13], [2, 13]] {
                let out = interpolate(&[200; 40], [2, 4, 5], to, mode);
                assert_eq!(out, vec![200; 2 * to[0] * to[1]], "{mode:?} {to:?}");
            }
            let same: Vec<u8> = (0..20).collect();
            assert_eq!(interpolate(&same, [1, 4, 5], [4, 5], mode), same);
            assert!(interpolate(&[], [1, 0, 4], [2, 2], mode).is_empty());
        }
    }

    #[test]
    fn known_pictures() {
        let row = [0, 10, 20, 30, 40, 50];
        let of = |to: usize, mode| interpolate(&row, [1, 1, 6], [1, to], mode);
        assert_eq!(of(3, InterpMode::Nearest), [0, 20, 40]);
        assert_eq!(of(3, InterpMode::Area), [5, 25, 45]);
        // Thirds of pixels: (0 + 10/2) / 1.5.
        assert_eq!(of(4, InterpMode::Area), [3, 17, 33, 47]);
        assert_eq!(of(12, InterpMode::Nearest)[..4], [0, 0, 10, 10]);
        // Twice as wide: every pixel stands for itself and its copy.
        assert_eq!(of(12, InterpMode::Area)[..4], [0, 0, 10, 10]);
        // By hand: 10 · 0.26171875 + 20 · 0.87890625 - 30 · 0.10546875 = 17.03; with A = -0.75 a line bends a little.
        assert_eq!(of(12, InterpMode::Cubic)[4..8], [17, 23, 27, 33]);
        let lanczos = of(12, InterpMode::Lanczos4);
        assert!((17..=18).contains(&lanczos[4]) && (22..=23).contains(&lanczos[5]));
    }
}
