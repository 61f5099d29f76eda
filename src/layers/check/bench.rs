//! One layer with arrays of its own, run as a net would run it.

use super::Check;
use crate::kernels::crew::{self, Crew};
use crate::kernels::layout::{to_nchw, to_nhwc};
use crate::kernels::noise;
use crate::layers::{Backward, Coupling, Facts, Forward, Keep, Kernel, Layer, Lower, ParamSpec};
use crate::random::{Purpose, Random};
use crate::tensor::{Layout, Shape, Tensor, View, ViewMut};
use anyhow::Result;

/// A layer with all its arrays.
pub(super) struct Bench<'a> {
    check: &'a Check,
    layer: &'a dyn Layer,
    facts: Facts,
    bottoms: Vec<Tensor>,
    params: Vec<Tensor>,
    keep: Keep,
    /// Threads that share the layer's work.
    pub threads: usize,
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
            facts: layer.facts(&shapes),
            bottoms,
            params,
            keep: Keep::default(),
            threads: 1,
        })
    }

    /// How an array of `shape` lies for the layer, its pixels `gap` floats farther apart than need be.
    fn layout(&self, shape: &Shape, gap: usize) -> Layout {
        match self.check.pixels && shape.axes() == 4 {
            true => Layout::Pixels {
                pitch: shape.dim(1) + gap,
            },
            false => Layout::Planes,
        }
    }

    /// The numbers of an array as they lie for the layer.
    fn laid(&self, tensors: &[Tensor], gap: usize) -> Vec<(Layout, Vec<f32>)> {
        let one = |t: &Tensor| {
            let layout = self.layout(&t.shape, gap);
            let Layout::Pixels { pitch } = layout else {
                return (layout, t.data.clone());
            };
            let (channels, plane) = (t.shape.dim(1), t.shape.count_from(2));
            let mut data = vec![f32::NAN; layout.extent(&t.shape)];
            for (n, from) in t.data.chunks_exact(channels * plane).enumerate() {
                to_nhwc(from, channels, plane, &mut data[n * plane * pitch..], pitch);
            }
            (layout, data)
        };
        tensors.iter().map(one).collect()
    }

    /// The reverse of `laid`, for one array.
    fn taken(shape: &Shape, layout: Layout, data: &[f32]) -> Tensor {
        let mut tensor = Tensor::zeros(shape.clone());
        let Layout::Pixels { pitch } = layout else {
            tensor.data.copy_from_slice(data);
            return tensor;
        };
        let (channels, plane) = (shape.dim(1), shape.count_from(2));
        for (n, to) in tensor.data.chunks_exact_mut(channels * plane).enumerate() {
            to_nchw(&data[n * plane * pitch..], pitch, channels, plane, to);
        }
        tensor
    }

    /// What a net would run instead of the layer.
    fn kernel(&self, top: &Shape) -> Option<Box<dyn Kernel>> {
        let shapes = self.shapes();
        let layouts: Vec<Layout> = shapes.iter().map(|s| self.layout(s, 0)).collect();
        self.layer.lower(&Lower {
            params: &self.params.iter().map(Tensor::view).collect::<Vec<_>>(),
            bottoms: &shapes,
            layouts: &layouts,
            top: self.layout(top, self.check.gap),
            affine: None,
            backward: true,
            sparse: Default::default(),
            precision: Default::default(),
            crew: &Crew::alone(),
        })
    }

    fn shapes(&self) -> Vec<Shape> {
        self.bottoms.iter().map(|b| b.shape.clone()).collect()
    }

    /// What a net would divide top 0 by, if it would.
    fn normaliser(&self) -> Option<f32> {
        let views: Vec<View> = self.bottoms.iter().map(Tensor::view).collect();
        matches!(self.facts.coupling, Coupling::Mean { .. }).then(|| self.layer.normaliser(&views))
    }

    pub fn forward(&mut self) -> Result<Vec<Tensor>> {
        match self.threads {
            1 => self.forward_by(&Crew::alone()),
            n => crew::tests::with(n, |crew| self.forward_by(crew)),
        }
    }

    fn forward_by(&mut self, crew: &Crew) -> Result<Vec<Tensor>> {
        let shapes = self.layer.shapes(&self.shapes())?;
        let mut tops: Vec<Tensor> = shapes.iter().cloned().map(Tensor::zeros).collect();
        tops.iter_mut().for_each(|t| t.data.fill(f32::NAN));
        if self.check.in_place {
            tops[0].data.copy_from_slice(&self.bottoms[0].data);
        }
        let mut keep = std::mem::take(&mut self.keep);
        let params: Vec<View> = self.params.iter().map(Tensor::view).collect();
        let bottoms = self.laid(&self.bottoms, 0);
        let mut bottom_views = views(&self.bottoms, &bottoms);
        if self.check.in_place {
            bottom_views[0].data = &[];
        }
        let mut laid = self.laid(&tops, self.check.gap);
        let mut top_views: Vec<ViewMut> = shapes
            .iter()
            .zip(&mut laid)
            .map(|(shape, (layout, data))| ViewMut {
                shape: shape.clone(),
                layout: *layout,
                data,
            })
            .collect();
        let kernel = self.kernel(&shapes[0]);
        let mut f = Forward {
            params: &params,
            bottoms: &bottom_views,
            tops: &mut top_views,
            keep: &mut keep,
            relu: false,
            add: false,
            round: false,
            random: Random::new(self.check.seed, Purpose::Layer, 0),
            first: self.check.first,
            precision: Default::default(),
            crew,
            updates: &mut Vec::new(),
        };
        match kernel {
            Some(kernel) => kernel.forward(&mut f)?,
            None => self.layer.forward(&mut f)?,
        }
        self.keep = keep;
        for (top, (layout, data)) in tops.iter_mut().zip(&laid) {
            *top = Self::taken(&top.shape, *layout, data);
        }
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
        match self.threads {
            1 => self.backward_by(&Crew::alone(), tops, top_diffs),
            n => crew::tests::with(n, |crew| self.backward_by(crew, tops, top_diffs)),
        }
    }

    fn backward_by(
        &mut self,
        crew: &Crew,
        tops: &[Tensor],
        top_diffs: &[Tensor],
    ) -> (Vec<Option<Tensor>>, Vec<Tensor>) {
        let gap = self.check.gap;
        let bottoms = self.laid(&self.bottoms, 0);
        let (laid_tops, laid_diffs) = (self.laid(tops, gap), self.laid(top_diffs, gap));
        let mut bottom_views = views(&self.bottoms, &bottoms);
        let mut diff_views = views(top_diffs, &laid_diffs);
        let mut bottom_diffs: Vec<Option<(Layout, Vec<f32>)>> = (0..self.bottoms.len())
            .map(|i| {
                let fixed = self.check.fixed.iter().any(|(j, _)| *j == i);
                let layout = self.layout(&self.bottoms[i].shape, 0);
                let diff = (layout, vec![f32::NAN; self.bottoms[i].data.len()]);
                (self.facts.flows_to(i) && !fixed).then_some(diff)
            })
            .collect();
        if self.check.in_place {
            let diff = &mut bottom_diffs[0].as_mut().unwrap().1;
            diff.copy_from_slice(diff_views[0].data);
            diff_views[0].data = &[];
            bottom_views[0].data = &[];
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
        let kernel = self.kernel(&tops[0].shape);
        let mut b = Backward {
            params: &self.params.iter().map(Tensor::view).collect::<Vec<_>>(),
            bottoms: &bottom_views,
            tops: &views(tops, &laid_tops),
            top_diffs: &diff_views,
            bottom_diffs: &mut bottom_diffs
                .iter_mut()
                .zip(&self.bottoms)
                .map(|(d, b)| {
                    d.as_mut().map(|(layout, data)| ViewMut {
                        shape: b.shape.clone(),
                        layout: *layout,
                        data,
                    })
                })
                .collect::<Vec<_>>(),
            param_diffs: &mut param_diffs
                .iter_mut()
                .map(|d| Some(&mut d.data[..]))
                .collect::<Vec<_>>(),
            keep: &mut keep,
            round: false,
            normaliser,
            precision: Default::default(),
            crew,
        };
        match kernel {
            Some(kernel) => kernel.backward(&mut b).unwrap(),
            None => self.layer.backward(&mut b).unwrap(),
        }
        self.keep = keep;
        param_diffs
            .iter_mut()
            .flat_map(|d| &mut d.data)
            .for_each(|v| *v -= 1.0);
        let diffs = bottom_diffs.into_iter().zip(&self.bottoms);
        let diffs = diffs.map(|(d, b)| d.map(|(l, data)| Self::taken(&b.shape, l, &data)));
        (diffs.collect(), param_diffs)
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

/// The arrays of `tensors` as they are laid.
fn views<'a>(tensors: &[Tensor], laid: &'a [(Layout, Vec<f32>)]) -> Vec<View<'a>> {
    let pairs = tensors.iter().zip(laid);
    pairs
        .map(|(t, (layout, data))| View {
            shape: t.shape.clone(),
            layout: *layout,
            data,
        })
        .collect()
}
