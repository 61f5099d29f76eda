//! InfogainLoss: the mean over all labels of −Σ H\[label, c\]·ln p\[c\], where p is the softmax of the scores
//! along `axis` and H, [C, C], comes from the BlobProto file `source` or is the third bottom. Bottoms:
//! scores [N, C, inner…], labels (one for each position). Tops: the loss, and if wanted the probabilities.

use super::labels::{Layout, SMALLEST, at_least};
use super::softmax::softmax;
use super::{Backward, Coupling, Facts, Forward, Layer, Mode};
use crate::proto::blob;
use crate::proto::caffe::loss_parameter::NormalizationMode;
use crate::proto::caffe::{BlobProto, LayerParameter};
use crate::tensor::{Shape, View};
use anyhow::{Context, Result, bail};
use prost::Message;
use std::path::Path;

/// An InfogainLoss layer.
#[derive(Debug)]
pub struct InfogainLoss {
    axis: i32,
    ignored: Option<i32>,
    normalization: NormalizationMode,
    /// H, unless a third bottom brings it.
    matrix: Vec<f32>,
    tops: usize,
}

impl InfogainLoss {
    /// The layer that `param` describes; reads the file `source` unless there are three bottoms.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.loss_param.unwrap_or_default();
        if p.normalize.is_some() {
            bail!("this layer knows no loss_param.normalize, only normalization");
        }
        let infogain = param.infogain_loss_param.clone().unwrap_or_default();
        let matrix = match &infogain.source {
            _ if param.bottom.len() > 2 => Vec::new(),
            Some(source) => read(Path::new(source))?,
            None => bail!(
                "it needs infogain_loss_param.source, a file with the matrix H, or H as a third bottom"
            ),
        };
        Ok(Self {
            axis: infogain.axis(),
            ignored: p.ignore_label,
            normalization: p.normalization(),
            matrix,
            tops: param.top.len().max(1),
        })
    }

    /// H.
    fn matrix<'a>(&'a self, bottoms: &[View<'a>]) -> &'a [f32] {
        bottoms.get(2).map_or(&self.matrix, |h| h.data)
    }

    /// Whether the rows of the batch are independent but for the mean.
    fn by_rows(&self, scores: &Shape, bottoms: usize) -> bool {
        bottoms == 2 && scores.axis(self.axis) != Some(0)
    }
}

/// The values of a file with one binary BlobProto.
fn read(path: &Path) -> Result<Vec<f32>> {
    let bytes = crate::files::read(path)?;
    let place = || format!("{}: not a BlobProto file", path.display());
    let blob = BlobProto::decode(&bytes[..]).with_context(place)?;
    Ok(blob::values(&blob).with_context(place)?.into_owned())
}

impl Layer for InfogainLoss {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let (scores, labels) = match bottoms {
            [scores, labels] | [scores, labels, _] => (scores, labels),
            _ => bail!("it takes 2 or 3 bottoms, but {} are named", bottoms.len()),
        };
        let classes = Layout::checked(scores, labels, self.axis)?.classes;
        if scores.dim(0) != labels.dim(0) {
            bail!(
                "scores and labels must have as many samples: their shapes are {scores} and {labels}"
            );
        }
        let values = bottoms.get(2).map_or(self.matrix.len(), Shape::count);
        if values != classes * classes {
            bail!(
                "H has {values} values, but {classes} classes (axis {} of scores of shape {scores}) need {}",
                self.axis,
                classes * classes
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

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let coupling = match self.by_rows(&bottoms[0], bottoms.len()) {
            true => Coupling::Mean { labels: Some(1) },
            false => Coupling::Whole,
        };
        Facts {
            coupling,
            flows: (0..bottoms.len()).map(|i| i == 0).collect(),
            refuses: vec![
                (1, "InfogainLoss Layer cannot backpropagate to label inputs"),
                (
                    2,
                    "InfogainLoss Layer cannot backpropagate to infogain inputs",
                ),
            ],
            is_loss: true,
            scratch_bytes: 4 * bottoms[0].count(),
            ..Facts::default()
        }
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        let Ok(layout) = Layout::of(&bottoms[0].shape, self.axis) else {
            return 1.0;
        };
        let n = match self.normalization {
            NormalizationMode::Full => layout.outer * layout.inner,
            NormalizationMode::Valid => Layout::valid(&bottoms[1], self.ignored),
            NormalizationMode::BatchSize => layout.outer,
            NormalizationMode::None => 1,
        };
        n.max(1) as f32
    }

    /// Leaves the probabilities.
    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (scores, labels) = (&f.bottoms[0], &f.bottoms[1]);
        let matrix = self.matrix(f.bottoms);
        let layout = Layout::of(&scores.shape, self.axis)?;
        let p = &mut f.keep.floats;
        p.clear();
        p.extend_from_slice(scores.data);
        softmax(f.crew, layout.classes, layout.inner, p);
        let mut loss = 0.0f64;
        for i in 0..layout.outer * layout.inner {
            if let Some(class) = layout.class(labels, i, self.ignored, f.first)? {
                let gains = &matrix[class * layout.classes..][..layout.classes];
                for (gain, at) in gains.iter().zip(layout.column(i)) {
                    loss -= f64::from(gain * at_least(p[at], SMALLEST).ln());
                }
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

    /// dx\[c\] = (p\[c\]·Σ H\[label\] − H\[label, c\]) · loss weight / normaliser; 0 where the label is ignored.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (scores, labels) = (&b.bottoms[0], &b.bottoms[1]);
        let matrix = self.matrix(b.bottoms);
        let layout = Layout::of(&scores.shape, self.axis)?;
        let divisor = match self.by_rows(&scores.shape, b.bottoms.len()) {
            true => b.normaliser,
            false => self.normaliser(b.bottoms),
        };
        let scale = b.top_diffs[0].data[0] / divisor;
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let sums: Vec<f32> = matrix
            .chunks_exact(layout.classes.max(1))
            .map(|row| row.iter().sum())
            .collect();
        for i in 0..layout.outer * layout.inner {
            match layout.class(labels, i, self.ignored, 0)? {
                Some(class) => {
                    let gains = &matrix[class * layout.classes..][..layout.classes];
                    for (gain, at) in gains.iter().zip(layout.column(i)) {
                        dx.data[at] = scale * (b.keep.floats[at] * sums[class] - gain);
                    }
                }
                None => layout.column(i).for_each(|at| dx.data[at] = 0.0),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
