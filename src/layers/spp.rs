//! SPP, spatial pyramid pooling (He et al. 2014): level l of the pyramid pools [N, C, H, W] into 2ˡ × 2ˡ
//! windows; the levels' numbers stand one after the other, [N, Σ C·windows]. A pyramid of height 1 is a
//! global pooling, [N, C, 1, 1].

use super::pooling::Pooling;
use super::{Backward, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::{LayerParameter, PoolingParameter, SppParameter};
use crate::tensor::Shape;
use anyhow::{Context, Result, bail};

/// An SPP layer.
#[derive(Debug)]
pub struct Spp {
    param: SppParameter,
    mode: Mode,
}

/// One level for a bottom of known shape.
struct Level {
    pooling: Pooling,
    /// Numbers of each sample.
    count: usize,
}

impl Spp {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, mode: Mode) -> Result<Self> {
        let param = param.spp_param.unwrap_or_default();
        let height = param.pyramid_height();
        if !(1..=20).contains(&height) {
            bail!(
                "spp_param needs pyramid_height, the number of levels, from 1 on; found {height}"
            );
        }
        Ok(Self { param, mode })
    }

    fn levels(&self, x: &Shape) -> Result<Vec<Level>> {
        let &[_, _, height, width] = x.dims() else {
            bail!(
                "it pools arrays of 4 axes (samples, channels, height, width), bottom 0 has shape {x}"
            );
        };
        let level = |l: u32| -> Result<Level> {
            let bins = 1usize << l;
            // Windows side by side; what is missing to fill the last is shared by both borders.
            let window = |size: usize| {
                let kernel = size.div_ceil(bins);
                let pad = (kernel * bins - size).div_ceil(2);
                (Some(kernel as u32), Some(pad as u32))
            };
            let ((kernel_h, pad_h), (kernel_w, pad_w)) = (window(height), window(width));
            let param = PoolingParameter {
                // SPP counts its methods like Pooling.
                pool: Some(self.param.pool() as i32),
                kernel_h,
                kernel_w,
                stride_h: kernel_h,
                stride_w: kernel_w,
                pad_h,
                pad_w,
                ..Default::default()
            };
            let pooling = Pooling::of(param, 1, self.mode)?;
            let tops = pooling.shapes(std::slice::from_ref(x))?;
            let count = tops[0].count_from(1);
            Ok(Level { pooling, count })
        };
        let place = |l: u32| format!("pyramid level {l} of {} x {0}", 1 << l);
        (0..self.param.pyramid_height())
            .map(|l| level(l).with_context(|| place(l)))
            .collect()
    }
}

