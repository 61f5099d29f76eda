//! For tests: runs one layer, and compares its gradients with central differences, after Caffe's
//! `GradientChecker`.

mod bench;

use super::{Layer, Mode, create};
use crate::kernels::noise;
use crate::proto::caffe::{LayerParameter, NetParameter};
use crate::proto::text::parse;
use crate::tensor::{Shape, Tensor};
use anyhow::Result;
use bench::Bench;

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
    /// Whether the layer runs channels last. The arrays of the check stay in C order.
    pub pixels: bool,
    /// Floats by which the pixels of the tops are farther apart than their channels need.
    pub gap: usize,
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
            pixels: false,
            gap: 0,
            first: 0,
            seed: 1,
        }
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
            let given = self
                .fixed
                .iter()
                .find(|(j, _)| *j == i)
                .map(|(_, data)| data.clone());
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
                Tensor {
                    shape: t.shape.clone(),
                    data,
                }
            })
            .collect();
        let (bottom_diffs, param_diffs) = bench.backward(&tops, &weights);

        bench.threads = 3;
        assert!(bench.forward().unwrap() == tops, "parallel tops differ");
        assert!(
            bench.backward(&tops, &weights) == (bottom_diffs.clone(), param_diffs.clone()),
            "parallel gradients differ"
        );
        bench.threads = 1;

        let all = bottom_diffs
            .into_iter()
            .chain(param_diffs.into_iter().map(Some));
        for (a, diff) in all.enumerate().filter_map(|(a, d)| Some((a, d?))) {
            for (i, &got) in diff.data.iter().enumerate() {
                let x = bench.array(a).data[i];
                if x.abs() < self.kink_range {
                    continue;
                }
                let mut objective = |x: f32| {
                    bench.array(a).data[i] = x;
                    let tops = bench.forward().unwrap();
                    let pairs = tops
                        .iter()
                        .zip(&weights)
                        .flat_map(|(t, w)| t.data.iter().zip(&w.data));
                    pairs
                        .filter(|(_, w)| **w != 0.0)
                        .map(|(t, w)| f64::from(*t) * f64::from(*w))
                        .sum::<f64>()
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
