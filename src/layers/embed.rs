//! Embed: a row of weights for each index. y\[…\] = w\[x\[…\]\] + b: the bottom [any…] holds indices
//! below `input_dim` K, the weights are [K, N], the biases [N], and the top is [any…, N].

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, ParamSpec, take};
use crate::proto::caffe::{EmbedParameter, LayerParameter};
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// An Embed layer.
#[derive(Debug)]
pub struct Embed {
    param: EmbedParameter,
}

impl Embed {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let param = param.embed_param.clone().unwrap_or_default();
        if param.num_output() == 0 || param.input_dim() == 0 {
            bail!(
                "embed_param needs num_output (the numbers of a row, found {}) and input_dim (the number \
                 of rows, found {})",
                param.num_output(),
                param.input_dim()
            );
        }
        Ok(Self { param })
    }

    fn width(&self) -> usize {
        self.param.num_output() as usize
    }

    /// The rows that `x` asks for. `first`: the number of its first sample.
    fn rows(&self, x: &View, first: usize) -> Result<Vec<usize>> {
        let rows = self.param.input_dim();
        let each = x.shape.count_from(1).max(1);
        let row = |(i, v): (usize, &f32)| {
            let whole = v.trunc();
            if whole >= 0.0 && whole < rows as f32 && (whole as usize) < rows as usize {
                return Ok(whole as usize);
            }
            bail!(
                "sample {} has index {v} (element {} of bottom 0, shape {}), but input_dim is {rows}: indices \
                 go from 0 to {}",
                first + i / each,
                i % each,
                x.shape,
                rows - 1
            );
        };
        x.data.iter().enumerate().map(row).collect()
    }
}

impl Layer for Embed {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let mut dims = x.dims().to_vec();
        dims.push(self.width());
        Ok(vec![dims.into()])
    }

    fn params(&self, _bottoms: &[Shape]) -> Vec<ParamSpec> {
        let p = &self.param;
        let shape = vec![p.input_dim() as usize, self.width()];
        let mut specs = vec![ParamSpec::weight(shape, p.weight_filler.as_ref())];
        if p.bias_term() {
            specs.push(ParamSpec::bias(vec![self.width()], p.bias_filler.as_ref()));
        }
        specs
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            // The top of a scalar has other rows than the scalar.
            coupling: Coupling::free_if(bottoms[0].axes() > 0),
            flows: vec![false],
            refuses: vec![(0, "Can't backpropagate to EmbedLayer input")],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let n = self.width();
        let rows = self.rows(&f.bottoms[0], f.first)?;
        let w = f.params[0].data;
        let bias = f.params.get(1).map(|b| b.data);
        for (y, row) in f.tops[0].data.chunks_exact_mut(n).zip(rows) {
            y.copy_from_slice(&w[row * n..][..n]);
            if let Some(bias) = bias {
                y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let n = self.width();
        let dy = b.top_diffs[0].data.chunks_exact(n);
        if let Some(Some(dw)) = b.param_diffs.first_mut() {
            for (dy, row) in dy.clone().zip(self.rows(&b.bottoms[0], 0)?) {
                let dw = &mut dw[row * n..][..n];
                dw.iter_mut().zip(dy).for_each(|(d, g)| *d += g);
            }
        }
        if let Some(Some(db)) = b.param_diffs.get_mut(1) {
            for dy in dy {
                db.iter_mut().zip(dy).for_each(|(d, g)| *d += g);
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

    const TEXT: &str = "type: 'Embed' embed_param { num_output: 3 input_dim: 5";

    #[test]
    fn gradients() {
        for bias in ["", "bias_term: false"] {
            let check = Check {
                fixed: vec![(0, vec![4., 0., 2., 4., 4., 1.])],
                ..Check::default()
            };
            check.run(&*layer(&format!("{TEXT} {bias} }}")), &[&[3, 2]]);
            check.run(&*layer(&format!("{TEXT} {bias} }}")), &[&[6]]);
        }
    }

    #[test]
    fn an_index_out_of_range_is_named() {
        let layer = layer(&format!("{TEXT} }}"));
        let check = Check {
            first: 30,
            ..Check::default()
        };
        for index in [5.0, -1.0, f32::NAN, 1e9] {
            let x = Tensor::new(Shape::new([2, 2]), vec![0., 1., 2., index]).unwrap();
            let e = check.forward(&*layer, vec![x]).unwrap_err().to_string();
            let wanted = format!("sample 31 has index {index} (element 1");
            assert!(e.starts_with(&wanted) && e.ends_with("0 to 4"), "{e}");
        }
    }

    #[test]
    fn shapes_and_parameters() {
        let layer = layer(&format!("{TEXT} }}"));
        let x = [Shape::new([7, 2])];
        assert_eq!(layer.shapes(&x).unwrap()[0].dims(), [7, 2, 3]);
        let dims: Vec<_> = layer.params(&x).iter().map(|p| p.shape.clone()).collect();
        assert_eq!(dims, [Shape::new([5, 3]), Shape::new([3])]);
        let e = layer_in("type: 'Embed' embed_param { num_output: 3 }", Mode::Test);
        assert!(e.err().unwrap().to_string().contains("found 0"));
    }
}
