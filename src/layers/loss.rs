//! What the loss layers share: what a sum is divided by, what they say of themselves, and all but the formula of
//! those that compare a softmax of scores with labels.

use super::labels::Layout;
use super::softmax::softmax;
use super::{Backward, Coupling, Facts, Forward};
use crate::proto::caffe::loss_parameter::NormalizationMode;
use crate::proto::caffe::{LayerParameter, LossParameter};
use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// What a probability counts as at least before its logarithm is taken, Caffe's threshold.
pub(super) const SMALLEST: f32 = 1e-20;

/// `v`, but at least `least`; a NaN stays one.
pub(super) fn at_least(v: f32, least: f32) -> f32 {
    if v < least { least } else { v }
}

/// The facts of a loss whose bottom 1 is labels, with Caffe's sentence where their gradient is asked for.
pub(super) fn facts(coupling: Coupling, refusal: &'static str) -> Facts {
    Facts {
        coupling,
        flows: vec![true, false],
        refuses: vec![(1, refusal)],
        is_loss: true,
        ..Facts::default()
    }
}

/// The number of samples, by which most losses are divided.
pub(super) fn samples(bottoms: &[View]) -> f32 {
    bottoms[0].shape.dim(0).max(1) as f32
}

/// What a gradient is multiplied by: the loss weight over the normaliser.
pub(super) fn scale(b: &Backward) -> f32 {
    b.top_diffs[0].data[0] / b.normaliser
}

/// What a sum over labels is divided by, and which of them count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalization {
    mode: NormalizationMode,
    /// The label that does not count.
    pub ignored: Option<i32>,
}

impl Normalization {
    /// What `p` says. `normalize` is the old form of `normalization`: true means VALID, false BATCH_SIZE. Without both
    /// it is `default`.
    pub fn new(p: &LossParameter, default: NormalizationMode) -> Self {
        let mode = match (p.normalization, p.normalize) {
            (Some(_), _) => p.normalization(),
            (None, Some(true)) => NormalizationMode::Valid,
            (None, Some(false)) => NormalizationMode::BatchSize,
            (None, None) => default,
        };
        Self {
            mode,
            ignored: p.ignore_label,
        }
    }

    /// Whether the divisor follows from the labels' values.
    pub fn reads_labels(&self) -> bool {
        self.mode == NormalizationMode::Valid && self.ignored.is_some()
    }

    /// The divisor for `labels`, of which FULL counts `all`, for so many `samples`.
    pub fn divisor(&self, labels: &View, all: usize, samples: usize) -> f32 {
        let n = match self.mode {
            NormalizationMode::Full => all,
            NormalizationMode::Valid => Layout::valid(labels, self.ignored),
            NormalizationMode::BatchSize => samples,
            NormalizationMode::None => 1,
        };
        n.max(1) as f32
    }
}

/// A loss of the softmax of scores along one axis and of labels. Bottoms: scores [N, C, inner…], labels (one for each
/// position), and perhaps more. Tops: the loss, and if wanted the probabilities.
#[derive(Debug)]
pub(super) struct OfSoftmax {
    /// That of the classes.
    pub axis: i32,
    normalization: Normalization,
    tops: usize,
}

/// The label of one position.
pub(super) struct Label<'a> {
    /// The sizes of the scores.
    pub layout: Layout,
    /// The number of the position.
    pub i: usize,
    /// The class that the label names.
    pub class: usize,
    /// The probabilities of all positions, as the scores lie.
    pub p: &'a [f32],
}

impl OfSoftmax {
    /// The layer that `param` describes, with the classes along `axis`.
    pub fn new(param: &LayerParameter, axis: i32) -> Self {
        let p = param.loss_param.unwrap_or_default();
        Self {
            axis,
            normalization: Normalization::new(&p, NormalizationMode::Valid),
            tops: param.top.len().max(1),
        }
    }

