//! The two orders in which pictures lie in memory: NCHW (channel planes, as files have them) and NHWC
//! (channels last, as the convolutions want them).

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

#[cfg(test)]
mod tests {
    use super::*;

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
