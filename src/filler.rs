//! Initial weights, by Caffe's fillers.

use crate::proto::caffe::{FillerParameter, filler_parameter::VarianceNorm};
use crate::random::Random;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// `shape.count()` values by `filler`; value i draws on number i of `random`.
///
/// - `constant`: value. `uniform`: min to max. `gaussian`: mean and std; with `sparse: k`, about k
///   of the inputs of each output are non-zero.
/// - `xavier`: uniform in ±√(3/n) (Glorot and Bengio 2010); `msra`: normal of std √(2/n) (He et al.
///   2015); n is the fan-in, the fan-out or their mean, by `variance_norm`.
/// - `positive_unitball`: uniform, each output's weights scaled to sum 1.
/// - `bilinear`: interpolation kernels for an upsampling Deconvolution.
pub fn fill(filler: &FillerParameter, shape: &Shape, random: Random) -> Result<Vec<f32>> {
    let n = shape.count();
    let kind = filler.r#type();
    if filler.sparse() != -1 && kind != "gaussian" {
        bail!("filler '{kind}' cannot be sparse; only 'gaussian' can");
    }
    let uniform = |low: f32, high: f32| {
        (0..n as u64)
            .map(|i| low + (high - low) * random.unit(i))
            .collect()
    };
    let normal = |mean: f32, std: f32| {
        (0..n as u64)
            .map(|i| mean + std * random.normal(i))
            .collect()
    };
    Ok(match kind {
        "constant" => vec![filler.value(); n],
        "uniform" => uniform(filler.min(), filler.max()),
        "gaussian" => {
            let mut values: Vec<f32> = normal(filler.mean(), filler.std());
            if filler.sparse() >= 0 {
                let outputs = shape.dim(0).max(1);
                let keep = filler.sparse() as f32 / outputs as f32;
                let coin = random.branch(1);
                for (i, v) in values.iter_mut().enumerate() {
                    if coin.unit(i as u64) >= keep {
                        *v = 0.0;
                    }
                }
            }
            values
        }
        "xavier" => {
            let scale = (3.0 / fan(filler, shape)).sqrt();
            uniform(-scale, scale)
        }
        "msra" => normal(0.0, (2.0 / fan(filler, shape)).sqrt()),
        "positive_unitball" => {
            let mut values: Vec<f32> = uniform(0.0, 1.0);
            let each = (n / shape.dim(0).max(1)).max(1);
            for row in values.chunks_mut(each) {
                let sum: f32 = row.iter().sum();
                row.iter_mut().for_each(|v| *v /= sum);
            }
            values
        }
        "bilinear" => bilinear(shape)?,
        other => bail!(
            "unknown filler type '{other}'; Caffe has constant, uniform, gaussian, xavier, msra, \
             positive_unitball and bilinear"
        ),
    })
}

fn fan(filler: &FillerParameter, shape: &Shape) -> f32 {
    let count = shape.count() as f32;
    let fan_in = count / shape.dim(0).max(1) as f32;
    let fan_out = if shape.axes() > 1 {
        count / shape.dim(1).max(1) as f32
    } else {
        count
    };
    match filler.variance_norm() {
        VarianceNorm::FanIn => fan_in,
        VarianceNorm::FanOut => fan_out,
        VarianceNorm::Average => (fan_in + fan_out) / 2.0,
    }
}

fn bilinear(shape: &Shape) -> Result<Vec<f32>> {
    let (h, w) = (shape.dim(2), shape.dim(3));
    if shape.axes() != 4 || h != w {
        bail!("filler 'bilinear' needs square kernels in a 4-axis blob, not {shape}");
    }
    let f = w.div_ceil(2) as f32;
    let c = (w.saturating_sub(1)) as f32 / (2.0 * f);
    let tent = |x: usize| 1.0 - (x as f32 / f - c).abs();
    Ok((0..shape.count())
        .map(|i| tent(i % w) * tent(i / w % h))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn made(kind: &str, dims: &[usize]) -> Vec<f32> {
        let filler = FillerParameter {
            r#type: Some(kind.into()),
            ..Default::default()
        };
        fill(
            &filler,
            &Shape::from(dims),
            Random::new(1, Purpose::Filler, 0),
        )
        .unwrap()
    }

    #[test]
    fn xavier_spans_its_range() {
        let v = made("xavier", &[50, 12, 5, 5]);
        let scale = (3.0f32 / 300.0).sqrt();
        assert!(v.iter().all(|x| x.abs() <= scale));
        assert!(v.iter().cloned().fold(0.0, f32::max) > 0.99 * scale);
    }

    #[test]
    fn msra_has_its_variance() {
        let v = made("msra", &[100, 10, 5, 5]);
        let var = v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32;
        assert!((var / (2.0 / 250.0) - 1.0).abs() < 0.05, "{var}");
    }

    #[test]
    fn unitball_rows_sum_to_one() {
        for row in made("positive_unitball", &[4, 30]).chunks(30) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn bilinear_is_the_interpolation_kernel() {
        let v = made("bilinear", &[1, 1, 4, 4]);
        let t = [0.25, 0.75, 0.75, 0.25];
        for y in 0..4 {
            for x in 0..4 {
                assert!((v[y * 4 + x] - t[y] * t[x]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn an_unknown_filler_is_named() {
        let filler = FillerParameter {
            r#type: Some("xavierr".into()),
            ..Default::default()
        };
        let error = fill(
            &filler,
            &Shape::from(&[2][..]),
            Random::new(1, Purpose::Filler, 0),
        )
        .unwrap_err();
        assert!(error.to_string().contains("xavierr"));
    }
}
