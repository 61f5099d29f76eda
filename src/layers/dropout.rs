//! Dropout (Srivastava et al. 2014): in training each element is 0 with probability `dropout_ratio` and
//! divided by 1 − `dropout_ratio` otherwise; in testing nothing happens.

use super::{Backward, Facts, Forward, Halves, Layer, Layouts, Mode, take};
use crate::kernels::crew::Crew;
use crate::kernels::simd::wide;
use crate::kernels::{CHUNK, each_chunk};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Dropout layer.
#[derive(Debug)]
pub struct Dropout {
    ratio: f32,
    mode: Mode,
}

impl Dropout {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, mode: Mode) -> Result<Self> {
        let ratio = param.dropout_param.unwrap_or_default().dropout_ratio();
        if !(0.0..1.0).contains(&ratio) {
            bail!("dropout_ratio is {ratio}, it must be at least 0 and below 1");
        }
        Ok(Self { ratio, mode })
    }

    /// Whether the layer does anything.
    fn drops(&self) -> bool {
        self.mode == Mode::Train && self.ratio > 0.0
    }

    /// x ← x · scale where the element's bit is set, 0 elsewhere.
    fn apply(&self, crew: &Crew, kept: &[u32], x: &mut [f32]) {
        let scale = 1.0 / (1.0 - self.ratio);
        each_chunk(crew, CHUNK, x, |start, part| {
            wide(|| {
                for (word, part) in kept[start / 32..].iter().zip(part.chunks_mut(32)) {
                    for (i, v) in part.iter_mut().enumerate() {
                        *v *= if word >> i & 1 == 1 { scale } else { 0.0 };
                    }
                }
            });
        });
    }
}

/// The places in C order of the elements from number `start` on of pictures that lie channels last, of so many
/// channels and pixels.
fn places(start: usize, [channels, pixels]: [usize; 2]) -> impl Iterator<Item = u64> {
    let (mut sample, mut pixel, mut channel) = (
        start / channels / pixels,
        start / channels % pixels,
        start % channels,
    );
    std::iter::from_fn(move || {
        let at = (sample * channels + channel) * pixels + pixel;
        channel += 1;
        if channel == channels {
            (channel, pixel) = (0, pixel + 1);
        }
        if pixel == pixels {
            (pixel, sample) = (0, sample + 1);
        }
        Some(at as u64)
    })
}

impl Layer for Dropout {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        Ok(vec![x.clone()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            layouts: Layouts::Either,
            halves: match self.drops() {
                true => Halves::Never,
                false => Halves::Alike,
            },
            in_place: true,
            scratch_bytes: match self.drops() {
                true => bottoms[0].count().div_ceil(32) * 4,
                false => 0,
            },
            ..Facts::default()
        }
    }

    /// Leaves one bit an element: whether it was kept. The random number of an element is that of its
    /// place in the whole batch in C order, however it lies in memory.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (crew, random) = (f.crew, f.random);
        let top = &f.tops[0];
        let first = (f.first * top.shape.count_from(1)) as u64;
        let order = match top.layout.is_pixels() {
            true => [top.shape.dim(1), top.shape.count_from(2)],
            false => [1, 1],
        };
        let count = f.carry().len();
        if !self.drops() {
            return Ok(());
        }
        let kept = &mut f.keep.indices;
        kept.resize(count.div_ceil(32), 0);
        each_chunk(crew, CHUNK / 32, kept, |start, part| {
            for (i, word) in part.iter_mut().enumerate() {
                let places = places(32 * (start + i), order);
                let keep = |at: u64| random.unit(first + at) >= self.ratio;
                *word = (0..32)
                    .zip(places)
                    .map(|(bit, at)| u32::from(keep(at)) << bit)
                    .sum();
            }
        });
        self.apply(crew, kept, f.tops[0].data);
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let crew = b.crew;
        let kept = std::mem::take(&mut b.keep.indices);
        if let Some(diff) = b.carry()
            && self.drops()
        {
            self.apply(crew, &kept, diff);
        }
        b.keep.indices = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};
    use crate::tensor::Tensor;

    #[test]
    fn gradients() {
        let train = || layer("type: 'Dropout' dropout_param { dropout_ratio: 0.3 }");
        Check::default().run(&*train(), &[&[3, 7]]);
        Check {
            in_place: true,
            ..Check::default()
        }
        .run(&*train(), &[&[3, 17]]);
        Check {
            in_place: true,
            ..Check::default()
        }
        .run(
            &*layer_in("type: 'Dropout'", Mode::Test).unwrap(),
            &[&[3, 7]],
        );
    }

    #[test]
    fn drops_the_ratio_and_keeps_the_mean() {
        let x = Tensor {
            shape: Shape::new([100, 1000]),
            data: vec![1.0; 100_000],
        };
        let layer = layer("type: 'Dropout' dropout_param { dropout_ratio: 0.3 }");
        let y = Check::default().forward(&*layer, vec![x]).unwrap();
        let dropped = y[0].data.iter().filter(|v| **v == 0.0).count() as f32 / 1e5;
        let mean = y[0].data.iter().sum::<f32>() / 1e5;
        assert!(
            (dropped - 0.3).abs() < 0.01 && (mean - 1.0).abs() < 0.01,
            "{dropped} {mean}"
        );
    }

    #[test]
    fn a_group_draws_what_the_whole_batch_draws() {
        let layer = layer("type: 'Dropout'");
        let ones = |rows| Tensor {
            shape: Shape::new([rows, 11]),
            data: vec![1.0; rows * 11],
        };
        let whole = Check::default().forward(&*layer, vec![ones(5)]).unwrap();
        let part = Check {
            first: 3,
            ..Check::default()
        }
        .forward(&*layer, vec![ones(2)])
        .unwrap();
        assert_eq!(whole[0].data[33..], part[0].data);
    }

    #[test]
    fn the_ratio_is_checked() {
        let e = layer_in(
            "type: 'Dropout' dropout_param { dropout_ratio: 1 }",
            Mode::Train,
        )
        .err()
        .unwrap();
        assert!(e.to_string().contains("dropout_ratio is 1"));
    }
}
