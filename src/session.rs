//! Opens what a command works on: the net that `--model` names or the weights fit, the data that it reads, and the
//! weights.
//!
//! Each step can be had by itself, for a command may look at the graph before there is a net, or open its output
//! before it reads weights.

mod model;
pub mod packed;
mod rounds;
mod source;
mod weights;

pub use model::{Model, state};
pub use packed::Packed;
pub use rounds::Rounds;
pub use source::{Opener, Synthetic};

use crate::cli::NetState;
use crate::data::batches::Batches;
use crate::kernels::convolution::choice::UseSparse;
use crate::layers::{Mode, Precision};
use crate::net::graph::Graph;
use crate::net::{Net, Options, Weights};
use crate::proto::{NetParameter, Parsed};
use crate::solver::{OpenData, Opened};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// What the arguments of a command say of the net.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `--model`: a file, or a built-in net's name.
    pub model: Option<&'a Path>,
    /// `--weights`.
    pub weights: &'a [PathBuf],
    /// `--level` and `--stage`.
    pub state: &'a NetState,
    /// Caffe's TRAIN or TEST.
    pub mode: Mode,
    /// `--source`: in place of what the data layers name.
    pub source: Option<&'a Path>,
    /// The seed of all randomness.
    pub seed: u64,
    /// When weights that are 0 are left out.
    pub sparse: UseSparse,
    /// In what numbers layers multiply.
    pub precision: Precision,
}

/// A command's net, before it is built.
pub struct Session<'a> {
    /// Where it comes from.
    pub model: Model,
    /// What was asked for.
    pub request: Request<'a>,
}

/// A net with its data.
pub struct Open {
    /// The net, of the data's shapes.
    pub net: Net,
    /// The data, from the first batch on.
    pub batches: Batches,
}

impl<'a> Session<'a> {
    /// Finds the net.
    ///
    /// # Errors
    /// There is no such file or built-in net, or the file is no net.
    pub fn find(request: Request<'a>) -> Result<Self> {
        let model = Model::find(request.model, request.weights)?;
        Ok(Self { model, request })
    }

    /// The layers of `net`, a form of the model, that hold in the state asked for.
    ///
    /// # Errors
    /// A layer reads what none makes.
    pub fn graph(&self, net: &Parsed<NetParameter>) -> Result<Graph> {
        let request = &self.request;
        Graph::new(net, &state(&net.message, request.mode, request.state))
    }

    /// Opens data as the net's own layers, or `--source`, name them.
    pub fn opener(&self) -> Opener {
        Opener {
            mode: self.request.mode,
            seed: self.request.seed,
            source: self.request.source.map(|s| s.display().to_string()),
            folder: self.model.folder(),
        }
    }

    /// What a net that runs forward is made with.
    pub fn options(&self) -> Options {
        Options {
            sparse: self.request.sparse,
            precision: self.request.precision,
            ..Options::default()
        }
    }

    /// The net with its data layers, and the data.
    ///
    /// # Errors
    /// The data cannot be opened, or a layer does not fit them.
    pub fn open(&self, options: &Options) -> Result<Open> {
        let graph = self.graph(&self.model.train_val()?)?;
        self.open_graph(graph, &self.opener(), options)
    }

    /// The net of `graph` on what `data` opens.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_graph(&self, graph: Graph, data: &dyn OpenData, options: &Options) -> Result<Open> {
        let Opened { shapes, batches } = data.open(&graph, 0)?;
        let net = Net::new(graph, &shapes, options)?;
        Ok(Open { net, batches })
    }

    /// The weights of `net`; says what went where, and which layers have none.
    ///
    /// # Errors
    /// A file cannot be read, or does not fit.
    pub fn weights(&self, net: &Net) -> Result<Weights> {
        weights::fill(net, self.request.weights, self.request.seed)
    }

    /// The same for timing: weights that would be 0 because neither a filler nor a file gives them are noise. A kernel
    /// that leaves zeros out would else have nothing to do.
    ///
    /// # Errors
    /// As [`weights`](Self::weights).
    pub fn weights_to_time(&self, net: &Net) -> Result<Weights> {
        weights::fill_to_time(net, self.request.weights, self.request.seed)
    }
}