impl Layer for Spp {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let levels = self.levels(x)?;
        if let [only] = &levels[..] {
            return only.pooling.shapes(bottoms);
        }
        let count = levels.iter().map(|l| l.count).sum();
        Ok(vec![Shape::new([x.dim(0), count])])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let tops = self.shapes(bottoms).unwrap_or_default();
        Facts {
            scratch_bytes: tops.first().map_or(0, |y| 8 * y.count()),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let x = &f.bottoms[0];
        let rows = x.shape.dim(0);
        let y = &mut f.tops[0];
        let row = y.shape.count_from(1).max(1);
        f.keep.indices.clear();
        let (mut at, mut pooled, mut indices) = (0, Vec::new(), Vec::new());
        for (l, level) in (0..).zip(self.levels(&x.shape)?) {
            let n = level.count;
            pooled.resize(rows * n, 0.0);
            let (random, start) = (f.random.branch(l), f.first * n);
            let draw = |i: usize| 1.0 - random.unit((start + i) as u64);
            level
                .pooling
                .pool(f.crew, x, &mut pooled, &mut indices, draw)?;
            f.keep.indices.extend(&indices);
            let places = y.data.chunks_exact_mut(row);
            for (y, from) in places.zip(pooled.chunks_exact(n.max(1))) {
                y[at..at + n].copy_from_slice(from);
            }
            at += n;
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let x = &b.bottoms[0];
        let dy = &b.top_diffs[0];
        let row = dy.shape.count_from(1).max(1);
        let kept = b.keep.indices.len() == dy.data.len();
        let (mut at, mut level_dy, mut level_dx) = (0, Vec::new(), vec![0.0; dx.data.len()]);
        dx.data.fill(0.0);
        for level in self.levels(&x.shape)? {
            let n = level.count;
            level_dy.clear();
            for dy in dy.data.chunks_exact(row) {
                level_dy.extend_from_slice(&dy[at..at + n]);
            }
            let rows = x.shape.dim(0);
            let indices = if kept {
                &b.keep.indices[at * rows..][..n * rows]
            } else {
                &[]
            };
            level
                .pooling
                .unpool(b.crew, x, &level_dy, indices, &mut level_dx)?;
            dx.data
                .iter_mut()
                .zip(&level_dx)
                .for_each(|(dx, d)| *dx += d);
            at += n;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer_in};
    use crate::tensor::Tensor;

    fn spp(text: &str, mode: Mode) -> Result<Box<dyn Layer>> {
        layer_in(&format!("type: 'SPP' spp_param {{ {text} }}"), mode)
    }

    /// Numbers further apart than the step, or a maximum would change within it.
    fn apart(dims: &[usize]) -> Tensor {
        let n = dims.iter().product::<usize>();
        let data = (0..n).map(|i| (i * 37 % n + 1) as f32 / 20.0).collect();
        Tensor::new(dims.into(), data).unwrap()
    }

    #[test]
    fn gradients() {
        for (text, dims) in [
            ("pyramid_height: 3 pool: MAX", [2, 2, 7, 4]),
            ("pyramid_height: 2 pool: AVE", [2, 2, 5, 6]),
            ("pyramid_height: 3 pool: STOCHASTIC", [2, 2, 4, 4]),
            ("pyramid_height: 1", [2, 3, 2, 3]),
        ] {
            for mode in [Mode::Train, Mode::Test] {
                if mode == Mode::Train && text.contains("STOCHASTIC") {
                    continue; // What is drawn changes with the numbers.
                }
                let layer = spp(text, mode).unwrap();
                let x = apart(&dims);
                // A fixed bottom is not checked: check by hand.
                let y = Check::default().forward(&*layer, vec![x.clone()]).unwrap();
                let dy = Tensor {
                    data: crate::kernels::noise(3, y[0].data.len()),
                    ..y[0].clone()
                };
                let (_, dx) = Check::default()
                    .both(&*layer, vec![x.clone()], std::slice::from_ref(&dy))
                    .unwrap();
                for i in 0..x.data.len() {
                    let objective = |step: f32| {
                        let mut x = x.clone();
                        x.data[i] += step;
                        let y = Check::default().forward(&*layer, vec![x]).unwrap();
                        let terms = y[0].data.iter().zip(&dy.data);
                        terms.map(|(y, d)| f64::from(y * d)).sum::<f64>()
                    };
                    let want = (objective(0.01) - objective(-0.01)) / 0.02;
                    let got = f64::from(dx[0].as_ref().unwrap().data[i]);
                    assert!(
                        (got - want).abs() < 3e-3,
                        "{text} {mode:?} {i}: {got} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn levels_stand_one_after_the_other() {
        let x = Tensor::new(Shape::new([1, 1, 2, 3]), vec![1., 2., 3., 4., 5., 6.]).unwrap();
        let layer = spp("pyramid_height: 2", Mode::Test).unwrap();
        let y = &Check::default().forward(&*layer, vec![x]).unwrap()[0];
        assert_eq!(
            (y.shape.dims(), &y.data[..]),
            (&[1, 5][..], &[6., 1., 3., 4., 6.][..])
        );
        let one = spp("pyramid_height: 1", Mode::Test).unwrap();
        assert_eq!(
            one.shapes(&[Shape::new([2, 3, 4, 5])]).unwrap()[0].dims(),
            [2, 3, 1, 1]
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert!(
            spp("", Mode::Test)
                .err()
                .unwrap()
                .to_string()
                .contains("found 0")
        );
        let fails = |text: &str, x: &[usize]| {
            let shapes = spp(text, Mode::Test).unwrap().shapes(&[x.into()]);
            format!("{:#}", shapes.unwrap_err())
        };
        let e = fails("pyramid_height: 3", &[1, 1, 2, 8]);
        assert!(
            e.contains("pyramid level 2 of 4 x 4") && e.contains("1 1 2 8 (16)"),
            "{e}"
        );
        assert!(fails("pyramid_height: 2", &[1, 4]).contains("1 4 (4)"));
        assert!(fails("pyramid_height: 2 pool: STOCHASTIC", &[1, 1, 3, 3]).contains("cannot pad"));
    }
}
