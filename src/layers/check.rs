//! For tests: runs one layer, and compares its gradients with central differences, after Caffe's
//! `GradientChecker`.

use super::{Backward, Coupling, Forward, Keep, Layer, Mode, create};
use crate::kernels::noise;
use crate::proto::caffe::{LayerParameter, NetParameter};
use crate::proto::text::parse;
use crate::random::{Purpose, Random};
use crate::tensor::{Shape, Tensor, View, ViewMut};
use anyhow::Result;

/// The message of a layer's text, without the braces.
pub(crate) fn message(text: &str) -> LayerParameter {
    let net = parse::<NetParameter>(&format!("layer {{ {text} }}"), "test").unwrap();
    net.message.layer[0].clone()
}

/// The layer of a text, for training; must be right.
pub(crate) fn layer(text: &str) -> Box<dyn Layer> {
    layer_in(text, Mode::Train).unwrap()
}

/// The layer of a text, if it is right.
pub(crate) fn layer_in(text: &str, mode: Mode) -> Result<Box<dyn Layer>> {
    create(&message(text), mode)
}

/// How to run and check a layer.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// Distance to either side for the difference.
    pub step: f32,
    /// Largest error, relative to the gradient where that exceeds 1.
    pub threshold: f32,
    /// Inputs this close to 0 are not checked (the kink of a ReLU).
    pub kink_range: f32,
    /// Bottoms of given content (labels) instead of noise, not checked.
    pub fixed: Vec<(usize, Vec<f32>)>,
    /// Tops that have no gradient (the mask of a pooling layer).
    pub dead_tops: Vec<usize>,
    /// Whether top 0 and bottom 0 share a buffer.
    pub in_place: bool,
    /// Number of the first sample.
    pub first: usize,
    /// Seed of the noise.
    pub seed: u64,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            step: 1e-2,
            threshold: 2e-3,
            kink_range: -1.0,
            fixed: Vec::new(),
            dead_tops: Vec::new(),
            in_place: false,
            first: 0,
            seed: 1,
        }
    }
}

/// A layer with all its arrays.
struct Bench<'a> {
    check: &'a Check,
    layer: &'a dyn Layer,
    bottoms: Vec<Tensor>,
    params: Vec<Tensor>,
    keep: Keep,
    parallel: bool,
}

impl<'a> Bench<'a> {
    fn new(check: &'a Check, layer: &'a dyn Layer, bottoms: Vec<Tensor>) -> Result<Self> {
        let shapes: Vec<Shape> = bottoms.iter().map(|b| b.shape.clone()).collect();
        layer.shapes(&shapes)?;
        let param = |(i, spec): (usize, super::ParamSpec)| {
            let data = noise(check.seed + 100 + i as u64, spec.shape.count());
            Tensor { shape: spec.shape, data }
        };
        let params = layer.params(&shapes).into_iter().enumerate().map(param).collect();
        Ok(Self { check, layer, bottoms, params, keep: Keep::default(), parallel: false })
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
        matches!(self.layer.coupling(&self.shapes()), Coupling::Mean { .. }).then(|| self.layer.normaliser(&views))
    }

    fn forward(&mut self) -> Result<Vec<Tensor>> {
        let mut tops: Vec<Tensor> = self.layer.shapes(&self.shapes())?.into_iter().map(Tensor::zeros).collect();
        tops.iter_mut().for_each(|t| t.data.fill(f32::NAN));
        if self.check.in_place {
            tops[0].data.copy_from_slice(&self.bottoms[0].data);
        }
        let mut keep = std::mem::take(&mut self.keep);
        let params: Vec<View> = self.params.iter().map(Tensor::view).collect();
        let mut top_views: Vec<ViewMut> =
            tops.iter_mut().map(|t| ViewMut { shape: t.shape.clone(), data: &mut t.data }).collect();
        self.layer.forward(&mut Forward {
            params: &params,
            bottoms: &self.views(),
            tops: &mut top_views,
            keep: &mut keep,
            random: Random::new(self.check.seed, Purpose::Layer, 0),
            first: self.check.first,
            parallel: self.parallel,
        })?;
        self.keep = keep;
        if let Some(n) = self.normaliser() {
            tops[0].data.iter_mut().for_each(|v| *v /= n);
        }
        Ok(tops)
    }

