//! Eltwise: the product, weighted sum or maximum of bottoms of one shape, element by element.

use super::{Backward, Facts, Forward, Layer, Layouts, Mode, Role};
use crate::kernels::elementwise::{add_scaled, multiply, scale};
use crate::kernels::{CHUNK, each_chunk};
use crate::proto::caffe::eltwise_parameter::EltwiseOp;
use crate::proto::caffe::{EltwiseParameter, LayerParameter};
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// An Eltwise layer.
#[derive(Debug)]
pub struct Eltwise {
    param: EltwiseParameter,
}

impl Eltwise {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.eltwise_param.clone().unwrap_or_default();
        if p.operation() != EltwiseOp::Sum && !p.coeff.is_empty() {
            bail!("eltwise_param has coeff, which is for operation: SUM only");
        }
        Ok(Self { param: p })
    }

    /// The coefficient of bottom `i`.
    fn coeff(&self, i: usize) -> f32 {
        self.param.coeff.get(i).copied().unwrap_or(1.0)
    }
}

/// The bottom whose element `at` is the maximum. As in Caffe, bottom 1 wins over an equal bottom 0 (and
/// if either is NaN), but a later bottom must be greater to win.
fn winner(bottoms: &[View], at: usize) -> usize {
    let (first, second) = (bottoms[0].data[at], bottoms[1].data[at]);
    let mut best = if first > second { 0 } else { 1 };
    for (i, x) in bottoms.iter().enumerate().skip(2) {
        if x.data[at] > bottoms[best].data[at] {
            best = i;
        }
    }
    best
}

impl Layer for Eltwise {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [first, _, ..] = bottoms else {
            bail!(
                "it takes at least two bottoms, but {} are named",
                bottoms.len()
            );
        };
        if bottoms.iter().any(|x| x != first) {
            let all = bottoms
                .iter()
                .map(Shape::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            bail!("the bottoms must have one shape, but have {all}");
        }
        if !self.param.coeff.is_empty() && self.param.coeff.len() != bottoms.len() {
            bail!(
                "{} values for coeff, but {} bottoms",
                self.param.coeff.len(),
                bottoms.len()
            );
        }
        Ok(vec![first.clone()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let plain = (0..bottoms.len()).all(|i| self.coeff(i) == 1.0);
        let sum = self.param.operation() == EltwiseOp::Sum;
        Facts {
            role: match plain && sum && bottoms.len() == 2 {
                true => Role::Sum,
                false => Role::Other,
            },
            layouts: Layouts::Either,
            reads_tops: self.param.operation() == EltwiseOp::Prod && !self.param.stable_prod_grad(),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let y = &mut *f.tops[0].data;
        let (first, rest) = (f.bottoms[0].data, &f.bottoms[1..]);
        match self.param.operation() {
            EltwiseOp::Prod => {
                y.copy_from_slice(first);
                rest.iter().for_each(|x| multiply(f.crew, x.data, y));
            }
            EltwiseOp::Sum => {
                scale(f.crew, self.coeff(0), first, y);
                rest.iter()
                    .enumerate()
                    .for_each(|(i, x)| add_scaled(f.crew, self.coeff(i + 1), x.data, y));
            }
            EltwiseOp::Max => each_chunk(f.crew, CHUNK, y, |start, part| {
                for (i, y) in part.iter_mut().enumerate() {
                    *y = f.bottoms[winner(f.bottoms, start + i)].data[start + i];
                }
            }),
        }
        Ok(())
    }

    /// SUM: dxᵢ = coeffᵢ · dy. PROD: dxᵢ = dy · the product of the other bottoms (without
    /// `stable_prod_grad`: dy · y / xᵢ). MAX: dy to the bottom that had the maximum.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let dy = b.top_diffs[0].data;
        for (i, dx) in b.bottom_diffs.iter_mut().enumerate() {
            let Some(dx) = dx else { continue };
            let dx = &mut *dx.data;
            match self.param.operation() {
                EltwiseOp::Sum => scale(b.crew, self.coeff(i), dy, dx),
                EltwiseOp::Prod if self.param.stable_prod_grad() => {
                    dx.copy_from_slice(dy);
                    for (_, x) in b.bottoms.iter().enumerate().filter(|(j, _)| *j != i) {
                        multiply(b.crew, x.data, dx);
                    }
                }
                EltwiseOp::Prod => {
                    let quotients = b.tops[0]
                        .data
                        .iter()
                        .zip(b.bottoms[i].data)
                        .map(|(y, x)| y / x);
                    dx.iter_mut()
                        .zip(quotients)
                        .zip(dy)
                        .for_each(|((dx, q), dy)| *dx = q * dy);
                }
                EltwiseOp::Max => each_chunk(b.crew, CHUNK, dx, |start, part| {
                    for (k, dx) in part.iter_mut().enumerate() {
                        let won = winner(b.bottoms, start + k) == i;
                        *dx = if won { dy[start + k] } else { 0.0 };
                    }
                }),
            }
        }
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
        for param in [
            "",
            "coeff: 0.5 coeff: -2 coeff: 1",
            "operation: PROD",
            "operation: PROD stable_prod_grad: false",
        ] {
            let layer = layer(&format!("type: 'Eltwise' eltwise_param {{ {param} }}"));
            // Without stable_prod_grad an input near 0 divides by almost nothing.
            let check = Check {
                kink_range: 0.1,
                ..Check::default()
            };
            check.run(&*layer, &[&[2, 3, 5], &[2, 3, 5], &[2, 3, 5]]);
        }
        let max = layer("type: 'Eltwise' eltwise_param { operation: MAX }");
        let data = |k: usize| {
            (0..30)
                .map(|i| ((i * 7 + k * 11) % 30) as f32 / 10.0)
                .collect::<Vec<_>>()
        };
        let x = |k| Tensor::new(Shape::new([30]), data(k)).unwrap();
        let dy = Tensor {
            data: crate::kernels::noise(1, 30),
            ..x(0)
        };
        let (y, dx) = Check::default()
            .both(&*max, vec![x(0), x(1), x(2)], std::slice::from_ref(&dy))
            .unwrap();
        for i in 0..30 {
            let all = [data(0)[i], data(1)[i], data(2)[i]];
            assert_eq!(y[0].data[i], all.iter().copied().fold(0.0, f32::max));
            for k in 0..3 {
                let want = if all[k] == y[0].data[i] {
                    dy.data[i]
                } else {
                    0.0
                };
                assert_eq!(dx[k].as_ref().unwrap().data[i], want);
            }
        }
    }

    #[test]
    fn errors() {
        let sum = layer("type: 'Eltwise' eltwise_param { coeff: 1 }");
        let e = sum
            .shapes(&[Shape::new([2, 3]), Shape::new([3, 2])])
            .unwrap_err()
            .to_string();
        assert!(e.contains("2 3 (6), 3 2 (6)"), "{e}");
        assert!(sum.shapes(&[Shape::new([2]), Shape::new([2])]).is_err());
        assert!(sum.shapes(&[Shape::new([2])]).is_err());
        assert!(
            layer_in(
                "type: 'Eltwise' eltwise_param { operation: MAX coeff: 1 }",
                Mode::Test
            )
            .is_err()
        );
    }
}
