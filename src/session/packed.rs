//! A model in one file: a `.dsdz` that has, beside the weights, their net, what is done to pictures, the classes' names and
//! the record of how it came about.

use crate::classify::{Given, PictureNet};
use crate::cli::NetState;
use crate::compress::container::{self, MEAN};
use crate::files::{self, encoding};
use crate::info;
use crate::layers::Mode;
use crate::net::graph::Graph;
use crate::proto::{self, NetParameter, Parsed};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The net's prototxt.
pub const NET: &str = "net.prototxt";

/// The classes' names, one a line.
pub const LABELS: &str = "classes.txt";

/// What is done to pictures, as JSON.
pub const PREPROCESSING: &str = "preprocessing.json";

/// How the weights came about, as JSON.
pub const RECORD: &str = "record.json";

/// The parts that are files of their own when a model is taken apart.
pub const FILES: [&str; 5] = [NET, LABELS, PREPROCESSING, MEAN, RECORD];

/// What the net itself does not say of the pictures that it wants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocessing {
    /// Channels, height and width to which pictures are resized, before any crop.
    pub size: Option<[usize; 3]>,
    /// Channels, height and width that the net sees.
    pub input: Option<[usize; 3]>,
    /// In place of the net's own mean: one value, or one a channel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mean_value: Vec<f32>,
    /// Whether the file's mean is in place of the net's own.
    #[serde(skip_serializing_if = "is_false")]
    pub mean_file: bool,
    /// In place of the net's own factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A model in one file.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The file.
    pub file: PathBuf,
    /// Its net.
    pub net: Parsed<NetParameter>,
    /// The classes' names, if it has any.
    pub labels: Option<Vec<String>>,
    /// What is done to pictures, beside what the net says.
    pub given: Given,
    /// How the weights came about.
    pub record: Option<Value>,
    /// Channels, height and width that the net sees, if it takes pictures.
    pub input: Option<[usize; 3]>,
}

impl Packed {
    /// Whether the file at `path` may be one, by its first bytes.
    pub fn looks_like(path: &Path) -> bool {
        let mut head = [0; 8];
        let read = File::open(path).and_then(|mut f| f.read_exact(&mut head));
        path.is_file() && read.is_ok() && container::looks_like(&head)
    }

    /// The model in the file `path`; `None` if that has no net, or is no `.dsdz` at all.
    ///
    /// # Errors
    /// The file is damaged, or what is in it cannot be read.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        if !Self::looks_like(path) {
            return Ok(None);
        }
        let bytes = files::read(path)?;
        let shown = path.display().to_string();
        let parts = container::parts(&bytes).with_context(|| shown.clone())?;
        let part = |name: &str| parts.iter().find(|p| p.name == name);
        let text = |name: &str| -> Result<Option<&str>> {
            let text = part(name).map(|p| std::str::from_utf8(&p.bytes));
            text.transpose()
                .with_context(|| format!("{shown}: its {name} is not UTF-8"))
        };
        let Some(net) = text(NET)? else {
            return Ok(None);
        };
        let (mut net, notes) = proto::net_of_text(net, &shown)?;
        for note in notes {
            info!("{note}");
        }
        let json = |name: &str| format!("{shown}: its {name}");
        let preprocessing = text(PREPROCESSING)?.map(serde_json::from_str);
        let preprocessing: Option<Preprocessing> = preprocessing
            .transpose()
            .with_context(|| json(PREPROCESSING))?;
        let preprocessing = preprocessing.unwrap_or_default();
        let record = text(RECORD)?.map(serde_json::from_str);
        if part(MEAN).is_some() {
            read_mean_of(path, &mut net.message);
        }
        Ok(Some(Self {
            labels: text(LABELS)?.map(|t| t.lines().map(str::to_string).collect()),
            given: given(&preprocessing, path),
            record: record.transpose().with_context(|| json(RECORD))?,
            net,
            file: path.to_path_buf(),
            input: preprocessing.input,
        }))
    }

    /// The net with an Input layer in place of its data; of other things than pictures, the net as it is.
    ///
    /// # Errors
    /// The net is none for pictures.
    pub fn deploy(&self) -> Result<Parsed<NetParameter>> {
        let Some(input) = self.input else {
            return Ok(self.net.clone());
        };
        let state = super::state(&self.net.message, Mode::Test, &NetState::default());
        let net = PictureNet::new(&Graph::new(&self.net, &state)?)?;
        Ok(net.with_input(1, input))
    }

    /// What is done to pictures: what the user says of it, before what the file says.
    pub fn given(&self, asked: Given) -> Given {
        let own = self.given.clone();
        let has_mean = asked.mean_file.is_some() || !asked.mean_value.is_empty();
        let (mean_file, mean_value) = match has_mean {
            true => (asked.mean_file, asked.mean_value),
            false => (own.mean_file, own.mean_value),
        };
        Given {
            mean_file,
            mean_value,
            resize: asked.resize,
            scale: asked.scale.or(own.scale),
            stored: own.stored,
        }
    }
}

/// Has the net's layers read their mean from the model's own file.
fn read_mean_of(file: &Path, net: &mut NetParameter) {
    let layers = net.layer.iter_mut();
    let transforms = layers.filter_map(|l| l.transform_param.as_mut());
    for transform in transforms.filter(|t| t.mean_file.is_some()) {
        let name = encoding::escaped(file.as_os_str().as_encoded_bytes());
        transform.mean_file = Some(name);
    }
}

fn given(own: &Preprocessing, path: &Path) -> Given {
    Given {
        mean_file: own.mean_file.then(|| path.to_path_buf()),
        mean_value: own.mean_value.clone(),
        resize: None,
        scale: own.scale,
        stored: own.size,
    }
}
