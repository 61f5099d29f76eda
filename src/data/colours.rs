//! Colours of 8-bit pictures in planes of blue, green and red, as OpenCV converts them for the SSD family's
//! transforms: to brightness, and to hue (0 to 179), saturation and value and back.

/// The brightness of each pixel.
pub fn gray(planes: &[u8], pixels: usize) -> Vec<u8> {
    let (b, rest) = planes.split_at(pixels);
    let (g, r) = rest.split_at(pixels);
    let pixels = b.iter().zip(g).zip(r);
    let gray = |((b, g), r): ((&u8, &u8), &u8)| {
        (u32::from(*b) * 1868 + u32::from(*g) * 9617 + u32::from(*r) * 4899 + (1 << 13)) >> 14
    };
    pixels.map(|p| gray(p) as u8).collect()
}

/// Turns blue, green and red into hue, saturation and value.
pub fn to_hsv(planes: &mut [u8], pixels: usize) {
    each(planes, pixels, |[b, g, r]| {
        let [b, g, r] = [b, g, r].map(i32::from);
        let value = b.max(g).max(r);
        let range = value - b.min(g).min(r);
        // Divisions by tables of 12 bits.
        let over = |top: i32, n: i32| match n {
            0 => 0,
            n => (f64::from(top << 12) / f64::from(n)).round_ties_even() as i32,
        };
        let saturation = (range * over(255, value) + (1 << 11)) >> 12;
        let sector = if value == r {
            g - b
        } else if value == g {
            b - r + 2 * range
        } else {
            r - g + 4 * range
        };
        let hue = match range {
            0 => 0,
            _ => {
                let sixth = (f64::from(180 << 12) / (6.0 * f64::from(range))).round_ties_even();
                (sector * sixth as i32 + (1 << 11)) >> 12
            }
        };
        let hue = if hue < 0 { hue + 180 } else { hue };
        [hue, saturation, value].map(|v| v.clamp(0, 255) as u8)
    });
}

/// The way back; hues past 180 begin again.
pub fn from_hsv(planes: &mut [u8], pixels: usize) {
    each(planes, pixels, |[h, s, v]| {
        let (s, v) = (f32::from(s) / 255.0, f32::from(v) / 255.0);
        let h = (f32::from(h) * (6.0 / 180.0)) % 6.0;
        let (sector, part) = (h.floor() as usize, h - h.floor());
        let tab = [
            v,
            v * (1.0 - s),
            v * (1.0 - s * part),
            v * (1.0 - s * (1.0 - part)),
        ];
        let [b, g, r] = [
            [1, 3, 0],
            [1, 0, 2],
            [3, 0, 1],
            [0, 2, 1],
            [0, 1, 3],
            [2, 1, 0],
        ][sector.min(5)];
        [tab[b], tab[g], tab[r]].map(|v| (v * 255.0).round_ties_even().clamp(0.0, 255.0) as u8)
    });
}

/// Stretches the brightness so that all its values are used alike often; the colours stay.
pub fn equalize(planes: &mut [u8], pixels: usize) {
    if planes.len() != 3 * pixels {
        planes
            .chunks_exact_mut(pixels.max(1))
            .for_each(equalize_plane);
        return;
    }
    let clamp = |v: i32| v.clamp(0, 255) as u8;
    let mut chroma = planes.to_vec();
    // Brightness, and the differences of red and blue to it, in 14 bits.
    each(&mut chroma, pixels, |[b, g, r]| {
        let [b, g, r] = [b, g, r].map(i32::from);
        let y = (b * 1868 + g * 9617 + r * 4899 + (1 << 13)) >> 14;
        let half = (128 << 14) + (1 << 13);
        let cr = ((r - y) * 11682 + half) >> 14;
        let cb = ((b - y) * 9241 + half) >> 14;
        [y, cr, cb].map(clamp)
    });
    equalize_plane(&mut chroma[..pixels]);
    each(&mut chroma, pixels, |[y, cr, cb]| {
        let [y, cr, cb] = [i32::from(y), i32::from(cr) - 128, i32::from(cb) - 128];
        let round = |v: i32| (v + (1 << 13)) >> 14;
        let b = y + round(cb * 29049);
        let g = y + round(cb * -5636 + cr * -11698);
        let r = y + round(cr * 22987);
        [b, g, r].map(clamp)
    });
    planes.copy_from_slice(&chroma);
}

fn equalize_plane(plane: &mut [u8]) {
    let mut counts = [0usize; 256];
    plane.iter().for_each(|&v| counts[usize::from(v)] += 1);
    let Some(first) = counts.iter().position(|&n| n > 0) else {
        return;
    };
    let rest = plane.len() - counts[first];
    if rest == 0 {
        return;
    }
    let scale = 255.0 / rest as f32;
    let mut table = [0u8; 256];
    let mut sum = 0;
    for v in first + 1..256 {
        sum += counts[v];
        table[v] = (sum as f32 * scale).round_ties_even().clamp(0.0, 255.0) as u8;
    }
    plane.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// Changes the three numbers of each pixel.
fn each(planes: &mut [u8], pixels: usize, change: impl Fn([u8; 3]) -> [u8; 3]) {
    let (a, rest) = planes.split_at_mut(pixels);
    let (b, c) = rest.split_at_mut(pixels);
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        [*a, *b, *c] = change([*a, *b, *c]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours() {
        // Blue, green, red, yellow, white, gray, one of many.
        let colours = [
            ([255, 0, 0], [120, 255, 255]),
            ([0, 255, 0], [60, 255, 255]),
            ([0, 0, 255], [0, 255, 255]),
            ([0, 255, 255], [30, 255, 255]),
            ([255, 255, 255], [0, 0, 255]),
            ([90, 90, 90], [0, 0, 90]),
            ([50, 100, 200], [10, 191, 200]),
        ];
        for (bgr, hsv) in colours {
            let mut pixel = bgr;
            to_hsv(&mut pixel, 1);
            assert_eq!(pixel, hsv, "{bgr:?}");
            from_hsv(&mut pixel, 1);
            let near = pixel.iter().zip(bgr).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(near, "{bgr:?} came back as {pixel:?}");
        }
        assert_eq!(gray(&[255, 0, 0], 1), [29]);
        assert_eq!(gray(&[0, 255, 0], 1), [150]);
        assert_eq!(gray(&[0, 0, 255], 1), [76]);
    }

    #[test]
    fn equal_use_of_all_values() {
        let mut flat = vec![7; 12];
        equalize(&mut flat, 12);
        assert_eq!(flat, [7; 12]);
        let mut two = vec![100, 100, 101, 102];
        equalize(&mut two, 4);
        assert_eq!(two, [0, 0, 128, 255]);
        let mut gray = [10, 20, 30, 10, 20, 30, 10, 20, 30];
        equalize(&mut gray, 3);
        assert_eq!(gray, [0, 128, 255, 0, 128, 255, 0, 128, 255]);
    }
}
