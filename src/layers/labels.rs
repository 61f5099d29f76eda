//! Scores and labels: how the layers that compare them read a class from a float.

use crate::tensor::{Shape, View};
use anyhow::{Result, bail};

/// The sizes of scores [outer…, classes, inner…] with one label for each outer and inner index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Elements before the axis of the classes.
    pub outer: usize,
    /// Number of classes.
    pub classes: usize,
    /// Elements after the axis of the classes.
    pub inner: usize,
    /// Labels of one sample.
    per_sample: usize,
}

impl Layout {
    /// The sizes for scores of shape `scores` with the classes along `axis`.
    pub fn of(scores: &Shape, axis: i32) -> Result<Self> {
        let axis = super::axis(scores, axis, "axis")?;
        let (outer, inner) = (scores.count_to(axis), scores.count_from(axis + 1));
        let per_sample = (outer * inner / scores.dim(0).max(1)).max(1);
        Ok(Self {
            outer,
            classes: scores.dim(axis),
            inner,
            per_sample,
        })
    }

    /// As [`Layout::of`], if there is one label for each outer and inner index.
    pub fn checked(scores: &Shape, labels: &Shape, axis: i32) -> Result<Self> {
        let layout = Self::of(scores, axis)?;
        let wanted = layout.outer * layout.inner;
        if labels.count() != wanted {
            bail!(
                "scores of shape {scores} with classes along axis {axis} need {wanted} labels, \
                 but the labels (bottom 1) have shape {labels}"
            );
        }
        Ok(layout)
    }

    /// One label a sample: the sizes for scores [N, classes…] and labels [N, 1…].
    pub fn of_rows(scores: &Shape, labels: &Shape) -> Result<Self> {
        let n = scores.dim(0);
        if scores.axes() == 0 || labels.axes() == 0 || labels.dim(0) != n || labels.count() != n {
            bail!(
                "each of {n} samples (bottom 0 has shape {scores}) needs one label, but the labels \
                 (bottom 1) have shape {labels}"
            );
        }
        Self::of(&Shape::new([n, scores.count_from(1)]), 1)
    }

    /// Where the scores of label `i`'s position are, in the order of the classes.
    pub fn column(&self, i: usize) -> impl Iterator<Item = usize> + use<> {
        let inner = self.inner.max(1);
        let first = i / inner * self.classes * inner + i % inner;
        (first..).step_by(inner).take(self.classes)
    }

    /// The class that label `i` names; `None` if it is the ignored one. `first` is the number of the
    /// first sample at hand.
    pub fn class(
        &self,
        labels: &View,
        i: usize,
        ignored: Option<i32>,
        first: usize,
    ) -> Result<Option<usize>> {
        let label = labels.data[i];
        let whole = label.trunc();
        if ignored.is_some_and(|l| whole == l as f32) {
            return Ok(None);
        }
        if whole >= 0.0 && whole < self.classes as f32 {
            return Ok(Some(whole as usize));
        }
        let sample = self.sample(i, first);
        bail!(
            "sample {sample} has label {label}, but there are {} classes, from 0",
            self.classes
        );
    }

    /// The number of the sample that label `i` belongs to.
    pub fn sample(&self, i: usize, first: usize) -> usize {
        first + i / self.per_sample
    }

    /// How many labels are not the ignored one.
    pub fn valid(labels: &View, ignored: Option<i32>) -> usize {
        match ignored {
            Some(ignored) => labels
                .data
                .iter()
                .filter(|l| l.trunc() != ignored as f32)
                .count(),
            None => labels.shape.count(),
        }
    }
}
