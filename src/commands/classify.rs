//! `dsd classify`: labels pictures.

pub mod classifier;
pub mod pycaffe;
pub mod score;
mod tables;

use super::model_folder::ModelFolder;
use super::{Settings, Usage};
use crate::classify::{self, Given, Prediction, imagenet};
use crate::report::{output, progress};
use crate::session::{Packed, Request, Session};
use crate::{cli, error, info, outln, warn};
use anyhow::{Result, bail, ensure};
use classifier::{Classifier, input_of};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Runs the command.
pub fn run(args: &cli::Classify, settings: &Settings) -> Result<()> {
    ensure!(args.top > 0, "--top must be at least 1");
    let args = &resolved(args)?;
    if pycaffe::asked(args) {
        if args.score {
            return Err(Usage(
                "--score does not go with what is classify.py's: OUTPUT.npy, .npy pictures, --oversample, --images_dim, \
                 --raw_scale, --channel_swap and --input_scale"
                    .into(),
            )
            .into());
        }
        return pycaffe::run(args, settings);
    }
    let files = match args.score {
        true => Vec::new(),
        false => pictures(args)?,
    };
    let labels = args.labels.as_deref().map(classify::labels).transpose()?;
    let session = Session::find(Request {
        precision: args.numbers.precision,
        ..settings.request(args.model.as_deref(), &args.weights, &args.state)
    })?;
    let given = Given {
        mean_file: args.mean_file.clone(),
        mean_value: args.mean_value.clone(),
        resize: args.resize,
        scale: args.scale,
        stored: None,
    };
    if args.score {
        let [folder] = &args.images[..] else {
            return Err(Usage(format!(
                "--score takes one folder that has a folder of pictures for each class, found {} paths",
                args.images.len()
            ))
            .into());
        };
        return score::run(
            &session,
            &given,
            &score::Asked {
                folder,
                labels: args.labels.as_deref(),
                ext: args.ext.as_deref(),
                json: args.json,
                csv: args.csv.as_deref(),
            },
        );
    }
    let classifier = Classifier::open(&session, &given, files.len())?;
    let packed = session.model.packed();
    let (labels, list) = match labels {
        Some(labels) => (Some(labels), args.labels.as_deref()),
        None => (
            packed.and_then(|p| p.labels.clone()),
            packed.map(|p| p.file.as_path()),
        ),
    };
    let labels = Labels::new(labels, list, classifier.scores.classes)?;
    let bar = progress::bar("classify", 0, files.len() as u64);
    let mut list = Vec::new();
    let mut failed = 0;
    for part in files.chunks(classifier.batch()) {
        for (file, result) in part.iter().zip(classifier.run(part)?) {
            bar.inc(1);
            let result = result.map(|probabilities| classify::best(&probabilities, args.top));
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

/// The arguments, where the first picture is a model: its folder, or its one file.
fn resolved(args: &cli::Classify) -> Result<cli::Classify> {
    let mut args = args.clone();
    if !args.weights.is_empty() {
        return Ok(args);
    }
    let file = args.images.first().is_some_and(|i| Packed::looks_like(i));
    let model = args.images.first().and_then(|first| ModelFolder::at(first));
    if !file && (model.is_none() || args.model.is_some()) {
        let text = "--weights is missing: give the weights of the net, or a model before the pictures, its folder or its .dsdz";
        return Err(Usage(text.into()).into());
    }
    let first = args.images.remove(0);
    if args.images.is_empty() {
        let text = format!("no pictures are given behind the model {}", first.display());
        return Err(Usage(text).into());
    }
    match model {
        Some(model) => {
            args.weights = vec![model.weights()?];
            args.model = Some(model.net()?);
            args.labels = args.labels.or_else(|| model.labels());
        }
        None => args.weights = vec![first],
    }
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

/// What classes are called.
struct Labels {
    names: Vec<String>,
    /// Whether the names are those that the program knows, not the user's: then the number stands before.
    known: bool,
}

impl Labels {
    /// `given` are the lines of `file`, `--labels`; without them a net of as many classes as ImageNet has its names.
    ///
    /// # Errors
    /// The net has another number of classes than the file has lines.
    fn new(given: Option<Vec<String>>, file: Option<&Path>, classes: usize) -> Result<Self> {
        if let (Some(names), Some(file)) = (&given, file) {
            ensure!(
                names.len() == classes,
                "{}: {} labels, but the net has {classes} classes",
                file.display(),
                names.len()
            );
        }
        let known = given.is_none() && classes == imagenet::CLASSES;
        if known {
            info!(
                "The names are those of {}; --labels F gives others",
                imagenet::LIST
            );
        }
        let names = match known {
            true => imagenet::names(),
            false => given.unwrap_or_default(),
        };
        Ok(Self { names, known })
    }

    fn shown(&self, class: usize) -> String {
        match (self.names.get(class), self.known) {
            (Some(name), true) => format!("{class} {name}"),
            (Some(name), false) => name.clone(),
            (None, _) => class.to_string(),
        }
    }
}

fn print(file: &Path, best: &[Prediction], labels: &Labels) -> Result<()> {
    outln!("{}", file.display())?;
    for &(class, probability) in best {
        outln!("{probability:.4}  {}", labels.shown(class))?;
    }
    Ok(())
}

fn as_json(file: &Path, result: Result<Vec<Prediction>>, labels: &Labels) -> Value {
    let file = file.display().to_string();
    match result {
        Err(error) => json!({ "file": file, "error": format!("{error:#}") }),
        Ok(best) => {
            let best: Vec<Value> = best
                .iter()
                .map(|&(class, p)| match labels.names.get(class) {
                    Some(label) => json!({ "class": class, "label": label, "probability": p }),
                    None => json!({ "class": class, "probability": p }),
                })
                .collect();
            json!({ "file": file, "predictions": best })
        }
    }
}
