//! InnerProduct: y = x·Wᵀ + b, where x is [M, K] (the axes before and from `axis` on), the weights are
//! [N, K] ([K, N] with `transpose`), the biases [N] and y is [M, N].

use super::{Backward, Coupling, Facts, Forward, Kernel, Layer, Lower, Mode, ParamSpec, take};
use crate::kernels::convolution::choice::UseSparse;
use crate::kernels::product::coded::{Coded, Inputs};
use crate::kernels::product::gemm::{Mat, MatMut, gemm};
use crate::kernels::product::matvec;
use crate::kernels::{CHUNK, each_chunk};
use crate::proto::caffe::{InnerProductParameter, LayerParameter};
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// Outputs whose bias gradients are one piece of work.
const OUTPUTS: usize = 64;

/// An InnerProduct layer.
#[derive(Clone, Debug)]
pub struct InnerProduct {
    param: InnerProductParameter,
}

impl InnerProduct {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.inner_product_param.clone().unwrap_or_default();
        if param.num_output() == 0 {
            bail!("inner_product_param needs num_output, the number of outputs");
        }
        Ok(Self { param })
    }

    /// (M, N, K) for a bottom of shape `x`.
    fn sizes(&self, x: &Shape) -> Result<(usize, usize, usize)> {
        let axis = super::axis(x, self.param.axis(), "axis")?;
        Ok((
            x.count_to(axis),
            self.param.num_output() as usize,
            x.count_from(axis),
        ))
    }

    /// The weights as [N, K], however they are stored.
    fn weights<'a>(&self, data: &'a [f32], n: usize, k: usize) -> Mat<'a> {
        if self.param.transpose() {
            Mat::new(data, k, n).t()
        } else {
            Mat::new(data, n, k)
        }
    }
}

/// The layer with its weights compressed.
struct Pruned {
    layer: InnerProduct,
    coded: Coded,
}

impl Kernel for Pruned {
    fn name(&self) -> &'static str {
        self.coded.name()
    }

    /// Whether it pays, and the best code, depend on the weights.
    fn repack(&mut self, _l: &Lower) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        self.coded.bytes()
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let bias = f.params.get(1).map(|b| b.data);
        self.coded
            .forward(f.crew, f.bottoms[0].data, bias, f.tops[0].data);
        Ok(())
    }

    /// The gradients of the parameters, those that are pruned too.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        self.layer.backward(b)
    }
}

