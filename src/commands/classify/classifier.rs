//! A net that is asked about pictures, batch after batch.

use crate::classify::{Given, PictureNet, Preprocess, Scores};
use crate::layers::Mode;
use crate::models;
use crate::net::graph::{Graph, State};
use crate::net::{Net, Pass, Weights};
use crate::proto::{LayerParameter, NetParameter, Parsed};
use crate::report::human::HumanBytes;
use crate::report::nets;
use crate::session::{Model, Session};
use crate::tensor::{Shape, Tensor};
use crate::{info, warn};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use std::path::PathBuf;

/// Pictures that go through the net together.
pub const BATCH: usize = 8;

/// The net without its data and label layers, and what it wants done to pictures; `gray` if they shall be
/// gray where the net does not say.
fn prepare(session: &Session, given: &Given, gray: bool) -> Result<(PictureNet, Preprocess)> {
    let model = &session.model;
    let picture_net = |parsed: Parsed<NetParameter>| -> Result<PictureNet> {
        PictureNet::new(&session.graph(&parsed)?)
    };
    let net = picture_net(match model {
        Model::Packed(_) => model.train_val()?,
        Model::File(_) | Model::Builtin(..) => model.deploy()?,
    })?;
    // A built-in net's training form knows the preprocessing.
    let trained = match model {
        Model::Builtin(..) => Some(picture_net(model.train_val()?)?),
        Model::File(_) | Model::Packed(_) => None,
    };
    let mut source = trained.map_or_else(|| net.source.clone(), |t| t.source);
    if gray {
        source
            .transform_param
            .get_or_insert_default()
            .force_gray
            .get_or_insert(true);
    }
    let preprocess = Preprocess::new(&source, input_of(&net), given, &model.folder())
        .with_context(|| format!("layer '{}'", source.name()))?;
    Ok((net, preprocess))
}

/// Channels, height and width of a net's Input layer, if it has one.
pub fn input_of(net: &PictureNet) -> Option<[usize; 3]> {
    let shape = net.source.input_param.as_ref()?.shape.first()?;
    let dims: Option<Vec<usize>> = shape.dim.iter().map(|&d| d.try_into().ok()).collect();
    match dims?[..] {
        [_, c, h, w] => Some([c, h, w]),
        _ => None,
    }
}

/// All that a batch of pictures needs.
pub struct Classifier {
    /// The net.
    pub net: Net,
    /// What is done to pictures.
    pub preprocess: Preprocess,
    /// Where the scores are.
    pub scores: Scores,
    /// The layer that brings pictures, as the net with its data has it.
    pub source: LayerParameter,
    weights: Weights,
    shape: Shape,
    seed: u64,
}

impl Classifier {
    /// The net of `session` for up to `batch` pictures at a time; `asked` is what the user says of the preprocessing. Says
    /// what is done.
    ///
    /// # Errors
    /// The net or the weights cannot be read, or the settings do not fit the net's input.
    pub fn open(session: &Session, asked: &Given, batch: usize) -> Result<Self> {
        let batch = batch.clamp(1, BATCH);
        let model = &session.model;
        let given = &match model.packed() {
            Some(packed) => packed.given(asked.clone()),
            None => asked.clone(),
        };
        let build = |gray| Self::new(session, given, batch, gray);
        // A data layer whose data are not here does not say whether they are gray; the weights do.
        let classifier = match (build(false), model) {
            (Err(why), Model::File(_) | Model::Packed(_)) => build(true).map_err(|_| why)?,
            (built, _) => built?,
        };
        info!("Preprocessing: {}", classifier.preprocess.text);
        let has_mean = classifier.preprocess.has_mean;
        if !has_mean && matches!(model, Model::File(_) | Model::Packed(_)) {
            warn!(
                "No mean is subtracted; if the net was trained with one, give --mean_file or --mean_value"
            );
        }
        classifier.tell_scores();
        Ok(classifier)
    }

    fn new(session: &Session, given: &Given, batch: usize, gray: bool) -> Result<Self> {
        let (net, preprocess) = prepare(session, given, gray)?;
        let source = net.source.clone();
        let graph = Graph::new(
            &net.with_input(batch, preprocess.input),
            &State::new(Mode::Test),
        )?;
        let shapes = models::input_shapes(&graph)?;
        let net = Net::new(graph, &shapes, &session.options())?;
        let threads = rayon::current_num_threads();
        let required = u64::try_from(net.run_bytes(threads, 0, true)).unwrap_or(u64::MAX);
        info!("Memory required: {}", HumanBytes(required));
        net.check_memory(threads, 0, true)?;
        nets::precision(&net);
        let weights = session.weights(&net)?;
        Ok(Self {
            scores: Scores::find(&net)?,
            shape: shapes.into_iter().next().unwrap_or_default(),
            net,
            weights,
            preprocess,
            source,
            seed: session.request.seed,
        })
    }

    fn tell_scores(&self) {
        let name = &self.net.graph().values[self.scores.value].name;
        match self.scores.softmax {
            true => info!("Probabilities are the net's output {name}"),
            false => {
                info!("The net's output {name} is no softmax; one is added to get probabilities")
            }
        }
    }

    /// How many pictures go through together.
    pub fn batch(&self) -> usize {
        self.shape.dim(0)
    }

    /// The probabilities of the classes of each picture, at most [`batch`](Self::batch) of them, or why it has none.
    ///
    /// # Errors
    /// The net cannot run.
    pub fn run(&self, files: &[PathBuf]) -> Result<Vec<Result<Vec<f32>>>> {
        let mut feed = Tensor::zeros(self.shape.clone());
        let one = self.shape.count_from(1);
        let read: Vec<Result<()>> = feed
            .data
            .par_chunks_mut(one)
            .zip(files)
            .map(|(out, file)| self.preprocess.read(file, out))
            .collect();
        let pass = Pass::new(self.seed, 0);
        let outputs = self.net.forward(&pass, &self.weights, &[feed])?;
        let Some(scores) = outputs.values.get(&self.scores.value) else {
            bail!("the net gave no scores");
        };
        let scores = scores.data.chunks(self.scores.classes);
        let each = files.iter().zip(read).zip(scores);
        Ok(each
            .map(|((file, read), scores)| {
                read?;
                let probabilities = self.scores.probabilities(scores);
                ensure!(
                    probabilities.iter().all(|p| p.is_finite()),
                    "{}: the net's scores are not finite",
                    file.display()
                );
                Ok(probabilities)
            })
            .collect())
    }
}
