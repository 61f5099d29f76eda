//! ArgMax: which numbers are the largest. Without `axis`, of each sample [N, …]: [N, 1, top_k] with the
//! indices, or [N, 2, top_k] with indices and values (`out_max_val`); at least as many axes as the
//! bottom. With `axis`, along it: the axis has then top_k indices, or values with `out_max_val`. Of equal
//! numbers the one with the larger index comes first, as in Caffe.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, axis, take};
use crate::proto::caffe::{ArgMaxParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// An ArgMax layer.
#[derive(Debug)]
pub struct ArgMax {
    param: ArgMaxParameter,
}

impl ArgMax {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.argmax_param.unwrap_or_default();
        if param.top_k() == 0 {
            bail!("top_k is 0, it must be at least 1");
        }
        Ok(Self { param })
    }

    /// How many numbers are compared, and how far apart they are.
    fn compared(&self, x: &Shape) -> Result<(usize, usize)> {
        match self.param.axis {
            Some(a) => {
                let a = axis(x, a, "axis")?;
                Ok((x.dim(a), x.count_from(a + 1)))
            }
            None if x.axes() == 0 => bail!("bottom 0 is a scalar, it has no samples"),
            None => Ok((x.count_from(1), 1)),
        }
    }
}

/// The order of the tops: larger numbers first, then larger indices. NaN is smaller than any number.
fn better(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    // −0 and 0 are equal.
    let key = |v: f32| {
        if v.is_nan() {
            f32::NEG_INFINITY
        } else {
            v + 0.0
        }
    };
    let numbers = b.0.is_nan().cmp(&a.0.is_nan()).reverse();
    numbers
        .then(key(b.0).total_cmp(&key(a.0)))
        .then(b.1.cmp(&a.1))
}

impl Layer for ArgMax {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let k = self.param.top_k() as usize;
        let (n, _) = self.compared(x)?;
        if k > n {
            bail!("top_k is {k}, but only {n} numbers are compared in bottom 0 of shape {x}");
        }
        let mut dims;
        match self.param.axis {
            Some(a) => {
                dims = x.dims().to_vec();
                dims[axis(x, a, "axis")?] = k;
            }
            None => {
                dims = vec![1; x.axes().max(3)];
                dims[0] = x.dim(0);
                dims[1] = if self.param.out_max_val() { 2 } else { 1 };
                dims[2] = k;
            }
        }
        Ok(vec![dims.into()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let inner = self
            .param
            .axis
            .is_none_or(|a| bottoms[0].axis(a) != Some(0));
        Facts {
            coupling: Coupling::free_if(inner),
            has_backward: false,
            flows: vec![false; bottoms.len()],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let x = &f.bottoms[0];
        let (n, step) = self.compared(&x.shape)?;
        let k = self.param.top_k() as usize;
        let both = self.param.axis.is_none() && self.param.out_max_val();
        let y = &mut *f.tops[0].data;
        let mut best: Vec<(f32, u32)> = Vec::with_capacity(n);
        for (block, x) in x.data.chunks_exact((n * step).max(1)).enumerate() {
            for inner in 0..step {
                let line = x[inner..].iter().step_by(step).copied();
                best.clear();
                best.extend(line.zip(0u32..));
                if k < n {
                    best.select_nth_unstable_by(k - 1, better);
                    best.truncate(k);
                }
                best.sort_unstable_by(better);
                for (j, (value, index)) in best.iter().enumerate() {
                    if both {
                        y[2 * block * k + j] = *index as f32;
                        y[(2 * block + 1) * k + j] = *value;
                    } else {
                        let values = self.param.out_max_val();
                        let at = (block * k + j) * step + inner;
                        y[at] = if values { *value } else { *index as f32 };
                    }
                }
            }
        }
        Ok(())
    }

    fn backward(&self, _b: &mut Backward) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    fn run(text: &str, dims: &[usize], data: &[f32]) -> (Vec<usize>, Vec<f32>) {
        let layer = layer(&format!("type: 'ArgMax' argmax_param {{ {text} }}"));
        let x = Tensor::new(dims.into(), data.to_vec()).unwrap();
        let y = Check::default().forward(&*layer, vec![x]).unwrap();
        (y[0].shape.dims().to_vec(), y[0].data.clone())
    }

    #[test]
    fn of_each_sample() {
        let x = [1., 5., 3., 5., 9., -1., 0., 2.];
        assert_eq!(run("", &[2, 4], &x), (vec![2, 1, 1], vec![3., 0.]));
        assert_eq!(
            run("top_k: 2", &[2, 2, 1, 2], &x),
            (vec![2, 1, 2, 1], vec![3., 1., 0., 3.])
        );
        assert_eq!(
            run("top_k: 2 out_max_val: true", &[2, 4], &x),
            (vec![2, 2, 2], vec![3., 1., 5., 5., 0., 3., 9., 2.])
        );
    }

    #[test]
    fn along_an_axis() {
        let x = [1., 5., 3., 4., 9., -1.];
        assert_eq!(
            run("axis: 1", &[1, 3, 2], &x),
            (vec![1, 1, 2], vec![2., 0.])
        );
        assert_eq!(
            run("axis: -2 top_k: 2 out_max_val: true", &[1, 3, 2], &x),
            (vec![1, 2, 2], vec![9., 5., 3., 4.])
        );
        assert_eq!(run("axis: 0", &[3, 2], &x), (vec![1, 2], vec![2., 0.]));
    }

    #[test]
    fn zeros_are_equal_and_nan_is_last() {
        let x = [0.0, -0.0, f32::NAN, f32::NEG_INFINITY];
        assert_eq!(run("top_k: 4", &[1, 4], &x).1, [1., 0., 3., 2.]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let fails = |text: &str, x: &[usize]| {
            let layer = layer(&format!("type: 'ArgMax' argmax_param {{ {text} }}"));
            layer.shapes(&[x.into()]).unwrap_err().to_string()
        };
        assert!(fails("top_k: 7", &[3, 2, 3]).contains("only 6 numbers"));
        assert!(fails("top_k: 3 axis: 1", &[3, 2, 3]).contains("3 2 3 (18)"));
        assert!(fails("axis: 3", &[3, 2, 3]).contains("axis 3"));
        assert!(fails("", &[]).contains("scalar"));
    }
}
