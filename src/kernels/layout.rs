//! The two orders in which pictures lie in memory: NCHW (channel planes, as files have them) and NHWC
//! (channels last, as the convolutions want them).

use super::crew::Crew;
use super::{CHUNK, each_chunk};
use crate::kernels::scratch::halves;
use crate::tensor::{Layout, View, ViewMut};

/// Rows and columns of a block that is turned at once.
const BLOCK: usize = 16;

/// `to`[cols][rows] of `from`[rows][cols], whose rows are `to_pitch` and `from_pitch` floats apart.
fn turn(
    (from, from_pitch): (&[f32], usize),
    [rows, cols]: [usize; 2],
    (to, to_pitch): (&mut [f32], usize),
) {
    for r in (0..rows).step_by(BLOCK) {
        let height = BLOCK.min(rows - r);
        for c in (0..cols).step_by(BLOCK) {
            for c in c..(c + BLOCK).min(cols) {
                let to = &mut to[c * to_pitch + r..][..height];
                for (i, to) in to.iter_mut().enumerate() {
                    *to = from[(r + i) * from_pitch + c];
                }
            }
        }
    }
}

/// One sample, NHWC with pixels `pitch` floats apart, of NCHW `from` with `channels` channels of `plane`
/// pixels.
pub fn to_nhwc(from: &[f32], channels: usize, plane: usize, to: &mut [f32], pitch: usize) {
    turn((from, plane), [channels, plane], (to, pitch));
}

/// One sample, NCHW with `channels` channels of `plane` pixels, of NHWC `from` with pixels `pitch` floats
/// apart.
pub fn to_nchw(from: &[f32], pitch: usize, channels: usize, plane: usize, to: &mut [f32]) {
    turn((from, pitch), [plane, channels], (to, plane));
}

/// `to` ← the numbers of `from`, an array of the same shape, whatever their layouts.
pub fn copy(crew: &Crew, from: &View, to: &mut ViewMut) {
    let shape = &from.shape;
    let (channels, plane) = (shape.dim(1), shape.count_from(2));
    if channels == 0 || plane == 0 {
        return;
    }
    // Whole rows, as many as make a task.
    let some = |row: usize| (CHUNK / row).max(1);
    match (from.layout, to.layout) {
        (a, b) if a == b && a.extent(shape) == shape.count() => {
            let from = &from.data[..shape.count()];
            each_chunk(crew, CHUNK, &mut to.data[..shape.count()], |start, to| {
                to.copy_from_slice(&from[start..][..to.len()]);
            });
        }
        (Layout::Planes, Layout::Planes) => to.data.copy_from_slice(from.data),
        (Layout::Pixels { pitch }, Layout::Planes) => {
            let each = some(plane);
            let samples = to.data.chunks_exact_mut(channels * plane).enumerate();
            let parts = samples.flat_map(|(n, to)| {
                let parts = to.chunks_mut(each * plane).enumerate();
                parts.map(move |(k, to)| (n * plane * pitch + k * each, to))
            });
            crew.each(parts, |(start, to)| {
                to_nchw(&from.data[start..], pitch, to.len() / plane, plane, to);
            });
        }
        (Layout::Planes, Layout::Pixels { pitch }) => {
            let each = some(pitch);
            let samples = to.data.chunks_mut(plane * pitch).enumerate();
            let parts = samples.flat_map(|(n, to)| {
                let parts = to.chunks_mut(each * pitch).enumerate();
                parts.map(move |(k, to)| (n * channels * plane, k * each, to))
            });
            crew.each(parts, |(sample, pixel, to)| {
                let pixels = to.len().div_ceil(pitch);
                let from = &from.data[sample + pixel..];
                turn((from, plane), [channels, pixels], (to, pitch));
            });
        }
        (Layout::Pixels { pitch: a }, Layout::Pixels { pitch: b }) => {
            let each = some(b);
            let parts = to.data.chunks_mut(each * b).enumerate();
            crew.each(parts, |(k, to)| {
                for (from, to) in from.data[k * each * a..].chunks(a).zip(to.chunks_mut(b)) {
                    to[..channels].copy_from_slice(&from[..channels]);
                }
            });
        }
        (Layout::Halves { pitch }, _) => {
            // Read out for somebody to see, no pass waits for it.
            let (from, out) = (halves(from.data), to.layout);
            for pixel in 0..shape.dim(0) * plane {
                let (n, p) = (pixel / plane, pixel % plane);
                for (c, half) in from[pixel * pitch..][..channels].iter().enumerate() {
                    let at = match out {
                        Layout::Pixels { pitch } => pixel * pitch + c,
                        _ => (n * channels + c) * plane + p,
                    };
                    to.data[at] = f32::from_bits(u32::from(*half) << 16);
                }
            }
        }
        (_, Layout::Halves { .. }) => unreachable!("only kernels write halves"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::crew;
    use crate::kernels::noise;
    use crate::tensor::Shape;

    /// The plain twin: element by element.
    fn at(layout: Layout, shape: &Shape, [n, c, p]: [usize; 3]) -> usize {
        let (channels, plane) = (shape.dim(1), shape.count_from(2));
        match layout {
            Layout::Planes => (n * channels + c) * plane + p,
            Layout::Pixels { pitch } | Layout::Halves { pitch } => (n * plane + p) * pitch + c,
        }
    }

    #[test]
    fn every_layout_into_every_other() {
        for dims in [[1, 3, 5, 7], [2, 40, 30, 31], [3, 1, 9, 1], [1, 700, 6, 6]] {
            let shape = Shape::new(dims);
            let pitch = |more: usize| Layout::Pixels {
                pitch: dims[1] + more,
            };
            let layouts = [Layout::Planes, pitch(0), pitch(5)];
            for (a, b) in layouts.iter().flat_map(|a| layouts.map(|b| (*a, b))) {
                let x = noise(1, a.extent(&shape));
                let from = View {
                    shape: shape.clone(),
                    layout: a,
                    data: &x,
                };
                crew::tests::each(|crew| {
                    let mut y = vec![7.0; b.extent(&shape)];
                    let mut want = y.clone();
                    for (n, c, p) in (0..dims[0]).flat_map(|n| {
                        (0..dims[1])
                            .flat_map(move |c| (0..dims[2] * dims[3]).map(move |p| (n, c, p)))
                    }) {
                        want[at(b, &shape, [n, c, p])] = x[at(a, &shape, [n, c, p])];
                    }
                    let mut to = ViewMut {
                        shape: shape.clone(),
                        layout: b,
                        data: &mut y,
                    };
                    copy(crew, &from, &mut to);
                    assert!(y == want, "{a:?} {b:?} {shape}");
                });
            }
        }
    }

    #[test]
    fn there_and_back() {
        let x = crate::kernels::noise(1, 19 * 35);
        let (mut y, mut z) = (vec![0.0; 20 * 35], vec![0.0; x.len()]);
        to_nhwc(&x, 19, 35, &mut y, 20);
        assert_eq!(y[3 * 20 + 7], x[7 * 35 + 3]);
        to_nchw(&y, 20, 19, 35, &mut z);
        assert_eq!(x, z);
    }
}
