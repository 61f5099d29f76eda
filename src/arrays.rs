//! Arrays at the library's edge are ndarray's: those of a net, of weights and of .npz files go in and out under their
//! names. Inside they are [`Tensor`]s and views of buffers, which know a net's layouts.

use crate::files;
use crate::net::{Net, Outputs, Weights};
use crate::npz;
use crate::tensor::{Shape, Tensor};
use crate::weights_file::{Stored, StoredLayer};
use anyhow::{Result, anyhow, bail};
use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Dimension, IxDyn};
use std::collections::BTreeMap;
use std::path::Path;

/// The numbers of an array in C order; those that lie so already do not move.
impl<D: Dimension> From<Array<f32, D>> for Tensor {
    fn from(array: Array<f32, D>) -> Self {
        let shape = Shape::from(array.shape());
        let data = match array.is_standard_layout() {
            // Elements may be left before the first one and behind the last.
            true => match array.into_raw_vec_and_offset() {
                (data, Some(0) | None) if data.len() == shape.count() => data,
                (data, offset) => {
                    let first = offset.unwrap_or(0);
                    data[first..first + shape.count()].to_vec()
                }
            },
            false => array.iter().copied().collect(),
        };
        Self { shape, data }
    }
}

/// A copy in C order.
impl<D: Dimension> From<ArrayView<'_, f32, D>> for Tensor {
    fn from(array: ArrayView<f32, D>) -> Self {
        Self {
            shape: Shape::from(array.shape()),
            data: array.iter().copied().collect(),
        }
    }
}

/// No number moves.
impl From<Tensor> for ArrayD<f32> {
    fn from(tensor: Tensor) -> Self {
        let Tensor { shape, mut data } = tensor;
        data.resize(shape.count(), 0.0);
        ArrayD::from_shape_vec(IxDyn(shape.dims()), data).unwrap_or_default()
    }
}

impl Tensor {
    /// The array, to read.
    pub fn array(&self) -> ArrayViewD<'_, f32> {
        view(&self.shape, &self.data)
    }
}

/// An empty one if there are fewer numbers than the shape says.
fn view<'a>(shape: &Shape, data: &'a [f32]) -> ArrayViewD<'a, f32> {
    let whole = ArrayViewD::from_shape(IxDyn(shape.dims()), data);
    whole.unwrap_or_else(|_| ArrayView::from(&[] as &[f32]).into_dyn())
}

impl Net {
    /// The weights that are named so, LAYER:K as in .npz files: `conv1:0` are conv1's weights, `conv1:1` its biases.
    pub fn array<'a>(&self, weights: &'a Weights, name: &str) -> Option<ArrayViewD<'a, f32>> {
        let (_, id, shape) = self.all_uses().find(|(label, ..)| label == name)?;
        Some(view(shape, &weights.get(id)?.data))
    }

    /// Gives the weights that are named so other values.
    ///
    /// # Errors
    /// The net has no weights of that name, or they have another shape.
    pub fn set_array<D: Dimension>(
        &self,
        weights: &mut Weights,
        name: &str,
        array: ArrayView<f32, D>,
    ) -> Result<()> {
        let found = self.all_uses().find(|(label, ..)| label == name);
        let Some((_, id, shape)) = found else {
            let known: Vec<String> = self.all_uses().map(|(label, ..)| label).collect();
            bail!(
                "{}: no weights are named '{name}'; there are {}",
                self.graph().file,
                known.join(", ")
            );
        };
        if shape.dims() != array.shape() {
            bail!(
                "{}: '{name}' has the shape {shape}, not {}",
                self.graph().file,
                Shape::from(array.shape())
            );
        }
        let to = weights.get_mut(id);
        let to = to.ok_or_else(|| anyhow!("these are the weights of another net"))?;
        to.data = array.iter().copied().collect();
        Ok(())
    }

    /// A blob of `outputs` by its name: an output of the net, or what was wanted beside.
    pub fn output<'a>(&self, outputs: &'a Outputs, name: &str) -> Option<ArrayViewD<'a, f32>> {
        let value = self.graph().value(name)?;
        outputs.values.get(&value).map(Tensor::array)
    }
}

