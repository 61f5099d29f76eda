//! One layer with arrays of its own, run as a net would run it.

use super::Check;
use crate::kernels::noise;
use crate::layers::{Backward, Coupling, Forward, Keep, Layer, ParamSpec};
use crate::random::{Purpose, Random};
use crate::tensor::{Shape, Tensor, View, ViewMut};
use anyhow::Result;

/// A layer with all its arrays.
pub(super) struct Bench<'a> {
    check: &'a Check,
    layer: &'a dyn Layer,
    bottoms: Vec<Tensor>,
    params: Vec<Tensor>,
    keep: Keep,
    pub parallel: bool,
}

impl<'a> Bench<'a> {
    pub fn new(check: &'a Check, layer: &'a dyn Layer, bottoms: Vec<Tensor>) -> Result<Self> {
        let shapes: Vec<Shape> = bottoms.iter().map(|b| b.shape.clone()).collect();
        layer.shapes(&shapes)?;
        let param = |(i, spec): (usize, ParamSpec)| {
            let data = noise(check.seed + 100 + i as u64, spec.shape.count());
            Tensor {
                shape: spec.shape,
                data,
            }
        };
        let params = layer
            .params(&shapes)
            .into_iter()
            .enumerate()
            .map(param)
            .collect();
        Ok(Self {
            check,
            layer,
            bottoms,
            params,
            keep: Keep::default(),
            parallel: false,
        })
    }

    /// The bottoms as the layer gets them.
    fn views(&self) -> Vec<View<'_>> {
        let mut views: Vec<View> = self.bottoms.iter().map(Tensor::view).collect();
        if self.check.in_place {
            views[0].data = &[];
        }
        views
    }

    fn shapes(&self) -> Vec<Shape> {
        self.bottoms.iter().map(|b| b.shape.clone()).collect()
    }

    /// What a net would divide top 0 by, if it would.
    fn normaliser(&self) -> Option<f32> {
        let views: Vec<View> = self.bottoms.iter().map(Tensor::view).collect();
        matches!(self.layer.coupling(&self.shapes()), Coupling::Mean { .. })
            .then(|| self.layer.normaliser(&views))
    }

    pub fn forward(&mut self) -> Result<Vec<Tensor>> {
        let mut tops: Vec<Tensor> = self
            .layer
            .shapes(&self.shapes())?
            .into_iter()
            .map(Tensor::zeros)
            .collect();
        tops.iter_mut().for_each(|t| t.data.fill(f32::NAN));
        if self.check.in_place {
            tops[0].data.copy_from_slice(&self.bottoms[0].data);
        }
        let mut keep = std::mem::take(&mut self.keep);
        let params: Vec<View> = self.params.iter().map(Tensor::view).collect();
        let mut top_views: Vec<ViewMut> = tops
            .iter_mut()
            .map(|t| ViewMut {
                shape: t.shape.clone(),
                data: &mut t.data,
            })
            .collect();
        self.layer.forward(&mut Forward {
            params: &params,
            bottoms: &self.views(),
            tops: &mut top_views,
            keep: &mut keep,
            random: Random::new(self.check.seed, Purpose::Layer, 0),
            first: self.check.first,
            parallel: self.parallel,
            updates: &mut Vec::new(),
        })?;
        self.keep = keep;
        if let Some(n) = self.normaliser() {
            tops[0].data.iter_mut().for_each(|v| *v /= n);
        }
        Ok(tops)
    }

    /// The gradients of bottoms (None where none flows) and parameters.
    pub fn backward(
        &mut self,
        tops: &[Tensor],
        top_diffs: &[Tensor],
    ) -> (Vec<Option<Tensor>>, Vec<Tensor>) {
        let mut bottom_diffs: Vec<Option<Tensor>> = (0..self.bottoms.len())
            .map(|i| {
                let fixed = self.check.fixed.iter().any(|(j, _)| *j == i);
                let mut diff = Tensor::zeros(self.bottoms[i].shape.clone());
                diff.data.fill(f32::NAN);
                (self.layer.propagates(i) && !fixed).then_some(diff)
            })
            .collect();
        let mut diff_views: Vec<View> = top_diffs.iter().map(Tensor::view).collect();
        if self.check.in_place {
            bottom_diffs[0]
                .as_mut()
                .unwrap()
                .data
                .copy_from_slice(diff_views[0].data);
            diff_views[0].data = &[];
        }
        // Gradients are added: start from 1.
        let mut param_diffs: Vec<Tensor> = self
            .params
            .iter()
            .map(|p| Tensor {
                data: vec![1.0; p.data.len()],
                ..p.clone()
            })
            .collect();
        let normaliser = self.normaliser().unwrap_or(1.0);
        let mut keep = std::mem::take(&mut self.keep);
        self.layer
            .backward(&mut Backward {
                params: &self.params.iter().map(Tensor::view).collect::<Vec<_>>(),
                bottoms: &self.views(),
                tops: &tops.iter().map(Tensor::view).collect::<Vec<_>>(),
                top_diffs: &diff_views,
                bottom_diffs: &mut bottom_diffs
                    .iter_mut()
                    .map(|d| {
                        d.as_mut().map(|d| ViewMut {
                            shape: d.shape.clone(),
                            data: &mut d.data,
                        })
                    })
                    .collect::<Vec<_>>(),
                param_diffs: &mut param_diffs
                    .iter_mut()
                    .map(|d| Some(&mut d.data[..]))
                    .collect::<Vec<_>>(),
                keep: &mut keep,
                normaliser,
                parallel: self.parallel,
            })
            .unwrap();
        self.keep = keep;
        param_diffs
            .iter_mut()
            .flat_map(|d| &mut d.data)
            .for_each(|v| *v -= 1.0);
        (bottom_diffs, param_diffs)
    }

    /// The bottom (or, past the bottoms, parameter) `i`.
    pub fn array(&mut self, i: usize) -> &mut Tensor {
        let n = self.bottoms.len();
        if i < n {
            &mut self.bottoms[i]
        } else {
            &mut self.params[i - n]
        }
    }
}
