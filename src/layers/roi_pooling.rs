//! ROIPooling (Fast R-CNN): the largest number in each cell of a grid over each region of a picture. A region is
//! (number in the batch, x1, y1, x2, y2), corners included.

use super::{Backward, Coupling, Facts, Forward, Layer, Mode, take};
use crate::proto::caffe::LayerParameter;
use crate::tensor::{Shape, View};
use anyhow::{Context, Result, bail};
use std::ops::Range;

/// The place of a cell without pixels.
const NONE: u32 = u32::MAX;

/// A ROIPooling layer.
#[derive(Debug)]
pub struct RoiPooling {
    rows: usize,
    columns: usize,
    scale: f32,
}

impl RoiPooling {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter, _mode: Mode) -> Result<Self> {
        let p = param.roi_pooling_param.unwrap_or_default();
        let (rows, columns) = (p.pooled_h() as usize, p.pooled_w() as usize);
        if rows == 0 || columns == 0 {
            bail!("roi_pooling_param needs pooled_h and pooled_w of at least 1");
        }
        let scale = p.spatial_scale();
        Ok(Self {
            rows,
            columns,
            scale,
        })
    }

    /// The pixels of each of `cells` cells between two corners, of a side of `size` pixels.
    fn cells(&self, from: f32, to: f32, cells: usize, size: usize) -> Vec<Range<usize>> {
        // Far outside is outside: no sum overflows.
        let round = |x: f32| (x * self.scale).round().clamp(-1e9, 1e9) as i64;
        let (from, to) = (round(from), round(to));
        let bin = (to - from + 1).max(1) as f32 / cells as f32;
        let inside = |x: i64| (from + x).clamp(0, size as i64) as usize;
        let cell = |i: usize| {
            let first = (i as f32 * bin).floor() as i64;
            let last = ((i + 1) as f32 * bin).ceil() as i64;
            inside(first)..inside(last)
        };
        (0..cells).map(cell).collect()
    }
}

/// The number of the picture of region `r`.
fn picture(rois: &View, r: usize, pictures: usize) -> Result<usize> {
    let index = rois.data[r * 5];
    if !(index >= 0.0 && index < pictures as f32) {
        bail!(
            "region {r} (of bottom 1) is of picture {index}, but bottom 0 has {pictures}, from 0"
        );
    }
    Ok(index as usize)
}

/// The largest number of a cell of a plane, and where it is.
fn largest(x: &[f32], width: usize, rows: &Range<usize>, columns: &Range<usize>) -> (f32, u32) {
    if rows.is_empty() || columns.is_empty() {
        return (0.0, NONE);
    }
    let mut best = (-f32::MAX, NONE);
    for row in rows.clone() {
        for column in columns.clone() {
            let at = row * width + column;
            if x[at] > best.0 {
                best = (x[at], at as u32);
            }
        }
    }
    best
}

