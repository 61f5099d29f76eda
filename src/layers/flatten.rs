//! Flatten: the axes from `axis` to `end_axis` become one; no number changes.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, axis, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Result, bail};

/// A Flatten layer.
#[derive(Debug)]
pub struct Flatten {
    axis: i32,
    end_axis: i32,
}

impl Flatten {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.flatten_param.unwrap_or_default();
        Ok(Self {
            axis: p.axis(),
            end_axis: p.end_axis(),
        })
    }
}

impl Layer for Flatten {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        let (from, to) = (
            axis(x, self.axis, "axis")?,
            axis(x, self.end_axis, "end_axis")?,
        );
        if from > to {
            bail!(
                "axis {} comes after end_axis {} in bottom 0 of shape {x}",
                self.axis,
                self.end_axis
            );
        }
        let mut dims = x.dims()[..from].to_vec();
        dims.push(x.dims()[from..=to].iter().product());
        dims.extend(&x.dims()[to + 1..]);
        Ok(vec![dims.into()])
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let x = &bottoms[0];
        let keeps_rows = x.axis(self.axis) != Some(0) || x.axis(self.end_axis) == Some(0);
        Facts {
            coupling: Coupling::free_if(keeps_rows),
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        f.carry();
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        b.carry();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer};

    #[test]
    fn gradients() {
        Check::default().run(&*layer("type: 'Flatten'"), &[&[2, 3, 2]]);
    }

    #[test]
    fn axes_become_one() {
        let shape = |text: &str| {
            let layer = layer(&format!("type: 'Flatten' flatten_param {{ {text} }}"));
            let x = [Shape::new([2, 3, 4, 5])];
            layer
                .shapes(&x)
                .map(|s| (s[0].dims().to_vec(), layer.facts(&x).coupling))
        };
        assert_eq!(shape("").unwrap(), (vec![2, 60], Coupling::Free));
        assert_eq!(shape("axis: 0").unwrap(), (vec![120], Coupling::Whole));
        assert_eq!(
            shape("axis: -3 end_axis: -2").unwrap(),
            (vec![2, 12, 5], Coupling::Free)
        );
        assert_eq!(
            shape("axis: 0 end_axis: 0").unwrap(),
            (vec![2, 3, 4, 5], Coupling::Free)
        );
        assert!(
            shape("axis: 2 end_axis: 1")
                .unwrap_err()
                .to_string()
                .contains("2 3 4 5")
        );
        assert!(
            shape("axis: 4")
                .unwrap_err()
                .to_string()
                .contains("2 3 4 5")
        );
    }
}
