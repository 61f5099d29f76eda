//! Filter: of all bottoms but the last the rows for which the last, the selector, is not 0. The selector
//! has one number for each row; how many rows the tops have only the data decide.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode};
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// A Filter layer.
#[derive(Debug)]
pub struct Filter {
    /// The selector's place among the bottoms.
    selector: usize,
}

impl Filter {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let selector = param.bottom.len().saturating_sub(1);
        Ok(Self { selector })
    }
}

/// The numbers of the rows that pass.
fn passing<'a>(selector: &View<'a>) -> impl Iterator<Item = usize> + use<'a> {
    let data = selector.data;
    (0..data.len()).filter(|i| data[*i] != 0.0)
}

impl Layer for Filter {
    /// The largest shapes that the tops can have.
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [data @ .., selector] = bottoms else {
            bail!("it takes at least two bottoms, but none is named");
        };
        if data.is_empty() {
            bail!(
                "it takes at least two bottoms, the last of them the selector, but only one is named"
            );
        }
        if selector.axes() == 0 || selector.count_from(1) != 1 {
            bail!(
                "the selector (bottom {}) has shape {selector}, but needs one number a row: every size \
                 behind the first must be 1",
                data.len()
            );
        }
        for (i, x) in data.iter().enumerate() {
            if x.axes() == 0 || x.dim(0) != selector.dim(0) {
                bail!(
                    "bottom {i} of shape {x} and the selector (bottom {}) of shape {selector} differ in \
                     their number of rows",
                    data.len()
                );
            }
        }
        Ok(data.to_vec())
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        Facts {
            coupling: Coupling::Whole,
            flows: (0..bottoms.len()).map(|i| i != self.selector).collect(),
            refuses: vec![(
                self.selector,
                "Filter Layer cannot backpropagate to filter index inputs",
            )],
            data_decide_rows: true,
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let [data @ .., selector] = f.bottoms else {
            return Ok(());
        };
        for (x, y) in data.iter().zip(f.tops.iter_mut()) {
            let n = x.shape.count_from(1);
            let mut count = 0;
            for row in passing(selector) {
                y.data[count * n..][..n].copy_from_slice(&x.data[row * n..][..n]);
                count += 1;
            }
            y.shape = x.shape.with_rows(count);
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(selector) = b.bottoms.last() else {
            return Ok(());
        };
        for (dx, dy) in b.bottom_diffs.iter_mut().zip(b.top_diffs) {
            let Some(dx) = dx else { continue };
            let n = dx.shape.count_from(1);
            dx.data.fill(0.0);
            for (i, row) in passing(selector).enumerate() {
                dx.data[row * n..][..n].copy_from_slice(&dy.data[i * n..][..n]);
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

    const TEXT: &str =
        "type: 'Filter' bottom: 'a' bottom: 'b' bottom: 'selector' top: 'c' top: 'd'";

    #[test]
    fn rows_pass_and_gradients_return() {
        let layer = layer(TEXT);
        let a = Tensor::new(Shape::new([3, 2]), vec![1., 2., 3., 4., 5., 6.]).unwrap();
        let b = Tensor::new(Shape::new([3]), vec![7., 8., 9.]).unwrap();
        let selector = Tensor::new(Shape::new([3, 1]), vec![1., 0., -2.]).unwrap();
        let bottoms = vec![a, b, selector];
        let dys = [
            Tensor::new(Shape::new([3, 2]), vec![1., 2., 3., 4., 0., 0.]).unwrap(),
            Tensor::new(Shape::new([3]), vec![5., 6., 0.]).unwrap(),
        ];
        let (tops, diffs) = Check::default().both(&*layer, bottoms, &dys).unwrap();
        assert_eq!(tops[0].data[..4], [1., 2., 5., 6.]);
        assert_eq!(tops[1].data[..2], [7., 9.]);
        let diff = |i: usize| diffs[i].as_ref().map(|d| d.data.clone());
        assert_eq!(diff(0).unwrap(), [1., 2., 0., 0., 3., 4.]);
        assert_eq!(diff(1).unwrap(), [5., 0., 6.]);
        assert!(diff(2).is_none());
    }

    #[test]
    fn gradients_where_all_rows_pass() {
        let check = Check {
            fixed: vec![(2, vec![1.0, 2.0, 3.0])],
            ..Check::default()
        };
        check.run(&*layer(TEXT), &[&[3, 2], &[3, 1, 2], &[3]]);
    }

    #[test]
    fn errors_say_the_shapes() {
        let fails = |shapes: &[&[usize]]| {
            let shapes: Vec<Shape> = shapes.iter().map(|s| (*s).into()).collect();
            layer(TEXT).shapes(&shapes).unwrap_err().to_string()
        };
        assert!(fails(&[&[3]]).contains("two bottoms"));
        assert!(fails(&[&[3, 2], &[3, 2]]).contains("3 2 (6)"));
        let e = fails(&[&[3, 2], &[4, 2], &[3]]);
        assert!(
            e.contains("bottom 1") && e.contains("4 2 (8)") && e.contains("3 (3)"),
            "{e}"
        );
    }
}