impl Layer for RoiPooling {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x, rois] = take(bottoms)?;
        if x.axes() != 4 || x.count_from(2) >= NONE as usize {
            bail!("bottom 0 must be pictures (N C H W), but has shape {x}");
        }
        if rois.axes() == 0 || rois.count_from(1) != 5 {
            bail!(
                "bottom 1 must be regions of 5 numbers (picture, x1, y1, x2, y2), but has shape {rois}"
            );
        }
        let dims = [rois.dim(0), x.dim(1), self.rows, self.columns];
        let size = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        size.filter(|n| *n <= isize::MAX as usize / 4)
            .with_context(|| format!("a grid of {} x {} is too large", self.rows, self.columns))?;
        Ok(vec![Shape::new(dims)])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        Facts {
            // A region may be of any picture.
            coupling: Coupling::Whole,
            flows: vec![true, false],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let (x, rois) = (&f.bottoms[0], &f.bottoms[1]);
        let [channels, height, width] = [1, 2, 3].map(|a| x.shape.dim(a));
        let plane = height * width;
        let y = &mut *f.tops[0].data;
        f.keep.indices.clear();
        f.keep.indices.resize(y.len(), NONE);
        let mut out = y.iter_mut().zip(&mut f.keep.indices);
        for (r, roi) in rois.data.chunks_exact(5).enumerate() {
            let n = picture(rois, r, x.shape.dim(0))?;
            let columns = self.cells(roi[1], roi[3], self.columns, width);
            let rows = self.cells(roi[2], roi[4], self.rows, height);
            for c in 0..channels {
                let x = &x.data[(n * channels + c) * plane..][..plane];
                let cells = rows
                    .iter()
                    .flat_map(|rows| columns.iter().map(move |columns| (rows, columns)));
                for ((rows, columns), (y, at)) in cells.zip(&mut out) {
                    (*y, *at) = largest(x, width, rows, columns);
                }
            }
        }
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let Some(dx) = &mut b.bottom_diffs[0] else {
            return Ok(());
        };
        let (x, rois) = (&b.bottoms[0].shape, &b.bottoms[1]);
        let (channels, plane) = (x.dim(1), x.count_from(2));
        let cells = self.rows * self.columns;
        dx.data.fill(0.0);
        let planes = b.top_diffs[0].data.chunks_exact(cells);
        for (i, (dy, at)) in planes.zip(b.keep.indices.chunks_exact(cells)).enumerate() {
            let n = picture(rois, i / channels, x.dim(0))?;
            let dx = &mut dx.data[(n * channels + i % channels) * plane..][..plane];
            for (dy, at) in dy.iter().zip(at).filter(|(_, at)| **at != NONE) {
                dx[*at as usize] += dy;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{Check, layer, layer_in};
    use crate::tensor::Tensor;

    fn pool(text: &str) -> Box<dyn Layer> {
        layer(&format!(
            "type: 'ROIPooling' roi_pooling_param {{ {text} }}"
        ))
    }

    fn pooled(rois: &[f32]) -> Result<Vec<f32>> {
        let x = (0..16).map(|i| i as f32).collect();
        let x = Tensor::new(Shape::new([1, 1, 4, 4]), x).unwrap();
        let rois = Tensor::new(Shape::new([rois.len() / 5, 5]), rois.to_vec()).unwrap();
        let layer = pool("pooled_h: 2 pooled_w: 2 spatial_scale: 0.5");
        let tops = Check::default().forward(&*layer, vec![x, rois])?;
        Ok(tops[0].data.clone())
    }

    #[test]
    fn gradients() {
        let check = Check {
            fixed: vec![(
                1,
                vec![1., 0., 0., 4., 3., 0., 1., 1., 3., 9., 1., -3., 2., 1., 2.],
            )],
            step: 1e-4,
            threshold: 1e-2,
            ..Check::default()
        };
        check.run(&*pool("pooled_h: 2 pooled_w: 3"), &[&[2, 2, 4, 5], &[3, 5]]);
    }

    #[test]
    fn a_region_is_cut_into_cells() {
        assert_eq!(pooled(&[0., 0., 0., 6., 6.]).unwrap(), [5., 7., 13., 15.]);
        // Three pixels a side: cells overlap in the middle.
        assert_eq!(pooled(&[0., 2., 0., 6., 4.]).unwrap(), [6., 7., 10., 11.]);
        // Corners the wrong way round are one pixel; what lies outside is 0.
        assert_eq!(pooled(&[0., 4., 4., 0., 0.]).unwrap(), [10.; 4]);
        assert_eq!(pooled(&[0., 1e30, 0., 1e38, 6.]).unwrap(), [0.; 4]);
        assert_eq!(pooled(&[0., f32::NAN, 0., -1e38, 2.]).unwrap().len(), 4);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for index in [1.0, -1.0, f32::NAN] {
            let e = pooled(&[index, 0., 0., 1., 1.]).unwrap_err().to_string();
            assert!(e.contains("region 0 (of bottom 1) is of picture"), "{e}");
        }
        let e = layer_in("type: 'ROIPooling'", Mode::Test).err().unwrap();
        assert!(e.to_string().contains("pooled_h"));
        let pool = pool("pooled_h: 2 pooled_w: 2");
        let e = pool.shapes(&[Shape::new([1, 1, 4, 4]), Shape::new([2, 4])]);
        assert!(e.unwrap_err().to_string().contains("regions of 5"));
        let e = pool.shapes(&[Shape::new([1, 4]), Shape::new([2, 5])]);
        assert!(e.unwrap_err().to_string().contains("pictures"));
    }
}
