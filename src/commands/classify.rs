//! `dsd classify`: labels pictures.

pub mod pycaffe;

use super::model_folder::ModelFolder;
use super::{Settings, Usage};
use crate::classify::{self, Given, PictureNet, Prediction, Preprocess, Scores};
use crate::layers::Mode;
use crate::models;
use crate::net::graph::{Graph, State};
use crate::net::{Net, Pass, Weights};
use crate::proto::{NetParameter, Parsed};
use crate::report::human::HumanBytes;
use crate::report::{nets, output, progress};
use crate::session::{Model, Request, Session};
use crate::tensor::{Shape, Tensor};
use crate::{cli, error, info, outln, warn};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Pictures that go through the net together.
const BATCH: usize = 8;

/// Runs the command.
pub fn run(args: &cli::Classify, settings: &Settings) -> Result<()> {
    ensure!(args.top > 0, "--top must be at least 1");
    let args = &resolved(args)?;
    if pycaffe::asked(args) {
        return pycaffe::run(args, settings);
    }
    let files = pictures(args)?;
    let labels = args.labels.as_deref().map(classify::labels).transpose()?;
    let session = Session::find(Request {
        precision: args.numbers.precision,
        ..settings.request(args.model.as_deref(), &args.weights, &args.state)
    })?;
    let model = &session.model;
    let batch = files.len().clamp(1, BATCH);
    let build = |gray| Classifier::new(&session, args, batch, gray);
    // A data layer whose data are not here does not say whether they are gray; the weights do.
    let classifier = match (build(false), model) {
        (Err(why), Model::File(_)) => build(true).map_err(|_| why)?,
        (built, _) => built?,
    };
    info!("Preprocessing: {}", classifier.preprocess.text);
    if !classifier.preprocess.has_mean && matches!(model, Model::File(_)) {
        warn!(
            "No mean is subtracted; if the net was trained with one, give --mean_file or --mean_value"
        );
    }
    classifier.tell_scores();
    if let (Some(labels), Some(file)) = (&labels, &args.labels) {
        ensure!(
            labels.len() == classifier.scores.classes,
            "{}: {} labels, but the net has {} classes",
            file.display(),
            labels.len(),
            classifier.scores.classes
        );
    }
    let labels = labels.unwrap_or_default();
    let bar = progress::bar("classify", 0, files.len() as u64);
    let mut list = Vec::new();
    let mut failed = 0;
    for part in files.chunks(batch) {
        let results = classifier.run(part, args.top)?;
        for (file, result) in part.iter().zip(results) {
            bar.inc(1);
            if let Err(error) = &result {
                error!("{error:#}");
                failed += 1;
            }
            match (args.json, result) {
                (true, result) => list.push(as_json(file, result, &labels)),
                (false, Ok(best)) => print(file, &best, &labels)?,
                (false, Err(_)) => {}
            }
        }
    }
    bar.finish_and_clear();
    if args.json {
        output::json(&json!({
            "net": classifier.net.name(),
            "preprocessing": classifier.preprocess.text,
            "softmax_added": !classifier.scores.softmax,
            "precision": classifier.net.precision(),
            "pictures": list,
        }))?;
    }
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read", files.len());
    }
    Ok(())
}

/// The arguments, where the first picture is the folder of a model.
fn resolved(args: &cli::Classify) -> Result<cli::Classify> {
    let mut args = args.clone();
    if !args.weights.is_empty() {
        return Ok(args);
    }
    let model = args.images.first().and_then(|first| ModelFolder::at(first));
    let Some(model) = model.filter(|_| args.model.is_none()) else {
        let text = "--weights is missing: give the weights of the net, or the folder of a model before the pictures";
        return Err(Usage(text.into()).into());
    };
    let folder = args.images.remove(0);
    if args.images.is_empty() {
        let text = format!(
            "no pictures are given behind the folder {}",
            folder.display()
        );
        return Err(Usage(text).into());
    }
    args.weights = vec![model.weights()?];
    args.model = Some(model.net()?);
    args.labels = args.labels.or_else(|| model.labels());
    Ok(args)
}