impl Layer for InnerProduct {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let axis = super::axis(x, self.param.axis(), "axis")?;
        let (_, n, k) = self.sizes(x)?;
        if k == 0 {
            bail!("bottom 0 has shape {x}: nothing from axis {axis} on");
        }
        let mut dims = x.dims()[..axis].to_vec();
        dims.push(n);
        Ok(vec![dims.into()])
    }

    fn params(&self, bottoms: &[Shape]) -> Vec<ParamSpec> {
        let Some(Ok((_, n, k))) = bottoms.first().map(|x| self.sizes(x)) else {
            return Vec::new();
        };
        let shape = if self.param.transpose() {
            vec![k, n]
        } else {
            vec![n, k]
        };
        let mut specs = vec![ParamSpec::weight(shape, self.param.weight_filler.as_ref())];
        if self.param.bias_term() {
            specs.push(ParamSpec::bias(vec![n], self.param.bias_filler.as_ref()));
        }
        specs
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let (m, n, k) = self.sizes(&bottoms[0]).unwrap_or_default();
        Facts {
            coupling: Coupling::along(self.param.axis(), bottoms),
            macs: m as u64 * n as u64 * k as u64,
            kernel: match m <= matvec::MOST && !self.param.transpose() {
                true => "matvec",
                false => "gemm",
            },
            ..Facts::default()
        }
    }

    /// Pruned weights for a few samples at a time: there the time is that of reading the weights, and the
    /// compressed form is small.
    fn lower(&self, l: &Lower) -> Option<Box<dyn Kernel>> {
        let (m, n, k) = self.sizes(&l.bottoms[0]).ok()?;
        let fits = m <= matvec::MOST && !self.param.transpose() && !l.backward;
        if !fits || l.sparse == UseSparse::Never {
            return None;
        }
        let w = &*l.weights();
        let alive = w.iter().filter(|w| **w != 0.0).count();
        // Cheap to see for most layers, which are dense.
        let dense = 2 * alive > w.len() && l.sparse != UseSparse::Always;
        if dense && !Coded::pays(n, k, alive, Coded::FEW, Inputs::Sparse) {
            return None;
        }
        let pays = Coded::pays(n, k, alive, Coded::values(w), Inputs::Sparse);
        if !pays && l.sparse != UseSparse::Always {
            return None;
        }
        Some(Box::new(Pruned {
            layer: self.clone(),
            coded: Coded::pack(w, n, k, Inputs::Sparse)?,
        }))
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (m, n, k) = self.sizes(&f.bottoms[0].shape)?;
        let y = &mut *f.tops[0].data;
        let bias = f.params.get(1);
        if m <= matvec::MOST && !self.param.transpose() {
            let (x, w) = (f.bottoms[0].data, f.params[0].data);
            matvec::inner_products(f.crew, m, x, w, bias.map(|b| b.data), y);
            return Ok(());
        }
        let x = Mat::new(f.bottoms[0].data, m, k);
        let w = self.weights(f.params[0].data, n, k);
        if let Some(b) = bias {
            each_chunk(f.crew, (CHUNK / n).max(1) * n, y, |_, rows| {
                let rows = rows.chunks_exact_mut(n);
                rows.for_each(|row| row.copy_from_slice(b.data));
            });
        }
        let alpha = if bias.is_some() { 1.0 } else { 0.0 };
        gemm(f.crew, alpha, MatMut::new(y, m, n), 1.0, x, w.t());
        Ok(())
    }

    /// dW += dyᵀ·x, db += the columns' sums of dy, dx = dy·W.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (m, n, k) = self.sizes(&b.bottoms[0].shape)?;
        let dy = Mat::new(b.top_diffs[0].data, m, n);
        if let Some(Some(dw)) = b.param_diffs.first_mut() {
            let x = Mat::new(b.bottoms[0].data, m, k);
            if self.param.transpose() {
                gemm(b.crew, 1.0, MatMut::new(dw, k, n), 1.0, x.t(), dy);
            } else {
                gemm(b.crew, 1.0, MatMut::new(dw, n, k), 1.0, dy.t(), x);
            }
        }
        if let Some(Some(db)) = b.param_diffs.get_mut(1) {
            each_chunk(b.crew, OUTPUTS, db, |start, db| {
                for row in b.top_diffs[0].data.chunks_exact(n) {
                    db.iter_mut().zip(&row[start..]).for_each(|(d, v)| *d += v);
                }
            });
        }
        if let Some(dx) = &mut b.bottom_diffs[0] {
            let w = self.weights(b.params[0].data, n, k);
            gemm(b.crew, 0.0, MatMut::new(dx.data, m, k), 1.0, dy, w);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        let check = Check {
            step: 0.1,
            ..Check::default()
        };
        for param in [
            "",
            "transpose: true",
            "bias_term: false",
            "axis: 0",
            "axis: -1",
            "axis: 2 transpose: true",
        ] {
            let layer = layer(&format!(
                "type: 'InnerProduct' inner_product_param {{ num_output: 4 {param} }}"
            ));
            check.run(&*layer, &[&[3, 2, 5]]);
        }
        // Large enough to be cut.
        let layer = layer("type: 'InnerProduct' inner_product_param { num_output: 300 }");
        let x = crate::tensor::Tensor {
            shape: Shape::new([40, 200]),
            data: crate::kernels::noise(1, 8000),
        };
        assert_eq!(
            Check::default().forward(&*layer, vec![x]).unwrap()[0]
                .shape
                .dims(),
            [40, 300]
        );
    }

    #[test]
    fn shapes_and_costs() {
        let layer =
            layer("type: 'InnerProduct' inner_product_param { num_output: 4 transpose: true }");
        let x = [Shape::new([3, 2, 5])];
        assert_eq!(layer.shapes(&x).unwrap()[0].dims(), [3, 4]);
        assert_eq!(layer.params(&x)[0].shape.dims(), [10, 4]);
        assert_eq!(layer.facts(&x).macs, 3 * 4 * 10);
        let e = layer.shapes(&[Shape::new([3])]).unwrap_err().to_string();
        assert!(
            e.contains("axis 1 is out of range: bottom 0 has shape 3 (3)"),
            "{e}"
        );
    }
}
