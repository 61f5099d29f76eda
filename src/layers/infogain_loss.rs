//! InfogainLoss: the mean over all labels of −Σ H\[label, c\]·ln p\[c\], where p is the softmax of the scores
//! along `axis` and H, [C, C], comes from the BlobProto file `source` or is the third bottom. Bottoms:
//! scores [N, C, inner…], labels (one for each position). Tops: the loss, and if wanted the probabilities.

use super::labels::Layout;
use super::loss::{Label, OfSoftmax, SMALLEST, at_least};
use super::{Backward, Facts, Forward, Layer, Mode};
use crate::proto::blob;
use crate::proto::caffe::{BlobProto, LayerParameter};
use crate::tensor::{Shape, View};
use anyhow::{Context, Result, bail};
use prost::Message;
use std::path::Path;

/// An InfogainLoss layer.
#[derive(Debug)]
pub struct InfogainLoss {
    of: OfSoftmax,
    /// H, unless a third bottom brings it.
    matrix: Vec<f32>,
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
            of: OfSoftmax::new(param, infogain.axis()),
            matrix,
        })
    }

    /// H.
    fn matrix<'a>(&'a self, bottoms: &[View<'a>]) -> &'a [f32] {
        bottoms.get(2).map_or(&self.matrix, |h| h.data)
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
        let tops = self.of.shapes(scores, labels)?;
        let classes = Layout::of(scores, self.of.axis)?.classes;
        let values = bottoms.get(2).map_or(self.matrix.len(), Shape::count);
        if values != classes * classes {
            bail!(
                "H has {values} values, but {classes} classes (axis {} of scores of shape {scores}) need {}",
                self.of.axis,
                classes * classes
            );
        }
        Ok(tops)
    }

    fn facts(&self, bottoms: &[Shape]) -> Facts {
        let [labels, infogain] = [
            "InfogainLoss Layer cannot backpropagate to label inputs",
            "InfogainLoss Layer cannot backpropagate to infogain inputs",
        ];
        Facts {
            flows: (0..bottoms.len()).map(|i| i == 0).collect(),
            refuses: vec![(1, labels), (2, infogain)],
            ..self.of.facts(bottoms, labels)
        }
    }

    fn normaliser(&self, bottoms: &[View]) -> f32 {
        self.of.normaliser(bottoms)
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let matrix = self.matrix(f.bottoms);
        self.of.forward(f, |loss, label| {
            for (gain, at) in row(matrix, &label).iter().zip(label.column()) {
                *loss -= f64::from(gain * at_least(label.p[at], SMALLEST).ln());
            }
        })
    }

    /// dx\[c\] = (p\[c\]·Σ H\[label\] − H\[label, c\]) · loss weight / normaliser; 0 where the label is ignored.
    fn backward(&self, b: &mut Backward) -> Result<()> {
        let matrix = self.matrix(b.bottoms);
        let classes = Layout::of(&b.bottoms[0].shape, self.of.axis)?.classes;
        let sums: Vec<f32> = matrix
            .chunks_exact(classes.max(1))
            .map(|row| row.iter().sum())
            .collect();
        let scale = self.of.scale(b);
        self.of.backward(b, |dx, label| {
            for (gain, at) in row(matrix, &label).iter().zip(label.column()) {
                dx[at] = scale * (label.p[at] * sums[label.class] - gain);
            }
        })
    }
}

/// The row of H for a label.
fn row<'a>(matrix: &'a [f32], label: &Label) -> &'a [f32] {
    let classes = label.layout.classes;
    &matrix[label.class * classes..][..classes]
}

#[cfg(test)]
mod tests;
