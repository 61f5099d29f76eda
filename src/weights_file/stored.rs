//! What a weights file of any format holds: arrays by layer.

use crate::compress::codebook::Codebook;
use crate::net::finite::{Bad, count_bad};
use crate::proto::{NetParameter, blob};
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, Result, bail};

/// One layer's blobs, as a file has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredLayer {
    /// The layer's name.
    pub name: String,
    /// Its blobs, in order.
    pub blobs: Vec<Tensor>,
    /// The codebooks of coded blobs; blobs behind the last one have none. See [`StoredLayer::codebook`].
    pub codebooks: Vec<Option<Codebook>>,
    /// The shapes are Caffe's old num, channels, height, width: leading ones mean nothing.
    pub legacy: bool,
}

impl StoredLayer {
    /// The codebook of blob `k`, if it came with one and every value is still in it.
    pub fn codebook(&self, k: usize) -> Option<&Codebook> {
        let book = self.codebooks.get(k)?.as_ref()?;
        book.codes(&self.blobs.get(k)?.data).map(|_| book)
    }

    /// Blob `k`, if the file has it.
    pub fn blob(&self, k: usize) -> Option<&Tensor> {
        // A scalar without its number stands for a blob that the file leaves out.
        let absent = |b: &&Tensor| b.data.is_empty() && b.shape.axes() == 0;
        self.blobs.get(k).filter(|b| !absent(b))
    }
}

/// The content of a weights file of any format.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The file, for messages.
    pub file: String,
    /// Layers with blobs, in the file's order.
    pub layers: Vec<StoredLayer>,
}

impl Stored {
    /// The blobs of a net message (a decoded `.caffemodel`) of any generation. Nothing else of it is looked at: the
    /// rest may be a fork's.
    pub fn from_message(net: &NetParameter, file: &str) -> Result<Self> {
        let mut stored = Self {
            file: file.to_string(),
            layers: Vec::new(),
        };
        let today = net.layer.iter().map(|l| (l.name(), &l.blobs));
        let old = net.layers.iter().map(|l| match &l.layer {
            Some(v0) => (v0.name(), &v0.blobs),
            None => (l.name(), &l.blobs),
        });
        for (name, all) in today.chain(old).filter(|(_, blobs)| !blobs.is_empty()) {
            let place = |k: usize| format!("{file}: layer '{name}', blob {k}");
            let (mut blobs, mut codebooks) = (Vec::new(), Vec::new());
            for (k, b) in all.iter().enumerate() {
                let shape = Shape::new(blob::shape(b).with_context(|| place(k))?);
                let data = blob::values(b).with_context(|| place(k))?.into_owned();
                blobs.push(Tensor { shape, data });
                // One that is none is no reason to refuse the weights.
                codebooks.push(
                    b.dsd
                        .as_ref()
                        .and_then(|c| Codebook::new(c.bits(), c.values.clone())),
                );
            }
            let legacy = all.iter().any(|b| b.shape.is_none() || b.num.is_some());
            stored.layers.push(StoredLayer {
                name: name.to_string(),
                blobs,
                codebooks,
                legacy,
            });
        }
        Ok(stored)
    }

    /// The arrays of an .npz, named `LAYER:K`.
    pub fn from_arrays(
        arrays: impl IntoIterator<Item = (String, Tensor)>,
        file: &str,
    ) -> Result<Self> {
        let mut stored = Self {
            file: file.to_string(),
            layers: Vec::new(),
        };
        let mut all: Vec<(String, usize, Tensor)> = Vec::new();
        for (name, tensor) in arrays {
            let parts = name
                .rsplit_once(':')
                .and_then(|(l, k)| Some((l.to_string(), k.parse().ok()?)));
            let Some((layer, k)) = parts else {
                bail!("{file}: array '{name}' is not named LAYER:K (as in 'conv1:0')");
            };
            all.push((layer, k, tensor));
        }
        all.sort_by_key(|a| a.1);
        for (name, k, tensor) in all {
            let layer = match stored.layers.iter_mut().find(|l| l.name == name) {
                Some(layer) => layer,
                None => {
                    stored.layers.push(StoredLayer {
                        name: name.clone(),
                        ..Default::default()
                    });
                    let last = stored.layers.len() - 1;
                    &mut stored.layers[last]
                }
            };
            if layer.blobs.len() != k {
                bail!(
                    "{file}: layer '{name}' has an array :{k} but no :{}",
                    layer.blobs.len()
                );
            }
            layer.blobs.push(tensor);
        }
        Ok(stored)
    }

    /// The layer of that name.
    pub fn layer(&self, name: &str) -> Option<&StoredLayer> {
        self.layers.iter().find(|l| l.name == name)
    }

    /// Its arrays with NaN or infinity, in order.
    pub fn bad(&self) -> Vec<Bad> {
        let mut found = Vec::new();
        for layer in &self.layers {
            for (blob, t) in layer.blobs.iter().enumerate() {
                let bad = count_bad(&t.data);
                if bad > 0 {
                    found.push(Bad {
                        layer: layer.name.clone(),
                        blob,
                        bad,
                        all: t.data.len(),
                    });
                }
            }
        }
        found
    }

    /// Warns of every such array.
    pub fn warn_of_bad(&self) {
        for bad in self.bad() {
            crate::warn!("{}: {bad}", self.file);
        }
    }
}