impl Stored {
    /// The array that is named so, LAYER:K.
    pub fn array(&self, name: &str) -> Option<ArrayViewD<'_, f32>> {
        let (layer, k) = name.rsplit_once(':')?;
        let of_layer = |l: &'_ StoredLayer| l.name == layer;
        let layer = self.layers.iter().find(|l| of_layer(l))?;
        layer.blob(k.parse().ok()?).map(Tensor::array)
    }
}

/// The arrays of an .npz file by name; see [`npz::read`].
///
/// # Errors
/// Those of [`npz::read`].
pub fn read_npz(path: &Path) -> Result<BTreeMap<String, ArrayD<f32>>> {
    let arrays = npz::read(path)?.into_iter();
    Ok(arrays.map(|(name, t)| (name, t.into())).collect())
}

/// Writes arrays into an .npz file, whole or not at all; see [`npz::write`].
///
/// # Errors
/// Those of [`npz::write`].
pub fn write_npz<'a>(
    path: &Path,
    arrays: impl IntoIterator<Item = (&'a str, ArrayViewD<'a, f32>)>,
) -> Result<()> {
    let copied: Vec<(&str, Tensor)> = arrays
        .into_iter()
        .map(|(name, array)| (name, Tensor::from(array)))
        .collect();
    npz::write(path, copied.iter().map(|(name, t)| (name, t.view())))
}

/// Reads the array of a .npy file.
///
/// # Errors
/// Those of [`npz::read_npy`], with the file's name.
pub fn read_npy(path: &Path) -> Result<ArrayD<f32>> {
    let array = npz::read_npy(&files::read(path)?);
    let array = array.map_err(|e| e.context(path.display().to_string()))?;
    Ok(array.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Array3, s};

    #[test]
    fn arrays_of_any_order_become_tensors_in_c_order() {
        let array = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (100 * i + 10 * j + k) as f32);
        let tensor = Tensor::from(array.clone());
        assert_eq!(tensor.array(), array.view().into_dyn());
        assert_eq!(tensor.shape.dims(), [2, 3, 4]);
        assert_eq!(ArrayD::from(tensor), array.clone().into_dyn());
        let turned = Tensor::from(array.clone().reversed_axes());
        assert_eq!(turned.shape.dims(), [4, 3, 2]);
        assert_eq!(turned.data[..3], [0.0, 100.0, 10.0]);
        // A slice in C order with numbers around it, one with gaps, and a view backwards.
        let part = array.clone().slice_move(s![1.., .., ..]);
        assert_eq!(Tensor::from(part).data[..2], [100.0, 101.0]);
        let part = array.clone().slice_move(s![.., 1..2, 2..]);
        assert_eq!(Tensor::from(part).data, [12.0, 13.0, 112.0, 113.0]);
        let back = Tensor::from(array.slice(s![0, 0, ..;-1]));
        assert_eq!(back.data, [3.0, 2.0, 1.0, 0.0]);
        let nothing = Tensor::from(Array2::<f32>::zeros((0, 3)));
        assert_eq!((nothing.shape.dims(), nothing.data.len()), (&[0, 3][..], 0));
    }

    #[test]
    fn files_give_back_what_they_were_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let array = Array2::from_shape_fn((2, 3), |(i, j)| (3 * i + j) as f32);
        let turned = array.t();
        let arrays = [
            ("a", array.view().into_dyn()),
            ("b:0", turned.view().into_dyn()),
        ];
        write_npz(&path, arrays).unwrap();
        let read = read_npz(&path).unwrap();
        assert_eq!(read["a"], array.clone().into_dyn());
        assert_eq!(read["b:0"], turned.into_dyn());
        let stored = Stored::from_arrays(npz::read(&path).unwrap(), "a.npz");
        // 'a' is no array of weights.
        assert!(stored.is_err());
    }
}