    /// The gradients of bottoms (None where none flows) and parameters.
    fn backward(&mut self, tops: &[Tensor], top_diffs: &[Tensor]) -> (Vec<Option<Tensor>>, Vec<Tensor>) {
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
            bottom_diffs[0].as_mut().unwrap().data.copy_from_slice(diff_views[0].data);
            diff_views[0].data = &[];
        }
        // Gradients are added: start from 1.
        let mut param_diffs: Vec<Tensor> =
            self.params.iter().map(|p| Tensor { data: vec![1.0; p.data.len()], ..p.clone() }).collect();
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
                    .map(|d| d.as_mut().map(|d| ViewMut { shape: d.shape.clone(), data: &mut d.data }))
                    .collect::<Vec<_>>(),
                param_diffs: &mut param_diffs.iter_mut().map(|d| Some(&mut d.data[..])).collect::<Vec<_>>(),
                keep: &mut keep,
                normaliser,
                parallel: self.parallel,
            })
            .unwrap();
        self.keep = keep;
        param_diffs.iter_mut().flat_map(|d| &mut d.data).for_each(|v| *v -= 1.0);
        (bottom_diffs, param_diffs)
    }

    /// The bottom (or, past the bottoms, parameter) `i`.
    fn array(&mut self, i: usize) -> &mut Tensor {
        let n = self.bottoms.len();
        if i < n { &mut self.bottoms[i] } else { &mut self.params[i - n] }
    }
}

impl Check {
    /// The tops for the given bottoms, means already divided.
    pub fn forward(&self, layer: &dyn Layer, bottoms: Vec<Tensor>) -> Result<Vec<Tensor>> {
        Bench::new(self, layer, bottoms)?.forward()
    }

    /// The tops, and the gradients of the bottoms for the given gradients of the tops.
    pub fn both(
        &self,
        layer: &dyn Layer,
        bottoms: Vec<Tensor>,
        top_diffs: &[Tensor],
    ) -> Result<(Vec<Tensor>, Vec<Option<Tensor>>)> {
        let mut bench = Bench::new(self, layer, bottoms)?;
        let tops = bench.forward()?;
        let (diffs, _) = bench.backward(&tops, top_diffs);
        Ok((tops, diffs))
    }

    /// Compares every gradient of a random weighted sum of the tops with its central difference, and
    /// the results of one thread with those of several.
    pub fn run(&self, layer: &dyn Layer, shapes: &[&[usize]]) {
        let bottom = |(i, dims): (usize, &&[usize])| {
            let shape = Shape::from(*dims);
            let given = self.fixed.iter().find(|(j, _)| *j == i).map(|(_, data)| data.clone());
            let data = given.unwrap_or_else(|| noise(self.seed + i as u64, shape.count()));
            Tensor::new(shape, data).unwrap()
        };
        let bottoms: Vec<Tensor> = shapes.iter().enumerate().map(bottom).collect();
        let mut bench = Bench::new(self, layer, bottoms).unwrap();
        let tops = bench.forward().unwrap();
        let weights: Vec<Tensor> = tops
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let mut data = noise(self.seed + 200 + i as u64, t.data.len());
                if self.dead_tops.contains(&i) {
                    data.fill(0.0);
                }
                Tensor { shape: t.shape.clone(), data }
            })
            .collect();
        let (bottom_diffs, param_diffs) = bench.backward(&tops, &weights);

        bench.parallel = true;
        assert!(bench.forward().unwrap() == tops, "parallel tops differ");
        assert!(bench.backward(&tops, &weights) == (bottom_diffs.clone(), param_diffs.clone()), "parallel gradients differ");
        bench.parallel = false;

        let all = bottom_diffs.into_iter().chain(param_diffs.into_iter().map(Some));
        for (a, diff) in all.enumerate().filter_map(|(a, d)| Some((a, d?))) {
            for (i, &got) in diff.data.iter().enumerate() {
                let x = bench.array(a).data[i];
                if x.abs() < self.kink_range {
                    continue;
                }
                let mut objective = |x: f32| {
                    bench.array(a).data[i] = x;
                    let tops = bench.forward().unwrap();
                    let pairs = tops.iter().zip(&weights).flat_map(|(t, w)| t.data.iter().zip(&w.data));
                    pairs.filter(|(_, w)| **w != 0.0).map(|(t, w)| f64::from(*t) * f64::from(*w)).sum::<f64>()
                };
                let (more, less) = (objective(x + self.step), objective(x - self.step));
                objective(x);
                let width = f64::from(x + self.step) - f64::from(x - self.step);
                let want = ((more - less) / width) as f32;
                let scale = got.abs().max(want.abs()).max(1.0);
                assert!(
                    (got - want).abs() <= self.threshold * scale,
                    "array {a}, element {i} = {x}: backward says {got}, the difference {want}"
                );
            }
        }
    }
}
