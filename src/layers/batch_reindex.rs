//! BatchReindex: rows picked and put in another order. y\[i\] = x\[index\[i\]\]: bottom 0 is [N, …],
//! bottom 1, the indices, [M], and the top [M, …]. A row may be picked several times or never.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// A BatchReindex layer.
#[derive(Debug)]
pub struct BatchReindex;

impl BatchReindex {
    /// The layer that `param` describes: it has no parameters.
    pub fn new(_param: &LayerParameter, _mode: Mode) -> Result<Self> {
        Ok(Self)
    }
}

/// The rows that `indices` pick from `rows`.
fn picked(indices: &View, rows: usize) -> Result<Vec<usize>> {
    let row = |(i, v): (usize, &f32)| {
        let whole = v.trunc();
        // A number between −1 and 0 is negative, as in Caffe.
        if *v >= 0.0 && whole < rows as f32 {
            return Ok(whole as usize);
        }
        bail!("index {i} (of bottom 1) is {v}, but bottom 0 has {rows} rows, from 0");
    };
    indices.data.iter().enumerate().map(row).collect()
}

impl Layer for BatchReindex {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x, indices] = take(bottoms)?;
        if x.axes() == 0 || indices.axes() != 1 {
            bail!(
                "bottom 0 of shape {x} needs rows, and bottom 1 of shape {indices}, the indices of rows, one axis"
            );
        }
        Ok(vec![x.with_rows(indices.dim(0))])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::Whole,
            flows: vec![true, false],
            refuses: vec![(1, "Cannot backprop to index")],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let x = &f.bottoms[0];
        let n = x.shape.count_from(1);
        let rows = picked(&f.bottoms[1], x.shape.dim(0))?;
        for (y, row) in f.tops[0].data.chunks_exact_mut(n.max(1)).zip(rows) {
            y.copy_from_slice(&x.data[row * n..][..n]);
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let n = dx.shape.count_from(1);
        let rows = picked(&b.bottoms[1], dx.shape.dim(0))?;
        dx.data.fill(0.0);
        for (dy, row) in b.top_diffs[0].data.chunks_exact(n.max(1)).zip(rows) {
            let dx = &mut dx.data[row * n..][..n];
            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};
    use crate::tensor::Tensor;

    #[test]
    fn gradients() {
        let check = Check {
            fixed: vec![(1, vec![2., 0., 2., 3., 2.])],
            ..Check::default()
        };
        check.run(&*layer("type: 'BatchReindex'"), &[&[4, 3, 1], &[5]]);
        check.run(&*layer("type: 'BatchReindex'"), &[&[4], &[5]]);
    }

    #[test]
    fn an_index_out_of_range_is_named() {
        for index in [3.0, -1.0, -0.5, f32::NAN] {
            let x = Tensor::zeros(Shape::new([3, 2]));
            let indices = Tensor::new(Shape::new([2]), vec![0., index]).unwrap();
            let e = Check::default()
                .forward(&*layer("type: 'BatchReindex'"), vec![x, indices])
                .unwrap_err()
                .to_string();
            assert_eq!(
                e,
                format!("index 1 (of bottom 1) is {index}, but bottom 0 has 3 rows, from 0")
            );
        }
        let shapes = [Shape::new([3, 2]), Shape::new([2, 1])];
        let e = layer("type: 'BatchReindex'").shapes(&shapes).unwrap_err();
        assert!(e.to_string().contains("2 1 (2)"));
    }
}