    /// Checks scores and labels and gives the tops.
    pub fn shapes(&self, scores: &Shape, labels: &Shape) -> Result<Vec<Shape>> {
        Layout::checked(scores, labels, self.axis)?;
        if scores.dim(0) != labels.dim(0) {
            bail!(
                "scores and labels must have as many samples: their shapes are {scores} and {labels}"
            );
        }
        if self.tops > 2 {
            bail!(
                "it has at most two tops (loss, probabilities), but {} are named",
                self.tops
            );
        }
        let mut tops = vec![Shape::default(), scores.clone()];
        tops.truncate(self.tops);
        Ok(tops)
    }

    /// Whether the rows of the batch are independent but for the mean. More bottoms than scores and labels have no
    /// rows.
    fn by_rows(&self, scores: &Shape, bottoms: usize) -> bool {
        bottoms == 2 && scores.axis(self.axis) != Some(0)
    }

    /// As [`facts`].
    pub fn facts(&self, bottoms: &[Shape], refusal: &'static str) -> Facts {
        let by_rows = self.by_rows(&bottoms[0], bottoms.len());
        Facts {
            scratch_bytes: 4 * bottoms[0].count(),
            ..facts(Coupling::of_labels(by_rows), refusal)
        }
    }

    /// What the sum is divided by.
    pub fn normaliser(&self, bottoms: &[View]) -> f32 {
        let Ok(layout) = Layout::of(&bottoms[0].shape, self.axis) else {
            return 1.0;
        };
        let all = layout.outer * layout.inner;
        self.normalization.divisor(&bottoms[1], all, layout.outer)
    }

    /// Adds up with `add` what each label that counts brings. Leaves the probabilities.
    pub fn forward(&self, f: &mut Forward, add: impl Fn(&mut f64, Label)) -> Result<()> {
        let (scores, labels) = (&f.bottoms[0], &f.bottoms[1]);
        let layout = Layout::of(&scores.shape, self.axis)?;
        let p = &mut f.keep.floats;
        p.clear();
        p.extend_from_slice(scores.data);
        softmax(f.crew, layout.classes, layout.inner, p);
        let mut loss = 0.0f64;
        for i in 0..layout.outer * layout.inner {
            if let Some(class) = layout.class(labels, i, self.normalization.ignored, f.first)? {
                add(
                    &mut loss,
                    Label {
                        layout,
                        i,
                        class,
                        p,
                    },
                );
            }
        }
        let divisor = match self.by_rows(&scores.shape, f.bottoms.len()) {
            true => 1.0,
            false => self.normaliser(f.bottoms),
        };
        f.tops[0].data[0] = loss as f32 / divisor;
        if let Some(top) = f.tops.get_mut(1) {
            top.data.copy_from_slice(p);
        }
        Ok(())
    }

    /// What a gradient is multiplied by.
    pub fn scale(&self, b: &Backward) -> f32 {
        match self.by_rows(&b.bottoms[0].shape, b.bottoms.len()) {
            true => scale(b),
            false => b.top_diffs[0].data[0] / self.normaliser(b.bottoms),
        }
    }

    /// Sets with `set` the gradient of the scores of each position whose label counts, and that of others to 0.
    pub fn backward(&self, b: &mut Backward, set: impl Fn(&mut [f32], Label)) -> Result<()> {
        let labels = &b.bottoms[1];
        let layout = Layout::of(&b.bottoms[0].shape, self.axis)?;
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let p = &b.keep.floats[..];
        for i in 0..layout.outer * layout.inner {
            match layout.class(labels, i, self.normalization.ignored, 0)? {
                Some(class) => set(
                    dx.data,
                    Label {
                        layout,
                        i,
                        class,
                        p,
                    },
                ),
                None => layout.column(i).for_each(|at| dx.data[at] = 0.0),
            }
        }
        Ok(())
    }
}

impl Label<'_> {
    /// Where the probabilities of its position are, in the order of the classes.
    pub fn column(&self) -> impl Iterator<Item = usize> + use<> {
        self.layout.column(self.i)
    }

    /// Where that of its class is.
    pub fn place(&self) -> usize {
        let Layout { classes, inner, .. } = self.layout;
        (self.i / inner * classes + self.class) * inner + self.i % inner
    }
}