/// The pictures, and a warning of what folders have beside them.
fn pictures(args: &cli::Classify) -> Result<Vec<PathBuf>> {
    let mut files = classify::pictures(&args.images)?;
    if let Some(ext) = args.ext.as_deref().filter(|e| !e.is_empty()) {
        let end = ext.trim_start_matches('.');
        let named = |path: &PathBuf| {
            args.images.contains(path)
                || path
                    .extension()
                    .is_some_and(|e| e.eq_ignore_ascii_case(end))
        };
        files.retain(named);
        ensure!(!files.is_empty(), "no picture ends in .{end} (--ext)");
    }
    for told in classify::left_out(&args.images, &files) {
        warn!("{told}");
    }
    Ok(files)
}

/// The net without its data and label layers, and what it wants done to pictures; `gray` if they shall be
/// gray where the net does not say.
fn prepare(
    session: &Session,
    args: &cli::Classify,
    gray: bool,
) -> Result<(PictureNet, Preprocess)> {
    let model = &session.model;
    let given = Given {
        mean_file: args.mean_file.clone(),
        mean_value: args.mean_value.clone(),
        resize: args.resize,
        scale: args.scale,
    };
    let picture_net = |parsed: Parsed<NetParameter>| -> Result<PictureNet> {
        PictureNet::new(&session.graph(&parsed)?)
    };
    let net = picture_net(model.deploy()?)?;
    // A built-in net's training form knows the preprocessing.
    let trained = match model {
        Model::Builtin(..) => Some(picture_net(model.train_val()?)?),
        Model::File(_) => None,
    };
    let mut source = trained.map_or_else(|| net.source.clone(), |t| t.source);
    if gray {
        source
            .transform_param
            .get_or_insert_default()
            .force_gray
            .get_or_insert(true);
    }
    let preprocess = Preprocess::new(&source, input_of(&net), &given, &model.folder())
        .with_context(|| format!("layer '{}'", source.name()))?;
    Ok((net, preprocess))
}

/// Channels, height and width of a net's Input layer, if it has one.
fn input_of(net: &PictureNet) -> Option<[usize; 3]> {
    let shape = net.source.input_param.as_ref()?.shape.first()?;
    let dims: Option<Vec<usize>> = shape.dim.iter().map(|&d| d.try_into().ok()).collect();
    match dims?[..] {
        [_, c, h, w] => Some([c, h, w]),
        _ => None,
    }
}

/// All that a batch of pictures needs.
struct Classifier {
    net: Net,
    weights: Weights,
    preprocess: Preprocess,
    scores: Scores,
    shape: Shape,
    seed: u64,
}

impl Classifier {
    fn new(session: &Session, args: &cli::Classify, batch: usize, gray: bool) -> Result<Self> {
        let (net, preprocess) = prepare(session, args, gray)?;
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

    /// The best classes of each picture, or why it has none.
    fn run(&self, files: &[PathBuf], top: usize) -> Result<Vec<Result<Vec<Prediction>>>> {
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
                Ok(classify::best(&probabilities, top))
            })
            .collect())
    }
}

fn label(labels: &[String], class: usize) -> String {
    labels
        .get(class)
        .cloned()
        .unwrap_or_else(|| class.to_string())
}

fn print(file: &Path, best: &[Prediction], labels: &[String]) -> Result<()> {
    outln!("{}", file.display())?;
    for &(class, probability) in best {
        outln!("{probability:.4}  {}", label(labels, class))?;
    }
    Ok(())
}

fn as_json(file: &Path, result: Result<Vec<Prediction>>, labels: &[String]) -> Value {
    let file = file.display().to_string();
    match result {
        Err(error) => json!({ "file": file, "error": format!("{error:#}") }),
        Ok(best) => {
            let best: Vec<Value> = best
                .iter()
                .map(|&(class, p)| match labels.get(class) {
                    Some(label) => json!({ "class": class, "label": label, "probability": p }),
                    None => json!({ "class": class, "probability": p }),
                })
                .collect();
            json!({ "file": file, "predictions": best })
        }
    }
}
