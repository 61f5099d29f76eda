//! LSTMUnit: one step of an LSTM whose gate inputs are given, the layer that Caffe's LSTM is unrolled into.
//!
//! Bottoms: c [1, N, D] of the step before; the gate inputs [1, N, 4D], in the order i, f, o, g; cont [1, N].
//! Tops: c and h of this step, [1, N, D]: i, f, o = sigmoid and g = tanh of their inputs,
//! c ← cont·f·c + i·g, h = o·tanh(c). Where cont is 0, f is 0 whatever its input.

use super::neuron::sigmoid;
use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, ensure};

/// An LSTMUnit layer.
#[derive(Debug)]
pub struct LstmUnit;

impl LstmUnit {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let tops = param.top.len();
        ensure!(tops == 2, "it makes 2 tops (c and h), but {tops} are named");
        Ok(Self)
    }
}

/// The gates of one value: i, f (cont included), o, g.
fn gates(cont: f32, inputs: &[f32], dim: usize, d: usize) -> [f32; 4] {
    let f = match cont == 0.0 {
        true => 0.0,
        false => cont * sigmoid(inputs[dim + d]),
    };
    [
        sigmoid(inputs[d]),
        f,
        sigmoid(inputs[2 * dim + d]),
        inputs[3 * dim + d].tanh(),
    ]
}

impl Layer for LstmUnit {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [c, inputs, cont] = take::<3>(bottoms)?;
        let (streams, dim) = (c.dim(1), c.dim(2));
        let fits = c.axes() == 3
            && inputs.axes() == 3
            && cont.axes() == 2
            && [c, inputs, cont]
                .iter()
                .all(|s| s.dim(0) == 1 && s.dim(1) == streams)
            && dim.checked_mul(4) == Some(inputs.dim(2));
        ensure!(
            fits,
            "it needs c of 1 x streams x D, gate inputs of 1 x streams x 4D and cont of 1 x streams; \
             the bottoms have the shapes {c}, {inputs} and {cont}"
        );
        Ok(vec![c.clone(), c.clone()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::Whole,
            reads_tops: true,
            flows: vec![true, true, false],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let dim = f.bottoms[0].shape.dim(2).max(1);
        let (before, inputs, cont) = (f.bottoms[0].data, f.bottoms[1].data, f.bottoms[2].data);
        let [c, h] = f.tops else {
            return Ok(());
        };
        let streams = c
            .data
            .chunks_exact_mut(dim)
            .zip(h.data.chunks_exact_mut(dim));
        for (n, (c, h)) in streams.enumerate() {
            let inputs = &inputs[n * 4 * dim..][..4 * dim];
            for d in 0..dim {
                let [i, f, o, g] = gates(cont[n], inputs, dim, d);
                c[d] = f * before[n * dim + d] + i * g;
                h[d] = o * c[d].tanh();
            }
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let dim = b.bottoms[0].shape.dim(2).max(1);
        let (before, inputs, cont) = (b.bottoms[0].data, b.bottoms[1].data, b.bottoms[2].data);
        let (c, dc, dh) = (b.tops[0].data, b.top_diffs[0].data, b.top_diffs[1].data);
        for at in 0..c.len() {
            let (n, d) = (at / dim, at % dim);
            let [i, f, o, g] = gates(cont[n], &inputs[n * 4 * dim..][..4 * dim], dim, d);
            let tanh = c[at].tanh();
            let total = dc[at] + dh[at] * o * (1.0 - tanh * tanh);
            if let Some(diff) = &mut b.bottom_diffs[0] {
                diff.data[at] = total * f;
            }
            if let Some(diff) = &mut b.bottom_diffs[1] {
                let diff = &mut diff.data[n * 4 * dim..][..4 * dim];
                diff[d] = total * g * i * (1.0 - i);
                diff[dim + d] = total * before[at] * f * (1.0 - f);
                diff[2 * dim + d] = dh[at] * tanh * o * (1.0 - o);
                diff[3 * dim + d] = total * i * (1.0 - g * g);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    fn unit() -> Box<dyn Layer> {
        layer("type: 'LSTMUnit' bottom: 'c' bottom: 'x' bottom: 'cont' top: 'cn' top: 'h'")
    }

    fn run(c: [f32; 2], cont: f32) -> Vec<Tensor> {
        let bottoms = vec![
            Tensor::new(Shape::new([1, 1, 2]), c.to_vec()).unwrap(),
            Tensor::new(Shape::new([1, 1, 8]), vec![1.0; 8]).unwrap(),
            Tensor::new(Shape::new([1, 1]), vec![cont]).unwrap(),
        ];
        Check::default().forward(unit().as_ref(), bottoms).unwrap()
    }

    #[test]
    fn a_step_is_what_the_formulas_say() {
        let (s, t) = (1.0f32 / (1.0 + (-1.0f32).exp()), 1.0f32.tanh());
        let tops = run([2.0, -1.0], 1.0);
        for (k, before) in [2.0, -1.0].into_iter().enumerate() {
            let c = s * before + s * t;
            assert!((tops[0].data[k] - c).abs() < 1e-6);
            assert!((tops[1].data[k] - s * c.tanh()).abs() < 1e-6);
        }
    }

    #[test]
    fn a_new_sequence_forgets_what_was() {
        // However large it was.
        let tops = run([1e30, -5.0], 0.0);
        assert_eq!(tops[0].data[0], tops[0].data[1]);
        assert!((tops[0].data[0] - 0.556_77).abs() < 1e-6);
        assert!((tops[1].data[0] - 0.369_606).abs() < 1e-6);
    }

    #[test]
    fn gradients() {
        // Caffe's own check: all sequences go on, then one of them starts anew, then a cont between.
        for cont in [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]] {
            let check = Check {
                fixed: vec![(2, cont.to_vec())],
                threshold: 1e-2,
                ..Check::default()
            };
            check.run(unit().as_ref(), &[&[1, 3, 4], &[1, 3, 16], &[1, 3]]);
        }
    }

    #[test]
    fn wrong_shapes_are_told() {
        let shapes = |c: &[usize], x: &[usize], cont: &[usize]| {
            let all = [c, x, cont].map(Shape::from);
            unit().shapes(&all)
        };
        assert!(shapes(&[1, 3, 4], &[1, 3, 16], &[1, 3]).is_ok());
        for (c, x, cont) in [
            (&[2, 3, 4][..], &[1, 3, 16][..], &[1, 3][..]),
            (&[1, 3, 4], &[1, 3, 15], &[1, 3]),
            (&[1, 3, 4], &[1, 2, 16], &[1, 3]),
            (&[1, 3, 4], &[1, 3, 16], &[1, 3, 1]),
        ] {
            let told = format!("{:#}", shapes(c, x, cont).unwrap_err());
            assert!(told.contains("4D"), "{told}");
        }
    }
}
