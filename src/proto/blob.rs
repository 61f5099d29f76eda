//! Shapes and values of `BlobProto`, whichever of its forms a file uses.

use std::borrow::Cow;

use anyhow::{Result, bail};

use super::caffe::{BlobProto, BlobShape};

/// The shape of a blob, outermost axis first. Files from before N-dimensional blobs give four axes (num,
/// channels, height, width), and where both are given those count, as in Caffe.
pub fn shape(blob: &BlobProto) -> Result<Vec<usize>> {
    let axes: Vec<i64> = match legacy(blob) {
        Some(four) => four.to_vec(),
        None => blob
            .shape
            .as_ref()
            .map(|s| s.dim.clone())
            .unwrap_or_default(),
    };
    let sizes: Option<Vec<usize>> = axes.iter().map(|&d| usize::try_from(d).ok()).collect();
    match sizes {
        Some(sizes) if count(&sizes).is_some() => Ok(sizes),
        _ => bail!("the blob's shape {axes:?} is impossible"),
    }
}

/// Whether a blob fits `wanted`; one with the four old axes fits if it differs only by leading ones.
pub fn fits(blob: &BlobProto, wanted: &[usize]) -> bool {
    let Ok(shape) = shape(blob) else { return false };
    if legacy(blob).is_none() {
        return shape == wanted;
    }
    let leading = 4usize.checked_sub(wanted.len());
    leading.is_some_and(|n| shape[..n].iter().all(|&d| d == 1) && shape[n..] == *wanted)
}

/// The values of a blob as floats, checked against its shape.
pub fn values(blob: &BlobProto) -> Result<Cow<'_, [f32]>> {
    let values = if blob.double_data.is_empty() {
        Cow::Borrowed(blob.data.as_slice())
    } else {
        Cow::Owned(blob.double_data.iter().map(|&v| v as f32).collect())
    };
    let shape = shape(blob)?;
    let wanted = count(&shape).unwrap_or(0);
    if values.len() != wanted {
        bail!(
            "the blob's shape {shape:?} asks for {wanted} values, but it holds {}",
            values.len()
        );
    }
    Ok(values)
}

/// A blob of today's form; `data` must fill `shape`.
pub fn blob(shape: &[usize], data: &[f32]) -> BlobProto {
    owned(shape, data.to_vec())
}

/// [`blob`] of numbers that need not be copied.
pub fn owned(shape: &[usize], data: Vec<f32>) -> BlobProto {
    debug_assert_eq!(count(shape), Some(data.len()));
    let dim = shape.iter().map(|&d| d as i64).collect();
    BlobProto {
        shape: Some(BlobShape { dim }),
        data,
        ..BlobProto::default()
    }
}

fn legacy(blob: &BlobProto) -> Option<[i64; 4]> {
    let axes = [blob.num, blob.channels, blob.height, blob.width];
    axes.iter()
        .any(Option::is_some)
        .then(|| axes.map(|d| i64::from(d.unwrap_or(0))))
}

/// The number of values in a shape, if it can be counted.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_a_shape() {
        let today = blob(&[2, 3], &[0.0; 6]);
        assert_eq!(shape(&today).unwrap(), [2, 3]);
        let old = BlobProto {
            num: Some(1),
            channels: Some(1),
            height: Some(2),
            width: Some(3),
            ..today.clone()
        };
        assert_eq!(shape(&old).unwrap(), [1, 1, 2, 3]);
        assert!(fits(&today, &[2, 3]) && !fits(&today, &[1, 2, 3]));
        assert!(fits(&old, &[2, 3]) && fits(&old, &[1, 1, 2, 3]) && !fits(&old, &[3]));
    }

    #[test]
    fn values_must_fill_the_shape() {
        let mut short = blob(&[3], &[1.0, 2.0, 3.0]);
        assert_eq!(*values(&short).unwrap(), [1.0, 2.0, 3.0]);
        short.data.pop();
        assert!(
            values(&short)
                .unwrap_err()
                .to_string()
                .contains("asks for 3 values, but it holds 2")
        );
        short.double_data = vec![0.5, 1.0, 2.0];
        assert_eq!(*values(&short).unwrap(), [0.5, 1.0, 2.0]);
    }

    #[test]
    fn impossible_shapes_are_errors() {
        for dim in [vec![-1], vec![i64::MAX, i64::MAX, 4]] {
            let odd = BlobProto {
                shape: Some(BlobShape { dim }),
                ..BlobProto::default()
            };
            assert!(shape(&odd).is_err() && values(&odd).is_err() && !fits(&odd, &[1]));
        }
    }
}
